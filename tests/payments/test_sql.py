"""Statements move a state where the table allows, and nothing else; the database refuses what makes no sense."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import product
from typing import get_args

import asyncpg
import pytest

from rickhouse.kernel.ids import OrderId, PaymentId
from rickhouse.payments import sql
from rickhouse.payments.contract import AttemptState
from rickhouse.payments.model import TRANSITIONS, Attempt, Discrepancy
from rickhouse.payments.port import Card, Standing
from rickhouse.platform.db import Database
from tests.payments.samples import PRICE, Killed, events, fresh_key, postings, row, usd

STATES: tuple[AttemptState, ...] = get_args(AttemptState)
STANDING = Standing(
    status="authorised", reference="ref", card=Card("visa", "4242"), action_url="https://bank"
)
POST = """
insert into transfers (movement_id, step, payment_id, amount_minor, currency) values ($1, $2, $1, $3, 'USD')
"""

Move = Callable[[Database, Attempt], Awaitable[object]]


async def refund_of(db: Database, attempt: Attempt, minor: int) -> object:
    """Promise and pay a refund in one go."""
    promised = await sql.promise_refund(db, attempt, usd(minor), fresh_key(), 60)
    return promised and await sql.refund_paid(db, attempt, promised, "ref")


MOVES: dict[AttemptState, Move] = {
    "authorised": lambda db, attempt: sql.authorised(db, attempt, STANDING),
    "requires_action": lambda db, attempt: sql.challenged(db, attempt, STANDING),
    "declined": lambda db, attempt: sql.declined(db, attempt, "card_declined"),
    "unknown": sql.unknown,
    "captured": lambda db, attempt: sql.captured(db, attempt, PRICE, "take"),
    "voided": sql.voided,
    "partly_refunded": lambda db, attempt: refund_of(db, attempt, 50),
    "refunded": lambda db, attempt: refund_of(db, attempt, 8_900 if attempt.state == "captured" else 8_850),
}
PATHS: dict[AttemptState, tuple[AttemptState, ...]] = {
    "created": (),
    "unknown": ("unknown",),
    "requires_action": ("requires_action",),
    "authorised": ("authorised",),
    "declined": ("declined",),
    "voided": ("voided",),
    "captured": ("authorised", "captured"),
    "partly_refunded": ("authorised", "captured", "partly_refunded"),
    "refunded": ("authorised", "captured", "refunded"),
}


async def attempt_in(db: Database, state: AttemptState) -> Attempt:
    """A fresh attempt brought to a state."""
    begun = await sql.begin(db, OrderId.new(), 1, PRICE, "tok_approve", 60)
    assert begun is not None
    for step in PATHS[state]:
        await MOVES[step](db, await again(db, begun))
    return await again(db, begun)


async def again(db: Database, attempt: Attempt) -> Attempt:
    """The attempt as it is stored."""
    found = await sql.find_payment(db, attempt.payment_id)
    assert found is not None
    return found


@pytest.mark.parametrize(("before", "after"), list(product(STATES, MOVES)))
async def test_a_statement_moves_a_state_only_along_the_table(
    db: Database, before: AttemptState, after: AttemptState
) -> None:
    attempt = await attempt_in(db, before)
    stored, posted, told = (
        await row(db, attempt.order_id),
        await postings(db, attempt.payment_id),
        await events(db, attempt.payment_id),
    )

    moved = await MOVES[after](db, attempt)

    allowed = after in TRANSITIONS[before]
    assert attempt.state == before
    assert bool(moved) is allowed
    if allowed:
        assert (await again(db, attempt)).state == after
    else:
        assert await row(db, attempt.order_id) == stored
        assert await postings(db, attempt.payment_id) == posted
        assert await events(db, attempt.payment_id) == told
    assert await sql.verify(db) == ()


@pytest.mark.parametrize("target", ["authorised", "declined", "voided"])
async def test_of_many_equal_moves_at_once_one_succeeds(db: Database, target: AttemptState) -> None:
    attempt = await attempt_in(db, "unknown")

    moved = await asyncio.gather(*(MOVES[target](db, attempt) for _ in range(12)))

    assert sum(map(bool, moved)) == 1
    assert len(await events(db, attempt.payment_id)) == (1 if target == "authorised" else 0)
    assert await sql.verify(db) == ()


async def test_of_two_ways_at_once_one_is_taken(db: Database) -> None:
    for _ in range(10):
        attempt = await attempt_in(db, "authorised")

        captured, voided = await asyncio.gather(
            sql.captured(db, attempt, PRICE, "take"), sql.voided(db, attempt)
        )

        assert captured is not voided
        assert (await again(db, attempt)).state == ("captured" if captured else "voided")
    assert await sql.verify(db) == ()


async def test_capturing_less_than_was_set_aside_lets_go_of_the_rest(db: Database) -> None:
    attempt = await attempt_in(db, "authorised")

    assert await sql.captured(db, attempt, usd(5_000), "take")

    assert (await again(db, attempt)).captured_minor == 5_000
    assert await sql.verify(db) == ()


async def test_an_order_has_one_attempt_that_is_open_or_paid(db: Database) -> None:
    for state in STATES:
        attempt = await attempt_in(db, state)

        second = await sql.begin(db, attempt.order_id, 2, PRICE, "tok_approve", 60)

        assert (second is not None) is (state in ("declined", "voided", "refunded"))


@pytest.mark.parametrize("state", ["declined", "voided", "authorised", "captured", None])
async def test_a_sealed_order_has_no_further_attempt(db: Database, state: AttemptState | None) -> None:
    attempt = None if state is None else await attempt_in(db, state)
    order_id = OrderId.new() if attempt is None else attempt.order_id

    sealed = [await sql.seal(db, order_id), await sql.seal(db, order_id)]
    if state == "authorised":
        assert attempt is not None
        await sql.voided(db, attempt)

    assert sealed == [True, True]
    assert await sql.begin(db, order_id, 2, PRICE, "tok_approve", 60) is None
    assert [known.attempt for known in await sql.list_attempts(db, order_id)] == (
        [] if attempt is None else [1]
    )


async def test_sealing_and_beginning_at_once_leave_no_attempt_unsealed(db: Database) -> None:
    for _ in range(20):
        order_id = OrderId.new()

        begun, sealed = await asyncio.gather(
            sql.begin(db, order_id, 1, PRICE, "tok_approve", 60), sql.seal(db, order_id)
        )

        assert sealed or begun is not None
        assert await sql.seal(db, order_id)
        assert await sql.begin(db, order_id, 2, PRICE, "tok_approve", 60) is None


async def test_one_caller_of_many_sends_again(db: Database) -> None:
    attempt = await attempt_in(db, "unknown")

    answers = await asyncio.gather(*(sql.send_again(db, attempt, 60) for _ in range(8)))

    assert sum(answers) == 1
    assert (await again(db, attempt)).sends == 2


async def test_what_is_due_is_given_to_one_asker_and_then_ever_less_often(db: Database) -> None:
    attempt = await attempt_in(db, "unknown")
    await db.execute("update attempts set ask_at = 'infinity' where ask_at is not null")
    waits: list[float] = []
    for _ in range(12):
        await db.execute("update attempts set ask_at = now() where payment_id = $1", attempt.payment_id)
        claimed = await asyncio.gather(*(sql.claim_due(db, 10) for _ in range(3)))
        assert [found.payment_id for batch in claimed for found in batch] == [attempt.payment_id]
        found = await db.fetchrow(
            "select extract(epoch from ask_at - now())::float8 as wait_s from attempts where payment_id = $1",
            attempt.payment_id,
        )
        assert found is not None
        waits.append(round(found["wait_s"]))

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


async def test_what_stays_open_for_years_holds_up_nobody(db: Database) -> None:
    attempt, refunded = await attempt_in(db, "unknown"), await attempt_in(db, "captured")
    refund = await sql.promise_refund(db, refunded, usd(100), fresh_key(), 0)
    assert refund is not None
    await db.execute(
        "update attempts set asks = 2000000000, ask_at = now() where payment_id = $1", attempt.payment_id
    )
    await db.execute(
        "update refunds set asks = 2000000000, ask_at = now() where refund_id = $1", refund.refund_id
    )

    claimed = await sql.claim_due(db, 1_000), await sql.claim_due_refunds(db, 1_000)

    assert attempt.payment_id in {found.payment_id for found in claimed[0]}
    assert refund.refund_id in {found.refund_id for found in claimed[1]}


@pytest.mark.parametrize(
    "broken",
    [
        "captured_minor = 1",
        "state = 'captured'",
        "state = 'refunded'",
        "state = 'lost'",
        "promised_minor = 1",
        "refunded_minor = 1",
        "captured_minor = -1",
        "token = 'tok'",
        "attempt = 21",
        "amount_minor = 0",
    ],
)
async def test_the_database_refuses_an_attempt_that_makes_no_sense(db: Database, broken: str) -> None:
    attempt = await attempt_in(db, "authorised")
    stored = await row(db, attempt.order_id)

    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute(f"update attempts set {broken} where payment_id = $1", attempt.payment_id)  # noqa: S608

    assert await row(db, attempt.order_id) == stored


@pytest.mark.parametrize(
    "statement",
    [
        "delete from attempts",
        "delete from refunds",
        "delete from transfers",
        "update transfers set amount_minor = 1",
        "truncate transfers",
    ],
)
async def test_the_slice_can_undo_no_history(db: Database, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute(statement)


@pytest.mark.parametrize(
    ("step", "amount", "error"),
    [
        ("authorised", 100, asyncpg.UniqueViolationError),
        ("captured", 0, asyncpg.CheckViolationError),
        ("captured", -5, asyncpg.CheckViolationError),
        ("gifted", 5, asyncpg.NotNullViolationError),
    ],
)
async def test_a_movement_is_posted_once_between_the_accounts_of_its_step(
    db: Database, step: str, amount: int, error: type[Exception]
) -> None:
    attempt = await attempt_in(db, "authorised")
    before = await postings(db, attempt.payment_id)

    with pytest.raises(error):
        await db.execute(POST, attempt.payment_id, step, amount)

    assert await postings(db, attempt.payment_id) == before


async def test_verify_finds_a_movement_that_no_state_bears_out(db: Database) -> None:
    payment_id = PaymentId.new()
    stray: list[Discrepancy] = []

    with suppress(Killed):
        async with db.transaction() as queries:
            await queries.execute(POST, payment_id, "captured", 5)
            stray += await sql.verify(queries)
            raise Killed

    assert stray == [
        Discrepancy(str(payment_id.uuid), "gateway_receivable", None, "5"),
        Discrepancy(str(payment_id.uuid), "sales_clearing", None, "-5"),
    ]
    assert await sql.verify(db) == ()
