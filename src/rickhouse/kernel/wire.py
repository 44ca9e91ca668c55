"""An HTTP request and its reply as plain values, so that a provider's codec stays pure. Sending never belongs here."""

from __future__ import annotations

import msgspec


class HttpRequest(msgspec.Struct, frozen=True):
    """What to send. `path` is relative to the client's base URL and begins with a slash; `body` is bytes as sent."""

    method: str
    path: str
    headers: dict[str, str] = {}
    body: bytes = b""


class HttpReply(msgspec.Struct, frozen=True):
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
