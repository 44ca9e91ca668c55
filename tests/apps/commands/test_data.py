"""The books, proven from the command line."""

from __future__ import annotations

import pytest

from rickhouse.apps.commands.data import inventory_verify, payments_verify
from rickhouse.apps.refusals import Refused
from rickhouse.kernel.ids import OrderId, PaymentId
from tests.apps.conftest import Sql


def test_books_that_agree_are_said_to(sql: Sql, capsys: pytest.CaptureFixture[str]) -> None:
    assert sql("select 1 from payments.attempts") == []

    inventory_verify()
    payments_verify()

    assert capsys.readouterr().out == (
        "0 shelves, 0 movements and 0 live holds compared: the books agree.\n"
        "every movement sums to zero, and every payment is what its postings say: the books agree.\n"
    )


def test_payment_without_its_postings_is_shown_and_ends_in_failure(
    sql: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    payment_id = PaymentId.new()
    sql(
        """
        insert into payments.attempts (payment_id, order_id, attempt, state, amount_minor, currency)
        values ($1, $2, 1, 'authorised', 8900, 'USD')
        """,
        *(payment_id, OrderId.new()),
    )

    with pytest.raises(Refused):
        payments_verify()

    assert capsys.readouterr().out.splitlines() == [
        "2 differences.",
        f"{payment_id.uuid}: authorisations_outstanding: expected -8900, booked 0",
        f"{payment_id.uuid}: customer_funds_authorised: expected 8900, booked 0",
    ]
