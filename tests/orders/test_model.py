"""The rules of an order: transitions, quotes, the day of the sale."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import product
from typing import get_args
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.catalog.contract import Offer
from rickhouse.kernel.errors import CurrencyMismatch, FieldInvalid, Kind
from rickhouse.kernel.ids import OrderId, ProductId, VariantId
from rickhouse.kernel.money import Money
from rickhouse.orders.contract import LineRequest, State
from rickhouse.orders.model import (
    ENDED,
    LEASED,
    TRANSITIONS,
    ends_as,
    key_stays,
    quote,
    sale_day,
)

STATES: tuple[State, ...] = get_args(State)
ALLOWED = {
    ("opening", "open"),
    ("opening", "refused"),
    ("opening", "cancelling"),
    ("open", "completing"),
    ("open", "cancelling"),
    ("completing", "open"),
    ("completing", "requires_action"),
    ("completing", "review"),
    ("completing", "confirmed"),
    ("completing", "cancelling"),
    ("requires_action", "completing"),
    ("requires_action", "cancelling"),
    ("review", "open"),
    ("review", "cancelling"),
    ("confirmed", "cancelling"),
    ("cancelling", "cancelled"),
    ("cancelling", "expired"),
    ("cancelling", "refused"),
}


INSERTED = """
insert into orders (id, owner, fingerprint, state, customer_id, destination, lines, currency, subtotal_minor, tax_minor,
    shipping_minor, total_minor, payment_id, placed_at)
values ($1, 'shop', ''::bytea, $2, $1, 'US-ND', '[]', 'USD', 0, 0, 0, 0, $1, now())
"""


def offer(price_minor: int, currency: str = "USD") -> Offer:
    return Offer(
        variant_id=VariantId(UUID(int=price_minor)),
        product_id=ProductId(UUID(int=1)),
        sku=f"SKU-{price_minor}",
        title="A bottle",
        spirit_class="whiskey",
        abv_bp=4_000,
        size_ml=750,
        price=Money(price_minor, currency),
    )


def request(item: Offer, quantity: int) -> LineRequest:
    return LineRequest(item.variant_id, quantity)


def test_every_pair_of_states() -> None:
    assert {(before, after) for before, allowed in TRANSITIONS.items() for after in allowed} == ALLOWED


@pytest.mark.parametrize(
    ("before", "after"), [pair for pair in product(STATES, STATES) if pair[0] != pair[1]]
)
async def test_the_table_refuses_what_the_model_does(
    module_database_url: str, before: State, after: State
) -> None:
    connection = await asyncpg.connect(module_database_url)
    try:
        await connection.execute("set search_path = orders")
        order_id = OrderId.new()
        await connection.execute(INSERTED, order_id.uuid, before)
        change = connection.execute(
            "update orders set state = $2, payment_id = id, placed_at = now(), lease_until = null where id = $1",
            order_id.uuid,
            after,
        )
        if (before, after) in ALLOWED:
            await change
        else:
            with pytest.raises(
                asyncpg.CheckViolationError, match=f"an order that is {before} cannot become {after}"
            ):
                await change
    finally:
        await connection.close()


def test_an_ended_order_stays_ended_and_a_leased_one_can_always_be_undone() -> None:
    assert set(TRANSITIONS) == set(STATES)
    for state in ENDED:
        assert not TRANSITIONS[state]
    for state in LEASED - {"cancelling"}:
        assert "cancelling" in TRANSITIONS[state]


def test_a_quote_adds_up() -> None:
    bourbon, gin = offer(8_900), offer(4_250)
    made = quote(
        (request(bourbon, 1), request(gin, 2)),
        (bourbon, gin),
        currency="USD",
        tax_bp=725,
        shipping=Money(1_500, "USD"),
    )
    assert made.subtotal == Money(17_400, "USD")
    assert made.tax == Money(1_262, "USD")  # 1261.5 rounds half up
    assert made.total == Money(20_162, "USD")
    assert [line.tax.minor for line in made.lines] == [646, 616]
    assert [line.total.minor for line in made.lines] == [9_546, 9_116]


@given(
    st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 1_000)), min_size=1, max_size=50),
    st.integers(0, 10_000),
    st.integers(0, 10**6),
)
def test_totals_add_up_to_the_cent(basket: list[tuple[int, int]], tax_bp: int, shipping: int) -> None:
    offers = tuple(offer(price) for price, _ in basket)
    lines = tuple(request(item, quantity) for item, (_, quantity) in zip(offers, basket, strict=True))
    made = quote(lines, offers, currency="USD", tax_bp=tax_bp, shipping=Money(shipping, "USD"))
    assert made.subtotal.minor == sum(line.unit_price.minor * line.quantity for line in made.lines)
    assert made.subtotal.minor == sum(line.subtotal.minor for line in made.lines)
    assert made.tax.minor == sum(line.tax.minor for line in made.lines)
    assert all(line.total == line.subtotal + line.tax for line in made.lines)
    assert made.total == made.subtotal + made.tax + made.shipping


def test_a_quote_in_another_currency_is_refused() -> None:
    euros = offer(8_900, "EUR")
    with pytest.raises(CurrencyMismatch):
        quote((request(euros, 1),), (euros,), currency="USD", tax_bp=0, shipping=Money(0, "USD"))


def test_an_empty_basket_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        quote((), (), currency="USD", tax_bp=0, shipping=Money(0, "USD"))


def test_the_day_of_a_sale_has_begun_in_every_state() -> None:
    # 09:59 UTC is 23:59 of the day before in Hawaii.
    assert sale_day(datetime(2026, 11, 23, 9, 59, tzinfo=UTC)) == date(2026, 11, 22)
    assert sale_day(datetime(2026, 11, 23, 10, 0, tzinfo=UTC)) == date(2026, 11, 23)


def test_a_key_sticks_to_answers_that_are_for_good() -> None:
    assert [kind for kind in Kind if key_stays(kind)] == [Kind.FORBIDDEN, Kind.CONFLICT]


def test_how_an_undone_order_is_called() -> None:
    causes = ("expired", "refused", "abandoned")
    assert [ends_as(cause, placed=False) for cause in causes] == ["expired", "refused", "cancelled"]
    assert {ends_as(cause, placed=True) for cause in causes} == {"cancelled"}
