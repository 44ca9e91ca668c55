"""The two sides on which a contract may be: in this process, or behind HTTP in another. What it promises belongs in the
suites.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal, TypeVar

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from joserfc.jwk import OKPKey

from rickhouse.platform.http import HttpClient, close_clients
from rickhouse.platform.rpc import rpc_client, rpc_routes
from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build

Contract = TypeVar("Contract")
Side = Literal["joined", "split"]
SIDES: Final[tuple[Side, ...]] = ("joined", "split")

_START_S_MAX: Final = 10.0


@asynccontextmanager
async def on_side(
    side: Side, contract: type[Contract], name: str, service: Contract
) -> AsyncGenerator[Contract]:
    """`service` itself, or the client that `platform.rpc` derives, speaking to a web server that serves it."""
    if side == "joined":
        yield service
        return
    key = TokenKey([OKPKey.generate_key("Ed25519")])
    app = build(rpc_routes(contract, name, service), verifier=key, probes={}, body_bytes_max=262_144)
    port = _free_port()
    server = Server(
        app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_level=LogLevels.critical
    )
    serving = asyncio.create_task(server.serve())
    try:
        await _listens(port)
        http = HttpClient(f"http://127.0.0.1:{port}", name=name)
        yield rpc_client(contract, name, http, lambda: key.issue("neighbour", [f"rpc:{name}"], 60))
    finally:
        await close_clients()
        server.stop()
        await serving


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _listens(port: int) -> None:
    async with asyncio.timeout(_START_S_MAX):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)
