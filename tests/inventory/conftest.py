"""An inventory on a database that the tests of a module share: what a test needs, it makes anew."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.ids import WarehouseId
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.schema import role_of
from tests.inventory.samples import opened


@pytest.fixture(scope="module")
async def db(module_database_url: str) -> AsyncGenerator[Database]:
    """The slice's database under the slice's role."""
    url = url_for(module_database_url, user=role_of("inventory"))
    database = await Database(url, schema="inventory", pool_max=20).open()
    yield database
    await database.close()


@pytest.fixture
async def inventory(db: Database) -> AsyncGenerator[InventoryService]:
    """An inventory whose books have to agree when the test ends."""
    service = InventoryService(db)
    yield service
    await service.expire_holds()
    assert (await service.verify()).differences == ()


@pytest.fixture
async def shop(inventory: InventoryService) -> WarehouseId:
    """A warehouse that sells."""
    return await opened(inventory)
