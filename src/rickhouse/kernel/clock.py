"""Time as a value that is passed in. Reading the system's time happens in `now` alone, so that rules stay pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present moment as an aware UTC datetime."""


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)
