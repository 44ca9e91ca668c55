"""Files that only their owner reads: made whole or not at all, and refused when others could read or replace them.

What a file holds belongs to the caller.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from rickhouse.kernel.errors import Condition, Kind

_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_BYTES_MAX: Final = 64 * 1024


class PrivateFileRefused(
    Condition, code="private_file_refused", kind=Kind.UNAVAILABLE, title="A private file is not safe to use"
):
    """The file cannot be read, or others can read or replace it; the detail says what to do."""


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """The text of `path`, made by `make` when there is no such file; of two processes that make it, the first wins.

    Raises PrivateFileRefused.
    """
    try:
        path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PrivateFileRefused(
                f"Others can write in {path.parent} and so replace {path.name}: run 'chmod go-w {path.parent}'."
            )
        if not path.exists():
            _make(path, make())
        return _read(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise PrivateFileRefused(f"The file {path} cannot be used: {reason}.") from error


def _make(path: Path, text: str) -> None:
    """Write beside `path` and link it there, so that nobody ever reads half a file."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> str:
    """The file's text, after looking at the very file that was opened."""
    with path.open(encoding="utf-8", errors="replace") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid():
            raise PrivateFileRefused(
                f"{path} belongs to user {found.st_uid}, and this process runs as user {os.geteuid()}: run as its "
                "owner, or give it to this user."
            )
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise PrivateFileRefused(
                f"Others can read {path} (mode {stat.S_IMODE(found.st_mode):04o}): run 'chmod 600 {path}', and if "
                "anybody may have read it, replace it."
            )
        return file.read(_BYTES_MAX)
