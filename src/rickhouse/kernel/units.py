"""Volumes and strengths of the trade: millilitres, ABV in basis points, proof gallons. Tax rates never belong here."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

ABV_BP_MAX: Final = 10_000
"""Pure alcohol: 100.00 % in basis points."""

LITRES_PER_WINE_GALLON: Final = Decimal("3.785411784")
"""The US gallon, exactly (27 CFR 19.1)."""


def wine_gallons(volume_ml: int) -> Decimal:
    """US liquid gallons in `volume_ml` millilitres, unrounded."""
    return Decimal(volume_ml) / 1000 / LITRES_PER_WINE_GALLON


def proof_gallons(volume_ml: int, abv_bp: int) -> Decimal:
    """Proof gallons (26 U.S.C. 5002(a)(10)-(11)): wine gallons times proof over 100, proof being twice the ABV."""
    return wine_gallons(volume_ml) * abv_bp * 2 / 10_000


def abv_percent(abv_bp: int) -> str:
    """`4350` as `43.5`, the way a label writes it."""
    return f"{(Decimal(abv_bp) / 100).normalize():f}"
