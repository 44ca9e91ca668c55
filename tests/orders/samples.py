"""A checkout with its real neighbours, all in one process, and what the tests of orders buy there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from rickhouse.catalog.model import CreateVariant
from rickhouse.catalog.service import CatalogService
from rickhouse.compliance.loader import load_pack
from rickhouse.compliance.service import ComplianceService
from rickhouse.customers.contract import Person
from rickhouse.customers.service import CustomersService
from rickhouse.inventory.model import Shelf
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import CheckoutId, OrderId, VariantId, WarehouseId
from rickhouse.kernel.money import Money
from rickhouse.orders.cancel import CancelService
from rickhouse.orders.checkout import CheckoutService, Neighbours, Terms
from rickhouse.orders.contract import LineRequest
from rickhouse.orders.model import Order
from rickhouse.orders.recovery import RecoveryService
from rickhouse.orders.service import OrdersService
from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.http import HttpClient, close_clients
from rickhouse.platform.keyfile import KeyFile
from rickhouse.platform.schema import role_of
from tests.catalog.samples import RYE, on_sale
from tests.compliance.samples import OWN_LICENCE
from tests.customers.samples import ScriptedBureau, somebody
from tests.inventory.samples import opened, received

APPROVE: Final = "tok_approve"
DECLINE: Final = "tok_decline_stolen"
CHALLENGE: Final = "tok_3ds"
SHOP: Final = "shop"
TERMS: Final = Terms(shipping_minor=900, tax_bp={"US-ND": 500}, patience_s=1.0)
"""Nine dollars of shipping, 5 % of tax in North Dakota."""

PRICE: Final = Money(5_400, "USD")
_SLICES: Final = ("catalog", "inventory", "customers", "compliance", "payments", "orders")
_numbers = count(1)


def key(owner: str = SHOP, fingerprint: bytes = b"body") -> Keyed:
    """An idempotency key that no other request has."""
    return Keyed(owner, f"key-{next(_numbers)}", fingerprint)


@dataclass(frozen=True)
class Rooms:
    """Every slice in this process, on one database."""

    db: Database
    catalog: CatalogService
    inventory: InventoryService
    customers: CustomersService
    payments: PaymentsService
    bureau: ScriptedBureau
    warehouse_id: WarehouseId
    checkout: CheckoutService
    cancel: CancelService
    recovery: RecoveryService
    orders: OrdersService

    async def bottling(self, bottles: int = 10, *, purchase_limit: int | None = None) -> VariantId:
        """A rye of its own on sale, with so many bottles in the warehouse."""
        number = next(_numbers)
        product = await on_sale(
            self.catalog,
            msgspec.structs.replace(RYE, name=f"Rye {number}"),
            CreateVariant(
                sku=f"RYE-{number}", size_ml=750, price=PRICE, weight_g=1_380, purchase_limit=purchase_limit
            ),
        )
        variant_id = product.variants[0].variant_id
        await received(self.inventory, self.warehouse_id, bottles, variant_id)
        return variant_id

    async def open(
        self,
        variant_id: VariantId,
        quantity: int = 1,
        *,
        person: Person | None = None,
        keyed: Keyed | None = None,
    ) -> Order:
        """An opened checkout of somebody who is of age and lives next door."""
        lines = (LineRequest(variant_id, quantity),)
        return await self.checkout.open(keyed or key(), lines, person or somebody())

    async def complete(self, order: Order, token: str = APPROVE, *, keyed: Keyed | None = None) -> Order:
        """What completing that checkout answers."""
        return await self.checkout.complete(keyed or key(), checkout_id(order), token)

    async def buy(self, variant_id: VariantId, quantity: int = 1) -> Order:
        """A confirmed order."""
        return await self.complete(await self.open(variant_id, quantity))

    async def shelf(self, variant_id: VariantId) -> tuple[int, int]:
        """Bottles on hand and held."""
        shelves: tuple[Shelf, ...] = tuple(await self.inventory.list_shelves(variant_id))
        return sum(shelf.on_hand for shelf in shelves), sum(shelf.held for shelf in shelves)

    async def paid(self, order_id: OrderId) -> list[str]:
        """The state of each attempt to pay."""
        return [payment.state for payment in await self.payments.attempts_of(order_id)]

    async def told(self, order_id: OrderId) -> list[tuple[str, str]]:
        """State and cause of each entry of the order's timeline."""
        return [(entry.state, entry.cause) for entry in await self.orders.timeline(order_id)]


def checkout_id(order: Order) -> CheckoutId:
    """The order while it is being bought."""
    return CheckoutId(order.order_id.uuid)


@asynccontextmanager
async def rooms(url: str, bank_url: str, directory: Path, terms: Terms = TERMS) -> AsyncGenerator[Rooms]:
    """All slices on the migrated database at `url`, the bank in its own process, the age bureau scripted."""
    async with AsyncExitStack() as opened_first:
        opened_first.push_async_callback(close_clients)
        databases: dict[str, Database] = {}
        for name in _SLICES:
            database = await Database(url_for(url, user=role_of(name)), schema=name).open()
            opened_first.push_async_callback(database.close)
            databases[name] = database
        bureau = ScriptedBureau()
        catalog = CatalogService(databases["catalog"], currency="USD")
        inventory = InventoryService(databases["inventory"])
        keys = KeyFile.load(directory / "customers.json")
        customers = CustomersService(databases["customers"], keys=keys, bureau=bureau)
        compliance = ComplianceService(
            databases["compliance"], customers=customers, pack=load_pack(), permits=OWN_LICENCE.permits
        )
        gateway = SandboxGateway(HttpClient(bank_url, name="bank", timeout_s=1.0, failures_max=0))
        payments = PaymentsService(databases["payments"], gateway)
        db = databases["orders"]
        cancel = CancelService(db, inventory=inventory, payments=payments, lease_s=terms.lease_s)
        checkout = CheckoutService(
            db,
            neighbours=Neighbours(catalog, inventory, customers, compliance, payments),
            cancel=cancel,
            terms=terms,
        )
        yield Rooms(
            db=db,
            catalog=catalog,
            inventory=inventory,
            customers=customers,
            payments=payments,
            bureau=bureau,
            warehouse_id=await opened(inventory),
            checkout=checkout,
            cancel=cancel,
            recovery=RecoveryService(db, checkout=checkout, cancel=cancel, lease_s=terms.lease_s),
            orders=OrdersService(db, cancel=cancel),
        )
