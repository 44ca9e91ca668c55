"""What an event is: a fact that happened, named in the past tense. Storage and delivery never belong here."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact of one slice. `kind` names it for ever (`inventory.hold_expired`); fields hold ids and amounts,
    never personal data, because events are kept and forwarded."""

    kind: ClassVar[str] = ""


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in a slice's event log: the writing transaction's id, then the row's sequence number.

    Ordered by transaction first, so that a reader that stays behind the oldest running transaction misses nothing
    when commits arrive out of order.
    """

    xid: int = 0
    seq: int = 0


START = Position()
"""Before the first event."""


class Recorded(msgspec.Struct, frozen=True):
    """An event as it stands in the log. `body` is its JSON; `subject` the UUID of what it happened to."""

    position: Position
    kind: str
    subject: UUID
    body: bytes
    at: datetime
