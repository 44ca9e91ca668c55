"""The Idempotency-Key of a POST: who sent it, the key, and a fingerprint of what was asked.

The key lives in the row that the request creates; storing it belongs to the slice.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Any, Final

from litestar import Request
from litestar.params import HeaderParameter

from rickhouse.kernel.idempotency import Keyed
from rickhouse.platform.codec import encode_json
from rickhouse.platform.web.caller import caller

FINGERPRINT_KEY: Final = "fingerprint_key"
"""Where the application's state keeps the secret under which fingerprints are made."""

IdempotencyKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+\Z",
        description="Chosen by the caller, once per intent: the same key and body give the same answer. "
        "Visible ASCII characters, at most 200.",
    ),
]


def keyed(request: Request[Any, Any, Any], key: str, data: object) -> Keyed:
    """The identity of this request. `data` is its decoded body, so that white space and field order do not matter."""
    # The body may hold a person, and the fingerprint outlives him: without the key nobody can check a guess against it.
    secret: bytes = request.app.state.get(FINGERPRINT_KEY, b"")
    digest = blake2b(request.url.path.encode(), digest_size=16, key=secret)
    digest.update(b"\0")
    digest.update(encode_json(data))
    return Keyed(caller(request).subject, key, digest.digest())
