"""The simulated bank keeps the contract that its docstring tells."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.simulators.bank import BankProcess, bank, simulated_bank

__all__ = ["bank"]

Json = dict[str, Any]
_numbers = count(1)


class Teller:
    """A client of a bank."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, path: str, body: object = None, *, key: str | None = None) -> tuple[int, Json]:
        """Status and JSON of a request under a key, a fresh one where none is given."""
        headers = {"Idempotency-Key": key or f"key-{next(_numbers)}"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        async with self._session.post(path, data=data, headers=headers) as reply:
            return reply.status, json.loads(await reply.read())

    async def get(self, path: str) -> tuple[int, Json]:
        """Status and JSON of a look."""
        async with self._session.get(path) as reply:
            return reply.status, json.loads(await reply.read())

    async def hold(
        self, instrument: str, amount: str = "89.00", *, key: str | None = None
    ) -> tuple[int, Json]:
        """Ask for money to be set aside."""
        body = {"instrument": instrument, "amount": amount, "ccy": "usd", "order": "ord_1"}
        return await self.post("/holds", body, key=key)

    async def balances(self) -> dict[str, int]:
        """Cents per account, in US dollars."""
        _, books = await self.get("/ledger")
        found: dict[str, int] = books["balances"].get(
            "usd", {"cardholders": 0, "set_aside": 0, "merchant": 0}
        )
        return found


@pytest.fixture
async def teller(bank: BankProcess) -> AsyncGenerator[Teller]:
    """A client of the module's bank."""
    async with aiohttp.ClientSession(bank.url, timeout=aiohttp.ClientTimeout(total=8)) as session:
        yield Teller(session)


def moved(before: dict[str, int], after: dict[str, int]) -> tuple[int, int, int]:
    """What went to cardholders, aside, and to the merchant; together nothing."""
    change = tuple(after[account] - before[account] for account in ("cardholders", "set_aside", "merchant"))
    assert sum(change) == 0
    return change[0], change[1], change[2]


async def test_an_approved_card_is_held(teller: Teller) -> None:
    before = await teller.balances()

    status, hold = await teller.hold("tok_approve", key="first")

    assert status == 201
    assert (hold["status"], hold["amount"], hold["ccy"], hold["order"]) == ("HELD", "89.00", "usd", "ord_1")
    assert hold["card"] == {"scheme": "VISA", "tail": "4242"}
    assert moved(before, await teller.balances()) == (-8_900, 8_900, 0)
    assert await teller.get("/holds?key=first") == (200, hold)
    assert await teller.get(f"/holds/{hold['hold']}") == (200, hold)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("tok_decline", "DO_NOT_HONOUR"),
        ("tok_decline_insufficient_funds", "NO_FUNDS"),
        ("tok_insufficient_funds", "NO_FUNDS"),
        ("tok_decline_stolen", "STOLEN"),
        ("tok_stolen", "STOLEN"),
        ("tok_decline_expired", "EXPIRED"),
        ("tok_who_knows", "UNKNOWN_INSTRUMENT"),
        ("visa", "UNKNOWN_INSTRUMENT"),
    ],
)
async def test_a_refused_card_moves_nothing(teller: Teller, token: str, reason: str) -> None:
    before = await teller.balances()

    status, hold = await teller.hold(token)

    assert (status, hold["status"], hold["reason"]) == (402, "REFUSED", reason)
    assert moved(before, await teller.balances()) == (0, 0, 0)


async def test_a_key_gives_the_first_answer_again_whatever_became_of_it(teller: Teller) -> None:
    before = await teller.balances()

    first = await teller.hold("tok_approve", key="again")
    await teller.post(f"/holds/{first[1]['hold']}/free")
    again = await teller.hold("tok_approve", key="again")
    clash = await teller.hold("tok_approve", "89.01", key="again")

    assert again == first
    assert clash == (422, {"fault": "KEY_CLASH"})
    assert moved(before, await teller.balances()) == (0, 0, 0)


async def test_the_same_key_at_once_moves_once(teller: Teller) -> None:
    before = await teller.balances()

    answers = await asyncio.gather(*(teller.hold("tok_approve", key="at-once") for _ in range(20)))

    assert all(answer == answers[0] for answer in answers)
    assert moved(before, await teller.balances()) == (-8_900, 8_900, 0)


async def test_a_slow_card_is_known_at_once_and_moves_later(teller: Teller) -> None:
    before = await teller.balances()
    began = time.monotonic()
    asking = asyncio.create_task(teller.hold("tok_slow_1", key="slow"))
    await asyncio.sleep(0.3)

    at_work = await teller.get("/holds?key=slow")
    busy = await teller.hold("tok_slow_1", key="slow")
    still = moved(before, await teller.balances())
    status, _ = await asking

    assert at_work == (202, {"status": "IN_PROGRESS"})
    assert busy == (409, {"fault": "KEY_BUSY"})
    assert still == (0, 0, 0)
    assert (status, time.monotonic() - began >= 1) == (201, True)


async def test_a_late_request_is_not_known_until_it_arrives(teller: Teller) -> None:
    asking = asyncio.create_task(teller.hold("tok_late_1", key="late"))
    await asyncio.sleep(0.3)

    assert await teller.get("/holds?key=late") == (404, {"fault": "UNKNOWN_KEY"})
    assert (await asking)[0] == 201


@pytest.mark.parametrize(("moment", "change"), [("before", (0, 0, 0)), ("after", (-8_900, 8_900, 0))])
@pytest.mark.parametrize("failure", ["error", "drop", "timeout"])
async def test_failures_come_before_or_after_the_money_moved(
    bank: BankProcess, teller: Teller, failure: str, moment: str, change: tuple[int, int, int]
) -> None:
    before = await teller.balances()
    token = f"tok_{failure}_{moment}"

    async with aiohttp.ClientSession(bank.url, timeout=aiohttp.ClientTimeout(total=0.5)) as session:
        impatient = Teller(session)
        if failure == "error":
            assert await impatient.hold(token, key=token) == (500, {"fault": "BROKEN"})
        else:
            with pytest.raises(TimeoutError if failure == "timeout" else aiohttp.ClientError):
                await impatient.hold(token, key=token)

    assert moved(before, await teller.balances()) == change
    if moment == "after":
        status, hold = await teller.hold(token, key=token)
        assert (status, hold["status"]) == (201, "HELD")
        assert moved(before, await teller.balances()) == change


async def test_a_failure_may_come_only_so_often(teller: Teller) -> None:
    answers = [(await teller.hold("tok_error_before_2", key="twice"))[0] for _ in range(3)]

    assert answers == [500, 500, 201]


@pytest.mark.parametrize(
    ("answer", "status", "change"), [("pass", "HELD", (-8_900, 8_900, 0)), ("fail", "REFUSED", (0, 0, 0))]
)
async def test_a_challenge_is_met_at_its_address(
    bank: BankProcess, teller: Teller, answer: str, status: str, change: tuple[int, int, int]
) -> None:
    before = await teller.balances()
    asked, hold = await teller.hold("tok_3ds")
    path = hold["challenge_url"].removeprefix(bank.url)

    page = bank.ask("GET", path, headers={"Accept": "text/html"})
    shown = await teller.get(path)
    nonsense = await teller.post(path, b"answer=maybe")
    met = await teller.post(path, f"answer={answer}".encode())
    again = await teller.post(path, {"answer": answer})

    assert (asked, hold["status"]) == (202, "CHALLENGE")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b"Pay 89.00 USD?" in page.body
    assert shown == (200, hold)
    assert nonsense == (400, {"fault": "BAD_REQUEST"})
    assert (met[0], met[1]["status"]) == (200, status)
    assert again == (409, {"fault": "NO_CHALLENGE"})
    assert moved(before, await teller.balances()) == change
    assert b"Nothing to do" in bank.ask("GET", path, headers={"Accept": "text/html"}).body


async def test_taking_less_lets_go_of_the_rest(teller: Teller) -> None:
    before = await teller.balances()
    _, hold = await teller.hold("tok_approve")
    path = f"/holds/{hold['hold']}/take"

    too_much = await teller.post(path, {"amount": "89.01"})
    first = await teller.post(path, {"amount": "80.00"}, key="take")
    again = await teller.post(path, {"amount": "80.00"}, key="take")
    other = await teller.post(path, {"amount": "1.00"})
    free = await teller.post(f"/holds/{hold['hold']}/free")

    assert too_much == (409, {"fault": "TOO_MUCH"})
    assert (first[0], first[1]["status"], first[1]["taken"]) == (200, "TAKEN", "80.00")
    assert again == first
    assert other == (409, {"fault": "NOT_HELD"})
    assert free == (409, {"fault": "ALREADY_TAKEN"})
    assert moved(before, await teller.balances()) == (-8_000, 0, 8_000)


async def test_no_more_is_returned_than_was_taken(teller: Teller) -> None:
    before = await teller.balances()
    _, hold = await teller.hold("tok_approve")
    unpaid = await teller.post(f"/takes/{hold['hold'].replace('hld', 'tke')}/return", {"amount": "1.00"})
    _, taken = await teller.post(f"/holds/{hold['hold']}/take", {"amount": "89.00"})
    path = f"/takes/{taken['take']}/return"

    first = await teller.post(path, {"amount": "80.00"})
    too_much = await teller.post(path, {"amount": "9.01"})
    rest = await teller.post(path, {"amount": "9.00"})

    assert unpaid == (409, {"fault": "NOT_POSSIBLE"})
    assert (first[0], first[1]["status"], first[1]["amount"]) == (200, "RETURNED", "80.00")
    assert too_much == (409, {"fault": "TOO_MUCH"})
    assert rest[1]["status"] == "RETURNED"
    assert moved(before, await teller.balances()) == (0, 0, 0)


async def test_a_queued_return_is_paid_when_it_is_asked_for(teller: Teller) -> None:
    _, hold = await teller.hold("tok_refund_pending")
    _, taken = await teller.post(f"/holds/{hold['hold']}/take", {"amount": "89.00"})
    before = await teller.balances()

    _, queued = await teller.post(f"/takes/{taken['take']}/return", {"amount": "10.00"})
    between = moved(before, await teller.balances())
    _, paid = await teller.get(f"/returns/{queued['return']}")

    assert (queued["status"], paid["status"]) == ("QUEUED", "RETURNED")
    assert between == (0, 0, 0)
    assert moved(before, await teller.balances()) == (1_000, 0, -1_000)
    assert await teller.get(f"/returns/{queued['return']}") == (200, paid)


@pytest.mark.parametrize(
    ("token", "step", "fault"),
    [
        ("tok_capture_decline", "take", (409, {"fault": "NOT_POSSIBLE"})),
        ("tok_void_decline", "free", (409, {"fault": "NOT_POSSIBLE"})),
        ("tok_capture_error_before", "take", (500, {"fault": "BROKEN"})),
        ("tok_void_error_before", "free", (500, {"fault": "BROKEN"})),
    ],
)
async def test_what_comes_later_can_go_wrong_too(
    teller: Teller, token: str, step: str, fault: tuple[int, Json]
) -> None:
    status, hold = await teller.hold(token)

    answer = await teller.post(f"/holds/{hold['hold']}/{step}", {"amount": "89.00"})

    assert (status, answer) == (201, fault)
    assert (await teller.get(f"/holds/{hold['hold']}"))[1]["status"] == "HELD"


async def test_freeing_by_key_lets_go_or_bars_the_key(teller: Teller) -> None:
    before = await teller.balances()
    await teller.hold("tok_approve", key="known")

    freed = await teller.post("/holds/free?key=known")
    barred = await teller.post("/holds/free?key=never+seen")
    late = await teller.hold("tok_approve", key="never seen")

    assert (freed[0], freed[1]["status"]) == (200, "FREED")
    assert barred == (200, {"status": "BARRED"})
    assert late == (410, {"fault": "KEY_BARRED"})
    assert moved(before, await teller.balances()) == (0, 0, 0)


async def test_the_ledger_can_be_read_for_one_order(teller: Teller) -> None:
    body = {"instrument": "tok_approve", "amount": "7.00", "ccy": "usd", "order": "ord_of_its_own"}
    _, hold = await teller.post("/holds", body)

    _, books = await teller.get("/ledger?order=ord_of_its_own")
    _, nothing = await teller.get("/ledger?order=ord_of_nobody")

    assert books["holds"] == [hold]
    assert [(entry["op"], entry["hold"], entry["amount"]) for entry in books["entries"]] == [
        ("hold", hold["hold"], 700)
    ]
    assert (nothing["holds"], nothing["entries"]) == ([], [])


async def test_a_bank_without_fences_cannot_bar_a_key() -> None:
    with simulated_bank(fences=False) as forgetful:
        async with aiohttp.ClientSession(forgetful.url) as session:
            teller = Teller(session)

            refused = await teller.post("/holds/free?key=never")
            late = await teller.hold("tok_approve", key="never")

    assert refused == (404, {"fault": "UNKNOWN_KEY"})
    assert late[0] == 201


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/holds", b""),
        ("/holds", b"{"),
        ("/holds", {"instrument": "tok_approve", "ccy": "usd"}),
        ("/holds", {"instrument": "tok_approve", "amount": "89", "ccy": "usd"}),
        ("/holds", {"instrument": "tok_approve", "amount": "89.0", "ccy": "usd"}),
        ("/holds", {"instrument": "tok_approve", "amount": "-1.00", "ccy": "usd"}),
        ("/holds", {"instrument": "tok_approve", "amount": "0.00", "ccy": "usd"}),
        ("/holds", {"instrument": "tok_approve", "amount": "1e3.00", "ccy": "usd"}),
        ("/holds", {"instrument": "tok_approve", "amount": "9999999999999.00", "ccy": "usd"}),
        ("/holds", {"instrument": "tok_approve", "amount": 89, "ccy": "usd"}),
        ("/holds", {"instrument": "tok_approve", "amount": "1.00", "ccy": "usd", "tip": 1}),
        ("/holds/free", b""),
    ],
)
async def test_a_request_that_makes_no_sense_moves_nothing(teller: Teller, path: str, body: object) -> None:
    before = await teller.balances()

    answer = await teller.post(path, body)

    assert answer == (400, {"fault": "BAD_REQUEST"})
    assert moved(before, await teller.balances()) == (0, 0, 0)


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/", (404, {"fault": "UNKNOWN"})),
        ("GET", "/holds", (400, {"fault": "BAD_REQUEST"})),
        ("GET", "/holds/hld_9", (404, {"fault": "UNKNOWN"})),
        ("GET", "/returns/rtn_9", (404, {"fault": "UNKNOWN"})),
        ("GET", "/challenges", (404, {"fault": "UNKNOWN"})),
        ("POST", "/nowhere", (404, {"fault": "UNKNOWN"})),
        ("POST", "/holds/hld_9/take", (404, {"fault": "UNKNOWN"})),
    ],
)
async def test_there_is_nothing_elsewhere(
    teller: Teller, method: str, path: str, answer: tuple[int, Json]
) -> None:
    assert await (teller.post(path) if method == "POST" else teller.get(path)) == answer


async def test_money_is_not_moved_without_a_key(bank: BankProcess) -> None:
    body = b'{"instrument":"tok_approve","amount":"1.00","ccy":"usd"}'

    assert bank.ask("POST", "/holds", body).status == 400


async def test_the_books_survive_a_kill_where_a_journal_is_kept(tmp_path: Path) -> None:
    with simulated_bank(tmp_path / "bank.jsonl") as lasting:
        async with aiohttp.ClientSession(lasting.url) as session:
            teller = Teller(session)
            held = await teller.hold("tok_approve", key="k1")
            await teller.post(f"/holds/{held[1]['hold']}/take", {"amount": "50.00"}, key="k2")
            await teller.hold("tok_error_after", key="k3")
            await teller.post("/holds/free?key=k4", key="k5")
        before = lasting.books()
        lasting.kill()
        lasting.start()

        async with aiohttp.ClientSession(lasting.url) as session:
            teller = Teller(session)
            again = await teller.hold("tok_approve", key="k1")
            clash = await teller.hold("tok_approve", "1.00", key="k1")
            barred = await teller.hold("tok_approve", key="k4")
            fresh = await teller.hold("tok_approve", key="k6")

        assert lasting.books()["entries"][:-1] == before["entries"]
        assert lasting.books()["barred"] == ["k4"]
    assert again == held
    assert clash == (422, {"fault": "KEY_CLASH"})
    assert barred == (410, {"fault": "KEY_BARRED"})
    assert fresh[1]["hold"] == "hld_00000003"
