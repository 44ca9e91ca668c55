"""What a shop sends to the API for one buyer after the other. Counting the answers belongs to each measurement."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import uuid4

from bench.wire import Reply, Visit, request

BOUGHT: Final = "201/201"
"""What a visit came to when the checkout was opened and completed."""

SOLD_OUT: Final = "409 sold_out"
"""What a visit came to when the bottles were gone."""

_SOMEBODY: Final = "0000-somebody"
_KEY: Final = "00000000000000000000000000000000"
_PATH: Final = "/v1/checkouts"
_ID_BEGINS: Final = b'"checkout_id":"'


def opening_body(variant_id: str, buyer: str) -> bytes:
    """The body that opens a checkout of one bottle. `buyer` makes the made-up person one of a kind."""
    return json.dumps(
        {
            "lines": [{"variant_id": variant_id, "quantity": 1}],
            "customer": {
                "name": "Ada Example",
                "email": f"{buyer}@example.com",
                "phone": "+17015550123",
                "birth_date": "1985-04-12",
                "address": {
                    "line1": "1 Main Street",
                    "city": "Medora",
                    "region": "US-ND",
                    "postal_code": "58645",
                    "country": "US",
                },
            },
        }
    ).encode()


def payment_body() -> bytes:
    """The body that completes a checkout with a card that is always good."""
    return json.dumps({"payment_token": "tok_approve"}).encode()


def buyers(token: str, variant_ids: Sequence[str]) -> Iterator[Visit]:
    """Without end: a fresh person buys one bottle of any of the variants."""
    openings = [_opening(token, variant_id) for variant_id in variant_ids]
    completing = request(
        "POST", f"{_PATH}/{_SOMEBODY}/complete", token, f"idempotency-key: {_KEY}", body=payment_body()
    )
    while True:
        yield _buy(secrets.choice(openings), completing)


def _opening(token: str, variant_id: str) -> bytes:
    # The key stands for the person too, so that one replacement makes both new.
    body = opening_body(variant_id, _KEY)
    return request("POST", _PATH, token, f"idempotency-key: {_KEY}", body=body)


def _buy(opening: bytes, completing: bytes) -> Visit:
    opened = yield opening.replace(_KEY.encode(), _fresh())
    if opened.status != 201:
        return _refusal(opened)
    begins = opened.body.index(_ID_BEGINS) + len(_ID_BEGINS)
    checkout_id = opened.body[begins : opened.body.index(b'"', begins)]
    completed = yield completing.replace(_SOMEBODY.encode(), checkout_id).replace(_KEY.encode(), _fresh())
    return BOUGHT if completed.status == 201 else f"201, then {_refusal(completed)}"


def _fresh() -> bytes:
    return uuid4().hex.encode()


def _refusal(reply: Reply) -> str:
    """Status and code of a problem."""
    try:
        code = json.loads(reply.body).get("code", "")
    except ValueError:
        code = ""
    return f"{reply.status} {code}"
