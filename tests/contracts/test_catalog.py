"""What `Catalog` promises, in this process and behind HTTP: the same answers, the same conditions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from rickhouse.catalog.contract import Catalog, NotForSale, Offer, VariantNotFound
from rickhouse.catalog.model import ChangeVariant, CreateVariant
from rickhouse.catalog.service import CatalogService
from rickhouse.kernel.ids import VariantId
from rickhouse.kernel.money import Money
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.schema import role_of
from tests.catalog.samples import RYE, RYE_750, any_version, fresh_key, on_sale
from tests.contracts.sides import SIDES, Side, on_side

RELEASE = datetime(2026, 12, 1, 18, 30, 0, 250_000, tzinfo=UTC)


@pytest.fixture(scope="module")
async def shelves(module_database_url: str) -> AsyncGenerator[CatalogService]:
    """The service, on whichever side its contract is."""
    database = await Database(url_for(module_database_url, user=role_of("catalog")), schema="catalog").open()
    yield CatalogService(database, currency="USD")
    await database.close()


@pytest.fixture(scope="module", params=SIDES)
async def catalog(request: pytest.FixtureRequest, shelves: CatalogService) -> AsyncGenerator[Catalog]:
    """The contract, on either side."""
    side: Side = request.param
    async with on_side(side, Catalog, "catalog", shelves) as contract:
        yield contract


async def test_offers_come_in_the_order_asked_and_with_the_price_of_now(
    catalog: Catalog, shelves: CatalogService
) -> None:
    tag = VariantId.new()
    small = msgspec.structs.replace(RYE_750, sku=f"S-{tag}".upper(), size_ml=375, price=Money(2_900, "USD"))
    large = msgspec.structs.replace(RYE_750, sku=f"L-{tag}".upper(), purchase_limit=2)
    product = await on_sale(shelves, RYE, small, large)
    one, other = product.variants

    first = await catalog.offers((other.variant_id, one.variant_id), RELEASE)
    await shelves.change_variant(one.variant_id, ChangeVariant(price=Money(3_100, "USD")), any_version)
    again = await catalog.offers((one.variant_id, one.variant_id), RELEASE)

    assert [offer.variant_id for offer in first] == [other.variant_id, one.variant_id]
    by_id = {offer.variant_id: offer for offer in first}
    found = {variant.sku: by_id[variant.variant_id] for variant in product.variants}
    assert found[large.sku] == Offer(
        variant_id=found[large.sku].variant_id,
        product_id=product.product_id,
        sku=large.sku,
        title="Coulee Rye, 750 ml",
        spirit_class="whiskey",
        abv_bp=4_750,
        size_ml=750,
        price=Money(5_400, "USD"),
        purchase_limit=2,
    )
    assert (found[small.sku].size_ml, found[small.sku].price) == (375, Money(2_900, "USD"))
    assert [offer.price for offer in again] == [Money(3_100, "USD")] * 2
    assert await catalog.offers((), RELEASE) == ()


async def test_a_variant_that_does_not_exist_is_named(catalog: Catalog, shelves: CatalogService) -> None:
    known = (await on_sale(shelves, RYE, _bottling())).variants[0].variant_id
    unknown = VariantId.new()

    with pytest.raises(VariantNotFound) as refusal:
        await catalog.offers((known, unknown), RELEASE)

    assert refusal.value.facts == {"variant_id": str(unknown)}
    assert refusal.value.detail == f"There is no bottling {unknown}; take it out of the order."


async def test_a_bottling_is_for_sale_only_inside_its_release_window(
    catalog: Catalog, shelves: CatalogService
) -> None:
    bottling = msgspec.structs.replace(
        _bottling(), release_from=RELEASE, release_until=RELEASE + timedelta(days=1)
    )
    variant_id = (await on_sale(shelves, RYE, bottling)).variants[0].variant_id
    microsecond = timedelta(microseconds=1)

    for inside in (RELEASE, RELEASE + timedelta(days=1) - microsecond):
        assert [offer.variant_id for offer in await catalog.offers((variant_id,), inside)] == [variant_id]
    for outside, reason in (
        (RELEASE - microsecond, "not_released"),
        (RELEASE + timedelta(days=1), "release_over"),
    ):
        with pytest.raises(NotForSale) as refusal:
            await catalog.offers((variant_id,), outside)
        assert refusal.value.facts == {"variant_id": str(variant_id), "reason": reason}


async def test_a_draft_and_an_archived_bottling_are_not_for_sale(
    catalog: Catalog, shelves: CatalogService
) -> None:
    product = await shelves.create_product(fresh_key(), RYE)
    draft = await shelves.create_variant(fresh_key(), product.product_id, _bottling())
    kept, gone = (await on_sale(shelves, RYE, _bottling(), _bottling())).variants
    await shelves.change_variant(gone.variant_id, ChangeVariant(status="archived"), any_version)

    for variant_id, reason in ((draft.variant_id, "draft"), (gone.variant_id, "archived")):
        with pytest.raises(NotForSale) as refusal:
            await catalog.offers((kept.variant_id, variant_id), RELEASE)
        assert refusal.value.facts == {"variant_id": str(variant_id), "reason": reason}


def _bottling() -> CreateVariant:
    """A bottling whose SKU nobody has."""
    return msgspec.structs.replace(RYE_750, sku=str(VariantId.new()).upper())
