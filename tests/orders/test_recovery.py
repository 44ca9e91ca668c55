"""What becomes of an order whose runner was cut off, or that two requests pull at: each story here went wrong once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pytest

from rickhouse.catalog.contract import NotForSale, Offer
from rickhouse.compliance.contract import Decision, Outcome, Reason, Sale
from rickhouse.customers.contract import (
    Address,
    AgeOutcome,
    AgeProof,
    MaskedCustomer,
    Person,
    Registered,
)
from rickhouse.inventory.contract import Allocation, Availability, Hold, HoldLapsed, HoldLine
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import (
    AddressId,
    CheckoutId,
    CustomerId,
    DecisionId,
    OrderId,
    PaymentId,
    ProductId,
    VariantId,
    WarehouseId,
)
from rickhouse.kernel.money import Money
from rickhouse.orders.cancel import CancelService
from rickhouse.orders.checkout import CheckoutService, Neighbours, Terms
from rickhouse.orders.contract import CheckoutClosed, LineRequest, PaymentDeclined, SaleForbidden
from rickhouse.orders.model import Order
from rickhouse.orders.recovery import RecoveryService
from rickhouse.orders.service import OrdersService
from rickhouse.orders.sql import moves
from rickhouse.payments.contract import AttemptState, Payment, Refund
from rickhouse.platform.db import Database, DatabaseAway

OpenSlice = Callable[[str], Awaitable[Database]]

VARIANT, CUSTOMER, WAREHOUSE = VariantId.new(), CustomerId.new(), WarehouseId.new()
PERSON = Person(
    name="Ada Example",
    email="ada@example.com",
    birth_date=date(1985, 4, 12),
    address=Address(line1="1 Main", city="Medora", region="US-ND", postal_code="58645", country="US"),
)
LEASE_S = 0.5


@dataclass
class Neighbour:
    """Every neighbour at once: says what it is told to, and remembers what it was asked to do."""

    today: datetime = field(default_factory=lambda: datetime.now(UTC))
    law: Outcome = "allow"
    age: AgeOutcome = "proven"
    bank: AttemptState = "authorised"
    on_sale: bool = True
    hold_s: float = 3600
    asked: list[str] = field(default_factory=list[str])

    async def offers(self, variant_ids: tuple[VariantId, ...], at: datetime) -> tuple[Offer, ...]:
        del at
        if not self.on_sale:
            raise NotForSale("It has left the shelf.")
        return tuple(
            Offer(variant_id=one, product_id=_PRODUCT, sku="RYE", title="Rye", spirit_class="whiskey",
                  abv_bp=4_600, size_ml=750, price=Money(5_400, "USD"))
            for one in variant_ids
        )  # fmt: skip

    async def register(self, order_id: OrderId, person: Person) -> Registered:
        del order_id, person
        return Registered(CUSTOMER, AddressId.new(), "US-ND")

    async def masked(self, customer_id: CustomerId) -> MaskedCustomer:
        raise NotImplementedError(customer_id)

    async def is_of_age(self, customer_id: CustomerId, minimum_age: int, on: date) -> bool:
        raise NotImplementedError(customer_id, minimum_age, on)

    async def prove_age(self, customer_id: CustomerId, minimum_age: int) -> AgeProof:
        del customer_id
        self.asked.append("prove age")
        return AgeProof(self.age, minimum_age, "bureau-1")

    async def decide(self, sale: Sale) -> Decision:
        self.asked.append("decide")
        reasons = (Reason("rule", self.law, "A rule."),)
        return Decision(DecisionId.new(), self.law, reasons, 21, "pack-1", sale.day, self.today)

    async def replay(self, decision_id: DecisionId) -> Decision:
        raise NotImplementedError(decision_id)

    async def hold(
        self, order_id: OrderId, customer_id: CustomerId, lines: tuple[HoldLine, ...], ttl_s: int
    ) -> Hold:
        del customer_id, lines, ttl_s
        ends = datetime.now(UTC) + timedelta(seconds=self.hold_s)
        return Hold(order_id, "held", ends, (Allocation(VARIANT, WAREHOUSE, "US-ND", 1),))

    async def extend(self, order_id: OrderId, ttl_s: int) -> Hold:
        if self.hold_s <= 0:
            raise HoldLapsed("The bottles are back on sale.")
        return Hold(order_id, "held", datetime.now(UTC) + timedelta(seconds=ttl_s), ())

    async def commit(self, order_id: OrderId) -> Hold:
        self.asked.append("sell")
        return Hold(order_id, "committed", datetime.now(UTC), ())

    async def release(self, order_id: OrderId) -> None:
        del order_id
        self.asked.append("release")

    async def availability(self, variant_ids: tuple[VariantId, ...]) -> tuple[Availability, ...]:
        raise NotImplementedError(variant_ids)

    async def authorise(self, order_id: OrderId, attempt: int, amount: Money, token: str) -> Payment:
        del token
        self.asked.append("authorise")
        nothing = Money(0, "USD")
        return Payment(PaymentId.new(), order_id, attempt, self.bank, amount, nothing, nothing)

    async def resolve(self, order_id: OrderId, attempt: int) -> Payment:
        raise NotImplementedError(order_id, attempt)

    async def undo(self, order_id: OrderId, before_attempt: int = 0) -> tuple[Payment, ...]:
        del order_id
        self.asked.append(f"undo before {before_attempt}" if before_attempt else "undo")
        return ()

    async def capture(self, order_id: OrderId) -> Payment:
        raise NotImplementedError(order_id)

    async def refund(self, order_id: OrderId, amount: Money, key: str) -> Refund:
        raise NotImplementedError(order_id, amount, key)

    async def attempts_of(self, order_id: OrderId) -> tuple[Payment, ...]:
        raise NotImplementedError(order_id)


_PRODUCT = ProductId.new()


@dataclass
class Desk:
    """The orders slice between such neighbours."""

    neighbour: Neighbour
    checkout: CheckoutService
    cancel: CancelService
    recovery: RecoveryService
    orders: OrdersService

    async def open(self) -> Order:
        return await self.checkout.open(keyed("open"), (LineRequest(VARIANT, 1),), PERSON)

    async def complete(self, order: Order, key: str, token: str = "tok") -> Order:  # noqa: S107  # made up
        return await self.checkout.complete(keyed(key), CheckoutId(order.order_id.uuid), token)

    async def recover(self) -> None:
        """Let the lease run out, then run the job."""
        await asyncio.sleep(2.2)
        await self.recovery.recover()

    async def state(self, order: Order) -> str:
        return (await self.orders.get(order.order_id)).state


def keyed(key: str) -> Keyed:
    """The shop's request under that key."""
    return Keyed("shop", key, key.encode())


@pytest.fixture
async def desk(open_slice: OpenSlice) -> Desk:
    db, neighbour = await open_slice("orders"), Neighbour()
    cancel = CancelService(db, inventory=neighbour, payments=neighbour, lease_s=LEASE_S)
    checkout = CheckoutService(
        db,
        neighbours=Neighbours(neighbour, neighbour, neighbour, neighbour, neighbour),
        cancel=cancel,
        terms=Terms(lease_s=LEASE_S, patience_s=0.3),
        clock=lambda: neighbour.today,
    )
    recovery = RecoveryService(db, checkout=checkout, cancel=cancel, lease_s=LEASE_S)
    return Desk(neighbour, checkout, cancel, recovery, OrdersService(db, cancel=cancel))


async def test_a_lost_reply_to_confirming_does_not_undo_the_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, real = await desk.open(), moves.confirm

    async def committed_and_lost(*args: object, **kwargs: object) -> None:
        await real(*args, **kwargs)  # pyright: ignore[reportArgumentType]  # passed through as they came
        raise DatabaseAway("The reply was lost.")

    monkeypatch.setattr(moves, "confirm", committed_and_lost)
    with pytest.raises(DatabaseAway):
        await desk.complete(order, "pay")
    desk.neighbour.asked.clear()
    await desk.recover()
    assert desk.neighbour.asked == []
    assert await desk.state(order) == "confirmed"
    assert (await desk.complete(order, "pay")).state == "confirmed"


async def test_a_denied_sale_stays_denied_when_its_runner_dies(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await desk.open()
    desk.neighbour.today += timedelta(days=1)
    desk.neighbour.law = "deny"
    with monkeypatch.context() as cut_off:

        async def away(*_args: object, **_kwargs: object) -> None:
            raise DatabaseAway("Gone.")

        cut_off.setattr(moves, "fail", away)
        with pytest.raises(DatabaseAway):
            await desk.complete(order, "pay")
    await desk.recover()
    assert await desk.state(order) == "cancelled"
    assert "authorise" not in desk.neighbour.asked
    with pytest.raises(SaleForbidden):
        await desk.complete(order, "pay")


async def test_a_yes_to_the_law_is_no_yes_to_the_age(desk: Desk) -> None:
    desk.neighbour.law, desk.neighbour.age = "review", "review"
    order = await desk.open()
    checkout_id = CheckoutId(order.order_id.uuid)
    first = await desk.complete(order, "pay-1")
    assert (first.state, first.cause) == ("review", "legal_review")
    await desk.orders.review(keyed("law"), checkout_id, approve=True, note="Looked at the permit.")
    second = await desk.complete(order, "pay-2")
    assert (second.state, second.cause) == ("review", "age_review")
    assert "authorise" not in desk.neighbour.asked
    await desk.orders.review(keyed("age"), checkout_id, approve=True, note="Looked at the passport.")
    assert (await desk.complete(order, "pay-3")).state == "confirmed"


async def test_a_review_is_found_settled_once_and_repeated(desk: Desk) -> None:
    desk.neighbour.law = "review"
    order = await desk.open()
    checkout_id = CheckoutId(order.order_id.uuid)
    await desk.complete(order, "pay")
    waiting = await desk.orders.list_reviews(before=None, limit=10)
    assert [one.order_id for one in waiting] == [order.order_id]
    for _ in range(2):
        ended = await desk.orders.review(keyed("no"), checkout_id, approve=False, note="No such permit.")
        assert ended.state == "cancelled"
    assert await desk.orders.list_reviews(before=None, limit=10) == []


async def test_the_reason_of_a_cancellation_does_not_name_the_state(desk: Desk) -> None:
    order = await desk.open()
    await desk.complete(order, "pay")
    cancelled = await desk.cancel.cancel(keyed("cancel"), order.order_id, "expired")
    assert (cancelled.state, cancelled.cause) == ("cancelled", "expired")
    told = [(entry.state, entry.cause) for entry in await desk.orders.timeline(order.order_id)]
    assert told[-1] == ("cancelled", "expired")


async def test_the_last_attempt_can_still_be_finished(desk: Desk) -> None:
    order = await desk.open()
    desk.neighbour.bank = "declined"
    for number in range(19):
        with pytest.raises(PaymentDeclined):
            await desk.complete(order, f"pay-{number}")
    desk.neighbour.bank = "requires_action"
    assert (await desk.complete(order, "pay-19")).state == "requires_action"
    with pytest.raises(CheckoutClosed):
        await desk.complete(order, "another-card", "tok_other")
    desk.neighbour.bank = "authorised"
    assert (await desk.complete(order, "pay-20")).state == "confirmed"


async def test_an_opening_is_repeated_after_the_bottle_has_left_the_shelf(desk: Desk) -> None:
    order = await desk.open()
    desk.neighbour.on_sale = False
    assert await desk.open() == order


async def test_a_completion_that_waited_is_closed_once_the_checkout_has_ended(desk: Desk) -> None:
    order = await desk.open()
    desk.neighbour.bank = "requires_action"
    await desk.complete(order, "pay")
    await desk.cancel.abandon("shop", CheckoutId(order.order_id.uuid))
    with pytest.raises(CheckoutClosed) as closed:
        await desk.complete(order, "pay")
    assert closed.value.facts == {"state": "cancelled"}


async def test_a_decline_after_the_hold_has_ended_ends_the_checkout(desk: Desk) -> None:
    desk.neighbour.hold_s = 0.5
    order = await desk.open()
    desk.neighbour.today = datetime.now(UTC) - timedelta(hours=1)
    desk.neighbour.bank = "declined"
    await asyncio.sleep(0.6)
    with pytest.raises(PaymentDeclined):
        await desk.complete(order, "pay")
    assert await desk.state(order) == "cancelled"


async def test_an_order_that_cannot_go_on_does_not_keep_its_bottles(desk: Desk) -> None:
    order = await desk.open()
    desk.neighbour.bank = "unknown"
    assert (await desk.complete(order, "pay")).state == "completing"
    desk.neighbour.today += timedelta(hours=2)
    desk.neighbour.hold_s = 0
    await desk.recover()
    assert await desk.state(order) == "cancelled"
    assert desk.neighbour.asked[-2:] == ["release", "undo"]
