"""An HTTP request and its reply as plain values, so that a provider's codec stays pure. Sending never belongs here."""

from __future__ import annotations

import msgspec


class HttpRequest(msgspec.Struct, frozen=True):
    """What to send. `path` is relative to the client's base URL and begins with a slash; `body` is bytes as sent.

    Its `repr` shows neither query, headers nor body: they carry people's data and secrets.
    """

    method: str
    path: str
    headers: dict[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.path.partition('?')[0]}, {len(self.body)} bytes)"


class HttpReply(msgspec.Struct, frozen=True):
    """What came back; header names are in lower case. Its `repr` shows neither headers nor body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpReply({self.status}, {len(self.body)} bytes)"
