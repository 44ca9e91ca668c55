"""Random lives of a shop: whatever happens in whatever order, stock, money and holds agree after every step.

Buyers open, pay, are refused or challenged, walk away, cancel and ask again; staff count, receive and review; time runs
out; the bank errs before and after the money moved; the job worker comes late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from rickhouse.customers.contract import AgeOutcome
from rickhouse.inventory.contract import TooFewBottles
from rickhouse.inventory.model import Adjustment
from rickhouse.kernel.errors import Condition, KeyReused, StillRunning
from rickhouse.kernel.idempotency import Keyed
from rickhouse.kernel.ids import OrderId, VariantId
from rickhouse.orders import handlers
from rickhouse.orders.checkout import Terms
from rickhouse.orders.contract import LineRequest
from rickhouse.orders.model import Order
from rickhouse.platform.db import Database, Row, url_for
from rickhouse.platform.events import LogFeed, Subscriber
from rickhouse.platform.schema import role_of
from tests.customers.samples import somebody
from tests.inventory.samples import received
from tests.journeys.books import RESTING, minor
from tests.orders.samples import Rooms, checkout_id, key, rooms
from tests.simulators.bank import BankProcess, simulated_bank

TOKENS: Final = (
    "tok_approve",
    "tok_approve",
    "tok_decline",
    "tok_3ds",
    "tok_error_before",
    "tok_error_before_1",
    "tok_error_after",
    "tok_drop_before_1",
    "tok_drop_after",
    "tok_void_error_before_1",
    "tok_void_drop_after",
)
FINAL: Final = frozenset(
    (
        "sold_out",
        "purchase_limit_reached",
        "payment_declined",
        "age_not_proven",
        "hold_lapsed",
    )
)
"""Refusals that are the answer to a request for good."""

BUYERS_FIRST: Final = 3
BUYERS_IN_VIEW: Final = 4
"""What happens next happens to one of the latest buyers, so that much happens to each."""

LIMIT: Final = 3
KEPT_IN: Final = ("opening", "open", "completing", "requires_action", "review", "cancelling")
SOLD_IN: Final = ("completing", "confirmed", "cancelling")
ENDED: Final = ("cancelled", "expired", "refused")

EVERY_ORDER: Final = """
select id, orders.state, total_minor, hold.state::text as hold,
    hold.state = 'held' and hold.expires_at <= now() as lapsed,
    (select sum((line ->> 'quantity')::int)::int from jsonb_array_elements(lines) line) as asked,
    (select coalesce(sum(quantity), 0)::int from inventory.allocations where order_id = id) as kept
from orders.orders left join inventory.holds hold on order_id = id
where lines -> 0 ->> 'variant_id' = any($1)
"""

SOLD: Final = """
select variant_id, sum(quantity)::int as sold
from inventory.allocations join inventory.holds using (order_id)
where state = 'committed' group by 1
"""

TIME_PASSES: Final = (
    "update orders.orders set lease_until = now() - interval '1 second' where lease_until is not null",
    """
    update payments.attempts set sent_at = sent_at - interval '1 minute', ask_at = now() - interval '1 second'
    where ask_at is not null and state <> 'requires_action'
    """,
    "update payments.refunds set ask_at = now() - interval '1 second' where ask_at is not null",
)
"""Whatever waits for its time has it now; a runner whose lease ended is dead."""

HOLD_ENDS: Final = (
    "update inventory.holds set expires_at = now() where order_id = $1 and state = 'held'",
    "update orders.orders set hold_expires_at = now() where id = $1",
)

numbers = st.integers(min_value=0, max_value=9)
tokens = st.sampled_from(TOKENS)


Send = Callable[[Keyed], Awaitable[Order]]


@dataclass
class Asked:
    """A request under a key, and its answer for good, once it has one (see `told`)."""

    send: Send
    keyed: Keyed
    opening: bool = False
    answer: OrderId | str | None = None


class Lives(RuleBasedStateMachine):
    """Two bottlings, a few buyers, one bank."""

    database_url: ClassVar[str]
    bank: ClassVar[BankProcess]
    keys: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self._variants: list[VariantId] = []
        self._stocked: dict[VariantId, int] = {}
        self._regulars = [somebody(), somebody()]
        self._orders: list[Order] = []
        self._asked: list[Asked] = []
        self._promised: set[OrderId] = set()
        self._rooms = self._runner.run(self._enter())

    async def _enter(self) -> Rooms:
        made = await self._opened.enter_async_context(
            rooms(self.database_url, self.bank.url, self.keys, Terms(patience_s=0.1))
        )
        self._admin = await Database(self.database_url, schema="orders").open()
        self._opened.push_async_callback(self._admin.close)
        url = url_for(self.database_url, user=role_of("inventory"))
        log = await Database(url, schema="inventory").open()
        self._opened.push_async_callback(log.close)
        (heard,) = handlers.subscriptions(made.cancel, LogFeed(log))
        self._subscriber = Subscriber(made.db, heard)
        return made

    @initialize(bottles=st.integers(min_value=BUYERS_FIRST, max_value=15))
    def begin(self, bottles: int) -> None:
        """One bottling that everybody may buy, one that is limited, and the first buyers."""
        for limit in (None, LIMIT):
            made = self._runner.run(self._rooms.bottling(bottles, purchase_limit=limit))
            self._variants.append(made)
            self._stocked[made] = bottles
        for who in range(BUYERS_FIRST):
            self._ask(self._opening(who, (0,), (1,)), opening=True)

    # Buyers

    @rule(who=numbers, first=numbers, second=numbers, quantities=st.tuples(*[st.integers(1, 3)] * 2))
    def open(self, who: int, first: int, second: int, quantities: tuple[int, int]) -> None:
        """Two lines, sometimes of the same bottling."""
        self._ask(self._opening(who, (first, second), quantities), opening=True)

    @rule(who=numbers, first=numbers, quantity=st.integers(1, 3))
    def open_twice_at_once(self, who: int, first: int, quantity: int) -> None:
        asked = Asked(self._opening(who, (first,), (quantity,)), key(), opening=True)
        one, other = self._at_once(asked.send(asked.keyed), asked.send(asked.keyed))
        if not isinstance(one, StillRunning) and not isinstance(other, StillRunning):
            assert told(one, opening=True) == told(other, opening=True)
        self._note(asked, other if isinstance(one, StillRunning) else one)

    @rule(order=numbers, token=tokens, age=st.sampled_from(("proven", "proven", "review", "refused", None)))
    def complete(self, order: int, token: str, age: AgeOutcome | None) -> None:
        self._rooms.bureau.outcome = age
        chosen = self._chosen(order)
        self._ask(self._completing(chosen, token))
        self._rooms.bureau.outcome = "proven"

    @rule(order=numbers, token=tokens, other_token=tokens)
    def complete_twice_at_once(self, order: int, token: str, other_token: str) -> None:
        chosen = self._chosen(order)
        twins = [Asked(self._completing(chosen, paid_by), key()) for paid_by in (token, other_token)]
        answers = self._at_once(*(twin.send(twin.keyed) for twin in twins))
        for twin, answer in zip(twins, answers, strict=True):
            self._note(twin, answer)

    @rule(order=numbers, token=tokens)
    def complete_while_giving_up(self, order: int, token: str) -> None:
        chosen = self._chosen(order)
        asked = Asked(self._completing(chosen, token), key())
        answer, _ = self._at_once(
            asked.send(asked.keyed), self._rooms.cancel.abandon("shop", checkout_id(chosen))
        )
        self._note(asked, answer)

    @rule(order=numbers, token=tokens)
    def complete_while_the_hold_ends(self, order: int, token: str) -> None:
        chosen = self._chosen(order)
        asked = Asked(self._completing(chosen, token), key())
        answer, _ = self._at_once(asked.send(asked.keyed), self._end_hold(chosen))
        self._note(asked, answer)

    @rule(order=numbers)
    def give_up(self, order: int) -> None:
        chosen = self._chosen(order)
        self._at_once(self._rooms.cancel.abandon("shop", checkout_id(chosen)))

    @rule(order=numbers)
    def cancel(self, order: int) -> None:
        chosen = self._chosen(order)
        self._at_once(self._rooms.cancel.cancel(key("office"), chosen.order_id, "buyer_asked"))

    @rule(order=numbers, answer=st.sampled_from(("pass", "fail")))
    def meet_challenge(self, order: int, answer: str) -> None:
        chosen = self._chosen(order)
        for payment in self._runner.run(self._rooms.payments.attempts_of(chosen.order_id)):
            if payment.action_url is not None:
                self.bank.meet_challenge(payment.action_url, answer)

    @rule(request=numbers)
    def ask_again(self, request: int) -> None:
        """The same request under the same key has the same answer, whatever became of the order since."""
        asked = self._asked[request % len(self._asked)]
        (answer,) = self._at_once(asked.send(asked.keyed))
        if asked.answer is not None and not isinstance(answer, StillRunning):
            assert told(answer, opening=asked.opening) == asked.answer
        self._note(asked, answer)

    @rule(request=numbers)
    def ask_something_else_under_the_same_key(self, request: int) -> None:
        asked = self._asked[request % len(self._asked)]
        (answer,) = self._at_once(asked.send(Keyed(asked.keyed.owner, asked.keyed.key, b"another")))
        assert asked.answer is None or isinstance(answer, KeyReused)

    # Staff

    @rule(which=numbers, bottles=st.integers(1, 5))
    def receive(self, which: int, bottles: int) -> None:
        variant_id = self._variants[which % 2]
        self._runner.run(received(self._rooms.inventory, self._rooms.warehouse_id, bottles, variant_id))
        self._stocked[variant_id] += bottles

    @rule(which=numbers, missing=st.integers(1, 8))
    def count_too_few(self, which: int, missing: int) -> None:
        variant_id = self._variants[which % 2]
        adjustment = Adjustment(
            variant_id=variant_id, warehouse_id=self._rooms.warehouse_id, delta=-missing, reason="Counted"
        )
        (answer,) = self._at_once(self._rooms.inventory.move(key("office"), adjustment))
        if not isinstance(answer, TooFewBottles):
            self._stocked[variant_id] -= missing

    @rule(order=numbers, approve=st.booleans())
    def review(self, order: int, *, approve: bool) -> None:
        chosen = self._chosen(order)
        settling = self._rooms.orders.review(
            key("office"), checkout_id(chosen), approve=approve, note="Looked at."
        )
        self._at_once(settling)

    # Time, and the job worker

    @rule(order=numbers)
    def the_hold_ends(self, order: int) -> None:
        chosen = self._chosen(order)
        self._runner.run(self._end_hold(chosen))

    @rule()
    def expire_holds(self) -> None:
        self._at_once(self._rooms.inventory.expire_holds())

    @rule()
    def hear_of_ended_holds(self) -> None:
        self._at_once(self._subscriber.run_once())

    @rule()
    def recover(self) -> None:
        self._runner.run(self._let_time_pass())
        self._at_once(self._rooms.recovery.recover())

    @rule()
    def resolve_payments(self) -> None:
        self._runner.run(self._let_time_pass())
        self._at_once(self._rooms.payments.resolve_due())

    @rule()
    def everything_by_itself_at_once(self) -> None:
        self._runner.run(self._let_time_pass())
        self._at_once(*self._by_itself())

    # What must hold

    @invariant()
    def books_agree(self) -> None:
        """Every book in itself, each order with its bottles and its money, and what is on hand with what was sold."""
        self._runner.run(self._assert_books())

    def teardown(self) -> None:
        """Left to itself, everything comes to rest, and the bank's books are ours."""
        try:
            self._runner.run(self._come_to_rest())
        finally:
            self._runner.run(self._opened.aclose())
            self._runner.close()

    async def _assert_books(self) -> None:
        assert (await self._rooms.inventory.verify()).differences == ()
        assert await self._rooms.payments.verify() == ()
        aside = self._set_aside_by_the_bank()
        for order in await self._every_order():
            order_id, state, hold = OrderId(order["id"]), order["state"], order["hold"]
            amounts = aside.get(str(order_id), [])
            place = f"{order_id} is {state}, its hold {hold}, the bank has {amounts}"
            assert hold != "committed" or state in SOLD_IN, place
            assert hold != "held" or state in KEPT_IN, place
            assert order["kept"] == (order["asked"] if hold in ("held", "committed") else 0), place
            assert amounts in ([], [order["total_minor"]]), place
            assert state != "confirmed" or (hold == "committed" and amounts), place
            assert state not in ENDED or (hold in (None, "released") and not amounts), place
            assert order_id not in self._promised or state in ("confirmed", "cancelling", "cancelled"), place
        sold = {VariantId(row["variant_id"]): row["sold"] for row in await self._admin.fetch(SOLD)}
        for variant_id, stocked in self._stocked.items():
            on_hand, _ = await self._rooms.shelf(variant_id)
            assert on_hand == stocked - sold.get(variant_id, 0)

    async def _every_order(self) -> list[Row]:
        names = [str(variant_id) for variant_id in self._variants]
        return await self._admin.fetch(EVERY_ORDER, names)

    def _set_aside_by_the_bank(self) -> dict[str, list[int]]:
        aside: dict[str, list[int]] = {}
        for hold in self.bank.books()["holds"]:
            if hold["status"] in ("HELD", "TAKEN"):
                aside.setdefault(hold["order"], []).append(minor(hold["amount"]))
        return aside

    async def _come_to_rest(self) -> None:
        for _ in range(100):
            await self._let_time_pass()
            for step in self._by_itself():
                with suppress(Condition):
                    await step
            if all(order["state"] in RESTING and not order["lapsed"] for order in await self._every_order()):
                break
            await asyncio.sleep(0.02)
        await self._assert_books()
        for order in await self._every_order():
            # Whoever rests before a payment still has his bottles; nobody else keeps any aside.
            waits = order["state"] in ("open", "requires_action", "review")
            assert (order["hold"] == "held") == waits, dict(order)
            for payment in await self._rooms.payments.attempts_of(OrderId(order["id"])):
                assert payment.state not in ("created", "unknown")
        assert await self._rooms.payments.reconcile(self.bank.ledger()) == ()

    async def _let_time_pass(self) -> None:
        for statement in TIME_PASSES:
            await self._admin.execute(statement)

    async def _end_hold(self, order: Order) -> None:
        for statement in HOLD_ENDS:
            await self._admin.execute(statement, order.order_id)

    def _by_itself(self) -> tuple[Awaitable[object], ...]:
        """What the job worker does."""
        return (
            self._rooms.inventory.expire_holds(),
            self._subscriber.run_once(),
            self._rooms.recovery.recover(),
            self._rooms.payments.resolve_due(),
        )

    def _opening(self, who: int, which: tuple[int, ...], quantities: tuple[int, ...]) -> Send:
        person = self._regulars[who] if who < len(self._regulars) else somebody()
        lines = tuple(
            LineRequest(self._variants[number % 2], quantity)
            for number, quantity in zip(which, quantities, strict=True)
        )
        return lambda keyed: self._rooms.checkout.open(keyed, lines, person)

    def _completing(self, order: Order, token: str) -> Send:
        return lambda keyed: self._rooms.checkout.complete(keyed, checkout_id(order), token)

    def _chosen(self, number: int) -> Order:
        latest = self._orders[-BUYERS_IN_VIEW:]
        return latest[number % len(latest)]

    def _ask(self, send: Send, *, opening: bool = False) -> None:
        keyed = key()
        (answer,) = self._at_once(send(keyed))
        self._note(Asked(send, keyed, opening=opening), answer)

    def _note(self, asked: Asked, answer: object) -> None:
        asked.answer = asked.answer or told(answer, opening=asked.opening)
        if asked not in self._asked:
            self._asked.append(asked)
        if isinstance(answer, Order):
            if asked.opening and all(known.order_id != answer.order_id for known in self._orders):
                self._orders.append(answer)
            if answer.placed_at is not None:
                self._promised.add(answer.order_id)

    def _at_once(self, *steps: Awaitable[object]) -> list[object]:
        """What each answers or refuses; anything else that goes wrong is a bug."""

        async def run() -> list[object]:
            return await asyncio.gather(*steps, return_exceptions=True)

        answers = self._runner.run(run())
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Condition):
                raise answer
        return answers


def told(answer: object, *, opening: bool) -> OrderId | str | None:
    """What an answer says for good: the order that was opened or placed, or the code of a refusal."""
    if isinstance(answer, Order):
        return answer.order_id if opening or answer.placed_at is not None else None
    return answer.code if isinstance(answer, Condition) and answer.code in FINAL else None


@pytest.fixture(scope="module")
def lasting_bank() -> Iterator[BankProcess]:
    """One bank for all of a module's lives."""
    with simulated_bank() as process:
        yield process


def live(
    database_url: str, bank: BankProcess, keys: Path, *, max_examples: int, stateful_step_count: int
) -> None:
    """Live so many lives of so many steps."""
    Lives.database_url, Lives.bank, Lives.keys = database_url, bank, keys
    lives = settings(
        max_examples=max_examples,
        stateful_step_count=stateful_step_count,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(Lives, settings=lives)


@pytest.mark.timeout(600)
def test_whatever_happens_stock_money_and_holds_agree(
    module_database_url: str, lasting_bank: BankProcess, tmp_path: Path
) -> None:
    live(module_database_url, lasting_bank, tmp_path, max_examples=15, stateful_step_count=25)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_whatever_happens_for_a_long_time_stock_money_and_holds_agree(
    module_database_url: str, lasting_bank: BankProcess, tmp_path: Path
) -> None:
    live(module_database_url, lasting_bank, tmp_path, max_examples=400, stateful_step_count=60)
