"""Cursors come back as they went, and nothing else comes in by them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from rickhouse.kernel.errors import FieldInvalid
from rickhouse.kernel.ids import OrderId
from rickhouse.platform.web import decode_cursor, encode_cursor

Key = tuple[Annotated[int, Meta(ge=0, le=100)], OrderId]


@given(st.integers(0, 100), st.datetimes(timezones=st.just(UTC)))
def test_a_cursor_comes_back_as_it_went(number: int, moment: datetime) -> None:
    order_id = OrderId(UUID(int=7))

    assert decode_cursor(encode_cursor((number, order_id)), Key) == (number, order_id)
    assert decode_cursor(encode_cursor(moment), datetime) == moment


def test_a_cursor_can_stand_in_an_address() -> None:
    assert encode_cursor("ÿ?>").isascii()
    assert not set(encode_cursor("ÿ?>ÿ?>")) & set("+/=&?#%")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "A",
        "null",
        "é",
        "🥃",
        "\0",
        "a b",
        "-" * 500,
        encode_cursor(None),
        encode_cursor([1]),
        encode_cursor([-1, OrderId(UUID(int=7))]),
        encode_cursor([101, OrderId(UUID(int=7))]),
        encode_cursor([1, "ord_x"]),
        encode_cursor({"number": 1}),
        urlsafe_b64encode(b"[" * 300).decode(),
        urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_anything_else_is_refused_by_its_name(cursor: str) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        decode_cursor(cursor, Key)

    assert refusal.value.facts == {"field": "cursor", "rule": "opaque"}


@given(st.text(max_size=200))
def test_no_text_breaks_the_decoder(cursor: str) -> None:
    with pytest.raises(FieldInvalid):
        decode_cursor(cursor, Key)
