"""Random lives of payments against a bank that fails at random: whatever happens in whatever order, every book agrees.

Authorise, decline, challenge, capture, void, refund, undo, crash, repeat, and the job that goes on by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from rickhouse.kernel.errors import Condition
from rickhouse.kernel.ids import OrderId
from rickhouse.payments.port import Gateway
from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.http import HttpClient, close_clients
from rickhouse.platform.schema import role_of
from tests.payments.samples import PRICE, CrashingGateway, Killed, make_due, usd
from tests.simulators.bank import BankProcess, simulated_bank

TOKENS = (
    "tok_approve",
    "tok_decline",
    "tok_3ds",
    "tok_error_before",
    "tok_error_before_1",
    "tok_error_after",
    "tok_drop_before_1",
    "tok_drop_after",
    "tok_capture_error_before_1",
    "tok_capture_drop_after",
    "tok_void_error_before_1",
    "tok_void_drop_after",
    "tok_refund_error_before_1",
    "tok_refund_drop_after",
    "tok_refund_pending",
)
OPERATIONS = ("authorise", "capture", "void", "refund")
numbers = st.integers(min_value=0, max_value=2)
attempts = st.integers(min_value=1, max_value=3)
amounts = st.sampled_from((100, 4_000, 8_900))


class PaymentLives(RuleBasedStateMachine):
    """Three orders, one bank, and everything that may happen to them."""

    database_url: ClassVar[str]
    bank: ClassVar[BankProcess]

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        url = url_for(self.database_url, user=role_of("payments"))
        self._db = self._runner.run(Database(url, schema="payments").open())
        self._gateway = SandboxGateway(HttpClient(self.bank.url, name="bank", failures_max=0))
        self._payments = self._service(self._gateway)
        self._orders: list[OrderId] = []
        self._began = datetime.now(UTC) - timedelta(minutes=1)

    @initialize()
    def take_orders(self) -> None:
        """Orders that nobody has paid for."""
        self._orders = [OrderId.new() for _ in range(3)]

    @rule(order=numbers, attempt=attempts, token=st.sampled_from(TOKENS))
    def authorise(self, order: int, attempt: int, token: str) -> None:
        self._try(self._payments.authorise(self._orders[order], attempt, PRICE, token))

    @rule(order=numbers, attempt=attempts, token=st.sampled_from(TOKENS))
    def authorise_twice_at_once(self, order: int, attempt: int, token: str) -> None:
        async def both() -> None:
            twins = [self._payments.authorise(self._orders[order], attempt, PRICE, token) for _ in range(2)]
            first, second = await asyncio.gather(*twins, return_exceptions=True)
            if not isinstance(first, BaseException) and not isinstance(second, BaseException):
                assert first.payment_id == second.payment_id

        self._try(both())

    @rule(order=numbers, attempt=attempts)
    def resolve(self, order: int, attempt: int) -> None:
        self._try(self._payments.resolve(self._orders[order], attempt))

    @rule(order=numbers, answer=st.sampled_from(("pass", "fail")))
    def meet_challenge(self, order: int, answer: str) -> None:
        for payment in self._runner.run(self._payments.attempts_of(self._orders[order])):
            if payment.action_url is not None:
                self.bank.meet_challenge(payment.action_url, answer)

    @rule(order=numbers)
    def capture(self, order: int) -> None:
        self._try(self._payments.capture(self._orders[order]))

    @rule(order=numbers, minor=amounts, key=st.sampled_from(("a", "b", "c")))
    def refund(self, order: int, minor: int, key: str) -> None:
        self._try(self._payments.refund(self._orders[order], usd(minor), key))

    @rule(order=numbers)
    def capture_and_undo_at_once(self, order: int) -> None:
        async def both() -> None:
            await asyncio.gather(
                self._payments.capture(self._orders[order]),
                self._payments.undo(self._orders[order]),
                return_exceptions=True,
            )

        self._try(both())

    @rule(order=numbers, before=st.sampled_from((0, 2, 3)))
    def undo(self, order: int, before: int) -> None:
        self._try(self._payments.undo(self._orders[order], before))

    @rule(
        order=numbers,
        attempt=attempts,
        operation=st.sampled_from(OPERATIONS),
        moment=st.sampled_from(("before", "after")),
        token=st.sampled_from(TOKENS),
    )
    def crash(self, order: int, attempt: int, operation: str, moment: str, token: str) -> None:
        doomed = self._service(CrashingGateway(self._gateway, operation, moment))
        order_id = self._orders[order]
        step: dict[str, Callable[[], Awaitable[object]]] = {
            "authorise": lambda: doomed.authorise(order_id, attempt, PRICE, token),
            "capture": lambda: doomed.capture(order_id),
            "void": lambda: doomed.undo(order_id, before_attempt=attempt),
            "refund": lambda: doomed.refund(order_id, usd(100), "crash"),
        }
        self._try(step[operation]())

    @rule()
    def time_passes(self) -> None:
        self._runner.run(self._let_time_pass())
        self._try(self._payments.resolve_due())

    @invariant()
    def books_agree(self) -> None:
        """Ours in themselves; and the bank never holds or keeps an order's money twice."""
        assert self._runner.run(self._payments.verify()) == ()
        if not self._orders:
            return
        taken = [
            hold["order"]
            for hold in self.bank.lines_of(*map(str, self._orders))
            if hold["status"] in ("HELD", "TAKEN") and hold["returned"] != hold["amount"]
        ]
        assert sorted(taken) == sorted(set(taken))

    def teardown(self) -> None:
        """Once everything has come to rest, the bank's books are ours."""
        try:
            for _ in range(6):  # a void or a capture that fails once is asked for again, its refund after it
                self._runner.run(self._let_time_pass())
                self._runner.run(self._payments.resolve_due())
            self._runner.run(self._assert_agreed())
        finally:
            self._runner.run(self._close())
            self._runner.close()

    async def _assert_agreed(self) -> None:
        if not self._orders:
            return
        ours = [
            payment for order_id in self._orders for payment in await self._payments.attempts_of(order_id)
        ]
        theirs = self.bank.ledger(*map(str, self._orders))
        keys = {line.key for line in theirs} | {f"{payment.payment_id}-auth" for payment in ours}
        assert [
            found for found in await self._payments.reconcile(theirs, self._began) if found.subject in keys
        ] == []
        assert {payment.state for payment in ours}.isdisjoint({"created", "unknown"})

    async def _let_time_pass(self) -> None:
        for order_id in self._orders:
            await make_due(self._db, order_id)
            await self._db.execute(
                "update attempts set sent_at = sent_at - interval '1 minute' where order_id = $1", order_id
            )

    def _service(self, gateway: Gateway) -> PaymentsService:
        return PaymentsService(self._db, gateway, late_after_s=0.05, abandon_after_s=0.05)

    def _try(self, step: Awaitable[Any]) -> None:
        """A refusal or a crash is as good as an answer; the invariants say whether it was right."""

        async def run() -> None:
            with suppress(Condition, Killed):
                await step

        self._runner.run(run())

    async def _close(self) -> None:
        await close_clients()
        await self._db.close()


@pytest.fixture(scope="module")
def lasting_bank() -> Iterator[BankProcess]:
    """One bank for all of a module's lives."""
    with simulated_bank() as process:
        yield process


@pytest.mark.timeout(600)
def test_whatever_happens_every_book_agrees(module_database_url: str, lasting_bank: BankProcess) -> None:
    PaymentLives.database_url, PaymentLives.bank = module_database_url, lasting_bank
    lives = settings(
        max_examples=25,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )

    run_state_machine_as_test(PaymentLives, settings=lives)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_whatever_happens_for_a_long_time_every_book_agrees(
    module_database_url: str, lasting_bank: BankProcess
) -> None:
    PaymentLives.database_url, PaymentLives.bank = module_database_url, lasting_bank
    lives = settings(
        max_examples=600,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )

    run_state_machine_as_test(PaymentLives, settings=lives)
