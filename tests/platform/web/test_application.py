"""Health: every dependency is asked at once, and none for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build


async def ready(tmp_path: Path, **probes: Callable[[], Awaitable[bool]]) -> httpx.Response:
    """What `/health/ready` answers where these are the dependencies."""
    key = TokenKey.load(tmp_path / "tokens.json")
    app = build((), verifier=key, probes=probes, body_bytes_max=262_144)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI by two names
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/health/ready")


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def never() -> bool:
    await asyncio.sleep(60)
    return True


async def test_ready_when_every_dependency_answers(tmp_path: Path) -> None:
    reply = await ready(tmp_path, orders=yes, payments=yes)

    assert (reply.status_code, reply.json()) == (
        200,
        {"status": "ready", "checks": {"orders": True, "payments": True}},
    )


async def test_silent_dependencies_are_given_up_together_and_named(tmp_path: Path) -> None:
    began = time.monotonic()
    reply = await ready(tmp_path, orders=never, payments=never, catalog=yes, inventory=no)

    assert time.monotonic() - began < 3.5
    assert (reply.status_code, reply.json()["code"]) == (503, "not_ready")
    assert reply.json()["checks"] == {"orders": False, "payments": False, "catalog": True, "inventory": False}
