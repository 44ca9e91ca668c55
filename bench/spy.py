"""Where a checkout spends its time: the workers' Python by layer and function, their threads, PostgreSQL by role and
statement. Sampling slows what it looks at, so none of this is done while figures are taken.

A sample counts when a thread holds Python's lock, also while it waits for a core; so only two buyers come at a time,
who leave the cores free enough that holding the lock means working.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from bench import checkout, limit
from bench.cpu import by_child, by_thread, workers_of
from bench.house import POSTGRES, SERVER, MeasuredHouse
from bench.shop import BOUGHT
from bench.table import say, show
from bench.wire import Crowd

USUAL_S: Final = 20.0
_PYTHON: Final = "python"
"""The thread of a worker in which its event loop runs."""

_RATE: Final = 500
_BUYERS: Final = 2
_SHOWN: Final = 25
_STATEMENTS_S: Final = 5.0

_LOOP: Final = "_spawn_asgi_lifespan_worker"
"""The function of granian that runs a worker's event loop; what C does for the loop is seen as its own."""

_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<path>.*):(?P<line>\d+)\)")
_LIBRARY: Final = re.compile(r".*/site-packages/(?P<name>\w+)")
_OURS: Final = re.compile(r".*/rickhouse/(?P<room>platform/web|\w+)")
_STANDARD: Final = re.compile(r".*/python3\.\d+/(?P<name>\w+)")


class Frame(NamedTuple):
    """A function on the stack, and the layer that it belongs to: a library, a room of ours, or the language."""

    layer: str
    place: str


class Sample(NamedTuple):
    """A stack, outermost frame first, and how often it was met."""

    frames: tuple[Frame, ...]
    times: int


def measure(house: MeasuredHouse, crowd: Crowd, seconds: float) -> None:
    """Look at checkouts for `seconds`, then at their statements one by one."""
    say(f"profile: {seconds:.0f} s of checkouts under py-spy")
    workers = workers_of(house.parts[SERVER])
    spies = [_spy(pid, house.settings.data_root / f"spy-{pid}.raw", seconds) for pid in workers]
    threads = [_Growth(partial(by_thread, pid)) for pid in workers]
    backends = _Growth(partial(by_child, house.parts[POSTGRES]))
    found = checkout.measured(house, crowd, checkout.plan(house, seconds)._replace(connections=_BUYERS))
    count = sum(done.outcome == BOUGHT for done in found.done)
    samples: list[Sample] = []
    for process, path in spies:
        assert process.wait() == 0, "py-spy failed: it may need the right to trace other processes"
        samples += _read(path)
    named = Counter[str]()
    for growth in threads:
        named.update(growth.by_name(lambda name: re.sub(r"[-_]?\d+$", "", name)))
    python_ms = named[_PYTHON] / 1000 / count
    _show_layers(samples, python_ms)
    _show_functions(samples, python_ms)
    _show_shares("Threads of the workers", "thread", named, count)
    _show_shares("PostgreSQL by process", "process", backends.by_name(_role), count)
    _show_statements(house)


class _Growth:
    """What threads or processes have used since this was made."""

    def __init__(self, read: Callable[[], Mapping[int, tuple[str, float]]]) -> None:
        self._read = read
        self._before = read()

    def by_name(self, name_of: Callable[[str], str]) -> Counter[str]:
        """CPU microseconds by name; what ended meanwhile is not seen."""
        grown = Counter[str]()
        for number, (title, seconds) in self._read().items():
            before_s = self._before.get(number, ("", 0.0))[1]
            grown[name_of(title)] += round((seconds - before_s) * 1_000_000)
        return grown


def _role(title: str) -> str:
    """`postgres: rickhouse_orders rickhouse [local] idle` by its role, the others by what they do."""
    words = title.removeprefix("postgres: ").split()
    return "postmaster" if title.startswith("/") or not words else words[0].removeprefix("rickhouse_")


def _spy(pid: int, path: Path, seconds: float) -> tuple[subprocess.Popen[bytes], Path]:
    command = (
        *(str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--format", "raw"),
        *("--gil", "--nonblocking", "--full-filenames", "--rate", str(_RATE)),
        *("--duration", str(round(seconds)), "--output", str(path)),
    )
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), path


def _read(path: Path) -> list[Sample]:
    samples: list[Sample] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        if stack:
            samples.append(Sample(_above_loop(tuple(map(_frame, stack.split(";")))), int(count)))
    return samples


def _above_loop(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The stack without what started the worker: the event loop's own frame is the first."""
    for at, frame in enumerate(frames):
        if frame.place.endswith(_LOOP):
            return (Frame("event loop", "uvloop, and callbacks in C"), *frames[at + 1 :])
    return frames


def _frame(text: str) -> Frame:
    found = _FRAME.fullmatch(text)
    if found is None:
        return Frame("other", text)
    path, function = found["path"], found["function"]
    if library := _LIBRARY.match(path):
        return Frame(library["name"], f"{library['name']}/{Path(path).name}: {function}")
    if ours := _OURS.match(path):
        inside = path.rpartition("/rickhouse/")[2]
        return Frame(f"ours: {ours['room']}", f"{inside}: {function}")
    if standard := _STANDARD.match(path):
        return Frame(f"stdlib: {standard['name']}", f"stdlib {standard['name']}: {function}")
    return Frame("other", f"{Path(path).name}: {function}")


def _show_layers(samples: Iterable[Sample], python_ms: float) -> None:
    own, through, total = Counter[str](), Counter[str](), 0
    for sample in samples:
        total += sample.times
        own[sample.frames[-1].layer] += sample.times
        through.update(dict.fromkeys({frame.layer for frame in sample.frames}, sample.times))
    rows = [
        (layer, *_shared(own[layer], total, python_ms), *_shared(through[layer], total, python_ms))
        for layer, _ in own.most_common(_SHOWN)
    ]
    show("Workers by layer", ("layer", "self %", "core-ms", "inclusive %", "core-ms "), rows)


def _show_functions(samples: Iterable[Sample], python_ms: float) -> None:
    own, through, total = Counter[str](), Counter[str](), 0
    for sample in samples:
        total += sample.times
        own[sample.frames[-1].place] += sample.times
        through.update(dict.fromkeys({frame.place for frame in sample.frames}, sample.times))
    head = ("function", "%", "core-ms per checkout")
    for title, counted in (("self", own), ("inclusive", through)):
        rows = [(place, *_shared(count, total, python_ms)) for place, count in counted.most_common(_SHOWN)]
        show(f"Workers by function, {title}", head, rows)


def _shared(count: int, total: int, python_ms: float) -> tuple[str, str]:
    """A number of samples as a share of all, and of what the operating system counted for the workers' Python."""
    share = count / total
    return f"{share * 100:.1f}", f"{share * python_ms:.3f}"


def _show_shares(title: str, what: str, microseconds: Counter[str], checkouts: int) -> None:
    rows = [
        (name, f"{spent / 1000 / checkouts:.3f}")
        for name, spent in microseconds.most_common(_SHOWN)
        if spent > 0
    ]
    show(title, (what, "core-ms per checkout"), rows)


def _show_statements(house: MeasuredHouse) -> None:
    say(f"profile: {_STATEMENTS_S:.0f} s of pgbench, one client, statement by statement")
    script = asyncio.run(checkout.script(house))
    found = limit.latencies_ms(
        house.postgres, house.admin_url, script, house.settings.data_root, seconds=_STATEMENTS_S
    )
    names = ("(new values)", *(name for phase in script.names for name in ("begin", *phase, "commit")))
    rows = [(name, f"{ms:.3f}") for name, ms in zip(names, found, strict=True)]
    rows.append(("all", f"{sum(found):.3f}"))
    show("Statements, one client, round trip included", ("statement", "ms"), rows)
