"""What every provider of the port `Gateway` has to keep.

A provider's own test module makes a subclass of `GatewaySuite` and gives it a gateway and its vendor's test tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple
from uuid import uuid4

import msgspec
import pytest

from rickhouse.kernel.ids import OrderId, PaymentId, RefundId
from rickhouse.kernel.money import Money
from rickhouse.payments.dialogue import gateway_key
from rickhouse.payments.port import (
    Authorisation,
    Captured,
    Gateway,
    RefundOrder,
    Refused,
    Standing,
)

_numbers = count(1)
AMOUNT = Money(8_900, "USD")


class Tokens(NamedTuple):
    """A vendor's test tokens: which card does what."""

    approve: str
    decline: str
    insufficient_funds: str
    challenge: str


def wanted(token: str, amount: Money = AMOUNT) -> Authorisation:
    """An authorisation that nobody has asked for yet."""
    return Authorisation(
        key=gateway_key(PaymentId.new(), "auth"),
        amount=amount,
        order_ref=str(OrderId.new()),
        asked_at=datetime.now(UTC),
        token=token,
    )


def known(authorisation: Authorisation, standing: Standing) -> Authorisation:
    """The same as it is asked about later: the token is gone, the references are there."""
    return msgspec.structs.replace(
        authorisation,
        token=None,
        reference=standing.reference,
        capture_reference=standing.capture_reference,
    )


def operation_key(name: str) -> str:
    """A key of an operation on an authorisation."""
    return f"{name}-{next(_numbers)}-{uuid4().hex[:20]}"


class GatewaySuite:
    """The promises of the port. Subclasses give the fixtures `gateway`, `tokens` and `pass_challenge`."""

    async def test_an_approval_sets_the_whole_amount_aside(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)

        standing = await gateway.authorise(asked)

        assert standing.status == "authorised"
        assert standing.reference is not None
        assert standing.card is not None
        assert standing.card.brand == standing.card.brand.lower()
        assert len(standing.card.last4) == 4
        assert await gateway.find(known(asked, standing)) == standing

    @pytest.mark.parametrize(
        ("card", "code"), [("decline", "card_declined"), ("insufficient_funds", "insufficient_funds")]
    )
    async def test_a_decline_is_an_answer_with_a_code_of_ours(
        self, gateway: Gateway, tokens: Tokens, card: str, code: str
    ) -> None:
        asked = wanted(getattr(tokens, card))

        standing = await gateway.authorise(asked)

        assert (standing.status, standing.decline_code) == ("declined", code)
        assert await gateway.find(asked) == standing

    async def test_a_challenge_sends_the_buyer_somewhere_and_decides(
        self, gateway: Gateway, tokens: Tokens, pass_challenge: Callable[[str], Awaitable[object]]
    ) -> None:
        asked = wanted(tokens.challenge)

        standing = await gateway.authorise(asked)
        waiting = await gateway.find(known(asked, standing))
        assert standing.action_url is not None
        await pass_challenge(standing.action_url)
        decided = await gateway.find(known(asked, standing))

        assert standing.status == "requires_action"
        assert standing.action_url.startswith(("http://", "https://"))
        assert waiting == standing
        assert decided is not None
        assert (decided.status, decided.action_url) == ("authorised", None)

    async def test_the_same_key_is_the_same_authorisation(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)

        first = await gateway.authorise(asked)
        again = await gateway.authorise(asked)
        other = await gateway.authorise(wanted(tokens.approve))

        assert again == first
        assert other.reference != first.reference

    async def test_the_same_key_at_once_is_one_authorisation(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)

        answers = await asyncio.gather(*(gateway.authorise(asked) for _ in range(8)))

        assert {answer.reference for answer in answers if answer.status == "authorised"} == {
            answers[0].reference
        }

    async def test_what_was_never_asked_for_is_not_found(self, gateway: Gateway, tokens: Tokens) -> None:
        assert await gateway.find(wanted(tokens.approve)) is None

    async def test_an_authorisation_is_found_by_its_key_alone(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)
        standing = await gateway.authorise(asked)

        assert await gateway.find(asked) == standing

    async def test_capturing_takes_the_amount_once(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)
        standing = await gateway.authorise(asked)
        key = operation_key("capture")

        taken = await gateway.capture(known(asked, standing), key, AMOUNT)
        again = await gateway.capture(known(asked, standing), key, AMOUNT)
        after = await gateway.find(known(asked, standing))

        assert taken == again == Captured(taken.reference, AMOUNT)
        assert after is not None
        assert (after.status, after.captured, after.capture_reference) == (
            "captured",
            AMOUNT,
            taken.reference,
        )

    async def test_less_than_the_amount_may_be_captured(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)
        standing = await gateway.authorise(asked)

        await gateway.capture(known(asked, standing), operation_key("capture"), Money(5_000, "USD"))
        after = await gateway.find(known(asked, standing))

        assert after is not None
        assert (after.status, after.captured) == ("captured", Money(5_000, "USD"))

    async def test_more_than_the_amount_is_not_captured(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)
        standing = await gateway.authorise(asked)

        with pytest.raises(Refused):
            await gateway.capture(known(asked, standing), operation_key("capture"), Money(8_901, "USD"))

        assert await gateway.find(known(asked, standing)) == standing

    async def test_voiding_lets_go_and_can_be_repeated(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)
        standing = await gateway.authorise(asked)
        key = operation_key("void")

        first = await gateway.void(known(asked, standing), key)
        again = await gateway.void(known(asked, standing), key)
        other = await gateway.void(known(asked, standing), operation_key("void"))
        after = await gateway.find(known(asked, standing))

        assert first == again == other
        assert first.final
        assert after is not None
        assert after.status == "voided"
        with pytest.raises(Refused):
            await gateway.capture(known(asked, standing), operation_key("capture"), AMOUNT)

    async def test_voiding_ends_a_challenge(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.challenge)
        standing = await gateway.authorise(asked)

        await gateway.void(known(asked, standing), operation_key("void"))
        after = await gateway.find(known(asked, standing))

        assert after is not None
        assert (after.status, after.action_url) == ("voided", None)

    async def test_voiding_what_was_declined_changes_nothing(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.decline)
        standing = await gateway.authorise(asked)

        voided = await gateway.void(known(asked, standing), operation_key("void"))

        assert voided.final
        assert await gateway.find(asked) == standing

    async def test_taken_money_is_not_voided(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)
        standing = await gateway.authorise(asked)
        await gateway.capture(known(asked, standing), operation_key("capture"), AMOUNT)

        with pytest.raises(Refused):
            await gateway.void(known(asked, standing), operation_key("void"))

        after = await gateway.find(known(asked, standing))
        assert after is not None
        assert after.status == "captured"

    async def test_a_final_void_of_nothing_bars_the_key(self, gateway: Gateway, tokens: Tokens) -> None:
        """A vendor that cannot promise that says so, and is asked again later."""
        asked = wanted(tokens.approve)

        voided = await gateway.void(asked, operation_key("void"))
        late = await gateway.authorise(asked)

        assert late.status == ("voided" if voided.final else "authorised")

    async def test_refunds_give_back_what_was_captured_and_no_more(
        self, gateway: Gateway, tokens: Tokens
    ) -> None:
        asked = wanted(tokens.approve)
        standing = await gateway.authorise(asked)
        taken = await gateway.capture(known(asked, standing), operation_key("capture"), AMOUNT)
        paid = msgspec.structs.replace(known(asked, standing), capture_reference=taken.reference)

        def order(minor: int) -> RefundOrder:
            amount = Money(minor, "USD")
            return RefundOrder(key=str(RefundId.new()), amount=amount, asked_at=datetime.now(UTC))

        part = order(8_000)
        first = await gateway.refund(paid, part)
        again = await gateway.refund(paid, part)
        looked_up = await gateway.refund(paid, msgspec.structs.replace(part, reference=first.reference))
        with pytest.raises(Refused):
            await gateway.refund(paid, order(901))
        rest = await gateway.refund(paid, order(900))

        assert first == again
        assert looked_up.reference == first.reference
        assert {first.state, looked_up.state, rest.state} <= {"refunded", "pending"}

    async def test_what_was_not_captured_is_not_refunded(self, gateway: Gateway, tokens: Tokens) -> None:
        asked = wanted(tokens.approve)
        standing = await gateway.authorise(asked)
        refund = RefundOrder(key=str(RefundId.new()), amount=AMOUNT, asked_at=datetime.now(UTC))

        with pytest.raises(Refused):
            await gateway.refund(known(asked, standing), refund)

        assert await gateway.find(known(asked, standing)) == standing
