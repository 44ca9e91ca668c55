"""Labels: sizes, strengths, approval ids and trade item numbers."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.catalog.labelling import (
    STANDARDS_OF_FILL_ML,
    SpiritClass,
    check_cola_id,
    check_fill,
    check_gtin,
    gtin_check_digit,
    strength_shortfall,
)
from rickhouse.kernel.errors import FieldInvalid

DIGITS = st.text("0123456789", min_size=7, max_size=13)


@pytest.mark.parametrize(
    "gtin",
    [
        "96385074",  # the GTIN-8 of the GS1 General Specifications
        "614141123452",  # UPC-A
        "9521234543213",  # a demonstration number of GS1 itself
        "10614141543219",  # a case of a trade item
    ],
)
def test_known_gtins_are_let_through(gtin: str) -> None:
    check_gtin(gtin)


@given(DIGITS.filter(lambda digits: len(digits) in (7, 11, 12, 13) and int(digits) > 0))
def test_the_computed_check_digit_is_the_only_one_accepted(digits: str) -> None:
    right = gtin_check_digit(digits)
    check_gtin(f"{digits}{right}")
    for wrong in set(range(10)) - {right}:
        with pytest.raises(FieldInvalid) as refused:
            check_gtin(f"{digits}{wrong}")
        assert refused.value.facts == {"field": "gtin", "rule": "check_digit"}


@given(st.text("0123456789", min_size=12, max_size=12), st.integers(0, 12), st.integers(1, 9))
def test_any_single_wrong_digit_is_noticed(digits: str, place: int, shift: int) -> None:
    gtin = f"{digits}{gtin_check_digit(digits)}"
    wrong = f"{gtin[:place]}{(int(gtin[place]) + shift) % 10}{gtin[place + 1 :]}"
    with pytest.raises(FieldInvalid):
        check_gtin(wrong)


@pytest.mark.parametrize(
    "gtin",
    ["", "1234567", "123456789", "00000000", "9521234543ABC", "٩٥٢١٢٣٤٥٤٣٢١٣", "952123454321 ", "-9638507"],
)
def test_what_is_no_trade_item_number_is_refused(gtin: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        check_gtin(gtin)
    assert refused.value.facts == {"field": "gtin", "rule": "digits"}


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)), st.integers(0, 999), st.integers(0, 999_999))
def test_a_cola_id_of_any_real_day_is_let_through(day: date, method: int, sequence: int) -> None:
    check_cola_id(f"{day:%y%j}{method:03d}{sequence:06d}")


@given(st.integers(0, 99), st.integers(0, 999))
def test_a_cola_id_of_no_day_of_its_year_is_refused(year: int, day: int) -> None:
    last = (date(2001 + year, 1, 1) - timedelta(days=1)).timetuple().tm_yday
    cola_id = f"{year:02d}{day:03d}001000042"
    if 1 <= day <= last:
        check_cola_id(cola_id)
        return
    with pytest.raises(FieldInvalid) as refused:
        check_cola_id(cola_id)
    assert refused.value.facts == {"field": "cola_id", "rule": "day_of_year"}
    assert f"001 to {last}" in refused.value.detail


@pytest.mark.parametrize(
    "cola_id", ["", "2401800100041", "240180010004123", "24O18001000412", "٢٤٠١٨٠٠١٠٠٠٤١٢"]
)
def test_a_cola_id_is_fourteen_ascii_digits(cola_id: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        check_cola_id(cola_id)
    assert refused.value.facts == {"field": "cola_id", "rule": "fourteen_digits"}


def test_the_standards_of_fill_are_the_twenty_five_of_the_regulation() -> None:
    assert len(set(STANDARDS_OF_FILL_ML)) == 25
    assert list(STANDARDS_OF_FILL_ML) == sorted(STANDARDS_OF_FILL_ML)
    assert {50, 355, 700, 750, 1_750, 3_750} <= set(STANDARDS_OF_FILL_ML)


@given(st.integers(-10, 5_000))
def test_no_size_but_a_standard_of_fill_is_let_through(size_ml: int) -> None:
    if size_ml in STANDARDS_OF_FILL_ML:
        check_fill(size_ml)
        return
    with pytest.raises(FieldInvalid) as refused:
        check_fill(size_ml)
    assert refused.value.facts == {"field": "size_ml", "rule": "standard_of_fill"}
    assert "27 CFR 5.203" in refused.value.detail


@pytest.mark.parametrize(
    ("spirit_class", "class_type", "abv_bp", "floor_bp"),
    [
        ("whiskey", "Straight Rye Whiskey", 3_999, 4_000),
        ("whiskey", "Straight Rye Whiskey", 4_000, None),
        ("whiskey", "Diluted Rye Whiskey", 3_500, None),
        ("vodka", "Vodka", 3_750, 4_000),
        ("flavored", "Honey Flavored Whiskey", 2_999, 3_000),
        ("flavored", "Honey Flavored Whiskey", 3_000, None),
        ("liqueur", "Coffee Liqueur", 2_400, None),
        ("ready_to_drink", "Vodka with Natural Flavors", 800, None),
    ],
)
def test_a_class_keeps_its_least_strength_unless_it_says_diluted(
    spirit_class: SpiritClass, class_type: str, abv_bp: int, floor_bp: int | None
) -> None:
    shortfall = strength_shortfall(spirit_class, class_type, abv_bp)
    assert (None if shortfall is None else shortfall[0]) == floor_bp
