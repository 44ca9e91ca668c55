"""How a command ends when it cannot do what it was asked, without that being a bug."""

from __future__ import annotations


class Told(Exception):
    """What may go wrong without being a bug. The message is a sentence that says what to do; exit code 1."""


class Refused(Exception):
    """The command's own check found something wrong and has told it: exit code 1, nothing more to say."""
