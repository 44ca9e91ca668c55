"""The composition root: which implementation stands behind each contract, in this process or behind HTTP.

Nothing else knows the difference. No business rule belongs here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

from rickhouse.apps.databases import SLICES
from rickhouse.apps.house import House, own_file
from rickhouse.catalog import routes as catalog_routes
from rickhouse.catalog.contract import Catalog
from rickhouse.catalog.service import CatalogService
from rickhouse.compliance import routes as compliance_routes
from rickhouse.compliance.contract import Compliance
from rickhouse.compliance.loader import load_pack
from rickhouse.compliance.service import ComplianceService
from rickhouse.customers import routes as customers_routes
from rickhouse.customers.contract import Customers
from rickhouse.customers.port import AgeBureau
from rickhouse.customers.providers.sandbox.client import SandboxBureau
from rickhouse.customers.service import CustomersService
from rickhouse.inventory import handlers as inventory_handlers
from rickhouse.inventory import routes as inventory_routes
from rickhouse.inventory.contract import Inventory
from rickhouse.inventory.service import InventoryService
from rickhouse.orders import handlers as orders_handlers
from rickhouse.orders import routes as orders_routes
from rickhouse.orders.cancel import CancelService
from rickhouse.orders.checkout import CheckoutService, Neighbours, Terms
from rickhouse.orders.contract import Orders
from rickhouse.orders.recovery import RecoveryService
from rickhouse.orders.service import OrdersService
from rickhouse.payments import handlers as payments_handlers
from rickhouse.payments import routes as payments_routes
from rickhouse.payments.contract import Payments
from rickhouse.payments.port import Gateway
from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.cache import Cache
from rickhouse.platform.http import HttpClient
from rickhouse.platform.keyfile import KeyFile
from rickhouse.platform.settings import Settings, SettingsError

Maker = TypeVar("Maker")

GATEWAYS: Final[Mapping[str, Callable[[Settings], Gateway]]] = {
    "sandbox": lambda settings: SandboxGateway(
        HttpClient(
            settings.payments.bank_url,
            name="bank",
            timeout_s=settings.payments.gateway_timeout_s,
            connect_timeout_s=1.0,
        )
    ),
}
"""Who moves money. A new vendor is a folder under `payments/providers` and a line here."""

BUREAUS: Final[Mapping[str, Callable[[Settings], AgeBureau]]] = {
    "sandbox": lambda settings: SandboxBureau(
        HttpClient(
            settings.customers.bureau_url,
            name="age bureau",
            timeout_s=settings.customers.bureau_timeout_s,
        )
    ),
}
"""Who proves an age. A new vendor is a folder under `customers/providers` and a line here."""


def compose(settings: Settings, slices: Sequence[str] = ()) -> House:
    """Wire the named slices, or every slice that is not remote. Raises SettingsError, PrivateFileRefused."""
    house = House(settings, slices or tuple(name for name in SLICES if name not in settings.remotes))
    bound = _Bound(house)
    services = {
        "catalog": lambda: bound.catalog,
        "inventory": lambda: bound.inventory,
        "customers": lambda: bound.customers,
        "compliance": lambda: bound.compliance,
        "payments": lambda: bound.payments,
        "orders": lambda: bound.orders,
    }
    for name in house.served:
        services[name]()
    return house


class _Bound:
    """Each contract once: the service where the slice is served here, the remote client where it is not."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._settings = house.settings

    @cached_property
    def catalog(self) -> Catalog:
        """Products and prices."""
        house = self._house
        if not house.serves("catalog"):
            return house.remote(Catalog, "catalog")
        cache = Cache(self._settings.cache.url)
        service = CatalogService(
            house.database("catalog"), currency=self._settings.orders.currency, cache=cache
        )
        house.on_open.append(service.open)
        house.on_close += [service.close, cache.close]
        house.room("catalog", catalog_routes.routes(service))
        return house.offer(Catalog, "catalog", service)

    @cached_property
    def inventory(self) -> Inventory:
        """Bottles and holds."""
        house = self._house
        if not house.serves("inventory"):
            return house.remote(Inventory, "inventory")
        service = InventoryService(house.database("inventory"))
        house.room(
            "inventory", inventory_routes.routes(service), periodics=inventory_handlers.periodics(service)
        )
        return house.offer(Inventory, "inventory", service)

    @cached_property
    def customers(self) -> Customers:
        """People."""
        house = self._house
        if not house.serves("customers"):
            return house.remote(Customers, "customers")
        service = CustomersService(
            house.database("customers"),
            keys=KeyFile.load(own_file(self._settings, self._settings.customer_key_file)),
            bureau=_chosen(BUREAUS, "customers.bureau", self._settings.customers.bureau)(self._settings),
            proof_days=self._settings.customers.proof_days,
        )
        house.room("customers", customers_routes.routes(service))
        return house.offer(Customers, "customers", service)

    @cached_property
    def compliance(self) -> Compliance:
        """The law."""
        house = self._house
        if not house.serves("compliance"):
            return house.remote(Compliance, "compliance")
        settings = self._settings.compliance
        service = ComplianceService(
            house.database("compliance"),
            customers=self.customers,
            pack=load_pack(Path(settings.pack) if settings.pack else None),
            permits=settings.permits,
            outbound_attested=settings.outbound_attested,
            products_attested=settings.products_attested,
            transit_days=settings.transit_days,
        )
        house.room("compliance", compliance_routes.routes(service))
        return house.offer(Compliance, "compliance", service)

    @cached_property
    def payments(self) -> Payments:
        """Money."""
        house = self._house
        if not house.serves("payments"):
            return house.remote(Payments, "payments")
        service = PaymentsService(house.database("payments"), gateway=gateway_of(self._settings))
        house.room(
            "payments", payments_routes.routes(service), periodics=payments_handlers.periodics(service)
        )
        return house.offer(Payments, "payments", service)

    @cached_property
    def orders(self) -> Orders:
        """The order, which is the saga over all the others."""
        house, terms = self._house, _terms(self._settings)
        if not house.serves("orders"):
            return house.remote(Orders, "orders")
        database = house.database("orders")
        cancel = CancelService(
            database, inventory=self.inventory, payments=self.payments, lease_s=terms.lease_s
        )
        neighbours = Neighbours(self.catalog, self.inventory, self.customers, self.compliance, self.payments)
        checkout = CheckoutService(database, neighbours=neighbours, cancel=cancel, terms=terms)
        recovery = RecoveryService(database, checkout=checkout, cancel=cancel, lease_s=terms.lease_s)
        service = OrdersService(database, cancel=cancel)
        house.room(
            "orders",
            orders_routes.routes(service, checkout, cancel),
            periodics=orders_handlers.periodics(recovery),
            subscriptions=orders_handlers.subscriptions(cancel, house.feed("inventory")),
        )
        return house.offer(Orders, "orders", service)


def gateway_of(settings: Settings) -> Gateway:
    """The gateway that the settings choose. Raises SettingsError."""
    return _chosen(GATEWAYS, "payments.gateway", settings.payments.gateway)(settings)


def _terms(settings: Settings) -> Terms:
    """Raises SettingsError where a slow vendor would call in a second runner: two may not work at one order."""
    orders = settings.orders
    vendors_s = settings.payments.gateway_timeout_s + settings.customers.bureau_timeout_s
    if orders.lease_s <= vendors_s:
        raise SettingsError(
            f"orders.lease_s is {orders.lease_s}, but payments.gateway_timeout_s and customers.bureau_timeout_s allow "
            f"the vendors {vendors_s:g} s together: choose a longer lease or shorter timeouts."
        )
    return Terms(
        currency=orders.currency,
        hold_ttl_s=orders.hold_ttl_s,
        review_hold_s=orders.review_hold_s,
        lease_s=orders.lease_s,
        shipping_minor=orders.shipping_minor,
        tax_bp=orders.tax_bp,
    )


def _chosen(known: Mapping[str, Maker], setting: str, name: str) -> Maker:
    if name not in known:
        raise SettingsError(f"{setting} is {name!r}; choose one of {', '.join(sorted(known))}.")
    return known[name]
