"""Products and bottlings: how they change, when they are sold, how a search is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.catalog.contract import (
    BottlingFixed,
    NotForSale,
    Offer,
    ProductNotReady,
    StatusRefused,
)
from rickhouse.catalog.model import (
    PRICE_MINOR_MAX,
    ChangeProduct,
    ChangeVariant,
    CreateVariant,
    Product,
    ProductStatus,
    SearchWords,
    Shelved,
    VariantStatus,
    bottling,
    change_product,
    change_variant,
    check_variant,
    draft,
    for_buyers,
    offer_at,
    search_words,
)
from rickhouse.kernel.errors import CurrencyMismatch, FieldInvalid
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.kernel.money import Money
from tests.catalog.samples import RYE, RYE_750

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PRODUCT_ID = ProductId.new()


def product(status: ProductStatus = "draft", **more: object) -> Product:
    """A rye with one bottling."""
    bare = draft(PRODUCT_ID, RYE, NOON)
    variants = (bottling(VariantId.new(), PRODUCT_ID, RYE_750),)
    return msgspec.structs.replace(bare, **{"status": status, "variants": variants, **more})


def variant_with(**more: object) -> CreateVariant:
    """The 750 ml bottling with some fields different."""
    return msgspec.structs.replace(RYE_750, **more)


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("draft", "active", True),
        ("draft", "archived", True),
        ("active", "archived", True),
        ("active", "draft", False),
        ("archived", "active", True),
        ("archived", "draft", False),
    ],
)
def test_only_the_allowed_moves_of_status_are_made(
    before: ProductStatus, after: ProductStatus, allowed: bool
) -> None:
    change = ChangeProduct(status=after)
    if allowed:
        assert change_product(product(before), change).status == after
        return
    with pytest.raises(StatusRefused) as refused:
        change_product(product(before), change)
    assert refused.value.facts["status"] == before


def test_a_change_that_changes_nothing_is_the_same_product() -> None:
    before = product("active")
    assert change_product(before, ChangeProduct()) is before
    assert change_product(before, ChangeProduct(name=before.name, status="active")) is before


def test_absent_fields_stay_and_null_empties() -> None:
    changed = change_product(product(), ChangeProduct(age_months=None, abv_bp=4_600))
    assert (changed.age_months, changed.abv_bp, changed.name) == (None, 4_600, "Coulee Rye")


@pytest.mark.parametrize(
    ("lacking", "missing"),
    [
        ({"cola_id": None}, ["cola_id"]),
        ({"variants": ()}, ["variant"]),
        ({"abv_bp": 3_900}, ["strength"]),
        ({"cola_id": None, "variants": (), "abv_bp": 3_900}, ["cola_id", "variant", "strength"]),
    ],
)
def test_a_product_becomes_active_only_with_what_the_law_and_the_shelf_need(
    lacking: dict[str, Any], missing: list[str]
) -> None:
    with pytest.raises(ProductNotReady) as refused:
        change_product(product(**lacking), ChangeProduct(status="active"))
    assert refused.value.facts == {"missing": missing}


def test_an_active_product_cannot_lose_what_it_needed_to_become_active() -> None:
    active = product("active")
    with pytest.raises(ProductNotReady):
        change_product(active, ChangeProduct(cola_id=None))
    with pytest.raises(ProductNotReady):
        change_product(active, ChangeProduct(abv_bp=3_000))
    with pytest.raises(ProductNotReady) as refused:
        change_variant(active, active.variants[0], ChangeVariant(status="archived"), "USD")
    assert refused.value.facts == {"missing": ["variant"]}


@pytest.mark.parametrize("field", ["name", "class_type", "origin", "producer"])
@pytest.mark.parametrize("text", [" ", "\t", "two\nlines", "bell\a", "\u2028", "\ud800"])
def test_a_label_line_is_one_line_that_can_be_read(field: str, text: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        change_product(product(), msgspec.convert({field: text}, ChangeProduct))
    assert refused.value.facts == {"field": field, "rule": "one_line"}


@pytest.mark.parametrize(
    ("more", "field", "rule"),
    [
        ({"sku": "rye 750"}, "sku", "characters"),
        ({"sku": "-RYE"}, "sku", "characters"),
        ({"sku": "RYE\n"}, "sku", "characters"),
        ({"size_ml": 740}, "size_ml", "standard_of_fill"),
        ({"price": Money(0, "USD")}, "price.minor", "range"),
        ({"price": Money(-1, "USD")}, "price.minor", "range"),
        ({"price": Money(PRICE_MINOR_MAX + 1, "USD")}, "price.minor", "range"),
        ({"price": Money(10**40, "USD")}, "price.minor", "range"),
        ({"gtin": "9521234543214"}, "gtin", "check_digit"),
        ({"release_from": datetime(1999, 12, 31, tzinfo=UTC)}, "release_from", "range"),
        ({"release_until": datetime(2100, 1, 1, tzinfo=UTC)}, "release_until", "range"),
        ({"release_from": NOON, "release_until": NOON}, "release_until", "after_release_from"),
    ],
)
def test_a_bottling_that_breaks_a_rule_is_refused_by_field_and_rule(
    more: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(FieldInvalid) as refused:
        check_variant(variant_with(**more), "USD")
    assert refused.value.facts == {"field": field, "rule": rule}


def test_a_price_in_another_currency_is_refused() -> None:
    with pytest.raises(CurrencyMismatch):
        check_variant(variant_with(price=Money(5_400, "EUR")), "USD")


@pytest.mark.parametrize("change", [ChangeVariant(sku="OTHER"), ChangeVariant(size_ml=375)])
def test_what_identifies_a_bottling_changes_only_in_a_draft(change: ChangeVariant) -> None:
    still_draft = product()
    (variant,) = still_draft.variants
    assert change_variant(still_draft, variant, change, "USD") != variant
    for status in ("active", "archived"):
        with pytest.raises(BottlingFixed):
            change_variant(msgspec.structs.replace(still_draft, status=status), variant, change, "USD")


def test_buyers_see_active_products_without_archived_bottlings() -> None:
    kept, gone = (bottling(VariantId.new(), PRODUCT_ID, RYE_750) for _ in range(2))
    gone = msgspec.structs.replace(gone, status="archived")
    seen = for_buyers(product("active", variants=(kept, gone)))
    assert seen is not None
    assert seen.variants == (kept,)
    assert for_buyers(product("draft")) is None
    assert for_buyers(product("archived")) is None


def shelved(
    product_status: ProductStatus = "active",
    variant_status: VariantStatus = "active",
    release_from: datetime | None = None,
    release_until: datetime | None = None,
) -> Shelved:
    """A bottling and its standing."""
    offer = Offer(
        VariantId.new(),
        PRODUCT_ID,
        "RYE-750",
        "Coulee Rye, 750 ml",
        "whiskey",
        4_750,
        750,
        Money(5_400, "USD"),
    )
    return Shelved(offer, product_status, variant_status, release_from, release_until)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (shelved("draft"), "draft"),
        (shelved("archived"), "archived"),
        (shelved(variant_status="archived"), "archived"),
        (shelved(release_from=NOON + SECOND), "not_released"),
        (shelved(release_until=NOON), "release_over"),
    ],
)
def test_what_is_not_on_sale_is_told_why(one: Shelved, reason: str) -> None:
    with pytest.raises(NotForSale) as refused:
        offer_at(one, NOON)
    assert refused.value.facts == {"variant_id": str(one.offer.variant_id), "reason": reason}


@pytest.mark.parametrize("one", [shelved(), shelved(release_from=NOON), shelved(release_until=NOON + SECOND)])
def test_a_release_begins_at_its_first_moment_and_ends_before_its_last(one: Shelved) -> None:
    assert offer_at(one, NOON) is one.offer


@pytest.mark.parametrize(
    ("q", "rest", "prefix"),
    [
        ("bour", "", "bour"),
        ("single bar", "single ", "bar"),
        ("single-bar", "single-", "bar"),
        ("añ", "", "añ"),
        ("bourbon ", "", ""),
        ('"single bar', "", ""),
        ('"single barrel" bour', '"single barrel" ', "bour"),
        ("whiskey -ry", "", ""),
        ("gin or", "", ""),
        ("!", "", ""),
        ("x" * 41, "", ""),
    ],
)
def test_only_a_last_plain_word_may_be_half_typed(q: str, rest: str, prefix: str) -> None:
    assert search_words(q) == SearchWords(q, rest, prefix)


@given(st.text(max_size=200))
def test_rest_and_prefix_are_the_search_or_nothing(q: str) -> None:
    words = search_words(q)
    assert words.whole == q
    assert words.rest + words.prefix in (q, "")
