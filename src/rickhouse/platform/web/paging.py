"""Cursor pagination: a page, and the opaque text that asks for the next one."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter

from rickhouse.kernel.errors import FieldInvalid
from rickhouse.platform.codec import decode_json, encode_json

Item = TypeVar("Item")
Key = TypeVar("Key")

Cursor = Annotated[
    str | None,
    QueryParameter(
        name="cursor",
        max_length=500,
        description="`next_cursor` of the page before; none for the first page.",
    ),
]
Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=100, description="How many items at the most.")]


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """Some items in a stable order. `next_cursor` is null on the last page."""

    items: tuple[Item, ...]
    next_cursor: str | None = None


def encode_cursor(key: object) -> str:
    """The sort key of the last item of a page, as opaque text."""
    return urlsafe_b64encode(encode_json(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str, key_type: type[Key]) -> Key:
    """The sort key inside `cursor`. Raises FieldInvalid when it was not made here."""
    try:
        return decode_json(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), key_type)
    except (ValueError, msgspec.MsgspecError) as error:
        raise FieldInvalid(
            "cursor is not one of ours: send next_cursor of the page before, unchanged.",
            field="cursor",
            rule="opaque",
        ) from error
