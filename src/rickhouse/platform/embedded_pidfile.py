"""PostgreSQL's `postmaster.pid`: which server ran last on a data directory, and whether it still does.

Starting and stopping a server belong in `embedded`.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from rickhouse.platform.embedded_errors import EmbeddedError

PORT: Final = 5432
"""Names the socket file; no TCP port is opened."""

_PROCESS_ID_IMPOSSIBLE: Final = 2**30
"""Above what any kernel gives out (Linux: 2**22)."""


@dataclass(frozen=True)
class PidFile:
    """What `postmaster.pid` says of the server that wrote it last; it may be long dead."""

    pid: int
    socket_dir: Path

    @classmethod
    def read(cls, data_dir: Path) -> PidFile | None:
        """The file of `data_dir`; None when there is none, or only the beginning of one."""
        try:
            lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        # The file is written line by line: process, data directory, start time, port, socket directory, ...
        if len(lines) < 5 or not lines[0].isdecimal() or not lines[4]:
            return None
        return cls(int(lines[0]), Path(lines[4]))

    def answers(self) -> bool:
        """Whether a server listens on the recorded socket; the process id alone could be anybody's by now."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket_dir / f".s.PGSQL.{PORT}"))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True


def disown_stale(data_dir: Path) -> None:
    """Let PostgreSQL see that the server of `postmaster.pid` is dead when its process number is in use again.

    PostgreSQL refuses to start beside any live process of that number, and a container gives out the same few numbers
    at every start. The number is exchanged for an impossible one, and the file is kept: by its other lines PostgreSQL
    still finds out whether a dead server's children hold the shared memory.
    """
    recorded = PidFile.read(data_dir)
    if recorded is None:
        return
    try:
        process = psutil.Process(recorded.pid)
        live = process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres"
        if live and str(data_dir) in process.cmdline():
            raise EmbeddedError(
                f"PostgreSQL of {data_dir} runs as process {recorded.pid} but its socket in {recorded.socket_dir} is "
                f"gone: stop it with `kill -INT {recorded.pid}` and start again."
            )
    except psutil.NoSuchProcess:
        return
    for path in (data_dir / "postmaster.pid", recorded.socket_dir / f".s.PGSQL.{PORT}.lock"):
        with suppress(FileNotFoundError):
            _, *others = path.read_text(encoding="utf-8").splitlines(keepends=True)
            path.write_text("".join([f"{_PROCESS_ID_IMPOSSIBLE}\n", *others]), encoding="utf-8")
