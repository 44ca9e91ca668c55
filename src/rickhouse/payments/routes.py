"""Payments over HTTP, for the back office: look, capture, refund. A storefront pays through its checkout."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from rickhouse.kernel.errors import CurrencyMismatch
from rickhouse.kernel.ids import OrderId, PaymentId, RefundId
from rickhouse.kernel.money import MINOR_MAX, Money
from rickhouse.payments.contract import Payment, PaymentNotFound, PaymentState, Refund, RefundTooLarge
from rickhouse.payments.service import PaymentsService
from rickhouse.platform.web import IdempotencyKey, Page, created, get, keyed, post


class Amount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount that moves: positive, in minor units of an ISO 4217 currency."""

    minor: Annotated[int, Meta(ge=1, le=MINOR_MAX)]
    currency: Annotated[str, Meta(min_length=3, max_length=3)]


class RefundPayment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much to give back."""

    amount: Amount


_PAYMENT_ID = PaymentId.parse("pay_01hq3x6k9vf4r8t2m5n7p0s3wz")
_AUTHORISED = Payment(
    payment_id=_PAYMENT_ID,
    order_id=OrderId.parse("ord_01hq3x6k1vf4r8t2m5n7p0s3wa"),
    attempt=1,
    state="authorised",
    amount=Money(8_900, "USD"),
    captured=Money(0, "USD"),
    refunded=Money(0, "USD"),
    card_brand="visa",
    card_last4="4242",
)
_CAPTURED = msgspec.structs.replace(_AUTHORISED, state="captured", captured=Money(8_900, "USD"))
_REFUND = Refund(
    refund_id=RefundId.parse("rfn_01hq3x6m2vf4r8t2m5n7p0s3wb"),
    payment_id=_PAYMENT_ID,
    amount=Money(2_500, "USD"),
    state="refunded",
)


def routes(service: PaymentsService) -> list[HTTPRouteHandler]:
    """Every route of the slice."""

    @get(
        "/v1/payments/{payment_id:str}",
        scope="payments:read",
        summary="One attempt to pay",
        errors=(PaymentNotFound,),
        example=_AUTHORISED,
    )
    async def get_payment(payment_id: FromPath[PaymentId]) -> Payment:
        return await service.get_payment(payment_id)

    @get(
        "/v1/orders/{order_id:str}/payments",
        scope="payments:read",
        summary="An order's attempts to pay",
        description="First to last; an order has at most 20, so there is always one page.",
        example=Page((_AUTHORISED,)),
    )
    async def get_payments_of_order(order_id: FromPath[OrderId]) -> Page[Payment]:
        return Page(await service.attempts_of(order_id))

    @post(
        "/v1/payments/{payment_id:str}/capture",
        scope="payments:write",
        summary="Take the authorised money",
        description="All of it. 503 means that the gateway has not answered yet; taking goes on by itself.",
        errors=(PaymentNotFound, PaymentState),
        example=_CAPTURED,
        status=200,
    )
    async def capture_payment(
        request: Request[Any, Any, Any], payment_id: FromPath[PaymentId], idempotency_key: IdempotencyKey
    ) -> Payment:
        return await service.capture_payment(payment_id, keyed(request, idempotency_key, None))

    @post(
        "/v1/payments/{payment_id:str}/refunds",
        scope="payments:write",
        summary="Give captured money back",
        description="`pending` goes on by itself; the same key and body later tell how it came out.",
        errors=(PaymentNotFound, PaymentState, RefundTooLarge, CurrencyMismatch),
        example=_REFUND,
        body_example=RefundPayment(amount=Amount(minor=2_500, currency="USD")),
    )
    async def refund_payment(
        request: Request[Any, Any, Any],
        payment_id: FromPath[PaymentId],
        data: JSONBody[RefundPayment],
        idempotency_key: IdempotencyKey,
    ) -> Response[Refund]:
        amount = Money(data.amount.minor, data.amount.currency)
        refund = await service.refund_payment(payment_id, amount, keyed(request, idempotency_key, data))
        return created(refund, f"/v1/payments/{payment_id}")

    return [get_payment, get_payments_of_order, capture_payment, refund_payment]
