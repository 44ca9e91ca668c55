"""A checkout and its neighbours on a database that the tests of a module share."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.orders.samples import Rooms, rooms
from tests.simulators.bank import BankProcess, bank

__all__ = ["bank"]


@pytest.fixture(scope="module", name="rooms")
async def every_room(
    module_database_url: str, bank: BankProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Rooms]:
    """Every slice in this process; the books have to agree in the end."""
    async with rooms(module_database_url, bank.url, tmp_path_factory.mktemp("keys")) as made:
        yield made
        assert (await made.inventory.verify()).differences == ()
        assert await made.payments.verify() == ()
        assert await made.payments.reconcile(bank.ledger()) == ()
