"""Bytes from values and back, with typed ids written as `prefix_…`. What is encoded belongs elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from rickhouse.kernel.ids import Id

Value = TypeVar("Value")


def enc_hook(value: object) -> object:
    """What msgspec cannot write by itself: ids become text."""
    if isinstance(value, Id):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no wire form")


def dec_hook(kind: type, value: object) -> object:
    """What msgspec cannot read by itself. ValueError becomes a validation error that names the field."""
    if issubclass(kind, Id):
        if not isinstance(value, str):
            raise ValueError(f"expected text such as {kind.prefix}_…")  # noqa: TRY004  # msgspec wants ValueError
        return kind.parse(value)
    raise NotImplementedError(f"{kind.__name__} has no wire form")


_json_encoder: Final = msgspec.json.Encoder(enc_hook=enc_hook)
_msgpack_encoder: Final = msgspec.msgpack.Encoder(enc_hook=enc_hook)

encode_json = _json_encoder.encode
"""JSON bytes of a value."""

encode_msgpack = _msgpack_encoder.encode
"""MessagePack bytes of a value."""


@cache
def _json_decoder(kind: object) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=dec_hook)


@cache
def _msgpack_decoder(kind: object) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=dec_hook)


def decode_json(data: bytes | str, kind: type[Value]) -> Value:
    """A `kind` from JSON. Raises msgspec.MsgspecError (a ValueError) when the bytes are not one."""
    result: Value = _json_decoder(kind).decode(data)
    return result


def decode_msgpack(data: bytes, kind: type[Value]) -> Value:
    """A `kind` from MessagePack. Raises msgspec.MsgspecError (a ValueError) when the bytes are not one."""
    result: Value = _msgpack_decoder(kind).decode(data)
    return result


def to_builtins(value: object) -> object:
    """The value as plain lists, dicts, text and numbers, as its JSON would be."""
    return msgspec.to_builtins(value, enc_hook=enc_hook, str_keys=True)
