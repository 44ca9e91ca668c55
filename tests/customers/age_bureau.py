"""What every provider of the port `AgeBureau` has to show. Its test file subclasses the suite and says how its vendor
is brought to each behaviour; how the vendor speaks belongs to the codec's own tests."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import date
from itertools import count
from typing import Final, Literal

import pytest

from rickhouse.customers.contract import AgeOutcome
from rickhouse.customers.port import AgeBureau, AgeQuestion, BureauAway
from rickhouse.platform.db import Database, TransactionOpen
from tests.customers.samples import MEDORA

Trouble = Literal["error", "slow", "dropped", "garbage", "unknown_word"]
"""A server error; no answer within the client's time; a connection that ends; no answer of the contract; an answer of
the right shape with a result that nobody knows."""

Count = Callable[[], Awaitable[int]]

_numbers = count(1)

OUTCOMES: Final[tuple[AgeOutcome, ...]] = ("proven", "refused", "review")
TROUBLES: Final[tuple[Trouble, ...]] = ("error", "slow", "dropped", "garbage", "unknown_word")


def question_about(name: str, birth_date: date = date(1985, 4, 12)) -> AgeQuestion:
    """A question that nobody has asked before."""
    return AgeQuestion(
        key=f"cus_{next(_numbers):026}.21.1",
        minimum_age=21,
        name=name,
        birth_date=birth_date,
        address=MEDORA,
    )


class AgeBureauSuite(ABC):
    """The promises of the port. The test file offers two fixtures: `bureau`, and `checks`, which counts the checks that
    the vendor has made."""

    @abstractmethod
    def answered(self, outcome: AgeOutcome) -> AgeQuestion:
        """A question that the vendor answers with `outcome`."""

    @abstractmethod
    def troubled(self, trouble: Trouble) -> AgeQuestion:
        """A question at which the vendor misbehaves."""

    @pytest.mark.parametrize("outcome", OUTCOMES)
    async def test_answer_is_the_outcome_with_a_reference(
        self, bureau: AgeBureau, outcome: AgeOutcome
    ) -> None:
        answer = await bureau.ask(self.answered(outcome))
        assert answer.outcome == outcome
        assert 0 < len(answer.reference) <= 100

    @pytest.mark.parametrize("outcome", OUTCOMES)
    async def test_same_key_is_the_same_question_and_one_check(
        self, bureau: AgeBureau, checks: Count, outcome: AgeOutcome
    ) -> None:
        question = self.answered(outcome)
        before = await checks()
        answers = await asyncio.gather(*(bureau.ask(question) for _ in range(5)))
        assert answers == [answers[0]] * 5
        assert await checks() == before + 1

    @pytest.mark.parametrize("trouble", TROUBLES)
    async def test_trouble_proves_nothing(self, bureau: AgeBureau, trouble: Trouble) -> None:
        question = self.troubled(trouble)
        with pytest.raises(BureauAway) as away:
            await bureau.ask(question)
        for personal in (question.name, MEDORA.line1, question.birth_date.isoformat()):
            assert personal not in f"{away.value} {away.value.__cause__}"

    async def test_bureau_is_not_asked_inside_a_transaction(
        self, bureau: AgeBureau, checks: Count, db: Database
    ) -> None:
        before = await checks()
        async with db.transaction():
            with pytest.raises(TransactionOpen):
                await bureau.ask(self.answered("proven"))
        assert await checks() == before

    async def test_bureau_has_a_name_for_the_record(self, bureau: AgeBureau) -> None:
        assert bureau.name
        assert bureau.name.isidentifier()
