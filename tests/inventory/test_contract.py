"""The contract's promises over any sequence of calls, beside a model that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rickhouse.inventory.contract import (
    Availability,
    Hold,
    HoldConflict,
    HoldLapsed,
    HoldLine,
    LimitReached,
    StockShort,
    TooFewBottles,
)
from rickhouse.inventory.model import Adjustment
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.errors import Condition
from rickhouse.kernel.ids import CustomerId, OrderId, VariantId, WarehouseId
from rickhouse.platform.db import Database
from tests.inventory.samples import TTL_S, fresh_key, received

ORDERS, LIMIT, RECEIVED = 4, 5, 6
Verb = Literal["hold", "commit", "release", "extend", "lapse", "expire", "adjust"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hold", "hold", "hold", "commit", "release", "extend", "lapse", "expire", "adjust"]),
        st.integers(0, ORDERS - 1),
        st.tuples(st.integers(1, 4), st.integers(0, 3)),
    ),
    max_size=25,
)


@dataclass
class Books:
    """What a clerk with a pencil would note: one customer, bottles of gin (limited) and rum."""

    on_hand: list[int] = field(default_factory=lambda: [RECEIVED, RECEIVED])
    state: dict[int, str] = field(default_factory=dict[int, str])
    kept: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])

    def held(self, variant: int) -> int:
        """Bottles kept aside, those of lapsed holds among them."""
        return sum(
            bottles[variant]
            for order, bottles in self.kept.items()
            if self.state[order] in {"held", "lapsed"}
        )

    def free(self, variant: int) -> int:
        """Bottles that can be held."""
        return self.on_hand[variant] - self.held(variant)

    def taken(self) -> int:
        """Bottles of gin that count against the limit."""
        return sum(bottles[0] for bottles in self.kept.values())

    def hold(self, order: int, bottles: tuple[int, int]) -> type[Condition] | None:
        """Keep bottles, or say why not."""
        if self.state.get(order) in {"committed", "released"}:
            return HoldConflict
        if self.state.get(order) == "held":
            return None if self.kept[order] == bottles else HoldConflict
        self.end(order)
        if self.taken() + bottles[0] > LIMIT:
            return LimitReached
        if any(self.free(variant) < bottles[variant] for variant in (0, 1)):
            return StockShort
        self.state[order], self.kept[order] = "held", bottles
        return None

    def end(self, order: int) -> None:
        """Forget an order."""
        self.state.pop(order, None)
        self.kept.pop(order, None)

    def sale(self, order: int) -> type[Condition] | None:
        """Sell what is held."""
        if self.state.get(order) == "held":
            self.state[order] = "committed"
            for variant in (0, 1):
                self.on_hand[variant] -= self.kept[order][variant]
        return None if self.state.get(order) == "committed" else HoldLapsed

    def release(self, order: int) -> None:
        """Put back what was held or sold."""
        if self.state.get(order) == "committed":
            for variant in (0, 1):
                self.on_hand[variant] += self.kept[order][variant]
        self.end(order)
        self.state[order] = "released"

    def expire(self) -> None:
        """End what has lapsed."""
        for order in [order for order, state in self.state.items() if state == "lapsed"]:
            self.end(order)


@dataclass(frozen=True)
class Cellar:
    """What the books are about."""

    inventory: InventoryService
    db: Database
    shop: WarehouseId
    variants: tuple[VariantId, VariantId]
    orders: tuple[OrderId, ...]
    customer_id: CustomerId

    async def act(self, verb: Verb, order: int, bottles: tuple[int, int]) -> None:
        """Do what a step says."""
        order_id = self.orders[order]
        match verb:
            case "hold":
                gin, rum = self.variants
                lines = (
                    HoldLine(gin, bottles[0], LIMIT),
                    *([HoldLine(rum, bottles[1])] if bottles[1] else ()),
                )
                await self.inventory.hold(order_id, self.customer_id, lines, TTL_S)
            case "commit":
                assert (await self.inventory.commit(order_id)).state == "committed"
            case "extend":
                assert isinstance(await self.inventory.extend(order_id, TTL_S), Hold)
            case "release":
                await self.inventory.release(order_id)
            case "lapse":
                await self.db.execute(
                    "update holds set expires_at = now() where order_id = $1 and state = 'held'", order_id
                )
            case "expire":
                await self.inventory.expire_holds()
            case "adjust":
                await self.inventory.move(
                    fresh_key(),
                    Adjustment(
                        variant_id=self.variants[1], warehouse_id=self.shop, delta=-bottles[0], reason="Count"
                    ),
                )


def expect(books: Books, verb: Verb, order: int, bottles: tuple[int, int]) -> type[Condition] | None:
    """What the step has to come to; notes it."""
    match verb:
        case "hold":
            return books.hold(order, bottles)
        case "commit":
            return books.sale(order)
        case "extend":
            return None if books.state.get(order) in {"held", "committed"} else HoldLapsed
        case "release":
            books.release(order)
        case "lapse":
            if books.state.get(order) == "held":
                books.state[order] = "lapsed"
        case "expire":
            books.expire()
        case "adjust":
            if books.free(1) < bottles[0]:
                return TooFewBottles
            books.on_hand[1] -= bottles[0]
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(steps=STEPS)
async def test_any_sequence_of_calls_leaves_what_the_contract_says(
    inventory: InventoryService,
    db: Database,
    shop: WarehouseId,
    steps: list[tuple[Verb, int, tuple[int, int]]],
) -> None:
    variants = (await received(inventory, shop, RECEIVED), await received(inventory, shop, RECEIVED))
    orders = tuple(OrderId.new() for _ in range(ORDERS))
    cellar = Cellar(inventory, db, shop, variants, orders, CustomerId.new())
    books = Books()
    for verb, order, bottles in steps:
        expected = expect(books, verb, order, bottles)
        refusal: type[Condition] | None = None
        try:
            await cellar.act(verb, order, bottles)
        except Condition as condition:
            refusal = type(condition)

        assert refusal == expected
        assert await inventory.availability(variants) == tuple(
            Availability(variant_id, books.free(index)) for index, variant_id in enumerate(variants)
        )
    await inventory.expire_holds()
    assert (await inventory.verify()).differences == ()
