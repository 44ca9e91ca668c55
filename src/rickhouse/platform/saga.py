"""The lease that keeps a second runner off a saga, and the job that takes over from a dead one.

What the steps are belongs to the slice whose row is the saga.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import structlog

from rickhouse.kernel.errors import Condition, Kind

Row = TypeVar("Row")
Answer = TypeVar("Answer")

_log = structlog.get_logger("rickhouse.saga")
_POLL_FIRST_S: Final = 0.02
_POLL_MOST_S: Final = 0.25


class LeaseLost(Condition, code="lease_lost", kind=Kind.CONFLICT, title="Somebody else is at work on this"):
    """Another runner took over because this one's lease ran out; ask for the object to see what became of it."""


def held(row: Row | None) -> Row:
    """The row that a fenced statement changed. Raises LeaseLost when it changed none."""
    if row is None:
        raise LeaseLost("Another runner took this over; ask again in a moment.")
    return row


async def take_over(
    claim: Callable[[], Awaitable[Sequence[Row]]], run: Callable[[Row], Awaitable[object]]
) -> int:
    """Claim rows whose lease ran out and run each to its next rest; answers how many were claimed.

    A run that fails leaves its row leased: it is claimed again when that lease ends.
    """
    rows = await claim()
    results = await asyncio.gather(*(run(row) for row in rows), return_exceptions=True)
    for result in results:
        if isinstance(result, Condition):
            _log.info("saga_paused", code=result.code)
        elif isinstance(result, Exception):
            _log.error("saga_failed", exc_info=result)
        elif isinstance(result, BaseException):
            raise result
    return len(rows)


async def await_answer(ask: Callable[[], Awaitable[Answer | None]], *, patience_s: float) -> Answer | None:
    """Ask again and again, ever more slowly, until there is an answer or patience ends.

    For the twins of a request that is still running: they all get its answer.
    """
    ends = asyncio.get_running_loop().time() + patience_s
    wait_s = _POLL_FIRST_S
    while True:
        answer = await ask()
        if answer is not None or asyncio.get_running_loop().time() + wait_s > ends:
            return answer
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 1.5, _POLL_MOST_S)
