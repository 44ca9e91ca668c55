"""The identity of a request that may come twice. Reading it from HTTP belongs in `platform.web`."""

from __future__ import annotations

import msgspec


class Keyed(msgspec.Struct, frozen=True):
    """Who asked, under which Idempotency-Key. `fingerprint` is 16 bytes over path and body: another one under the same
    key is another request."""

    owner: str
    key: str
    fingerprint: bytes
