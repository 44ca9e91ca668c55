"""Sentences about what is wrong with the embedded PostgreSQL."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rickhouse.platform.embedded_errors import sentence

PLACE = Path("/srv/shop")
FULL = "The disk that holds /srv/shop is full: free at least 256 MiB or choose another data directory."
CLOSED = (
    "No permission to use /srv/shop: give it to the account that runs this, or choose another data directory."
)


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), FULL),
        ("initdb: error: could not write file: No space left on device", FULL),
        (PermissionError(errno.EACCES, "Permission denied", "/srv"), CLOSED),
        ('initdb: error: could not access directory "/srv/shop": Permission denied', CLOSED),
        (
            OSError(errno.EROFS, "Read-only file system"),
            "/srv/shop cannot be written to (read-only file system): choose another data directory.",
        ),
        (
            OSError(errno.EIO, "Input/output error", "/srv/shop/x"),
            "/srv/shop/x cannot be used (Input/output error): choose another data directory.",
        ),
        (
            "LOG:  starting\nFATAL:  could not map memory\nLOG:  database system is shut down\n",
            "PostgreSQL in /srv/shop did not start (FATAL:  could not map memory): see server.log there.",
        ),
        ("", "PostgreSQL in /srv/shop did not start (no output): see server.log there."),
    ],
)
def test_each_cause_is_one_sentence_with_what_to_do(cause: OSError | str, told: str) -> None:
    assert sentence(PLACE, cause) == told
