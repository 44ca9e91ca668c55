"""The simulated age bureau keeps the contract that its docstring tells."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.simulators.bureau import simulated_bureau

SLOW_S = 0.5
CHECK: dict[str, Any] = {
    "minimum_age": 21,
    "name": "Ada Example",
    "birth_date": "1985-04-12",
    "address": {
        "line1": "1 Main Street",
        "line2": "",
        "city": "Medora",
        "region": "US-ND",
        "postal_code": "58645",
        "country": "US",
    },
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A bureau of this module's own."""
    with simulated_bureau(SLOW_S) as url:
        yield url


@pytest.fixture
async def session(url: str) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of the bureau."""
    async with aiohttp.ClientSession(url) as session:
        yield session


async def ask(session: aiohttp.ClientSession, key: str, **changes: Any) -> tuple[int, Any]:  # noqa: ANN401  JSON
    """Status and JSON of one check."""
    async with session.post(
        "/v1/age-checks", json=CHECK | changes, headers={"idempotency-key": key}
    ) as reply:
        return reply.status, json.loads(await reply.read())


async def counters(session: aiohttp.ClientSession) -> tuple[int, int]:
    """Requests and checks so far."""
    async with session.get("/v1/counters") as reply:
        found = await reply.json()
        return found["asks"], found["checks"]


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("Ada Example", "pass"),
        ("Cher", "pass"),
        ("Ada Refuse", "fail"),
        ("ada REFUSE", "fail"),
        ("Ada Review", "manual_review"),
        ("Ada Perhaps", "perhaps"),
    ],
)
async def test_last_name_decides_the_result(session: aiohttp.ClientSession, name: str, result: str) -> None:
    status, body = await ask(session, f"result-{name}", name=name)
    assert status == 200
    assert body == {"id": body["id"], "key": f"result-{name}", "minimum_age": 21, "result": result}


async def test_too_young_by_the_stated_date_fails(session: aiohttp.ClientSession) -> None:
    assert (await ask(session, "young", birth_date="2020-01-01"))[1]["result"] == "fail"


async def test_same_key_is_counted_as_one_check(session: aiohttp.ClientSession) -> None:
    asks, checks = await counters(session)
    first = await ask(session, "twice")
    assert await ask(session, "twice", name="Ada Refuse") == first
    assert await counters(session) == (asks + 2, checks + 1)


async def test_error_is_a_500_each_time_and_no_check(session: aiohttp.ClientSession) -> None:
    asks, checks = await counters(session)
    for _ in range(2):
        assert (await ask(session, "error", name="Ada Error"))[0] == 500
    assert await counters(session) == (asks + 2, checks)


async def test_garbage_is_a_web_page_with_status_200(session: aiohttp.ClientSession) -> None:
    async with session.post(
        "/v1/age-checks", json=CHECK | {"name": "Ada Garbage"}, headers={"idempotency-key": "garbage"}
    ) as reply:
        assert (reply.status, reply.content_type) == (200, "text/html")


async def test_slow_answers_late_once(session: aiohttp.ClientSession) -> None:
    for late in (True, False):
        began = time.monotonic()
        assert (await ask(session, "slow", name="Ada Slow"))[1]["result"] == "pass"
        assert (time.monotonic() - began >= SLOW_S) is late


async def test_drop_loses_the_connection_once(session: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask(session, "drop", name="Ada Drop")
    assert (await ask(session, "drop", name="Ada Drop"))[1]["result"] == "pass"


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("", {}),
        ("x" * 101, {}),
        ("malformed", {"minimum_age": 0}),
        ("malformed", {"minimum_age": "21"}),
        ("malformed", {"birth_date": "1985-02-30"}),
        ("malformed", {"email": "ada@example.com"}),
        ("malformed", {"address": {}}),
    ],
)
async def test_request_of_another_shape_is_refused(
    session: aiohttp.ClientSession, key: str, changes: dict[str, Any]
) -> None:
    _, checks = await counters(session)
    assert (await ask(session, key, **changes))[0] == 400
    assert (await counters(session))[1] == checks


async def test_health_answers(session: aiohttp.ClientSession) -> None:
    async with session.get("/health") as reply:
        assert await reply.json() == {"status": "live"}
