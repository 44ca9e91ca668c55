"""No bottle is sold twice, however many buyers want it at once and whatever happens while they pay."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.journeys.books import assert_books, at_rest
from tests.journeys.stack import APPROVE, Reply, Stack, seeded, stranger

BOTTLES = 200
BUYERS = 400

CONFIRMED = (201, "confirmed")
SOLD_OUT = (409, "sold_out")
LAPSED = (409, "hold_lapsed")


@pytest.fixture(scope="module")
async def house(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Stack]:
    """A seeded house with its job worker; each test starts the servers that it needs."""
    async with seeded(new_database(), tmp_path_factory.mktemp("house")) as stack:
        yield stack


@asynccontextmanager
async def serving(house: Stack, processes: int, **settings: str) -> AsyncGenerator[Sequence[Stack]]:
    """So many server processes on one database; when they have ended, no deadlock was met and every book agrees."""
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(house.beside(f"serve {number}", "serve", **settings))
            for number in range(processes)
        ]
        await at_rest(house)
    await assert_books(house)
    house.start("verify", "inventory", "verify")
    assert house.wait("verify") == 0
    # Counted when the connections closed.
    rows = await house.sql("select deadlocks from pg_stat_database where datname = current_database()")
    assert rows[0]["deadlocks"] == 0


@pytest.mark.parametrize("processes", [1, 2])
async def test_of_400_buyers_200_get_the_200_bottles(house: Stack, processes: int) -> None:
    async with serving(house, processes) as servers:
        variant_id = await servers[0].release(BOTTLES)

        answers = await asyncio.gather(
            *(purchase(servers[number % processes], [(variant_id, 1)]) for number in range(BUYERS))
        )

        assert Counter(answers) == {CONFIRMED: BOTTLES, SOLD_OUT: BUYERS - BOTTLES}
        assert await servers[0].free(variant_id) == 0


async def test_bundles_bought_in_opposite_orders_sell_out_exactly(house: Stack) -> None:
    async with serving(house, 2) as servers:
        bundle = [await servers[0].release(bottles) for bottles in (120, 100, 110)]
        bundles = [bundle, bundle[::-1], bundle[1:] + bundle[:1]]

        answers = await asyncio.gather(
            *(
                purchase(servers[number % 2], [(variant_id, 2) for variant_id in bundles[number % 3]])
                for number in range(90)
            )
        )

        assert Counter(answers) == {CONFIRMED: 50, SOLD_OUT: 40}
        assert [await servers[0].free(variant_id) for variant_id in bundle] == [20, 0, 10]


async def test_lines_of_one_bottling_count_together(house: Stack) -> None:
    async with serving(house, 1) as (server,):
        variant_id = await server.release(5)
        limited_id = await server.release(5, limit=3)

        short = await server.open([(variant_id, 3), (variant_id, 3)], buyer=stranger())
        over = await server.open([(limited_id, 2), (limited_id, 2)], buyer=stranger())

        assert (short.status, short.body["code"]) == SOLD_OUT
        assert short.body["variant_ids"] == [variant_id]
        assert (over.status, over.body["code"]) == (409, "purchase_limit_reached")
        assert [await server.free(variant_id), await server.free(limited_id)] == [5, 5]
        assert await purchase(server, [(variant_id, 3), (variant_id, 2)]) == CONFIRMED
        assert await server.free(variant_id) == 0


async def test_a_hold_that_would_end_during_a_slow_payment_is_kept_for_it(house: Stack) -> None:
    async with serving(house, 1, RICKHOUSE_ORDERS__HOLD_TTL_S="2") as (server,):
        variant_id = await server.release(3)
        payers = asyncio.gather(*(purchase(server, [(variant_id, 1)], "tok_slow_4") for _ in range(3)))
        await asyncio.sleep(3)

        latecomer = await purchase(server, [(variant_id, 1)])

        assert latecomer == SOLD_OUT
        assert await payers == [CONFIRMED] * 3
        assert await server.free(variant_id) == 0


async def test_a_hold_that_ends_during_a_slow_payment_gives_the_money_back(house: Stack) -> None:
    async with serving(house, 1) as (server,):
        variant_id = await server.release(1)
        opened = await server.open([(variant_id, 1)], buyer=stranger())
        payer = asyncio.create_task(server.complete(opened.body["checkout_id"], "tok_slow_4"))
        await asyncio.sleep(1)
        await house.end_hold(opened.body["checkout_id"], in_s=0)
        await asyncio.sleep(2)

        # The bottle is back on sale while the first buyer's bank still thinks.
        assert await purchase(server, [(variant_id, 1)]) == CONFIRMED
        answer = await payer

        assert (answer.status, answer.body["code"]) == LAPSED
        assert await server.free(variant_id) == 0
        found = await server.call("GET", f"/v1/checkouts/{opened.body['checkout_id']}")
        assert (found.body["state"], found.body["cause"]) == ("cancelled", "hold_lapsed")


async def test_a_hold_that_ends_with_the_payment_is_sold_or_paid_back_never_both(house: Stack) -> None:
    async with serving(house, 1) as (server,):
        variant_id = await server.release(24)
        opened = await asyncio.gather(*(server.open([(variant_id, 1)], buyer=stranger()) for _ in range(24)))
        checkouts = [reply.body["checkout_id"] for reply in opened]
        payers = [asyncio.create_task(server.complete(checkout, "tok_slow_2")) for checkout in checkouts]
        await asyncio.sleep(1)
        for number, checkout in enumerate(checkouts):
            await house.end_hold(checkout, in_s=0.5 + number / 12)

        answers = Counter([outcome(await payer) for payer in payers])

        assert set(answers) <= {CONFIRMED, LAPSED}
        await at_rest(house)
        assert await server.free(variant_id) == answers[LAPSED]


async def purchase(server: Stack, lines: Sequence[tuple[str, int]], token: str = APPROVE) -> tuple[int, str]:
    """A stranger opens a checkout and completes it; how that came out."""
    opened = await server.open(lines, buyer=stranger())
    if opened.status != 201:
        return opened.status, opened.body["code"]
    return outcome(await server.complete(opened.body["checkout_id"], token))


def outcome(completed: Reply) -> tuple[int, str]:
    """Status of an answer, and what it says."""
    return completed.status, completed.body.get("code") or completed.body["status"]
