"""People who do not exist, and a bureau that answers about them as a test tells it to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from typing import Any, Final

import msgspec

from rickhouse.customers.contract import Address, AgeOutcome, Person
from rickhouse.customers.port import AgeAnswer, AgeQuestion, BureauAway

_numbers = count(1)

MEDORA: Final = Address(
    line1="1 Main Street",
    line2="Apartment 2",
    city="Medora",
    region="US-ND",
    postal_code="58645",
    country="US",
)
ADA: Final = Person(
    name="Ada Example",
    email="Ada@example.com",
    phone="+17015550123",
    birth_date=date(1985, 4, 12),
    address=MEDORA,
)
"""A person in whom every field is filled."""


def somebody(**changes: Any) -> Person:  # noqa: ANN401  a field of any type
    """A person whom no other test knows, with these fields changed; the address's are given like the person's."""
    moved = {name: changes.pop(name) for name in Address.__struct_fields__ if name in changes}
    fresh: dict[str, Any] = {
        "email": f"somebody{next(_numbers)}@example.com",
        "address": msgspec.structs.replace(MEDORA, **moved),
    }
    return msgspec.structs.replace(ADA, **(fresh | changes))


@dataclass
class ScriptedBureau:
    """An AgeBureau that answers `outcome`, or is away while that is None; it remembers every question."""

    outcome: AgeOutcome | None = "proven"
    delay_s: float = 0.0
    asked: list[AgeQuestion] = field(default_factory=list[AgeQuestion])

    @property
    def name(self) -> str:
        """See AgeBureau."""
        return "scripted"

    async def ask(self, question: AgeQuestion) -> AgeAnswer:
        """See AgeBureau."""
        self.asked.append(question)
        await asyncio.sleep(self.delay_s)
        if self.outcome is None:
            raise BureauAway("scripted: away")
        return AgeAnswer(self.outcome, f"ref-{len(self.asked)}")
