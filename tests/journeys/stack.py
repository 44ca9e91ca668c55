"""A whole house of real processes for one story: database, bank, age bureau, server, worker.

What a story expects belongs in its test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import aiohttp
import asyncpg

from rickhouse.apps.scopes import OFFICE_SCOPES, SHOP_SCOPES
from rickhouse.platform.embedded import claim_data_root
from rickhouse.platform.tokens import TokenKey

Json = dict[str, Any]

APPROVE = "tok_approve"
"""The bank simulator's token of a card that is always good."""

BUYER: Json = {
    "name": "Ada Example",
    "email": "ada@example.com",
    "phone": "+17015550123",
    "birth_date": "1985-04-12",
    "address": {
        "line1": "1 Main Street",
        "city": "Medora",
        "region": "US-ND",
        "postal_code": "58645",
        "country": "US",
    },
}


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Reply:
    """Status, headers and JSON of one answer."""

    def __init__(self, status: int, headers: dict[str, str], body: Json) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"Reply({self.status}, {self.body})"


class Stack:
    """Processes around one database. Use as `async with Stack(...) as stack`."""

    def __init__(self, database_url: str, home: Path, **settings: str) -> None:
        self.database_url = database_url
        self.home = home
        self.ports = {"serve": free_port(), "bank": free_port(), "bureau": free_port()}
        self.base_url = f"http://127.0.0.1:{self.ports['serve']}"
        self.bank_url = f"http://127.0.0.1:{self.ports['bank']}"
        self.bureau_url = f"http://127.0.0.1:{self.ports['bureau']}"
        self.environment = {
            "RICKHOUSE_DATA_DIR": str(home),
            "RICKHOUSE_DATABASE__URL": database_url,
            "RICKHOUSE_WEB__PORT": str(self.ports["serve"]),
            "RICKHOUSE_WEB__WORKERS": "1",
            "RICKHOUSE_PAYMENTS__BANK_URL": self.bank_url,
            "RICKHOUSE_CUSTOMERS__BUREAU_URL": self.bureau_url,
            "RICKHOUSE_COMPLIANCE__PERMITS": '{"US-ND": "TEST"}',
            "RICKHOUSE_LOG__LEVEL": "warning",
            **settings,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        claim_data_root(home)
        key = TokenKey.load(home / "keys" / "tokens.json")
        self.shop_token = key.issue("shop", SHOP_SCOPES, 3600)
        self.office_token = key.issue("office", OFFICE_SCOPES, 3600)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=60), connector=aiohttp.TCPConnector(limit=0)
        )
        self.start("bank", "simulate", "bank", "--port", str(self.ports["bank"]))
        self.start("bureau", "simulate", "bureau", "--port", str(self.ports["bureau"]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self.processes):
            self.stop(name)
        if self._session is not None:
            await self._session.close()

    def start(self, name: str, *command: str, module: str = "rickhouse", **environment: str) -> None:
        """Start `python -m <module> <command>` in a process group of its own."""
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", module, *command],
            env={**os.environ, **self.environment, **environment},
            start_new_session=True,
        )

    def wait(self, name: str, within_s: float = 60.0) -> int:
        """Let a process end by itself; answers its exit code."""
        return self.processes.pop(name).wait(within_s)

    def stop(self, name: str, *, with_signal: int = signal.SIGTERM) -> int:
        """End a process and its children; answers its exit code."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(with_signal)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                self._kill_group(process)
        self._kill_group(process)
        return process.wait()

    def kill(self, name: str) -> None:
        """SIGKILL the process and everything that it started."""
        process = self.processes.pop(name)
        self._kill_group(process)
        process.wait()

    @asynccontextmanager
    async def crashing(self, place: str) -> AsyncGenerator[Stack]:
        """A second server on the same house, which SIGKILLs itself at `place` (see `crashing.py`)."""
        other = copy(self)
        port = free_port()
        other.base_url = f"http://127.0.0.1:{port}"
        self.start(
            "crashing",
            module="tests.journeys.crashing",
            CRASH_AT=place,
            RICKHOUSE_WEB__PORT=str(port),
        )
        try:
            await other.ready()
            yield other
        finally:
            self.kill("crashing")

    async def serve(self, *, workers: int = 1) -> None:
        """Start the server and wait until it is ready."""
        self.start("serve", "serve", RICKHOUSE_WEB__WORKERS=str(workers))
        await self.ready()

    async def ready(self, within_s: float = 30.0) -> None:
        """Wait until the API says that it can serve."""
        await self.wait_for(self.base_url + "/health/ready", within_s)

    async def wait_for(self, url: str, within_s: float = 30.0) -> None:
        """Wait until `url` answers 200."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            try:
                async with self.session.get(url) as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
        raise AssertionError(f"{url} was not ready within {within_s} s")

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP client."""
        assert self._session is not None
        return self._session

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request with the shop's token; POSTs get a fresh Idempotency-Key unless one is given."""
        sent = {"authorization": f"Bearer {token or self.shop_token}", **(headers or {})}
        if method == "POST":
            sent["idempotency-key"] = key or uuid4().hex
        async with self.session.request(method, self.base_url + path, json=body, headers=sent) as reply:
            return Reply(reply.status, dict(reply.headers), await reply.json(content_type=None))

    async def office(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Reply:
        """One request with the back office's token."""
        return await self.call(method, path, body, token=self.office_token, key=key)

    async def open(
        self, lines: Sequence[tuple[str, int]], *, buyer: Json | None = None, key: str | None = None
    ) -> Reply:
        """Open a checkout of (variant id, quantity) lines."""
        body = {
            "lines": [{"variant_id": variant_id, "quantity": quantity} for variant_id, quantity in lines],
            "customer": buyer or BUYER,
        }
        return await self.call("POST", "/v1/checkouts", body, key=key)

    async def complete(self, checkout_id: str, token: str = APPROVE, *, key: str | None = None) -> Reply:
        """Complete a checkout with a payment token."""
        path = f"/v1/checkouts/{checkout_id}/complete"
        return await self.call("POST", path, {"payment_token": token}, key=key)

    async def buy(self, variant_id: str, token: str = APPROVE, *, quantity: int = 1) -> Reply:
        """Open and complete; answers the first refusal or the completion."""
        opened = await self.open([(variant_id, quantity)], buyer=stranger())
        if opened.status != 201:
            return opened
        return await self.complete(opened.body["checkout_id"], token)

    async def free(self, variant_id: str) -> int:
        """How many bottles can be sold, as the back office sees it."""
        houses = await self.office("GET", "/v1/warehouses")
        selling = {house["warehouse_id"] for house in houses.body["items"] if house["sells"]}
        shelves = await self.office("GET", f"/v1/stock?variant_id={variant_id}")
        return sum(shelf["free"] for shelf in shelves.body["items"] if shelf["warehouse_id"] in selling)

    async def sql(self, query: str, *args: object) -> list[asyncpg.Record]:
        """Look into the database as its administrator."""
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def ledger(self) -> Json:
        """The bank's own books."""
        async with self.session.get(self.bank_url + "/ledger") as reply:
            found: Json = await reply.json()
            return found

    def _kill_group(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def stranger() -> Json:
    """A buyer who is nobody else."""
    return {**BUYER, "email": f"{uuid4().hex[:12]}@example.com"}
