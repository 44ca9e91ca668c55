"""Typed identifiers: UUIDv7 (RFC 9562) inside, `prefix_` and 26 base-32 characters outside (TypeID 0.3).

What an id means, and whether it exists, never belongs here.
"""

from __future__ import annotations

import os
import time
from typing import ClassVar, Final, Self
from uuid import UUID

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_SUFFIX_CHARS: Final = 26


def uuid7() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, then random bits, so that keys sort by the time they were made."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (random_bits >> 68) << 64
    value |= 0b10 << 62 | (random_bits & 0x3FFF_FFFF_FFFF_FFFF)
    return UUID(int=value)


class Id:
    """One kind of identifier. Subclasses declare the prefix that callers see.

    `bytes` makes an id acceptable as it is wherever the database driver wants a UUID.
    """

    __slots__ = ("uuid",)
    prefix: ClassVar[str] = ""

    def __init__(self, uuid: UUID) -> None:
        self.uuid = uuid

    def __init_subclass__(cls, *, prefix: str) -> None:
        super().__init_subclass__()
        cls.prefix = prefix

    @classmethod
    def new(cls) -> Self:
        """A fresh identifier."""
        return cls(uuid7())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The identifier that `text` writes out; ValueError when it is of another kind or not one at all."""
        prefix, _, suffix = text.rpartition("_")
        if prefix != cls.prefix or len(suffix) != _SUFFIX_CHARS or suffix[0] > "7":
            raise ValueError(f"expected an id such as {cls.prefix}_{'0' * _SUFFIX_CHARS}")
        value = 0
        for letter in suffix:
            digit = _VALUES.get(letter)
            if digit is None:
                raise ValueError(f"expected an id such as {cls.prefix}_{'0' * _SUFFIX_CHARS}")
            value = value << 5 | digit
        return cls(UUID(int=value))

    @property
    def bytes(self) -> bytes:
        """The 16 bytes of the UUID, big-endian."""
        return self.uuid.bytes

    def __str__(self) -> str:
        value = self.uuid.int
        pairs = [_PAIRS[value >> shift & 0x3FF] for shift in range(120, -1, -10)]
        return f"{self.prefix}_{''.join(pairs)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.uuid == self.uuid

    def __lt__(self, other: Self) -> bool:
        return self.uuid < other.uuid

    def __hash__(self) -> int:
        return hash(self.uuid)


class ProductId(Id, prefix="prd"):
    """A spirit as the distillery names it."""


class VariantId(Id, prefix="var"):
    """A bottling of a product: the thing that has a price and stock."""


class WarehouseId(Id, prefix="whs"):
    """A place that stock stands in."""


class MovementId(Id, prefix="mov"):
    """One request that moved stock: a receipt, an adjustment, a transfer."""


class CustomerId(Id, prefix="cus"):
    """A person who buys. Nothing else about the person leaves the customers slice."""


class AddressId(Id, prefix="adr"):
    """A delivery address kept by the customers slice."""


class CheckoutId(Id, prefix="chk"):
    """An order while it is being bought. Shares its UUID with the order that it becomes."""


class OrderId(Id, prefix="ord"):
    """An order. Shares its UUID with the checkout that it came from."""


class DecisionId(Id, prefix="dec"):
    """A stored legal decision."""


class PaymentId(Id, prefix="pay"):
    """One attempt to pay for an order."""


class RefundId(Id, prefix="rfn"):
    """One refund of a captured payment."""
