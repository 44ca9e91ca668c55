"""The bank's books balance after anything, and a journal brings back the very same books."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.apps.simulators.bank_book import Book, Line, two_decimals

HOLD = Line(
    op="hold", hold="hld_00000001", key="k1", asked="a", amount=8_900, ccy="usd", order="o", instrument="t"
)


def filled(book: Book) -> Book:
    """A book with one of everything."""
    for line in (
        HOLD,
        Line(op="refuse", hold="hld_00000002", key="k2", amount=100, ccy="usd", reason="STOLEN"),
        Line(op="challenge", hold="hld_00000003", key="k3", amount=200, ccy="eur"),
        Line(op="pass", hold="hld_00000003"),
        Line(op="free", hold="hld_00000003", key="k4"),
        Line(op="take", hold="hld_00000001", key="k5", amount=8_000),
        Line(op="return", hold="hld_00000001", key="k6", amount=500, name="rtn_00000001"),
        Line(op="queue", hold="hld_00000001", key="k7", amount=300, name="rtn_00000002"),
        Line(op="settle", hold="hld_00000001", name="rtn_00000002"),
        Line(op="bar", key="k8", name="stranger"),
    ):
        book.record(line)
    return book


def test_what_goes_out_of_one_account_comes_into_another() -> None:
    book = filled(Book("http://bank"))

    assert book.balances() == {
        "usd": {"cardholders": -7_200, "set_aside": 0, "merchant": 7_200},
        "eur": {"cardholders": 0, "set_aside": 0, "merchant": 0},
    }
    assert book.holds["hld_00000001"].returned == 800
    assert [hold.status for hold in book.holds.values()] == ["TAKEN", "REFUSED", "FREED"]


def test_a_journal_brings_the_books_back(tmp_path: Path) -> None:
    journal = tmp_path / "bank.jsonl"
    before = filled(Book("http://bank", journal))
    before.close()

    after = Book("http://bank", journal)

    assert after.balances() == before.balances()
    assert after.entries == before.entries
    assert after.answers == before.answers
    assert after.barred == {"stranger"}
    assert after.next_hold() == "hld_00000004"
    after.close()


def test_a_line_that_a_kill_cut_off_was_never_done(tmp_path: Path) -> None:
    journal = tmp_path / "bank.jsonl"
    Book("http://bank", journal).close()
    book = Book("http://bank", journal)
    book.record(HOLD)
    book.close()
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op":"take","hold":"hld_0000')

    again = Book("http://bank", journal)
    again.record(Line(op="free", hold="hld_00000001", key="k2"))
    again.close()

    assert journal.read_bytes().startswith(whole)
    assert journal.read_bytes().count(b"\n") == 2
    last = Book("http://bank", journal)
    assert last.holds["hld_00000001"].status == "FREED"
    last.close()


@given(st.integers(min_value=0, max_value=10**14))
def test_amounts_are_written_with_two_decimals(cents: int) -> None:
    units, decimals = two_decimals(cents).split(".")

    assert (int(units), int(decimals), len(decimals)) == (*divmod(cents, 100), 2)


@pytest.mark.parametrize("op", ["hold", "refuse", "challenge"])
def test_a_hold_is_found_by_its_key(op: str) -> None:
    book = Book("http://bank")
    book.record(Line(op=op, hold="hld_00000001", key="k", amount=1, ccy="usd"))  # pyright: ignore[reportArgumentType]

    assert book.by_key["k"] is book.holds["hld_00000001"]
    assert book.answers["k"].status == {"hold": 201, "refuse": 402, "challenge": 202}[op]
