"""The rules of stock, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.inventory.contract import (
    Allocation,
    Hold,
    HoldConflict,
    HoldLapsed,
    HoldLine,
    StockReceived,
    TooFewBottles,
    WarehouseNotFound,
)
from rickhouse.inventory.model import (
    QUANTITY_MAX,
    Adjustment,
    Breakage,
    Change,
    Clearance,
    CreateWarehouse,
    Difference,
    Quarantine,
    Receipt,
    Report,
    Return,
    Shelf,
    StockRequest,
    StoredHold,
    Transfer,
    checked_warehouse,
    movement_of,
    received,
    repeated,
    require_room,
    sold,
    together,
    written,
)
from rickhouse.kernel.errors import FieldInvalid
from rickhouse.kernel.ids import CustomerId, MovementId, OrderId, VariantId, WarehouseId
from rickhouse.platform.codec import decode_json, encode_json

HERE, THERE = sorted((WarehouseId.new(), WarehouseId.new()))
GIN, RUM = sorted((VariantId.new(), VariantId.new()))
ORDER, BUYER = OrderId.new(), CustomerId.new()
END = datetime(2026, 3, 2, 15, 4, 5, tzinfo=UTC)
TAX_PAID = CreateWarehouse(name="Shop", region="US-ND", kind="tax_paid", priority=1, sells=True)

quantities = st.integers(1, QUANTITY_MAX)
counts = st.integers(0, 3 * QUANTITY_MAX)
lines = st.lists(
    st.builds(HoldLine, st.sampled_from([GIN, RUM]), quantities, st.none() | st.integers(1, 9)), min_size=1
)


def shelf(on_hand: int, held: int = 0, quarantined: int = 0) -> Shelf:
    """Gin, here."""
    return Shelf(
        variant_id=GIN,
        warehouse_id=HERE,
        on_hand=on_hand,
        held=held,
        quarantined=quarantined,
        free=on_hand - held - quarantined,
    )


def stored(state: Literal["held", "committed", "released"] = "held", *, lapsed: bool = False) -> StoredHold:
    """An order's two bottles of gin."""
    return StoredHold(ORDER, BUYER, state, END, lapsed, (Allocation(GIN, HERE, "US-ND", 2),))


@pytest.mark.parametrize("region", ["US-ND", "CA-QC", "FR-75C", "GB-SCT"])
def test_a_region_is_a_code_of_iso_3166_2(region: str) -> None:
    assert checked_warehouse(msgspec.structs.replace(TAX_PAID, region=region)).region == region


@pytest.mark.parametrize("region", ["us-nd", "US_ND", "USA-N", "US-", "US-ND1X", "US-N\n", "ÜS-ND"])
def test_another_region_is_refused(region: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        checked_warehouse(msgspec.structs.replace(TAX_PAID, region=region))

    assert refused.value.facts["field"] == "region"


def test_a_name_is_not_blank() -> None:
    with pytest.raises(FieldInvalid) as refused:
        checked_warehouse(msgspec.structs.replace(TAX_PAID, name="  "))

    assert refused.value.facts["field"] == "name"


def test_a_bonded_warehouse_never_sells() -> None:
    bonded = msgspec.structs.replace(TAX_PAID, kind="bonded")

    with pytest.raises(FieldInvalid) as refused:
        checked_warehouse(bonded)
    silent = msgspec.structs.replace(bonded, sells=False)

    assert refused.value.facts == {"field": "sells", "rule": "bonded_never_sells"}
    assert checked_warehouse(silent) == silent


@pytest.mark.parametrize(
    ("request_", "changes"),
    [
        (Receipt(variant_id=GIN, warehouse_id=HERE, quantity=3), (Change(HERE, 3),)),
        (Adjustment(variant_id=GIN, warehouse_id=HERE, delta=-3, reason="Count"), (Change(HERE, -3),)),
        (
            Transfer(variant_id=GIN, from_warehouse_id=THERE, to_warehouse_id=HERE, quantity=3),
            (Change(HERE, 3), Change(THERE, -3)),
        ),
        (Breakage(variant_id=GIN, warehouse_id=HERE, quantity=3, reason="Dropped"), (Change(HERE, -3),)),
        (
            Breakage(variant_id=GIN, warehouse_id=HERE, quantity=3, reason="Seal open", from_quarantine=True),
            (Change(HERE, -3, -3),),
        ),
        (
            Return(variant_id=GIN, warehouse_id=HERE, quantity=3, reason="Refused", order_id=ORDER),
            (Change(HERE, 3, 3),),
        ),
        (Quarantine(variant_id=GIN, warehouse_id=HERE, quantity=3, reason="Label"), (Change(HERE, 0, 3),)),
        (Clearance(variant_id=GIN, warehouse_id=HERE, quantity=3), (Change(HERE, 0, -3),)),
    ],
)
def test_a_request_becomes_its_movement(request_: StockRequest, changes: tuple[Change, ...]) -> None:
    movement = movement_of(MovementId.new(), request_, "ann", END)

    assert movement.changes == changes
    assert (movement.kind, movement.actor, movement.moved_at) == (request_.kind, "ann", END)
    assert movement.order_id == (ORDER if isinstance(request_, Return) else None)


def test_a_movement_that_moves_nothing_is_refused() -> None:
    with pytest.raises(FieldInvalid) as none:
        Adjustment(variant_id=GIN, warehouse_id=HERE, delta=0, reason="Count").changes()
    with pytest.raises(FieldInvalid) as nowhere:
        Transfer(variant_id=GIN, from_warehouse_id=HERE, to_warehouse_id=HERE, quantity=1).changes()

    assert none.value.facts["field"] == "delta"
    assert nowhere.value.facts["field"] == "to_warehouse_id"


@pytest.mark.parametrize("quantity", ["0", "-1", "1000001", "9223372036854775808", "1.5", '"1"', "null"])
def test_a_quantity_that_cannot_be_is_refused_at_the_door(quantity: str) -> None:
    body = f'{{"variant_id": "{GIN}", "warehouse_id": "{HERE}", "quantity": {quantity}}}'

    with pytest.raises(msgspec.ValidationError):
        decode_json(body, Receipt)


def test_an_unknown_field_is_refused_at_the_door() -> None:
    body = encode_json(Receipt(variant_id=GIN, warehouse_id=HERE, quantity=1))[:-1] + b', "price": 1}'

    with pytest.raises(msgspec.ValidationError):
        decode_json(body, Receipt)


@given(on_hand=st.integers(-9, 9), quarantined=st.integers(-9, 9))
def test_news_is_sent_when_more_bottles_can_be_sold(on_hand: int, quarantined: int) -> None:
    news = received(GIN, Change(HERE, on_hand, quarantined))

    more = on_hand - quarantined
    assert news == (StockReceived(variant_id=GIN, warehouse_id=HERE, quantity=more) if more > 0 else None)


@given(
    on_hand=counts, held=counts, quarantined=counts, change=st.builds(Change, st.just(HERE), counts, counts)
)
def test_room_is_required_for_what_is_free_and_for_what_is_aside(
    on_hand: int, held: int, quarantined: int, change: Change
) -> None:
    here = shelf(on_hand + held + quarantined, held, quarantined)
    away = Change(HERE, -change.on_hand_delta, -change.quarantined_delta)
    fits = here.quarantined >= change.quarantined_delta and here.free + away.free_delta >= 0

    if fits:
        require_room((away,), {HERE: here})
        return
    with pytest.raises(TooFewBottles) as refused:
        require_room((away,), {HERE: here})
    assert refused.value.facts == {
        "variant_id": str(GIN),
        "warehouse_id": str(HERE),
        "on_hand": here.on_hand,
        "held": here.held,
        "quarantined": here.quarantined,
        "free": here.free,
    }


def test_a_warehouse_that_does_not_exist_has_no_room() -> None:
    with pytest.raises(WarehouseNotFound):
        require_room((Change(HERE, 1), Change(THERE, 1)), {HERE: shelf(1)})


@given(lines)
def test_lines_of_one_variant_become_one(asked: list[HoldLine]) -> None:
    one_each = together(asked)

    assert [line.variant_id for line in one_each] == sorted({line.variant_id for line in asked})
    for line in one_each:
        same = [other for other in asked if other.variant_id == line.variant_id]
        limits = [other.limit_per_customer for other in same if other.limit_per_customer is not None]
        assert line.quantity == sum(other.quantity for other in same)
        assert line.limit_per_customer == min(limits, default=None)
    assert together(reversed(asked)) == one_each


@pytest.mark.parametrize("quantity", [0, -1, QUANTITY_MAX + 1])
def test_a_line_of_no_bottles_or_too_many_is_refused(quantity: int) -> None:
    with pytest.raises(FieldInvalid):
        together((HoldLine(GIN, 1), HoldLine(RUM, quantity)))


def test_no_line_at_all_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        together(())


def test_the_same_request_finds_its_hold() -> None:
    split = StoredHold(
        ORDER,
        BUYER,
        "held",
        END,
        lapsed=False,
        allocations=(Allocation(GIN, HERE, "US-ND", 1), Allocation(GIN, THERE, "US-MT", 1)),
    )

    assert repeated(split, BUYER, (HoldLine(GIN, 2),)) == Hold(ORDER, "held", END, split.allocations)


def test_a_hold_of_others_or_of_other_bottles_is_a_conflict() -> None:
    for customer_id, asked in (
        (CustomerId.new(), (HoldLine(GIN, 2),)),
        (BUYER, (HoldLine(GIN, 3),)),
        (BUYER, (HoldLine(RUM, 2),)),
        (BUYER, (HoldLine(GIN, 2), HoldLine(RUM, 1))),
    ):
        with pytest.raises(HoldConflict):
            repeated(stored(), customer_id, asked)


def test_a_lapsed_hold_makes_way_and_an_ended_one_does_not() -> None:
    assert repeated(stored(lapsed=True), BUYER, (HoldLine(RUM, 1),)) is None
    for ended in (stored("committed"), stored("committed", lapsed=True), stored("released")):
        with pytest.raises(HoldConflict):
            repeated(ended, BUYER, (HoldLine(GIN, 2),))


def test_only_a_committed_hold_is_sold() -> None:
    committed = stored("committed", lapsed=True)

    assert sold(committed) == Hold(ORDER, "committed", END, committed.allocations)
    for other in (None, stored(), stored(lapsed=True), stored("released")):
        with pytest.raises(HoldLapsed):
            sold(other)


def test_a_report_says_what_was_compared_and_what_differs() -> None:
    on_shelf = Difference(
        rule="on_hand_is_sum_of_movements",
        variant_id=GIN,
        warehouse_id=HERE,
        customer_id=None,
        expected=9,
        found=10,
    )
    allowance = Difference(
        rule="taken_is_sum_of_limited_holds",
        variant_id=GIN,
        warehouse_id=None,
        customer_id=BUYER,
        expected=3,
        found=2,
    )

    assert written(Report(2, 7, 1, ())) == (
        "2 shelves, 7 movements and 1 live holds compared: the books agree."
    )
    assert written(Report(2, 7, 1, (on_shelf, allowance))) == (
        "2 shelves, 7 movements and 1 live holds compared: 2 differences.\n"
        f"on_hand_is_sum_of_movements: {GIN} at {HERE}: expected 9, found 10\n"
        f"taken_is_sum_of_limited_holds: {GIN} at {BUYER}: expected 3, found 2"
    )
