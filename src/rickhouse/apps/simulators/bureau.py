"""An age bureau as a separate process: a little HTTP contract of its own, magic last names, a count of what was asked.

    POST /v1/age-checks          Idempotency-Key: <at most 100 characters>
        {"minimum_age": 21, "name": "Ada Example", "birth_date": "1985-04-12",
         "address": {"line1": …, "line2": …, "city": …, "region": "US-ND", "postal_code": …, "country": "US"}}
    200 {"id": "age_7", "key": <the Idempotency-Key>, "minimum_age": 21, "result": "pass"}
        `result` is `pass`, `fail` or `manual_review`. The same key gets the same answer and counts as one check.
    400 the request does not have this shape

    GET /v1/counters             200 {"asks": 3, "checks": 2}: requests for a check, and checks that were made
    GET /health                  200 {"status": "live"}

Everybody who is old enough by the stated birth date passes, unless their last name says otherwise, in any case:

    Refuse    fails                              Error    HTTP 500, always
    Review    needs a person to look             Garbage  HTTP 200 and a web page, always
    Slow      the first answer to a key comes after `slow_s`, the next one at once
    Drop      the first answer to a key is lost with the connection, the next one arrives
    Perhaps   HTTP 200 and a result that is in no contract, always

What an answer means for a sale never belongs here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Final

import msgspec
import uvloop
from aiohttp import web

_KEY_CHARS_MAX: Final = 100
_BODY_BYTES_MAX: Final = 16 * 1024


class _Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    line1: str
    line2: str
    city: str
    region: str
    postal_code: str
    country: str


class _Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    minimum_age: int
    name: str
    birth_date: date
    address: _Address


class _Answer(msgspec.Struct, frozen=True):
    id: str
    key: str
    minimum_age: int
    result: str


class _Counters(msgspec.Struct, frozen=True):
    asks: int
    checks: int


_read_check: Final = msgspec.json.Decoder(_Check).decode
_write: Final = msgspec.json.Encoder().encode


class Bureau:
    """What the bureau remembers: nobody's name, only which key was answered how."""

    def __init__(self, slow_s: float) -> None:
        self._slow_s = slow_s
        self._answers: dict[str, _Answer] = {}
        self._asks = 0

    def application(self) -> web.Application:
        """The bureau's HTTP side."""
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_post("/v1/age-checks", self.check)
        app.router.add_get("/v1/counters", self.count)
        app.router.add_get("/health", self.live)
        return app

    async def check(self, request: web.Request) -> web.StreamResponse:
        """Answer one question, or misbehave as the last name asks."""
        self._asks += 1
        key = request.headers.get("Idempotency-Key", "")
        try:
            check = _read_check(await request.read())
        except msgspec.MsgspecError:
            return _json({"error": "malformed"}, status=400)
        if not 0 < len(key) <= _KEY_CHARS_MAX or check.minimum_age < 1:
            return _json({"error": "malformed"}, status=400)
        last_name = check.name.split()[-1].casefold() if check.name.strip() else ""
        if last_name == "error":
            return _json({"error": "internal"}, status=500)
        if last_name == "garbage":
            return web.Response(text="<html><body>Welcome</body></html>", content_type="text/html")
        known = key in self._answers
        answer = self._answers.setdefault(
            key, _Answer(f"age_{len(self._answers) + 1}", key, check.minimum_age, _result(check, last_name))
        )
        misbehave = None if known else self._misbehaviours().get(last_name)
        if misbehave is not None:
            await misbehave(request)
        return _json(answer)

    async def count(self, _request: web.Request) -> web.Response:
        """How often the bureau was asked."""
        return _json(_Counters(self._asks, len(self._answers)))

    async def live(self, _request: web.Request) -> web.Response:
        """Whether the process runs."""
        return _json({"status": "live"})

    def _misbehaviours(self) -> dict[str, Callable[[web.Request], Awaitable[None]]]:
        return {"slow": self._wait, "drop": self._hang_up}

    async def _wait(self, _request: web.Request) -> None:
        await asyncio.sleep(self._slow_s)

    async def _hang_up(self, request: web.Request) -> None:
        if request.transport is not None:
            request.transport.abort()


def _result(check: _Check, last_name: str) -> str:
    if last_name == "perhaps":
        return "perhaps"
    if last_name == "refuse" or not _is_old_enough(check):
        return "fail"
    return "manual_review" if last_name == "review" else "pass"


def _is_old_enough(check: _Check) -> bool:
    today, born = datetime.now(UTC).date(), check.birth_date
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day)) >= check.minimum_age


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=_write(value), status=status, content_type="application/json")


def run(host: str, port: int, *, slow_s: float = 15.0) -> None:
    """Serve until SIGINT or SIGTERM. `slow_s` is how long a `Slow` person's first answer takes."""
    web.run_app(
        Bureau(slow_s).application(),
        host=host,
        port=port,
        access_log=None,
        print=None,
        shutdown_timeout=0.1,
        loop=uvloop.new_event_loop(),
    )
