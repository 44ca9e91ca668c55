"""What inventory offers: availability, and holds that become sales or give the bottles back."""

from datetime import datetime
from typing import Literal, Protocol

import msgspec

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.events import Event
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId, WarehouseId


class StockShort(Condition, code="sold_out", kind=Kind.CONFLICT, title="Sold out"):
    """Not enough bottles are free; facts carry `variant_ids` that are short. Nothing was held."""


class LimitReached(
    Condition, code="purchase_limit_reached", kind=Kind.CONFLICT, title="Purchase limit reached"
):
    """The customer already holds or bought as many as one customer may; facts carry `variant_id`, `limit`."""


class HoldLapsed(Condition, code="hold_lapsed", kind=Kind.CONFLICT, title="The hold has ended"):
    """The hold expired or was released before it was committed; the bottles are back on sale."""


class HoldConflict(
    Condition, code="hold_conflict", kind=Kind.CONFLICT, title="The order is held differently"
):
    """The order already holds other lines, or its hold has been released or committed."""


class WarehouseNotFound(
    Condition, code="warehouse_not_found", kind=Kind.UNPROCESSABLE, title="No such warehouse"
):
    """Stock was to be moved in a warehouse that does not exist; facts carry `warehouse_id`."""


class WarehouseNameTaken(
    Condition, code="warehouse_name_taken", kind=Kind.CONFLICT, title="Warehouse name taken"
):
    """Another warehouse has this name; facts carry `name`."""


class TooFewBottles(Condition, code="too_few_bottles", kind=Kind.CONFLICT, title="Too few bottles"):
    """Fewer bottles stand free (or in quarantine) than were to be moved. Facts carry `variant_id`, `warehouse_id`,
    `on_hand`, `held`, `quarantined`, `free`. Nothing was moved."""


class HoldLine(msgspec.Struct, frozen=True):
    """What to hold: `quantity` bottles, at most `limit_per_customer` over all of one customer's live and sold holds."""

    variant_id: VariantId
    quantity: int
    limit_per_customer: int | None = None


class Allocation(msgspec.Struct, frozen=True):
    """Where held bottles stand. `region` is the warehouse's ISO 3166-2 code, the origin that the law looks at."""

    variant_id: VariantId
    warehouse_id: WarehouseId
    region: str
    quantity: int


HoldState = Literal["held", "committed"]
"""What a hold is while its bottles are kept; one that was released or ran out keeps none, and is not shown."""


class Hold(msgspec.Struct, frozen=True):
    """Bottles kept aside for one order until `expires_at`."""

    order_id: OrderId
    state: HoldState
    expires_at: datetime
    allocations: tuple[Allocation, ...]


class Availability(msgspec.Struct, frozen=True):
    """Bottles of a variant that can be held now, over all selling warehouses."""

    variant_id: VariantId
    available: int


class StockReceived(Event, frozen=True):
    """Bottles came in, or the count was corrected, so availability may have grown."""

    kind = "inventory.stock_received"
    variant_id: VariantId
    warehouse_id: WarehouseId
    quantity: int


class StockHeld(Event, frozen=True):
    """Every line of an order is kept aside."""

    kind = "inventory.stock_held"
    order_id: OrderId
    expires_at: datetime


class HoldCommitted(Event, frozen=True):
    """The held bottles are sold."""

    kind = "inventory.hold_committed"
    order_id: OrderId


class HoldReleased(Event, frozen=True):
    """The bottles of an order are back on sale because somebody gave them back."""

    kind = "inventory.hold_released"
    order_id: OrderId


class HoldExpired(Event, frozen=True):
    """The bottles of an order are back on sale because its time ran out."""

    kind = "inventory.hold_expired"
    order_id: OrderId


class Inventory(Protocol):
    """Stock as checkout sees it. Every method may be called again with the same order and changes nothing twice."""

    async def hold(
        self, order_id: OrderId, customer_id: CustomerId, lines: tuple[HoldLine, ...], ttl_s: int
    ) -> Hold:
        """Keep every line aside for `ttl_s` seconds, all or nothing; one warehouse if one can fill the order, else
        split by warehouse priority. Lines of the same variant count together.

        An order that already holds the same lines keeps its bottles and its expiry. A lapsed hold is placed anew.
        Raises StockShort, LimitReached, HoldConflict.
        """
        ...

    async def extend(self, order_id: OrderId, ttl_s: int) -> Hold:
        """Let a live hold end no earlier than `ttl_s` seconds from now; a committed one has no end and stays so.

        Raises HoldLapsed.
        """
        ...

    async def commit(self, order_id: OrderId) -> Hold:
        """Turn a live hold into a sale; a committed one stays so. Raises HoldLapsed."""
        ...

    async def release(self, order_id: OrderId) -> None:
        """Give the bottles back, whether held or committed. Without a hold, nothing happens, now or later:
        a hold asked for afterwards is refused with HoldConflict."""
        ...

    async def availability(self, variant_ids: tuple[VariantId, ...]) -> tuple[Availability, ...]:
        """What can be held now of each variant, in the order asked; zero for an unknown one."""
        ...
