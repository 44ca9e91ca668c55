"""Conditions: one code for one class, rebuilt as the same class."""

from __future__ import annotations

import pytest

from rickhouse.kernel.errors import Condition, Kind, NotFound, condition_of


def test_a_condition_is_rebuilt_as_its_own_class() -> None:
    rebuilt = condition_of("not_found", "There is no such order.", {"order_id": "ord_1"})
    assert type(rebuilt) is NotFound
    assert rebuilt.detail == "There is no such order."
    assert rebuilt.facts == {"order_id": "ord_1"}


def test_an_unknown_code_is_nobodys() -> None:
    assert condition_of("no_such_code", "", {}) is None


def _declare_again() -> type[Condition]:
    class Elsewhere(Condition, code="not_found", kind=Kind.CONFLICT, title="Taken"):
        pass

    return Elsewhere


def test_a_code_belongs_to_one_class() -> None:
    with pytest.raises(TypeError, match="'not_found' already belongs to NotFound"):
        _declare_again()
