"""What goes wrong with the embedded PostgreSQL, said so that a person can act on it. Nothing is mended here."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

FREE_BYTES_MIN: Final = 256 * 1024 * 1024
"""A new cluster takes about 60 MiB and its write-ahead log needs room to turn over."""


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be had. The message is one sentence for a person, with what to do."""


def sentence(place: Path, cause: OSError | str) -> str:
    """What went wrong at `place`, and what to do, in one sentence; `cause` is an error or a program's output."""
    code = cause.errno if isinstance(cause, OSError) else None
    text = str(cause)
    if code in {errno.ENOSPC, errno.EDQUOT} or "No space left on device" in text or "quota exceeded" in text:
        needed_mib = FREE_BYTES_MIN // (1024 * 1024)
        return f"The disk that holds {place} is full: free at least {needed_mib} MiB or choose another data directory."
    if code in {errno.EACCES, errno.EPERM} or "ermission denied" in text:
        return f"No permission to use {place}: give it to the account that runs this, or choose another data directory."
    if code == errno.EROFS or "Read-only file system" in text:
        return f"{place} cannot be written to (read-only file system): choose another data directory."
    if isinstance(cause, OSError):
        return f"{cause.filename or place} cannot be used ({cause.strerror}): choose another data directory."
    fatal = [line for line in text.splitlines() if "FATAL" in line or "PANIC" in line or "error:" in line]
    last = (fatal or text.splitlines() or ["no output"])[-1].strip()
    return f"PostgreSQL in {place} did not start ({last}): see server.log there."
