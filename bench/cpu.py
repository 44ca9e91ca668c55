"""CPU seconds and memory of whole process trees, as the operating system counts them. What they run belongs elsewhere.

Linux alone counts a process's ended and reaped children with it, so this is for Linux.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

EVERYBODY: Final = "everybody"
"""The whole machine's busy seconds."""

STOLEN: Final = "stolen"
"""Seconds in which the host let another machine have our cores."""


class Meter:
    """Reads the CPU seconds that each part of the house has used; a part is a process and all that it started."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        """`roots` maps a part to the process id of its root."""
        self._roots = dict(roots)

    def read(self) -> dict[str, float]:
        """User and system seconds of each part since it started, of everybody, and those stolen."""
        parts = {part: _tree_s(pid) for part, pid in self._roots.items()}
        return {**parts, **_machine_s()}


def since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each part used between two readings, in seconds."""
    return {part: after[part] - before[part] for part in after}


def _machine_s() -> dict[str, float]:
    """The first line of /proc/stat (proc(5)): hundredths of a second of user, nice, system, idle, iowait, irq, softirq,
    steal, and of guests, which are counted as user too."""
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    user, nice, system, _idle, _iowait, irq, softirq, stolen = map(int, first.split()[1:9])
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return {
        EVERYBODY: (user + nice + system + irq + softirq) / ticks_per_s,
        STOLEN: stolen / ticks_per_s,
    }


def _tree_s(pid: int) -> float:
    """Seconds of a tree: those of its living processes and of the ended children of each.

    The parent is read before its children: one that ends in between is found missing, and everything is read again.
    """
    root = psutil.Process(pid)
    while True:
        try:
            return sum(_own_s(process) for process in (root, *root.children(recursive=True)))
        except psutil.NoSuchProcess:
            if not root.is_running():
                raise


def _own_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def workers_of(pid: int) -> tuple[int, ...]:
    """The processes in which a server's root process serves requests."""
    # The rest is Python's own tracker of shared resources.
    children = psutil.Process(pid).children()
    return tuple(
        child.pid for child in children if not any("resource_tracker" in word for word in child.cmdline())
    )


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident and proportional set size of one process: the second counts a shared page in parts."""
    found = psutil.Process(pid).memory_full_info()
    return found.rss / 2**20, found.pss / 2**20


def by_child(pid: int) -> dict[int, tuple[str, float]]:
    """Title and CPU seconds of the process and of each of its living children."""
    root = psutil.Process(pid)
    found: dict[int, tuple[str, float]] = {}
    for process in (root, *root.children()):
        try:
            times = process.cpu_times()
            found[process.pid] = (" ".join(process.cmdline()), times.user + times.system)
        except psutil.NoSuchProcess:
            continue
    return found


def by_thread(pid: int) -> dict[int, tuple[str, float]]:
    """Name and CPU seconds of each thread of a process."""
    found: dict[int, tuple[str, float]] = {}
    for thread in psutil.Process(pid).threads():
        try:
            name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        found[thread.id] = (name, thread.user_time + thread.system_time)
    return found
