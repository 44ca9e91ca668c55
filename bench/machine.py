"""The facts of the machine without which a figure says nothing. Figures belong elsewhere."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Final

import asyncpg
import psutil

_PG_FACTS: Final = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")


async def facts(database_url: str, data_dir: Path) -> list[tuple[str, str]]:
    """Name and value of everything that a reader needs in order to compare."""
    connection = await asyncpg.connect(database_url)
    try:
        version = connection.get_server_version()
        settings = [f"{name} = {await connection.fetchval(f'show {name}')}" for name in _PG_FACTS]
    finally:
        await connection.close()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        ("cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}"),
        ("CPU", _cpu_model()),
        ("memory", f"{psutil.virtual_memory().total / 2**30:.1f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("file system of the data", _file_system(data_dir)),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("PostgreSQL", f"{version.major}.{version.minor}; {', '.join(settings)}"),
        ("load before (1, 5, 15 min)", load),
        ("commit", _commit()),
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)]
    nearest = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    return "unknown" if nearest is None else nearest.fstype


def _commit() -> str:
    here = Path(__file__).parent
    head = _git(here, "rev-parse", "--short=10", "HEAD")
    if not head:
        return "unknown"
    changed = _git(here, "status", "--porcelain", "--", "../src")
    return f"{head}, with {len(changed.splitlines())} changed files in src" if changed else head


def _git(directory: Path, *words: str) -> str:
    command = ("git", *words)
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
