"""A bank to pay with in tests, demonstrations and benchmarks: a process of its own that speaks HTTP and keeps its own
double-entry ledger. It knows nothing of Rickhouse, and no real money or card ever belongs here.

The wire
--------
JSON in and out. Amounts are text with two decimals ("89.00"), `ccy` is in lower case. Every POST on holds and takes
needs an `Idempotency-Key`: the same key with the same request gives the first answer again, whatever became of it
since; with another request `422 KEY_CLASH`; while the first is still running `409 KEY_BUSY`. Failures are
`{"fault": "…"}`: `400 BAD_REQUEST`, `404 UNKNOWN_KEY` or `UNKNOWN`, `409` with a word for the state that forbids it,
`410 KEY_BARRED`, `500 BROKEN`. A fault is not kept under its key: the same key may try again.

    POST /holds                  {"instrument", "amount", "ccy", "order"}
                                 201 HELD · 202 CHALLENGE with `challenge_url` · 402 REFUSED with `reason`
    GET  /holds?key=K            200 the hold made under K, as it stands · 202 {"status": "IN_PROGRESS"} · 404
    GET  /holds/{hold}           the same, by name
    POST /holds/{hold}/free      200 FREED; a hold that is FREED or REFUSED stays so · 409 ALREADY_TAKEN, NOT_POSSIBLE
    POST /holds/free?key=K       the same by key; a key never seen is BARRED: whatever comes under it later is refused.
                                 A bank started with `fences=False` cannot do that and says 404 UNKNOWN_KEY
    POST /holds/{hold}/take      {"amount"} 200 TAKEN with `take`; the rest goes free · 409 NOT_HELD, TOO_MUCH, …
    POST /takes/{take}/return    {"amount"} 200 {"return", "status": RETURNED or QUEUED} · 409 TOO_MUCH, NOT_POSSIBLE
    GET  /returns/{return}       200; one that was QUEUED is paid when asked for
    GET  /challenges/{hold}      the page that the buyer sees, as HTML where that is asked for, else the hold
    POST /challenges/{hold}      answer=pass or answer=fail, as a form or as JSON
    GET  /ledger                 every entry, the balances, every hold, the keys barred; with ?order=O only entries and
                                 holds of that order

Reasons: NO_FUNDS, STOLEN, EXPIRED, DO_NOT_HONOUR, UNKNOWN_INSTRUMENT, CHALLENGE_FAILED.

Magic tokens (`instrument`)
---------------------------
    tok_approve                 HELD at once
    tok_decline                 REFUSED; also tok_decline_insufficient_funds, tok_decline_stolen, tok_decline_expired
                                (`decline_` may be left out)
    tok_3ds                     CHALLENGE
    tok_slow_3                  the key is known at once; money moves and the answer comes after 3 s (2 if unsaid)
    tok_late_3                  stuck on the way: for 3 s the bank has not even seen the key
    tok_error_before, tok_drop_before, tok_timeout_before
                                500, a dropped connection, silence; no money moved. tok_error_before_2: only twice
    tok_error_after, tok_drop_after, tok_timeout_after
                                the same once the money has moved; a repeat is answered

What comes later goes wrong in the same ways after an approval: `tok_capture_…`, `tok_void_…`, `tok_refund_…` with
`decline`, `slow_N`, `late_N` or one of the six failures; and `tok_refund_pending`, whose return is QUEUED first.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import msgspec
import uvloop
from aiohttp import web

from rickhouse.apps.simulators.bank_book import Answer, Book, Hold, Line, two_decimals
from rickhouse.apps.simulators.bank_script import Script, script_of

_SILENCE_S: Final = 120.0
"""Longer than any client waits."""

_AMOUNT_MAX: Final = 10**14
_JSON: Final = "application/json"


class HoldRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /holds."""

    instrument: str
    amount: str
    ccy: str
    order: str = ""


class AmountRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a take or a return."""

    amount: str


class Fault(Exception):
    """The bank will not, or cannot."""

    def __init__(self, status: int, word: str) -> None:
        super().__init__(word)
        self.status = status
        self.body = b'{"fault":"%s"}' % word.encode()


class Asked(msgspec.Struct, frozen=True):
    """A POST that is done once: its idempotency key, and a fingerprint of path and body."""

    request: web.BaseRequest
    key: str
    print: str


_decode_hold = msgspec.json.Decoder(HoldRequest).decode
_decode_amount = msgspec.json.Decoder(AmountRequest).decode
_encode = msgspec.json.Encoder().encode


def cents(text: str) -> int:
    """`89.00` as 8900. Raises Fault for anything but a positive amount with two decimals."""
    units, _, decimals = text.rpartition(".")
    digits = units + decimals
    if not (units and len(decimals) == 2 and len(digits) < 16 and digits.isascii() and digits.isdigit()):
        raise Fault(400, "BAD_REQUEST")
    amount = int(digits)
    if not 0 < amount <= _AMOUNT_MAX:
        raise Fault(400, "BAD_REQUEST")
    return amount


class Bank:
    """The HTTP side: finds out what is asked, plays the token's script, answers from the book."""

    def __init__(self, book: Book, *, fences: bool = True) -> None:
        self._book = book
        self._fences = fences
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request; never logged."""
        path, _, query = request.raw_path.partition("?")
        parts = path.split("/")[1:]
        try:
            if request.method == "POST":
                answer = await self._post(request, parts, query)
            elif parts[0] == "challenges" and "text/html" in request.headers.get("Accept", ""):
                return web.Response(text=_page(self._hold(parts[1])), content_type="text/html")
            else:
                answer = self._get(parts, query)
        except Fault as fault:
            return web.Response(status=fault.status, body=fault.body, content_type=_JSON)
        except (msgspec.MsgspecError, IndexError):
            return web.Response(status=400, body=b'{"fault":"BAD_REQUEST"}', content_type=_JSON)
        return web.Response(status=answer.status, body=answer.body, content_type=_JSON)

    def _get(self, parts: list[str], query: str) -> Answer:
        match parts:
            case ["holds"]:
                return self._find(_key_of(query))
            case ["holds" | "challenges", name]:
                return Answer("", 200, _encode(self._book.view(self._hold(name))))
            case ["returns", name]:
                return self._look_at_return(name)
            case ["ledger"]:
                return Answer("", 200, self._ledger(parse_qs(query).get("order")))
            case _:
                raise Fault(404, "UNKNOWN")

    async def _post(self, request: web.BaseRequest, parts: list[str], query: str) -> Answer:
        body = await request.read()
        if parts[0] == "challenges":
            return self._meet_challenge(self._hold(parts[1]), body)
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            raise Fault(400, "BAD_REQUEST")
        fingerprint = blake2b(request.raw_path.encode() + b"\0" + body, digest_size=12).hexdigest()
        asked = Asked(request, key, fingerprint)
        match parts:
            case ["holds"]:
                return await self._open(asked, _decode_hold(body))
            case ["holds", "free"]:
                return await self._free_by_key(asked, _key_of(query))
            case ["holds", name, "free"]:
                return await self._free(asked, self._hold(name))
            case ["holds", name, "take"]:
                return await self._take(asked, self._hold(name), cents(_decode_amount(body).amount))
            case ["takes", name, "return"]:
                hold = self._hold(name.replace("tke_", "hld_"))
                return await self._give_back(asked, hold, cents(_decode_amount(body).amount))
            case _:
                raise Fault(404, "UNKNOWN")

    async def _once(self, asked: Asked, script: Script, act: Callable[[], Answer]) -> Answer:
        """Answer a repeat, or act, and go wrong where the script says so."""
        if script.late_s:
            await asyncio.sleep(script.late_s)
        known = self._book.answers.get(asked.key)
        if known is not None:
            if known.asked != asked.print:
                raise Fault(422, "KEY_CLASH")
            return known
        if asked.key in self._busy:
            raise Fault(409, "KEY_BUSY")
        if script.slow_s:
            self._busy.add(asked.key)
            await asyncio.sleep(script.slow_s)
            self._busy.discard(asked.key)
        if script.failure and not script.after:
            failures = self._failures[asked.key] = self._failures.get(asked.key, 0) + 1
            if failures <= script.times:
                await _fail(asked, script)
        answer = act()
        if script.failure and script.after:
            await _fail(asked, script)
        return answer

    async def _open(self, asked: Asked, wanted: HoldRequest) -> Answer:
        amount = cents(wanted.amount)
        script = script_of(wanted.instrument, "authorise")

        def act() -> Answer:
            if asked.key in self._book.barred:
                raise Fault(410, "KEY_BARRED")
            return self._book.record(
                Line(
                    op=script.twist or "hold",
                    hold=self._book.next_hold(),
                    key=asked.key,
                    asked=asked.print,
                    amount=amount,
                    ccy=wanted.ccy,
                    order=wanted.order,
                    instrument=wanted.instrument,
                    reason=script.reason,
                )
            )

        return await self._once(asked, script, act)

    async def _free_by_key(self, asked: Asked, freed_key: str) -> Answer:
        hold = self._book.by_key.get(freed_key)
        if hold is not None:
            return await self._free(asked, hold)
        if not self._fences:
            raise Fault(404, "UNKNOWN_KEY")
        return self._book.record(Line(op="bar", key=asked.key, asked=asked.print, name=freed_key))

    async def _free(self, asked: Asked, hold: Hold) -> Answer:
        script = script_of(hold.instrument, "void")

        def act() -> Answer:
            if hold.status == "TAKEN":
                raise Fault(409, "ALREADY_TAKEN")
            if script.twist:
                raise Fault(409, "NOT_POSSIBLE")
            return self._book.record(Line(op="free", hold=hold.name, key=asked.key, asked=asked.print))

        return await self._once(asked, script, act)

    async def _take(self, asked: Asked, hold: Hold, amount: int) -> Answer:
        script = script_of(hold.instrument, "capture")

        def act() -> Answer:
            if hold.status != "HELD":
                raise Fault(409, "NOT_HELD")
            if script.twist:
                raise Fault(409, "NOT_POSSIBLE")
            if amount > hold.amount:
                raise Fault(409, "TOO_MUCH")
            return self._book.record(
                Line(op="take", hold=hold.name, key=asked.key, asked=asked.print, amount=amount)
            )

        return await self._once(asked, script, act)

    async def _give_back(self, asked: Asked, hold: Hold, amount: int) -> Answer:
        script = script_of(hold.instrument, "refund")

        def act() -> Answer:
            if hold.status != "TAKEN" or script.twist == "refuse":
                raise Fault(409, "NOT_POSSIBLE")
            if amount > hold.taken - hold.returned:
                raise Fault(409, "TOO_MUCH")
            return self._book.record(
                Line(
                    op=script.twist or "return",
                    hold=hold.name,
                    key=asked.key,
                    asked=asked.print,
                    amount=amount,
                    name=self._book.next_return(),
                )
            )

        return await self._once(asked, script, act)

    def _look_at_return(self, name: str) -> Answer:
        given = self._book.returns.get(name)
        if given is None:
            raise Fault(404, "UNKNOWN")
        if given.status == "QUEUED":
            return self._book.record(Line(op="settle", hold=given.hold, name=name))
        return Answer("", 200, _encode(self._book.view_return(given)))

    def _meet_challenge(self, hold: Hold, body: bytes) -> Answer:
        said = body.decode(errors="replace").translate(_NO_JSON_MARKS)
        if said not in ("answer=pass", "answer=fail"):
            raise Fault(400, "BAD_REQUEST")
        if hold.status != "CHALLENGE":
            raise Fault(409, "NO_CHALLENGE")
        return self._book.record(Line(op="pass" if said == "answer=pass" else "fail", hold=hold.name))

    def _find(self, key: str) -> Answer:
        hold = self._book.by_key.get(key)
        if hold is not None:
            return Answer("", 200, _encode(self._book.view(hold)))
        if key in self._busy:
            return Answer("", 202, b'{"status":"IN_PROGRESS"}')
        raise Fault(404, "UNKNOWN_KEY")

    def _hold(self, name: str) -> Hold:
        hold = self._book.holds.get(name)
        if hold is None:
            raise Fault(404, "UNKNOWN")
        return hold

    def _ledger(self, orders: list[str] | None) -> bytes:
        book = self._book
        holds = {name: hold for name, hold in book.holds.items() if orders is None or hold.order in orders}
        return _encode(
            {
                "entries": [entry for entry in book.entries if entry.hold in holds],
                "balances": book.balances(),
                "holds": [book.view(hold) for hold in holds.values()],
                "barred": sorted(book.barred),
            }
        )


_NO_JSON_MARKS: Final = str.maketrans({":": "=", '"': None, " ": None, "{": None, "}": None})


async def _fail(asked: Asked, script: Script) -> None:
    if script.failure == "timeout":
        await asyncio.sleep(_SILENCE_S)
    if script.failure != "error" and asked.request.transport is not None:
        asked.request.transport.abort()
    raise Fault(500, "BROKEN")


def _key_of(query: str) -> str:
    keys = parse_qs(query).get("key")
    if not keys:
        raise Fault(400, "BAD_REQUEST")
    return keys[0]


def _page(hold: Hold) -> str:
    if hold.status != "CHALLENGE":
        return f"<!doctype html><title>Bank</title><p>Nothing to do: {hold.status}. Go back to the shop.</p>"
    return (
        "<!doctype html><title>Bank</title>"
        f"<p>Pay {two_decimals(hold.amount)} {hold.ccy.upper()}?</p>"
        '<form method="post"><button name="answer" value="pass">Yes, it is me</button>'
        '<button name="answer" value="fail">No</button></form>'
    )


def run(
    host: str = "127.0.0.1", port: int = 8090, *, ledger: Path | None = None, fences: bool = True
) -> None:
    """Serve until SIGTERM or SIGINT. Port 0 takes a free one; the first line on standard output tells the address.

    With `ledger`, each line is in that file before its answer leaves, and is read back at the next start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(host, port, ledger, fences))


async def _serve(host: str, port: int, ledger: Path | None, fences: bool) -> None:
    listening = socket.create_server((host, port), backlog=512)
    url = f"http://{host}:{listening.getsockname()[1]}"
    book = Book(url, ledger)
    runner = web.ServerRunner(
        web.Server(Bank(book, fences=fences).handle, access_log=None), shutdown_timeout=0.2
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        sys.stdout.write(f"bank listening on {url}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()
        book.close()
