"""The bank simulator's words for what the port asks: requests out, replies in. Sending them belongs in `client`."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from rickhouse.kernel.money import Money
from rickhouse.kernel.wire import HttpReply, HttpRequest
from rickhouse.payments.port import (
    Authorisation,
    Captured,
    Card,
    DeclineCode,
    LedgerLine,
    OutcomeUnknown,
    Refunded,
    RefundOrder,
    Refused,
    Standing,
    Voided,
)

_REASONS: Final[dict[str, DeclineCode]] = {
    "NO_FUNDS": "insufficient_funds",
    "STOLEN": "card_stolen",
    "EXPIRED": "card_expired",
    "CHALLENGE_FAILED": "challenge_failed",
    "UNKNOWN_INSTRUMENT": "token_invalid",
}
_BRANDS: Final = {"VISA": "visa", "MC": "mastercard"}


class _HoldBody(msgspec.Struct, frozen=True):
    instrument: str
    amount: str
    ccy: str
    order: str


class _AmountBody(msgspec.Struct, frozen=True):
    amount: str


class _CardReply(msgspec.Struct, frozen=True):
    scheme: str
    tail: str


class _HoldReply(msgspec.Struct, frozen=True):
    hold: str
    status: str
    key: str
    amount: str
    ccy: str
    card: _CardReply
    reason: str = ""
    challenge_url: str = ""
    take: str = ""
    taken: str = "0.00"
    returned: str = "0.00"


class _ReturnReply(msgspec.Struct, frozen=True):
    name: str = msgspec.field(name="return")
    status: str
    amount: str
    ccy: str


class _FaultReply(msgspec.Struct, frozen=True):
    fault: str


class _LedgerReply(msgspec.Struct, frozen=True):
    holds: tuple[_HoldReply, ...]


_encode: Final = msgspec.json.Encoder().encode
_decode_hold: Final = msgspec.json.Decoder(_HoldReply).decode
_decode_return: Final = msgspec.json.Decoder(_ReturnReply).decode
_decode_fault: Final = msgspec.json.Decoder(_FaultReply).decode
_decode_ledger: Final = msgspec.json.Decoder(_LedgerReply).decode

LEDGER: Final = HttpRequest("GET", "/ledger")
"""Asks for the bank's own list."""


def authorise(wanted: Authorisation) -> HttpRequest:
    """POST /holds."""
    body = _HoldBody(
        wanted.token or "", _decimal(wanted.amount), wanted.amount.currency.lower(), wanted.order_ref
    )
    return _post("/holds", wanted.key, _encode(body))


def find(wanted: Authorisation) -> HttpRequest:
    """GET /holds by key."""
    return HttpRequest("GET", f"/holds?key={quote(wanted.key, safe='')}")


def capture(wanted: Authorisation, key: str, amount: Money) -> HttpRequest:
    """POST /holds/{hold}/take."""
    return _post(f"/holds/{_name(wanted.reference)}/take", key, _encode(_AmountBody(_decimal(amount))))


def void(wanted: Authorisation, key: str) -> HttpRequest:
    """POST /holds/free by key, which is known even when the hold's name is not."""
    return _post(f"/holds/free?key={quote(wanted.key, safe='')}", key)


def refund(wanted: Authorisation, order: RefundOrder) -> HttpRequest:
    """POST /takes/{take}/return, or a look at the return that is known already."""
    if order.reference is not None:
        return HttpRequest("GET", f"/returns/{_name(order.reference)}")
    body = _encode(_AmountBody(_decimal(order.amount)))
    return _post(f"/takes/{_name(wanted.capture_reference)}/return", order.key, body)


def authorised(wanted: Authorisation, reply: HttpReply) -> Standing:
    """What POST /holds led to. Raises OutcomeUnknown, Refused."""
    if reply.status in (201, 202, 402):
        return _standing(wanted, reply)
    fault = _fault(reply)
    if fault == "KEY_BUSY":
        return Standing(status="pending")
    if fault == "KEY_BARRED":
        return Standing(status="voided")
    if fault == "BAD_REQUEST":
        raise Refused(f"sandbox: {fault}")
    raise OutcomeUnknown(f"sandbox: {reply.status} {fault}")


def found(wanted: Authorisation, reply: HttpReply) -> Standing | None:
    """What stands under the key. Raises OutcomeUnknown."""
    if reply.status == 202:
        return Standing(status="pending")
    if reply.status == 200:
        return _standing(wanted, reply)
    fault = _fault(reply)
    if fault == "UNKNOWN_KEY":
        return None
    raise OutcomeUnknown(f"sandbox: {reply.status} {fault}")


def captured(wanted: Authorisation, amount: Money, reply: HttpReply) -> Captured:
    """What a take led to. Raises OutcomeUnknown, Refused."""
    hold = _hold(wanted, _succeeded(reply))
    if hold.status != "TAKEN" or _minor(hold.taken) != amount.minor:
        raise OutcomeUnknown("sandbox: another amount was taken than asked for")
    return Captured(hold.take, amount)


def voided(reply: HttpReply) -> Voided:
    """What freeing led to. Raises OutcomeUnknown, Refused (the money is taken)."""
    if reply.status == 404 and _fault(reply) == "UNKNOWN_KEY":
        return Voided(final=False)
    _succeeded(reply)
    return Voided(final=True)


def refunded(order: RefundOrder, reply: HttpReply) -> Refunded:
    """What a return led to. Raises OutcomeUnknown, Refused."""
    try:
        given = _decode_return(_succeeded(reply).body)
    except msgspec.MsgspecError as error:
        raise OutcomeUnknown("sandbox: the reply cannot be read") from error
    if (_minor(given.amount), given.ccy.upper()) != (order.amount.minor, order.amount.currency):
        raise OutcomeUnknown("sandbox: another amount was returned than asked for")
    return Refunded(given.name, "refunded" if given.status == "RETURNED" else "pending")


def ledger(reply: HttpReply) -> tuple[LedgerLine, ...]:
    """The bank's own list, one line per key."""
    return tuple(
        LedgerLine(
            key=hold.key,
            currency=hold.ccy.upper(),
            authorised_minor=_minor(hold.amount) if hold.status == "HELD" else 0,
            captured_minor=_minor(hold.taken),
            refunded_minor=_minor(hold.returned),
        )
        for hold in _decode_ledger(reply.body).holds
    )


def _standing(wanted: Authorisation, reply: HttpReply) -> Standing:
    hold = _hold(wanted, reply)
    card = Card(_BRANDS.get(hold.card.scheme, hold.card.scheme.lower()), hold.card.tail)
    match hold.status:
        case "HELD":
            return Standing(status="authorised", reference=hold.hold, card=card)
        case "CHALLENGE":
            return Standing(
                status="requires_action", reference=hold.hold, card=card, action_url=hold.challenge_url
            )
        case "REFUSED":
            code = _REASONS.get(hold.reason, "card_declined")
            return Standing(status="declined", reference=hold.hold, card=card, decline_code=code)
        case "FREED":
            return Standing(status="voided", reference=hold.hold, card=card)
        case "TAKEN":
            return Standing(
                status="captured",
                reference=hold.hold,
                card=card,
                captured=Money(_minor(hold.taken), wanted.amount.currency),
                capture_reference=hold.take,
            )
        case _:
            raise OutcomeUnknown("sandbox: a status that is not in its contract")


def _hold(wanted: Authorisation, reply: HttpReply) -> _HoldReply:
    try:
        hold = _decode_hold(reply.body)
    except msgspec.MsgspecError as error:
        raise OutcomeUnknown("sandbox: the reply cannot be read") from error
    if (_minor(hold.amount), hold.ccy.upper()) != (wanted.amount.minor, wanted.amount.currency):
        raise OutcomeUnknown("sandbox: the reply is about another amount")
    return hold


def _succeeded(reply: HttpReply) -> HttpReply:
    if reply.status == 200:
        return reply
    fault = _fault(reply)
    if reply.status == 409 and fault != "KEY_BUSY":
        raise Refused(f"sandbox: {fault}")
    raise OutcomeUnknown(f"sandbox: {reply.status} {fault}")


def _fault(reply: HttpReply) -> str:
    try:
        return _decode_fault(reply.body).fault
    except msgspec.MsgspecError:
        return "without a word"


def _post(path: str, key: str, body: bytes = b"") -> HttpRequest:
    return HttpRequest("POST", path, {"Idempotency-Key": key, "Content-Type": "application/json"}, body)


def _name(reference: str | None) -> str:
    if reference is None:
        raise Refused("sandbox: nothing is set aside that could be named")
    return quote(reference, safe="")


def _decimal(amount: Money) -> str:
    return f"{amount.minor // 100}.{amount.minor % 100:02d}"


def _minor(decimal: str) -> int:
    units, _, decimals = decimal.partition(".")
    try:
        return int(units) * 100 + int(decimals)
    except ValueError as error:
        raise OutcomeUnknown("sandbox: an amount cannot be read") from error
