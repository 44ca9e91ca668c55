"""A vault on a database that the tests of one module share."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from rickhouse.customers.service import CustomersService
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.keyfile import KeyFile
from rickhouse.platform.schema import role_of
from tests.customers.samples import ScriptedBureau


@pytest.fixture(scope="module")
async def db(module_database_url: str) -> AsyncGenerator[Database]:
    """The slice's database, under its own role."""
    database = Database(url_for(module_database_url, user=role_of("customers")), schema="customers")
    yield await database.open()
    await database.close()


@pytest.fixture(scope="module")
async def admin(module_database_url: str) -> AsyncGenerator[Database]:
    """The same database as its administrator sees it."""
    database = Database(module_database_url, schema="customers")
    yield await database.open()
    await database.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    """The key file of the module's vault."""
    return KeyFile.load(tmp_path_factory.mktemp("keys") / "customers.json")


@pytest.fixture
def bureau() -> ScriptedBureau:
    """A bureau that proves every age until told otherwise."""
    return ScriptedBureau()


@pytest.fixture
def service(db: Database, keys: KeyFile, bureau: ScriptedBureau) -> CustomersService:
    """A vault with nothing in memory yet."""
    return CustomersService(db, keys=keys, bureau=bureau)
