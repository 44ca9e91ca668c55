"""Money: integers that never lose a cent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.kernel.errors import CurrencyMismatch
from rickhouse.kernel.money import Money, allocate, total

MINOR = st.integers(min_value=-(10**12), max_value=10**12)
WEIGHTS = st.lists(st.integers(min_value=0, max_value=10**9), min_size=1, max_size=20).map(tuple)


def test_arithmetic() -> None:
    price = Money(8_900, "USD")
    assert price + Money(1, "USD") == Money(8_901, "USD")
    assert price - Money(8_901, "USD") == Money(-1, "USD")
    assert price * 3 == Money(26_700, "USD")
    assert -price == Money(-8_900, "USD")


def test_text_is_for_people() -> None:
    assert str(Money(8_905, "USD")) == "89.05 USD"
    assert str(Money(-5, "USD")) == "-0.05 USD"


def test_currencies_do_not_mix() -> None:
    with pytest.raises(CurrencyMismatch):
        _ = Money(1, "USD") + Money(1, "EUR")
    with pytest.raises(CurrencyMismatch):
        total([Money(1, "USD"), Money(1, "EUR")], "USD")


def test_total_of_nothing_is_zero() -> None:
    assert total([], "USD") == Money(0, "USD")


@given(MINOR, WEIGHTS)
def test_allocate_loses_nothing(minor: int, weights: tuple[int, ...]) -> None:
    shares = allocate(Money(minor, "USD"), weights)
    assert len(shares) == len(weights)
    assert sum(share.minor for share in shares) == minor


@given(MINOR, WEIGHTS)
def test_allocate_is_fair_to_a_cent(minor: int, weights: tuple[int, ...]) -> None:
    whole = sum(weights)
    if whole == 0:
        return
    for share, weight in zip(allocate(Money(minor, "USD"), weights), weights, strict=True):
        assert abs(share.minor * whole - minor * weight) < whole


def test_allocate_gives_the_leftover_to_the_largest_remainder() -> None:
    assert allocate(Money(100, "USD"), (1, 1, 1)) == (Money(34, "USD"), Money(33, "USD"), Money(33, "USD"))
    assert allocate(Money(10, "USD"), (0, 0)) == (Money(10, "USD"), Money(0, "USD"))
    assert allocate(Money(10, "USD"), ()) == ()
