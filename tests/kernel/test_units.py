"""Volumes and strengths, checked against figures that the trade publishes."""

from __future__ import annotations

from decimal import Decimal

from rickhouse.kernel.units import abv_percent, proof_gallons, wine_gallons


def test_a_bottle_in_gallons() -> None:
    # 750 ml at 40 %: 0.198129 wine gallons, 0.158503 proof gallons.
    assert round(wine_gallons(750), 6) == Decimal("0.198129")
    assert round(proof_gallons(750, 4_000), 6) == Decimal("0.158503")


def test_a_proof_gallon_is_a_gallon_at_half_strength() -> None:
    assert round(proof_gallons(3_785, 5_000), 3) == Decimal("1.000")


def test_strength_as_on_a_label() -> None:
    assert abv_percent(4_350) == "43.5"
    assert abv_percent(4_000) == "40"
    assert abv_percent(10_000) == "100"
