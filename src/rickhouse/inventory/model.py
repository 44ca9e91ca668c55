"""The rules of stock as pure functions: what a request does to which shelf, and what is said when it cannot be done.

Which bottle an order gets is decided where it is counted, in the statement that holds it (`sql.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from rickhouse.inventory.contract import (
    Allocation,
    Hold,
    HoldConflict,
    HoldLapsed,
    HoldLine,
    LimitReached,
    StockReceived,
    StockShort,
    TooFewBottles,
    WarehouseNotFound,
)
from rickhouse.kernel.errors import FieldInvalid
from rickhouse.kernel.ids import CustomerId, MovementId, OrderId, VariantId, WarehouseId

QUANTITY_MAX: Final = 1_000_000
"""Most bottles that one request moves: more is a slip of the hand."""

TTL_S_MAX: Final = 30 * 24 * 3600
"""Longest that bottles are kept aside without a sale."""

_REGION: Final = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
"""ISO 3166-2: the country, a hyphen, one to three letters or digits."""

WarehouseKind = Literal["bonded", "tax_paid", "tasting_room"]
RequestKind = Literal["receipt", "adjustment", "transfer", "breakage", "return", "quarantine", "clearance"]
EntryKind = Literal["hold", "release", "expiry", "commit"] | RequestKind

Bottles = Annotated[int, Meta(ge=1, le=QUANTITY_MAX, description="Bottles.", examples=[12])]
Reason = Annotated[
    str,
    Meta(min_length=1, max_length=200, description="Why, in words that stand in the ledger for ever."),
]
Note = Annotated[str, Meta(max_length=200, description="What stands in the ledger beside it, if anything.")]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What staff ask for. A field that nobody knows is refused."""


class CreateWarehouse(Command, frozen=True, kw_only=True):
    """A new place for stock. `region` is ISO 3166-2; the lower `priority` fills an order first; only a warehouse that
    `sells` fills orders at all, which a bonded one never does."""

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    region: Annotated[str, Meta(min_length=4, max_length=6, examples=["US-ND"])]
    kind: WarehouseKind
    priority: Annotated[int, Meta(ge=0, le=1_000)]
    sells: bool


class Warehouse(msgspec.Struct, frozen=True, kw_only=True):
    """A place that stock stands in."""

    warehouse_id: WarehouseId
    name: str
    region: str
    kind: WarehouseKind
    priority: int
    sells: bool
    created_at: datetime


class Change(msgspec.Struct, frozen=True):
    """What a movement does in one warehouse. Free bottles grow by `on_hand_delta - quarantined_delta`."""

    warehouse_id: WarehouseId
    on_hand_delta: int
    quarantined_delta: int = 0

    @property
    def free_delta(self) -> int:
        """By how many the bottles that can be sold or moved grow."""
        return self.on_hand_delta - self.quarantined_delta


class Receipt(Command, frozen=True, kw_only=True):
    """Bottles came in from production or a supplier."""

    kind: ClassVar[RequestKind] = "receipt"
    variant_id: VariantId
    warehouse_id: WarehouseId
    quantity: Bottles
    reason: Note = ""

    def changes(self) -> tuple[Change, ...]:
        """More bottles on hand."""
        return (Change(self.warehouse_id, self.quantity),)


class Adjustment(Command, frozen=True, kw_only=True):
    """A count differs from the books by `delta` bottles: more when positive, fewer when negative, never zero."""

    kind: ClassVar[RequestKind] = "adjustment"
    variant_id: VariantId
    warehouse_id: WarehouseId
    delta: Annotated[int, Meta(ge=-QUANTITY_MAX, le=QUANTITY_MAX, examples=[-2])]
    reason: Reason

    def changes(self) -> tuple[Change, ...]:
        """As many bottles on hand as were counted. Raises FieldInvalid."""
        if self.delta == 0:
            raise FieldInvalid("delta cannot be zero: nothing would change.", field="delta", rule="not_zero")
        return (Change(self.warehouse_id, self.delta),)


class Transfer(Command, frozen=True, kw_only=True):
    """Free bottles go from one warehouse to another. Out of bond, this is the removal at which tax is determined."""

    kind: ClassVar[RequestKind] = "transfer"
    variant_id: VariantId
    from_warehouse_id: WarehouseId
    to_warehouse_id: WarehouseId
    quantity: Bottles
    reason: Note = ""

    def changes(self) -> tuple[Change, ...]:
        """Fewer bottles on hand here, more there. Raises FieldInvalid."""
        if self.from_warehouse_id == self.to_warehouse_id:
            raise FieldInvalid(
                "Bottles cannot be moved to where they stand.",
                field="to_warehouse_id",
                rule="another_warehouse",
            )
        return (Change(self.from_warehouse_id, -self.quantity), Change(self.to_warehouse_id, self.quantity))


class Breakage(Command, frozen=True, kw_only=True):
    """Bottles broke or were destroyed: free ones, or those in quarantine."""

    kind: ClassVar[RequestKind] = "breakage"
    variant_id: VariantId
    warehouse_id: WarehouseId
    quantity: Bottles
    reason: Reason
    from_quarantine: bool = False

    def changes(self) -> tuple[Change, ...]:
        """Fewer bottles on hand."""
        quarantined = -self.quantity if self.from_quarantine else 0
        return (Change(self.warehouse_id, -self.quantity, quarantined),)


class Return(Command, frozen=True, kw_only=True):
    """Sold bottles came back. They stay in quarantine until somebody has looked at seal and contents."""

    kind: ClassVar[RequestKind] = "return"
    variant_id: VariantId
    warehouse_id: WarehouseId
    quantity: Bottles
    reason: Reason
    order_id: OrderId

    def changes(self) -> tuple[Change, ...]:
        """More bottles on hand, none of them free."""
        return (Change(self.warehouse_id, self.quantity, self.quantity),)


class Quarantine(Command, frozen=True, kw_only=True):
    """Free bottles are put aside: not sold, not gone."""

    kind: ClassVar[RequestKind] = "quarantine"
    variant_id: VariantId
    warehouse_id: WarehouseId
    quantity: Bottles
    reason: Reason

    def changes(self) -> tuple[Change, ...]:
        """As many bottles on hand, fewer of them free."""
        return (Change(self.warehouse_id, 0, self.quantity),)


class Clearance(Command, frozen=True, kw_only=True):
    """Bottles come out of quarantine and are free again."""

    kind: ClassVar[RequestKind] = "clearance"
    variant_id: VariantId
    warehouse_id: WarehouseId
    quantity: Bottles
    reason: Note = ""

    def changes(self) -> tuple[Change, ...]:
        """As many bottles on hand, more of them free."""
        return (Change(self.warehouse_id, 0, -self.quantity),)


StockRequest = Receipt | Adjustment | Transfer | Breakage | Return | Quarantine | Clearance


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """What staff moved, once it is in the ledger. `changes` has one row for each warehouse, in their order."""

    movement_id: MovementId
    kind: RequestKind
    variant_id: VariantId
    changes: tuple[Change, ...]
    reason: str
    order_id: OrderId | None
    actor: str
    moved_at: datetime


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger. `order_id` and `movement_id` are what caused it."""

    seq: int
    kind: EntryKind
    variant_id: VariantId
    warehouse_id: WarehouseId
    on_hand_delta: int
    held_delta: int
    quarantined_delta: int
    order_id: OrderId | None
    movement_id: MovementId | None
    actor: str
    reason: str
    at: datetime


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """A variant in a warehouse. `free` bottles are neither held nor in quarantine."""

    variant_id: VariantId
    warehouse_id: WarehouseId
    on_hand: int
    held: int
    quarantined: int
    free: int


class StoredHold(msgspec.Struct, frozen=True):
    """An order's row. `lapsed`: its time is over and the bottles are not back yet. Nobody is its customer where the
    release came before the hold."""

    order_id: OrderId
    customer_id: CustomerId | None
    state: Literal["held", "committed", "released"]
    expires_at: datetime
    lapsed: bool
    allocations: tuple[Allocation, ...]


class AlreadyKnown(msgspec.Struct, frozen=True):
    """No hold was placed: the order has a row."""


class Short(msgspec.Struct, frozen=True):
    """No hold was placed: too few bottles of these variants are free."""

    variant_ids: tuple[VariantId, ...]


class OverLimit(msgspec.Struct, frozen=True):
    """No hold was placed: the customer would have more than `limit` bottles of the variant."""

    variant_id: VariantId
    limit: int


Rule = Literal[
    "on_hand_is_sum_of_movements",
    "held_is_sum_of_movements",
    "quarantined_is_sum_of_movements",
    "held_is_sum_of_live_holds",
    "taken_is_sum_of_limited_holds",
    "nothing_is_negative",
]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One figure that breaks a rule. It is about a warehouse, or (an allowance) about a customer."""

    rule: Rule
    variant_id: VariantId
    warehouse_id: WarehouseId | None
    customer_id: CustomerId | None
    expected: int
    found: int


class Report(msgspec.Struct, frozen=True):
    """What the proof of stock found; no difference means that the books agree."""

    shelves: int
    movements: int
    live_holds: int
    differences: tuple[Difference, ...]


def checked_warehouse(command: CreateWarehouse) -> CreateWarehouse:
    """The command, if it keeps the rules. Raises FieldInvalid."""
    if not command.name.strip():
        raise FieldInvalid("name cannot be blank.", field="name", rule="not_blank")
    if not _REGION.fullmatch(command.region):
        raise FieldInvalid("region is an ISO 3166-2 code such as US-ND.", field="region", rule="iso_3166_2")
    if command.kind == "bonded" and command.sells:
        raise FieldInvalid(
            "A bonded warehouse cannot sell: move bottles to a tax-paid one first (26 U.S.C. 5213).",
            field="sells",
            rule="bonded_never_sells",
        )
    return command


def movement_of(movement_id: MovementId, request: StockRequest, actor: str, at: datetime) -> Movement:
    """The movement that `actor` asks for. Raises FieldInvalid."""
    return Movement(
        movement_id=movement_id,
        kind=request.kind,
        variant_id=request.variant_id,
        changes=tuple(sorted(request.changes(), key=lambda change: change.warehouse_id)),
        reason=request.reason,
        order_id=request.order_id if isinstance(request, Return) else None,
        actor=actor,
        moved_at=at,
    )


def received(variant_id: VariantId, change: Change) -> StockReceived | None:
    """The news that more bottles can be sold, if they can."""
    if change.free_delta <= 0:
        return None
    return StockReceived(variant_id=variant_id, warehouse_id=change.warehouse_id, quantity=change.free_delta)


def require_room(changes: Iterable[Change], shelves: Mapping[WarehouseId, Shelf]) -> None:
    """Pass if every change can be made. `shelves` has each of the warehouses that exists.

    Raises WarehouseNotFound, TooFewBottles.
    """
    for change in changes:
        shelf = shelves.get(change.warehouse_id)
        if shelf is None:
            raise WarehouseNotFound(
                f"There is no warehouse {change.warehouse_id}.", warehouse_id=str(change.warehouse_id)
            )
        if shelf.quarantined + change.quarantined_delta < 0:
            raise _too_few(
                shelf, f"Only {shelf.quarantined} bottles are in quarantine, not {-change.quarantined_delta}."
            )
        if shelf.free + change.free_delta < 0:
            raise _too_few(
                shelf,
                f"Only {shelf.free} of {shelf.on_hand} bottles are free, not {-change.free_delta}: "
                f"{shelf.held} are held for orders and {shelf.quarantined} are in quarantine.",
            )


def _too_few(shelf: Shelf, detail: str) -> TooFewBottles:
    return TooFewBottles(
        detail,
        variant_id=str(shelf.variant_id),
        warehouse_id=str(shelf.warehouse_id),
        on_hand=shelf.on_hand,
        held=shelf.held,
        quarantined=shelf.quarantined,
        free=shelf.free,
    )


def together(lines: Iterable[HoldLine]) -> tuple[HoldLine, ...]:
    """One line for each variant, in the order of variants: quantities add up, the lowest limit counts.

    Raises FieldInvalid for no line at all, and for a quantity outside 1..1,000,000.
    """
    by_variant: dict[VariantId, HoldLine] = {}
    for line in lines:
        before = by_variant.get(line.variant_id)
        by_variant[line.variant_id] = line if before is None else _added(before, line)
        if not 0 < line.quantity <= QUANTITY_MAX:
            raise FieldInvalid(
                f"quantity must be between 1 and {QUANTITY_MAX}.", field="quantity", rule="between"
            )
    if not by_variant:
        raise FieldInvalid("There is no line to hold.", field="lines", rule="not_empty")
    return tuple(by_variant[variant_id] for variant_id in sorted(by_variant))


def _added(one: HoldLine, other: HoldLine) -> HoldLine:
    limits = [limit for limit in (one.limit_per_customer, other.limit_per_customer) if limit is not None]
    return HoldLine(one.variant_id, one.quantity + other.quantity, min(limits, default=None))


def checked_ttl(ttl_s: int) -> int:
    """The time-to-live, if it is one. Raises FieldInvalid."""
    if not 0 < ttl_s <= TTL_S_MAX:
        raise FieldInvalid(f"ttl_s must be between 1 and {TTL_S_MAX}.", field="ttl_s", rule="between")
    return ttl_s


def repeated(stored: StoredHold, customer_id: CustomerId, lines: Sequence[HoldLine]) -> Hold | None:
    """The hold that was asked for again; None where its time is over, so that it is to be placed anew.

    Raises HoldConflict.
    """
    if stored.state != "held":
        raise HoldConflict(f"The order's hold was {stored.state}; open another order.")
    if stored.lapsed:
        return None
    asked = {line.variant_id: line.quantity for line in lines}
    if stored.customer_id != customer_id or _quantities(stored.allocations) != asked:
        raise HoldConflict("The order holds other bottles, or is another customer's; release it first.")
    return Hold(stored.order_id, "held", stored.expires_at, stored.allocations)


def _quantities(allocations: Iterable[Allocation]) -> dict[VariantId, int]:
    found: dict[VariantId, int] = {}
    for allocation in allocations:
        found[allocation.variant_id] = found.get(allocation.variant_id, 0) + allocation.quantity
    return found


def sold(stored: StoredHold | None) -> Hold:
    """The hold of an order whose bottles are sold. Raises HoldLapsed for any other."""
    if stored is None or stored.state != "committed":
        raise HoldLapsed("The hold has ended and the bottles are back on sale; hold them again.")
    return Hold(stored.order_id, "committed", stored.expires_at, stored.allocations)


def sold_out(variant_ids: Iterable[VariantId]) -> StockShort:
    """The refusal to hold what is not there."""
    short = [str(variant_id) for variant_id in variant_ids]
    return StockShort(
        f"Too few bottles are free of {', '.join(short)}. Nothing was held.", variant_ids=[*short]
    )


def limit_reached(over: OverLimit) -> LimitReached:
    """The refusal to hold more for one customer."""
    return LimitReached(
        f"One customer may have {over.limit} of {over.variant_id}. Nothing was held.",
        variant_id=str(over.variant_id),
        limit=over.limit,
    )


def written(report: Report) -> str:
    """The report for a terminal: a line on what was compared, then one for each difference."""
    compared = f"{report.shelves} shelves, {report.movements} movements and {report.live_holds} live holds compared: "
    if not report.differences:
        return compared + "the books agree."
    lines = [compared + f"{len(report.differences)} differences."]
    for found in report.differences:
        place = found.warehouse_id or found.customer_id
        lines.append(
            f"{found.rule}: {found.variant_id} at {place}: expected {found.expected}, found {found.found}"
        )
    return "\n".join(lines)
