"""Shoppers who keep buying while something breaks, and who repeat what was not answered.

What breaks belongs in the test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from rickhouse.kernel.ids import OrderId
from tests.journeys.stack import Reply, Stack, stranger

SHOPPERS = 8
ANSWER_S_MAX = 10.0


class Answered(NamedTuple):
    """A request's answer, and how long it took."""

    reply: Reply
    took_s: float


class Traffic:
    """What the shoppers were told, and the orders that they have been promised."""

    def __init__(self, stack: Stack, variant_id: str) -> None:
        self._stack = stack
        self.variant_id = variant_id
        self._closing = False
        self.answers: list[Answered] = []
        self.confirmed: list[str] = []

    async def shop(self) -> None:
        """Buy one bottle after another until the shop closes; what was begun is finished."""
        while not self._closing:
            key = uuid4().hex
            line = (self.variant_id, 1)
            opened = await self._insist(partial(self._stack.open, [line], buyer=stranger(), key=key))
            done = await self._insist(partial(self._stack.complete, opened.body["checkout_id"], key=key))
            assert done.body["status"] == "confirmed", done
            self.confirmed.append(done.body["order"]["order_id"])

    async def go_on(self, within_s: float = 30.0) -> None:
        """Wait until more has been bought than could have been under way before."""
        ends = time.monotonic() + within_s
        enough = len(self.confirmed) + 2 * SHOPPERS
        while len(self.confirmed) < enough:
            assert time.monotonic() < ends, self.answers[-1]
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Let nobody begin another purchase."""
        self._closing = True

    async def _insist(self, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        while True:
            began = time.monotonic()
            reply = await ask()
            self.answers.append(Answered(reply, time.monotonic() - began))
            if reply.status == 201:
                return reply
            await asyncio.sleep(float(reply.headers.get("retry-after", "0.2")))


@asynccontextmanager
async def shopping(stack: Stack) -> AsyncGenerator[Traffic]:
    """Traffic while the context lasts; afterwards every purchase that was begun is finished."""
    traffic = Traffic(stack, await stack.release(100_000))
    async with asyncio.TaskGroup() as shoppers:
        for _ in range(SHOPPERS):
            shoppers.create_task(traffic.shop())
        try:
            yield traffic
        finally:
            traffic.close()


def assert_told_to_wait(answers: Iterable[Answered], code: str) -> None:
    """Whoever could not be served was told so in time: a problem with this `code`, and when to come again."""
    assert max(answer.took_s for answer in answers) < ANSWER_S_MAX
    refused = [answer.reply for answer in answers if answer.reply.status >= 400]
    # A request whose first sending was cut off is still running until its runner's lease ends.
    assert {(reply.status, reply.body["code"]) for reply in refused} <= {(503, code), (409, "still_running")}
    away = [reply for reply in refused if reply.status == 503]
    assert len(away) >= SHOPPERS
    assert {reply.headers["content-type"] for reply in away} == {"application/problem+json"}
    assert all(int(reply.headers["retry-after"]) > 0 for reply in away)


async def assert_promises_kept(stack: Stack, traffic: Traffic) -> None:
    """Every purchase of the traffic's bottling that was begun came through, and nothing else did."""
    rows = await stack.sql(
        "select id from orders.orders where state = 'confirmed' and lines -> 0 ->> 'variant_id' = $1",
        traffic.variant_id,
    )
    assert sorted(str(OrderId(row["id"])) for row in rows) == sorted(traffic.confirmed)
