"""What the simulated age bureau is told and what it answers. Sending belongs in `client`; deciding, to the service."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from rickhouse.customers.contract import AgeOutcome
from rickhouse.customers.port import AgeAnswer, AgeQuestion, BureauAway
from rickhouse.kernel.personal import Personal
from rickhouse.kernel.wire import HttpReply, HttpRequest

_Result = Literal["pass", "fail", "manual_review"]

_OUTCOMES: Final[dict[_Result, AgeOutcome]] = {
    "pass": "proven",
    "fail": "refused",
    "manual_review": "review",
}


class _Address(Personal, frozen=True, kw_only=True):
    line1: str
    line2: str
    city: str
    region: str
    postal_code: str
    country: str


class _Check(Personal, frozen=True, kw_only=True):
    minimum_age: int
    name: str
    birth_date: str
    address: _Address


class _Reply(msgspec.Struct, frozen=True):
    id: Annotated[str, Meta(min_length=1, max_length=100)]
    key: str
    minimum_age: int
    result: _Result


_write_check: Final = msgspec.json.Encoder().encode
_read_reply: Final = msgspec.json.Decoder(_Reply).decode


def request_of(question: AgeQuestion) -> HttpRequest:
    """The question as the bureau takes it."""
    address = question.address
    check = _Check(
        minimum_age=question.minimum_age,
        name=question.name,
        birth_date=question.birth_date.isoformat(),
        address=_Address(
            line1=address.line1,
            line2=address.line2,
            city=address.city,
            region=address.region,
            postal_code=address.postal_code,
            country=address.country,
        ),
    )
    return HttpRequest(
        method="POST",
        path="/v1/age-checks",
        headers={"content-type": "application/json", "idempotency-key": question.key},
        body=_write_check(check),
    )


def answer_of(question: AgeQuestion, reply: HttpReply) -> AgeAnswer:
    """The answer, if the reply is one to this very question.

    Raises BureauAway for every status but 200, for a result that the contract does not have, and for an answer that
    names another question or another age.
    """
    if reply.status != 200:
        raise BureauAway(f"sandbox: HTTP {reply.status}")
    try:
        read = _read_reply(reply.body)
    except msgspec.MsgspecError:
        raise BureauAway("sandbox: a reply that its contract does not have") from None
    if read.key != question.key or read.minimum_age != question.minimum_age:
        raise BureauAway("sandbox: an answer to another question")
    return AgeAnswer(_OUTCOMES[read.result], read.id)
