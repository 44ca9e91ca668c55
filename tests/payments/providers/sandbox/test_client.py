"""The simulated bank keeps the port's promises, and the ways to lose an answer are told apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rickhouse.payments.port import NothingDone, OutcomeUnknown
from rickhouse.payments.providers.sandbox.client import SandboxGateway
from rickhouse.platform.http import HttpClient
from tests.payments.gateway_suite import GatewaySuite, Tokens, wanted
from tests.simulators.bank import BankProcess


class TestSandbox(GatewaySuite):
    """The port's suite on the simulated bank."""

    @pytest.fixture
    def tokens(self) -> Tokens:
        """The bank's magic tokens."""
        return Tokens("tok_approve", "tok_decline", "tok_decline_insufficient_funds", "tok_3ds")

    @pytest.fixture
    def pass_challenge(self, bank: BankProcess) -> Callable[[str], Awaitable[object]]:
        """What a buyer does at the action URL."""

        async def go(url: str) -> int:
            return bank.meet_challenge(url, "pass")

        return go


@pytest.mark.parametrize("token", ["tok_error_before", "tok_drop_after", "tok_timeout_after"])
async def test_a_lost_answer_is_an_unknown_outcome(gateway: SandboxGateway, token: str) -> None:
    with pytest.raises(OutcomeUnknown):
        await gateway.authorise(wanted(token))


async def test_a_bank_that_does_not_listen_surely_did_nothing() -> None:
    gateway = SandboxGateway(HttpClient("http://127.0.0.1:1", name="bank", timeout_s=1))

    with pytest.raises(NothingDone):
        await gateway.authorise(wanted("tok_approve"))


async def test_a_request_at_work_is_pending(bank: BankProcess) -> None:
    impatient = SandboxGateway(HttpClient(bank.url, name="bank", timeout_s=0.3))
    asked = wanted("tok_slow_2")
    with pytest.raises(OutcomeUnknown):
        await impatient.authorise(asked)

    found = await impatient.find(asked)
    repeated = await impatient.authorise(asked)

    assert found is not None
    assert (found.status, repeated.status) == ("pending", "pending")
