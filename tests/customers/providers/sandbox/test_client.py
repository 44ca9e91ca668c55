"""The sandbox's bureau passes the port's suite against the simulator's process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Final

import msgspec
import pytest

from rickhouse.customers.contract import AgeOutcome
from rickhouse.customers.port import AgeQuestion, BureauAway
from rickhouse.customers.providers.sandbox.client import SandboxBureau
from rickhouse.kernel.wire import HttpRequest
from rickhouse.platform.http import HttpClient, close_clients
from tests.customers.age_bureau import AgeBureauSuite, Count, Trouble, question_about
from tests.simulators.bureau import simulated_bureau

_LAST_NAMES: Final[dict[AgeOutcome | Trouble, str]] = {
    "proven": "Example",
    "refused": "Refuse",
    "review": "Review",
    "error": "Error",
    "slow": "Slow",
    "dropped": "Drop",
    "garbage": "Garbage",
    "unknown_word": "Perhaps",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A simulator that is slower than the client has patience."""
    with simulated_bureau(slow_s=5.0) as url:
        yield url


@pytest.fixture(autouse=True)
async def connections() -> AsyncGenerator[None]:
    """Close what a test has opened."""
    yield
    await close_clients()


@pytest.fixture
def http(url: str) -> HttpClient:
    """A client with little patience, whose breaker stays closed however much a test provokes."""
    return HttpClient(url, name="age bureau", timeout_s=1.0, failures_max=0)


@pytest.fixture
def bureau(http: HttpClient) -> SandboxBureau:
    """The provider under test."""
    return SandboxBureau(http)


@pytest.fixture
def checks(http: HttpClient) -> Count:
    """How many checks the simulator has made."""

    async def count() -> int:
        reply = await http.send(HttpRequest("GET", "/v1/counters"))
        return int(msgspec.json.decode(reply.body)["checks"])

    return count


class TestSandboxBureau(AgeBureauSuite):
    """The suite, with the simulator's magic last names."""

    def answered(self, outcome: AgeOutcome) -> AgeQuestion:
        """See AgeBureauSuite."""
        return question_about(f"Ada {_LAST_NAMES[outcome]}")

    def troubled(self, trouble: Trouble) -> AgeQuestion:
        """See AgeBureauSuite."""
        return question_about(f"Ada {_LAST_NAMES[trouble]}")


@pytest.mark.parametrize("last_name", ["Slow", "Drop"])
async def test_question_whose_answer_was_lost_is_answered_when_it_is_asked_again(
    bureau: SandboxBureau, last_name: str
) -> None:
    question = question_about(f"Ada {last_name}")
    with pytest.raises(BureauAway):
        await bureau.ask(question)
    assert (await bureau.ask(question)).outcome == "proven"


async def test_bureau_that_nobody_serves_is_away() -> None:
    nobody = SandboxBureau(HttpClient("http://127.0.0.1:9", name="age bureau", timeout_s=1.0))
    with pytest.raises(BureauAway):
        await nobody.ask(question_about("Ada Example"))
