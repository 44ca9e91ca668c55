"""What the vault needs from the outside world: somebody who can tell whether a stated person is of age.

No vendor's words, addresses or credentials belong here; they stay in its codec and client.
"""

from __future__ import annotations

from datetime import date
from typing import Protocol

import msgspec

from rickhouse.customers.contract import Address, AgeOutcome
from rickhouse.kernel.personal import Personal


class BureauAway(Exception):
    """The bureau gave no answer that can be relied on: not reached, too slow, an error, or words nobody knows.

    Nothing is known of the person's age. The message names the bureau and the sort of failure, never the person.
    """


class AgeQuestion(Personal, frozen=True, kw_only=True):
    """What a bureau is told: no more than it takes to find the person in its records.

    `key` is at most 60 visible ASCII characters. The same key is the same question: it is answered once, and paid once.
    """

    key: str
    minimum_age: int
    name: str
    birth_date: date
    address: Address


class AgeAnswer(msgspec.Struct, frozen=True):
    """What the bureau said. `reference` names its record of the question."""

    outcome: AgeOutcome
    reference: str


class AgeBureau(Protocol):
    """A bureau that proves ages."""

    @property
    def name(self) -> str:
        """What the record calls this bureau."""
        ...

    async def ask(self, question: AgeQuestion) -> AgeAnswer:
        """Whether the person is at least `minimum_age` today. Only an explicit yes to that very age is `proven`.

        Never called inside a database transaction. Raises BureauAway.
        """
        ...
