"""Payments on a database that the tests of a module share, and a bank in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import pytest

from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.http import HttpClient, close_clients
from rickhouse.platform.schema import role_of
from tests.payments.samples import LATE_AFTER_S, TIMEOUT_S
from tests.simulators.bank import BankProcess, bank, simulated_bank

__all__ = ["bank"]


@pytest.fixture(scope="module")
async def db(module_database_url: str) -> AsyncGenerator[Database]:
    """The slice's database under the slice's role."""
    url = url_for(module_database_url, user=role_of("payments"))
    database = await Database(url, schema="payments", pool_max=24).open()
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def admin(module_database_url: str) -> AsyncGenerator[Database]:
    """The same database as its administrator sees it."""
    database = await Database(module_database_url, schema="payments").open()
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def gateway(bank: BankProcess) -> AsyncGenerator[SandboxGateway]:
    """The bank behind the port, with little patience."""
    yield SandboxGateway(HttpClient(bank.url, name="bank", timeout_s=TIMEOUT_S, failures_max=0))
    await close_clients()


@pytest.fixture
async def payments(db: Database, gateway: SandboxGateway) -> AsyncGenerator[PaymentsService]:
    """Payments whose books have to agree with themselves when the test ends. What tests left open before is not due."""
    await db.execute("update attempts set ask_at = 'infinity' where ask_at is not null")
    await db.execute("update refunds set ask_at = 'infinity' where ask_at is not null")
    service = PaymentsService(db, gateway, late_after_s=LATE_AFTER_S, abandon_after_s=LATE_AFTER_S)
    yield service
    assert await service.verify() == ()


@pytest.fixture
def forgetful_bank() -> Iterator[BankProcess]:
    """A bank that cannot bar a key."""
    with simulated_bank(fences=False) as process:
        yield process
