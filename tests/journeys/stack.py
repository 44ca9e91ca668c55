"""A whole house of real processes for one story: database, bank, age bureau, server, worker.

What a story expects belongs in its test.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
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
from rickhouse.kernel.ids import CheckoutId
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
    """A port that nobody listens on, and that no outgoing connection is given before somebody does."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Reply:
    """Status, headers (their names in lower case) and JSON of one answer; `raw` is the JSON as it came."""

    def __init__(self, status: int, headers: dict[str, str], raw: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw
        self.body: Json = json.loads(raw)

    def __repr__(self) -> str:
        return f"Reply({self.status}, {self.body})"


class Stack:
    """Processes around one database. Use as `async with Stack(...) as stack`."""

    def __init__(self, database_url: str, home: Path, **settings: str) -> None:
        self.database_url = database_url
        self.home = home
        self.urls: dict[str, str] = json.loads(settings.get("RICKHOUSE_DATABASE__URLS", "{}"))
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
    async def beside(
        self, name: str, *command: str, module: str = "rickhouse", **environment: str
    ) -> AsyncGenerator[Stack]:
        """Another server of the same house, on a port of its own, while the context lasts."""
        other = copy(self)
        port = free_port()
        other.base_url = f"http://127.0.0.1:{port}"
        self.start(name, *command, module=module, RICKHOUSE_WEB__PORT=str(port), **environment)
        try:
            await other.ready()
            yield other
        finally:
            self.stop(name)

    @asynccontextmanager
    async def crashing(self, place: str) -> AsyncGenerator[Stack]:
        """A second server on the same house, which SIGKILLs itself at `place` (see `crashing.py`)."""
        async with self.beside("crashing", module="tests.journeys.crashing", CRASH_AT=place) as other:
            yield other

    async def serve(self, *, workers: int = 1) -> None:
        """Start the server and wait until it is ready."""
        self.start("serve", "serve", RICKHOUSE_WEB__WORKERS=str(workers))
        await self.ready()

    async def ready(self, within_s: float = 30.0) -> None:
        """Wait until the API says that it can serve, and until those answer whom it asks."""
        for url in (f"{self.base_url}/health/ready", f"{self.bank_url}/ledger", f"{self.bureau_url}/health"):
            await self.wait_for(url, within_s)

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

    def server_of(self, path: str) -> str:  # noqa: ARG002  where the house is one, every path is its own
        """The base URL of the server that a request goes to."""
        return self.base_url

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
        url = self.server_of(path) + path
        async with self.session.request(method, url, json=body, headers=sent) as reply:
            found = {name.lower(): value for name, value in reply.headers.items()}
            return Reply(reply.status, found, await reply.read())

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

    async def release(self, bottles: int, *, limit: int | None = None) -> str:
        """A bottling that is new on sale, of which so many bottles stand where orders are filled from first."""
        products = await self.office("GET", "/v1/products?limit=100")
        product = next(
            item
            for item in products.body["items"]
            if item["spirit_class"] == "whiskey" and item["status"] == "active"
        )
        made = await self.office(
            "POST",
            f"/v1/products/{product['product_id']}/variants",
            {
                "sku": f"RELEASE-{uuid4().hex[:8].upper()}",
                "size_ml": 750,
                "price": {"minor": 8_900, "currency": "USD"},
                "weight_g": 1_380,
                "purchase_limit": limit,
            },
        )
        assert made.status == 201, made
        variant_id: str = made.body["variant_id"]
        await self.receive(variant_id, bottles)
        return variant_id

    async def receive(self, variant_id: str, bottles: int) -> None:
        """Put bottles into the warehouse that orders are filled from first."""
        houses = await self.office("GET", "/v1/warehouses")
        selling = next(house["warehouse_id"] for house in houses.body["items"] if house["sells"])
        receipt = {
            "variant_id": variant_id,
            "warehouse_id": selling,
            "quantity": bottles,
            "reason": "Bottling run",
        }
        received = await self.office("POST", "/v1/stock/receipts", receipt)
        assert received.status == 201, received

    async def free(self, variant_id: str) -> int:
        """How many bottles can be sold, as the back office sees it."""
        houses = await self.office("GET", "/v1/warehouses")
        selling = {house["warehouse_id"] for house in houses.body["items"] if house["sells"]}
        shelves = await self.office("GET", f"/v1/stock?variant_id={variant_id}")
        return sum(shelf["free"] for shelf in shelves.body["items"] if shelf["warehouse_id"] in selling)

    def url_of(self, slice_name: str) -> str:
        """The administrator's URL of the database that a slice's data is in."""
        return self.urls.get(slice_name, self.database_url)

    async def sql(self, query: str, *args: object, of: str = "") -> list[asyncpg.Record]:
        """Look into the database, or the one `of` a slice, as its administrator."""
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self.url_of(of))
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def ledger(self) -> Json:
        """The bank's own books."""
        async with self.session.get(self.bank_url + "/ledger") as reply:
            found: Json = await reply.json()
            return found

    async def asked_for(self, checkout_id: str) -> list[str]:
        """What became of everything that the bank was asked for on behalf of a checkout, first to last."""
        order_id = checkout_id.replace("chk_", "ord_")
        return [hold["status"] for hold in (await self.ledger())["holds"] if hold["order"] == order_id]

    async def end_hold(self, checkout_id: str, *, in_s: float = 0.0) -> None:
        """Let a checkout's hold end so many seconds from now."""
        order_id = CheckoutId.parse(checkout_id).uuid
        await self.sql(
            "update orders.orders set hold_expires_at = now() + make_interval(secs => $2) where id = $1",
            order_id,
            in_s,
        )
        await self.sql(
            "update inventory.holds set expires_at = now() + make_interval(secs => $2) where order_id = $1",
            order_id,
            in_s,
            of="inventory",
        )

    def _kill_group(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def stranger(**told: object) -> Json:
    """A buyer who is nobody else, and of whom `told` is different."""
    return {**BUYER, "email": f"{uuid4().hex[:12]}@example.com", **told}


@asynccontextmanager
async def seeded(database_url: str, home: Path, **settings: str) -> AsyncGenerator[Stack]:
    """A seeded house with its job worker; nothing is served yet."""
    async with Stack(database_url, home, **settings) as stack:
        stack.start("seed", "seed")
        assert stack.wait("seed") == 0
        stack.start("work", "work")
        yield stack
