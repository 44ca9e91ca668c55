"""Money as integers of minor units. Floats and vendors' own formats never belong here."""

from __future__ import annotations

import msgspec

from rickhouse.kernel.errors import CurrencyMismatch

MINOR_MAX = 10**15
"""Largest amount handled, in minor units: far above any order, far below the 64-bit edge."""


class Money(msgspec.Struct, frozen=True, order=False, forbid_unknown_fields=True):
    """An amount: `minor` units (cents for USD) of an ISO 4217 `currency`.

    Negative amounts are allowed (refunds, ledger postings); where a rule forbids them, the rule says so.
    """

    minor: int
    currency: str

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other).minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other).minor, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __mul__(self, quantity: int) -> Money:
        return Money(self.minor * quantity, self.currency)

    def __str__(self) -> str:
        sign = "-" if self.minor < 0 else ""
        units, cents = divmod(abs(self.minor), 100)
        return f"{sign}{units}.{cents:02d} {self.currency}"

    def _same(self, other: Money) -> Money:
        if self.currency != other.currency:
            raise CurrencyMismatch(f"Cannot combine {self.currency} with {other.currency}.")
        return other


def total(amounts: list[Money] | tuple[Money, ...], currency: str) -> Money:
    """Sum of `amounts`, all of which must be in `currency`; zero when empty."""
    result = Money(0, currency)
    for amount in amounts:
        result = result + amount
    return result


def allocate(amount: Money, weights: tuple[int, ...]) -> tuple[Money, ...]:
    """Split `amount` in proportion to `weights` (non-negative) without losing a minor unit.

    Largest remainders receive the leftover units; ties go to the earlier share, so the result is deterministic.
    With no weight at all, the first share receives everything.
    """
    if not weights:
        return ()
    whole = sum(weights)
    if whole == 0:
        return (amount, *(Money(0, amount.currency) for _ in weights[1:]))
    sign = -1 if amount.minor < 0 else 1
    parts = [divmod(abs(amount.minor) * weight, whole) for weight in weights]
    shares = [quotient for quotient, _ in parts]
    leftover = abs(amount.minor) - sum(shares)
    by_remainder = sorted(range(len(parts)), key=lambda index: (-parts[index][1], index))
    for index in by_remainder[:leftover]:
        shares[index] += 1
    return tuple(Money(sign * share, amount.currency) for share in shares)
