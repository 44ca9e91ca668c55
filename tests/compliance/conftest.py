"""The law on a database of its own, with customers who answer from a list."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, date, datetime
from typing import Final, cast

import pytest

from rickhouse.compliance.service import ComplianceService
from rickhouse.customers.contract import CustomerForgotten, Customers
from rickhouse.kernel.ids import CustomerId
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.schema import role_of
from tests.compliance.samples import OWN_LICENCE, PACK

NOON: Final = datetime(2026, 12, 1, 18, 0, tzinfo=UTC)


class Ages:
    """Stands for the customers slice: all but `minors` are of age, but who is `forgotten`; `asked` keeps the calls."""

    def __init__(self) -> None:
        self.minors: set[CustomerId] = set()
        self.forgotten: set[CustomerId] = set()
        self.asked: list[tuple[CustomerId, int, date]] = []

    async def is_of_age(self, customer_id: CustomerId, minimum_age: int, on: date) -> bool:
        """See Customers."""
        self.asked.append((customer_id, minimum_age, on))
        if customer_id in self.forgotten:
            raise CustomerForgotten("There is no such customer.")
        return customer_id not in self.minors


@pytest.fixture
async def db(module_database_url: str) -> AsyncGenerator[Database]:
    """The slice's database, which the tests of a module share: each asks about orders of its own."""
    database = Database(url_for(module_database_url, user=role_of("compliance")), schema="compliance")
    yield await database.open()
    await database.close()


@pytest.fixture
def ages() -> Ages:
    """The buyers."""
    return Ages()


@pytest.fixture
def law(db: Database, ages: Ages) -> ComplianceService:
    """The shipped pack, for a distillery in North Dakota with its own licence, on 1 December 2026."""
    return ComplianceService(
        db,
        customers=cast("Customers", ages),
        pack=PACK,
        permits=OWN_LICENCE.permits,
        clock=lambda: NOON,
    )
