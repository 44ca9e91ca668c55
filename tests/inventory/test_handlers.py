"""What inventory does by itself."""

from __future__ import annotations

from rickhouse.inventory.handlers import periodics
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.ids import WarehouseId
from rickhouse.platform.db import Database
from tests.inventory.samples import counts_of, held, let_lapse, received


async def test_lapsed_bottles_are_back_on_sale_within_five_seconds(
    inventory: InventoryService, db: Database, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 3)
    await let_lapse(db, (await held(inventory, (variant_id, 3))).order_id)
    (expiry,) = periodics(inventory)

    await expiry.run()

    assert (expiry.name, expiry.every_s) == ("inventory.expire_holds", 1.0)
    assert await counts_of(inventory, variant_id) == (3, 0, 0)
