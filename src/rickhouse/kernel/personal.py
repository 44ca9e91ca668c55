"""The mark of personal data: a shape that shows nothing of itself. Who may read it in clear never belongs here."""

from __future__ import annotations

from typing import Any

import msgspec


class Personal(msgspec.Struct, frozen=True, kw_only=True):
    """A shape that carries personal data: its `repr` shows the type's name and nothing else, and logs leave it out."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing: msgspec's own would hand every field to tracebacks and consoles that print by `rich`."""
        return []
