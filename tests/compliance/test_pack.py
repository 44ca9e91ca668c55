"""Windows, rows in force, citations."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from rickhouse.compliance.pack import AgeRule, OpenQuestion, Window, in_force
from tests.compliance.samples import PACK

FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)
ONE_DAY = timedelta(days=1)


def age(years: int, window: Window | None) -> AgeRule:
    """A row of ages."""
    return AgeRule(
        regions=("US-ND",), years=years, effective=window, confidence="source-read", sources=("age-21",)
    )


@pytest.mark.parametrize(
    ("day", "covered"), [(FIRST - ONE_DAY, False), (FIRST, True), (LAST, True), (LAST + ONE_DAY, False)]
)
def test_a_window_covers_both_its_ends(day: date, covered: bool) -> None:
    assert Window(FIRST, LAST).covers(day) is covered


def test_an_open_window_covers_every_later_day() -> None:
    assert Window(FIRST, None).covers(date.max)
    assert not Window(FIRST, None).covers(FIRST - ONE_DAY)


def test_the_row_of_the_day_is_in_force() -> None:
    rows = (age(20, Window(FIRST, LAST)), age(21, Window(LAST + ONE_DAY, None)))

    assert in_force(rows, LAST) is rows[0]
    assert in_force(rows, LAST + ONE_DAY) is rows[1]
    assert in_force(rows, FIRST - ONE_DAY) is None


def test_a_row_without_window_is_never_in_force() -> None:
    assert in_force((age(21, None),), FIRST) is None


def test_a_citation_is_the_title_and_stands_once() -> None:
    california = PACK.inbound["US-CA"][0]
    asked = OpenQuestion(question="And if?", sources=("ca-abc94", "knowledge"))

    assert PACK.cite(asked, asked, california) == (
        "California ABC industry advisory: Craft Distiller Direct Shipper Permit (Type 94)",
        "Recalled; no page was read",
        "AB 1246 (2025) chaptered, B&P 23504.5",
        "Clark Hill explainer: pilot expires 2027-01-01",
    )


def test_the_full_version_is_name_and_version() -> None:
    assert PACK.full_version == "us-spirits-2026-11-23"
