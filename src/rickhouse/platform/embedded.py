"""The embedded PostgreSQL: made, started, found again, stopped and deleted, on a Unix socket and nothing else.

Schemas, roles and migrations never belong here; nor does a server named by URL, which somebody else looks after.

A data root holds `pgdata` (the cluster), `socket` (mode 0700, because whoever reaches the socket is trusted), and a
marker by which a directory of ours is told from a foreign one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import platformdirs

from rickhouse.platform.embedded_errors import FREE_BYTES_MIN, EmbeddedError, sentence
from rickhouse.platform.embedded_install import POSTGRES_MAJOR, Account, account_for, bin_dir_for
from rickhouse.platform.embedded_pidfile import PORT, PidFile, disown_stale

__all__ = [
    "EmbeddedError",
    "EmbeddedPostgres",
    "claim_data_root",
    "default_data_root",
    "reset",
    "start_embedded",
]

_MARKER: Final = ".rickhouse-data"
_START_S_MAX: Final = 120
"""How long a start may take: a crash recovery replays at most `max_wal_size` of log."""

_STOP_S_MAX: Final = 30
_SOCKET_PATH_BYTES_MAX: Final = 103
"""`sun_path` holds 108 bytes on Linux and 104 on macOS, the closing NUL included."""

_SETTINGS: Final = MappingProxyType(
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # The default of 128 MB is for a machine that is shared; the working set of a shop fits into twice that.
        "shared_buffers": "256MB",
        # Six slices, two workers and a job runner, each with a pool of 8, and room for psql.
        "max_connections": "200",
        # The statements are short: compiling one costs more than running it.
        "jit": "off",
        # Nor is any worth a second process on a small machine.
        "max_parallel_workers_per_gather": "0",
        # Reads are served from memory, so PostgreSQL 18's three read workers would only sit there.
        "io_method": "sync",
        # The first change of a page after a checkpoint logs the whole page: compress it, and checkpoint less often.
        # One gigabyte of log is replayed in well under a minute.
        "wal_compression": "pglz",
        "checkpoint_timeout": "15min",
        "max_wal_size": "1GB",
        # Solid-state storage: a random page costs about what a sequential one does.
        "random_page_cost": "1.1",
        # No transaction waits for anything outside the database, so one that idles is a client that died.
        "idle_in_transaction_session_timeout": "60s",
        # Refused statements and their values stay out of the log; start, stop and fatal errors stay in.
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }
)


def _silent(_message: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running cluster. Whoever can reach `socket_dir` is trusted as any database user."""

    data_dir: Path
    socket_dir: Path
    port: int
    bin_dir: Path
    started_here: bool
    """Whether the call that gave this object started the server, or found it running."""

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """A URL that asyncpg and psql connect by, through the Unix socket."""
        host = quote(str(self.socket_dir), safe="/")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={self.port}"

    def pid(self) -> int | None:
        """The postmaster's process id, or None when it does not run."""
        recorded = PidFile.read(self.data_dir)
        return recorded.pid if recorded is not None and recorded.answers() else None

    def is_running(self) -> bool:
        """Whether the server takes connections, or is about to."""
        return self.pid() is not None

    def stop(self) -> None:
        """Stop the server, ending open sessions; nothing happens when it does not run.

        Work that is committed stays. Raises EmbeddedError.
        """
        if self.is_running():
            with _locked(self.data_dir.parent, _silent):
                self._stop()

    def _stop(self) -> None:
        account = account_for(self.data_dir)
        said = ""
        # Immediate is safe too: the next start recovers, as after a power cut.
        for mode in ("fast", "immediate"):
            if not self.is_running():
                return
            command = (str(self.bin_dir / "pg_ctl"), "stop", "-D", str(self.data_dir), "-m", mode)
            done = account.run(*command, "-w", "-t", str(_STOP_S_MAX), timeout_s=_STOP_S_MAX + 10)
            if done.returncode == 0:
                return
            said = done.stdout.strip()
        raise EmbeddedError(
            f"PostgreSQL of {self.data_dir} does not stop ({said}): kill process {self.pid()}."
        )


def default_data_root() -> Path:
    """Where a run keeps its data unless told otherwise: `/var/lib/rickhouse` as root, else the user's data directory.

    A run as root has a place of its own, because PostgreSQL then runs as another account that must reach its data.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/rickhouse")
    return platformdirs.user_data_path("rickhouse")


def claim_data_root(root: Path) -> None:
    """Make `root`, or see that it is ours or empty, mark it as ours and close it to others.

    Whoever keeps a file under the data root (a key, say) claims it first. Raises EmbeddedError.
    """
    try:
        _claim_root(root)
    except OSError as error:
        raise EmbeddedError(sentence(root, error)) from error


def start_embedded(
    root: Path,
    *,
    report: Callable[[str], None] = _silent,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> EmbeddedPostgres:
    """Make the cluster under `root` when there is none, start it when it does not run, and answer once it takes work.

    `settings` are PostgreSQL's own (`{"fsync": "off"}`) and count at the start only. Two processes may call at once.

    Raises EmbeddedError.
    """
    root = root.resolve()
    try:
        return _start(root, report, settings)
    except OSError as error:
        raise EmbeddedError(sentence(root, error)) from error
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(
            f"PostgreSQL under {root} took longer than {error.timeout:.0f} s: try again."
        ) from error


def find_embedded(root: Path) -> EmbeddedPostgres | None:
    """The server that runs under `root`; None when none does. Nothing is made or started. Raises EmbeddedError."""
    root = root.resolve()
    data_dir = root / "pgdata"
    if not data_dir.exists():
        return None
    try:
        account = account_for(data_dir)
        return _find_running(account, bin_dir_for(account, root, _silent), data_dir, _silent)
    except OSError as error:
        raise EmbeddedError(sentence(root, error)) from error


def reset(root: Path) -> None:
    """Stop the server under `root` and delete `root`; nothing happens when it does not exist.

    Raises EmbeddedError for a directory that was not made by `start_embedded`, and deletes nothing of it.
    """
    root = root.resolve()
    if not root.exists():
        return
    if not (root / _MARKER).exists():
        raise EmbeddedError(f"{root} was not made by Rickhouse, so it is not deleted: remove it by hand.")
    try:
        with _locked(root, _silent):
            data_dir = root / "pgdata"
            if data_dir.exists():
                _reset_cluster(root, data_dir)
            shutil.rmtree(root)
    except OSError as error:
        raise EmbeddedError(sentence(root, error)) from error


def _reset_cluster(root: Path, data_dir: Path) -> None:
    account = account_for(data_dir)
    recorded = PidFile.read(data_dir)
    if recorded is not None:
        bin_dir = bin_dir_for(account, root, _silent)
        _stop_server(EmbeddedPostgres(data_dir, recorded.socket_dir, PORT, bin_dir, started_here=False))
    for socket_dir in _socket_dirs(root, data_dir):
        if socket_dir.exists() and socket_dir.stat().st_uid == account.uid:
            shutil.rmtree(socket_dir)


def _start(root: Path, report: Callable[[str], None], settings: Mapping[str, str]) -> EmbeddedPostgres:
    _claim_root(root)
    with _locked(root, report):
        data_dir = root / "pgdata"
        account = account_for(data_dir)
        closed = account.closed_part(root)
        if closed is not None:
            raise EmbeddedError(
                f"{closed} is closed to the account that PostgreSQL runs as (number {account.uid}): "
                f"keep the data elsewhere, for example in {default_data_root()}."
            )
        _check_cluster(data_dir)
        bin_dir = bin_dir_for(account, root, report)
        if not data_dir.exists():
            report(f"making a new PostgreSQL {POSTGRES_MAJOR} cluster in {data_dir}")
            _init_cluster(account, bin_dir, data_dir, sync=settings.get("fsync") != "off")
        server = _find_running(account, bin_dir, data_dir, report)
        if server is not None:
            return server
        disown_stale(data_dir)
        socket_dir = _make_socket_dir(account, root, data_dir)
        report(f"starting PostgreSQL {POSTGRES_MAJOR}")
        _start_server(
            account, bin_dir, data_dir, {**_SETTINGS, **settings, "unix_socket_directories": str(socket_dir)}
        )
        return EmbeddedPostgres(data_dir, socket_dir, PORT, bin_dir, started_here=True)


def _claim_root(root: Path) -> None:
    """Make `root`, or see that it is ours or empty; then mark it, before anything else is put there.

    Another process may be doing the same, so what is found is looked at after each attempt, not before.
    """
    marker = root / _MARKER
    with suppress(FileExistsError):
        root.mkdir(parents=True, mode=0o700)
    if not root.is_dir():
        raise EmbeddedError(f"{root} is a file, not a data directory: remove it or choose another directory.")
    entries = {entry.name for entry in root.iterdir()} - {"lost+found"}
    if marker.exists():
        return
    if "PG_VERSION" in entries:
        raise EmbeddedError(
            f"{root} is a PostgreSQL cluster that Rickhouse did not make: choose an empty directory, "
            "or start that server yourself and name it in [database] url."
        )
    if entries:
        raise EmbeddedError(f"{root} holds files that are not Rickhouse's: choose an empty directory.")
    # As root the server's account walks through to its own part; nobody can list it.
    root.chmod(0o711 if os.geteuid() == 0 else 0o700)
    marker.write_text("Made by Rickhouse. `make reset` deletes this directory.\n", encoding="utf-8")


@contextmanager
def _locked(root: Path, report: Callable[[str], None]) -> Generator[None]:
    """One process at a time makes, starts or deletes the cluster."""
    path = root / ".lock"
    while True:
        with path.open("w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report("waiting for another process that is starting PostgreSQL")
                fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return
        # The root was deleted while we waited, and the lock with it.
        _claim_root(root)


def _check_cluster(data_dir: Path) -> None:
    if not data_dir.exists():
        return
    try:
        major = (data_dir / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise EmbeddedError(
            f"{data_dir} is not a PostgreSQL cluster: move it away and start again."
        ) from None
    if major != str(POSTGRES_MAJOR):
        raise EmbeddedError(
            f"{data_dir} was made by PostgreSQL {major} and this release brings {POSTGRES_MAJOR}: "
            "dump it with the release that made it and load the dump here, or choose another directory."
        )


def _init_cluster(account: Account, bin_dir: Path, data_dir: Path, *, sync: bool) -> None:
    """Make the cluster beside its place and move it there whole, so that a kill half-way leaves none."""
    if shutil.disk_usage(data_dir.parent).free < FREE_BYTES_MIN:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    draft = data_dir.with_name("pgdata.new")
    if draft.exists():
        shutil.rmtree(draft)
    account.make_dir(draft)
    done = account.run(
        str(bin_dir / "initdb"),
        f"--pgdata={draft}",
        "--username=postgres",
        "--auth-local=trust",
        "--auth-host=reject",
        "--encoding=UTF8",
        # PostgreSQL's own code-point order: the same on every system, and quick to compare.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-instructions",
        *([] if sync else ["--no-sync"]),
        timeout_s=_START_S_MAX,
    )
    if done.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise EmbeddedError(sentence(data_dir, done.stdout))
    draft.rename(data_dir)


def _socket_dirs(root: Path, data_dir: Path) -> tuple[Path, ...]:
    """Where the socket may lie, best first; the short ones are named after the cluster."""
    name = f"rickhouse-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    # Not TMPDIR, which can be too long itself. What is found under this name is used only if it is private.
    shared = Path("/tmp")  # noqa: S108
    private = Path("/run") if os.geteuid() == 0 else Path(os.environ.get("XDG_RUNTIME_DIR") or shared)
    return (root / "socket", private / name, shared / name)


def _make_socket_dir(account: Account, root: Path, data_dir: Path) -> Path:
    """A directory whose path is short enough for a socket, private to the server's account."""
    for path in _socket_dirs(root, data_dir):
        if len(os.fsencode(path / f".s.PGSQL.{PORT}")) > _SOCKET_PATH_BYTES_MAX or not path.parent.is_dir():
            continue
        if not os.path.lexists(path):
            account.make_dir(path)
        found = path.lstat()
        if (
            stat.S_ISDIR(found.st_mode)
            and found.st_uid == account.uid
            and stat.S_IMODE(found.st_mode) == 0o700
        ):
            return path
        if path.parent != root:
            continue
        raise EmbeddedError(f"{path} is not a private directory of its server: remove it and start again.")
    raise EmbeddedError(f"{root} is too long a path for a Unix socket: choose a shorter data directory.")


def _start_server(account: Account, bin_dir: Path, data_dir: Path, settings: Mapping[str, str]) -> None:
    log = data_dir / "server.log"
    if log.exists():
        log.replace(data_dir / "server.log.1")
    options = shlex.join(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    command = (str(bin_dir / "pg_ctl"), "start", "-D", str(data_dir), "-l", str(log), "-o", options)
    deadline = time.monotonic() + _START_S_MAX
    while True:
        done = account.run(*command, "-w", "-t", str(_START_S_MAX), timeout_s=_START_S_MAX + 10)
        if done.returncode == 0:
            return
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else done.stdout
        # After a SIGKILL of the postmaster its children take a moment to notice, and hold the shared memory till then.
        if "shared memory block" not in said or time.monotonic() > deadline:
            raise EmbeddedError(sentence(data_dir, said))
        log.unlink()
        time.sleep(0.1)


def _stop_server(server: EmbeddedPostgres) -> None:
    account = account_for(server.data_dir)
    said = ""
    # Immediate is safe too: the next start recovers, as after a power cut.
    for mode in ("fast", "immediate"):
        if not server.is_running():
            return
        command = (str(server.bin_dir / "pg_ctl"), "stop", "-D", str(server.data_dir), "-m", mode)
        done = account.run(*command, "-w", "-t", str(_STOP_S_MAX), timeout_s=_STOP_S_MAX + 10)
        if done.returncode == 0:
            return
        said = done.stdout.strip()
    raise EmbeddedError(
        f"PostgreSQL of {server.data_dir} does not stop ({said}): kill process {server.pid()}."
    )


def _find_running(
    account: Account, bin_dir: Path, data_dir: Path, report: Callable[[str], None]
) -> EmbeddedPostgres | None:
    """The server that already runs on `data_dir`, once it takes work: it may be recovering, or dying."""
    deadline = time.monotonic() + _START_S_MAX
    while True:
        recorded = PidFile.read(data_dir)
        if recorded is None or not recorded.answers():
            return None
        probe = (str(bin_dir / "pg_isready"), "-q", "-h", str(recorded.socket_dir), "-p", str(PORT))
        if account.run(*probe, timeout_s=_STOP_S_MAX).returncode == 0:
            report(f"PostgreSQL is already running (process {recorded.pid})")
            return EmbeddedPostgres(data_dir, recorded.socket_dir, PORT, bin_dir, started_here=False)
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"PostgreSQL of {data_dir} runs but takes no connections: see server.log there."
            )
        time.sleep(0.1)
