"""A crowd of HTTP/1.1 clients on raw sockets, in a process of its own, so light that it hardly weighs on the rest.

What the clients ask for, and what an answer means, belongs to each measurement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

import uvloop

_HOST: Final = "127.0.0.1"
_PATIENCE_S: Final = 60.0
"""How long the last visits may take after the time is up."""

_WITHOUT_BODY: Final = frozenset((204, 304))
_LENGTH: Final = b"\r\ncontent-length: "


class Reply(NamedTuple):
    """One answer. `head` begins with the status line and ends before the empty line."""

    status: int
    head: bytes
    body: bytes


Visit = Generator[bytes, Reply, str]
"""One buyer's conversation: yields each request as the bytes to send, is sent its reply, returns what came of it."""


class Plan(NamedTuple):
    """What the crowd does: `connections` at a time, each visit after the other, until the time or the visits are over.

    `visits` is called in the crowd's process, so it must travel there: a function at module level, or a `partial`.
    """

    port: int
    connections: int
    visits: Callable[[], Iterator[Visit]]
    seconds: float | None = None
    visits_max: int | None = None


class Done(NamedTuple):
    """A visit that ended. `began_s` counts from the plan's start, `steps_s` are the times of its requests in order."""

    outcome: str
    began_s: float
    steps_s: tuple[float, ...]

    @property
    def took_s(self) -> float:
        """All of its requests together."""
        return sum(self.steps_s)

    @property
    def ended_s(self) -> float:
        """When it ended, from the plan's start."""
        return self.began_s + self.took_s


class Visits(NamedTuple):
    """What the crowd did. `cpu_s` is the crowd's own share of the machine."""

    elapsed_s: float
    cpu_s: float
    done: list[Done]

    def came_to(self, outcome: str) -> list[Done]:
        """The visits with that outcome."""
        return [done for done in self.done if done.outcome == outcome]

    def others(self, *outcomes: str) -> dict[str, int]:
        """How many visits ended otherwise, by outcome."""
        counted: dict[str, int] = {}
        for done in self.done:
            if done.outcome not in outcomes:
                counted[done.outcome] = counted.get(done.outcome, 0) + 1
        return counted


class WireBroken(Exception):
    """The server hung up, or answered something that this client does not read."""


class Crowd:
    """The clients' process. Use as `with Crowd() as crowd`, and let it follow one plan after the other."""

    def __enter__(self) -> Self:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def follow(self, plan: Plan) -> Visits:
        """Carry the plan out, to the last reply. Raises WireBroken, TimeoutError."""
        return self._pool.submit(_follow, plan).result()


def _follow(plan: Plan) -> Visits:
    async def carry_out() -> Visits:
        return await _Round(plan, asyncio.get_running_loop().create_future()).run()

    return uvloop.run(carry_out())


class _Round:
    """One plan being carried out."""

    def __init__(self, plan: Plan, finished: asyncio.Future[None]) -> None:
        self._plan = plan
        self._finished = finished
        self._visits = plan.visits()
        self._left = plan.visits_max
        self._ends = float("inf")
        self._open = plan.connections
        self.began = 0.0
        self.done: list[Done] = []

    async def run(self) -> Visits:
        loop = asyncio.get_running_loop()
        clients = [_Client(self) for _ in range(self._plan.connections)]
        await asyncio.gather(
            *(
                loop.create_connection(lambda client=client: client, _HOST, self._plan.port)
                for client in clients
            )
        )
        cpu_s, self.began = time.process_time(), time.perf_counter()
        if self._plan.seconds is not None:
            self._ends = self.began + self._plan.seconds
        for client in clients:
            client.begin()
        await asyncio.wait_for(self._finished, (self._plan.seconds or 0.0) + _PATIENCE_S)
        return Visits(time.perf_counter() - self.began, time.process_time() - cpu_s, self.done)

    def next_visit(self) -> Visit | None:
        """The next one to make; None when the round is over."""
        if time.perf_counter() >= self._ends or self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        return next(self._visits, None)

    def left(self) -> None:
        """A client has nothing more to do."""
        self._open -= 1
        if self._open == 0 and not self._finished.done():
            self._finished.set_result(None)

    def broke(self, reason: str) -> None:
        """The round cannot go on."""
        if not self._finished.done():
            self._finished.set_exception(WireBroken(reason))


class _Client(asyncio.Protocol):
    """One kept-alive connection, making visit after visit."""

    def __init__(self, crowd: _Round) -> None:
        self._round = crowd
        self._transport: asyncio.Transport | None = None
        self._visit: Visit | None = None
        self._buffer = b""
        self._began = self._sent = 0.0
        self._steps: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._visit is None:
            self._round.left()
        else:
            self._round.broke(f"the server hung up in the middle of a visit: {exc or 'end of stream'}")

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        status, body_begins = int(buffer[9:12]), head_end + 4
        body_ends = body_begins + (0 if status in _WITHOUT_BODY else self._length(buffer[:head_end]))
        if len(buffer) < body_ends:
            return
        self._buffer = b""
        self._go_on(Reply(status, buffer[:head_end], buffer[body_begins:body_ends]))

    def begin(self) -> None:
        """Make the next visit, or leave."""
        self._visit = self._round.next_visit()
        if self._visit is None:
            self._require_transport().close()
            return
        self._steps = []
        self._began = time.perf_counter()
        self._send(next(self._visit))

    def _go_on(self, reply: Reply) -> None:
        if self._visit is None:
            self._round.broke("an answer came that nobody asked for")
            return
        self._steps.append(time.perf_counter() - self._sent)
        try:
            request = self._visit.send(reply)
        except StopIteration as end:
            began_s = self._began - self._round.began
            self._round.done.append(Done(str(end.value), began_s, tuple(self._steps)))
            self.begin()
        else:
            self._send(request)

    def _send(self, request: bytes) -> None:
        self._sent = time.perf_counter()
        self._require_transport().write(request)

    def _length(self, head: bytes) -> int:
        begins = head.lower().find(_LENGTH)
        if begins < 0:
            self._round.broke("an answer came without a content-length")
            return 0
        return int(head[begins + len(_LENGTH) :].partition(b"\r\n")[0])

    def _require_transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport


def request(method: str, path: str, token: str, *headers: str, body: bytes | None = None) -> bytes:
    """The bytes of one request; a `body` is JSON."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {_HOST}", f"authorization: Bearer {token}", *headers]
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join((*lines, "", "")).encode() + (body or b"")
