"""Checkouts and orders over HTTP: decode, authorise, call the service, encode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from rickhouse.catalog.contract import NotForSale, VariantNotFound
from rickhouse.customers.contract import PersonInvalid
from rickhouse.inventory.contract import HoldLapsed, LimitReached, StockShort
from rickhouse.kernel.errors import CurrencyMismatch
from rickhouse.kernel.ids import CheckoutId, OrderId
from rickhouse.orders.cancel import CancelService
from rickhouse.orders.checkout import CheckoutService
from rickhouse.orders.contract import (
    AgeNotProven,
    CheckoutClosed,
    PaymentDeclined,
    SaleForbidden,
    State,
    WrongState,
)
from rickhouse.orders.model import Order
from rickhouse.orders.resources import (
    AWAITING_EXAMPLE,
    CHECKOUT_EXAMPLE,
    COMPLETE_EXAMPLE,
    COMPLETION_EXAMPLE,
    OPEN_EXAMPLE,
    ORDER_EXAMPLE,
    TIMELINE_EXAMPLE,
    CancelOrder,
    Checkout,
    CompleteCheckout,
    Completion,
    OpenCheckout,
    OrderResource,
    ReviewCheckout,
    Timeline,
    checkout_of,
    completion_of,
    order_of,
)
from rickhouse.orders.service import OrdersService
from rickhouse.payments.contract import CardNumberRefused
from rickhouse.platform.saga import LeaseLost
from rickhouse.platform.web import (
    Cursor,
    IdempotencyKey,
    Limit,
    Page,
    caller,
    created,
    decode_cursor,
    delete,
    encode_cursor,
    get,
    keyed,
    post,
)

READ_ALL = "orders:read_all"
"""Beside `orders:read`: see everybody's orders, not only those of the token's own subject."""

Shown = TypeVar("Shown")

OrderState = Annotated[State | None, QueryParameter(name="state", description="Only orders in this state.")]


def routes(orders: OrdersService, checkout: CheckoutService, cancel: CancelService) -> list[HTTPRouteHandler]:
    """Every route of the slice."""
    return [
        *_opening_routes(checkout, cancel),
        *_completing_routes(checkout),
        *_review_routes(orders),
        *_reading_routes(orders),
        *_cancelling_routes(cancel),
    ]


def _opening_routes(service: CheckoutService, cancel: CancelService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/checkouts",
        scope="checkouts:buy",
        summary="Open a checkout",
        description="Fixes the prices, keeps the bottles aside until `hold_expires_at`, and asks the law.",
        errors=(
            VariantNotFound,
            NotForSale,
            CurrencyMismatch,
            PersonInvalid,
            StockShort,
            LimitReached,
            SaleForbidden,
            LeaseLost,
        ),
        example=CHECKOUT_EXAMPLE,
        body_example=OPEN_EXAMPLE,
    )
    async def open_checkout(
        request: Request[Any, Any, Any], data: JSONBody[OpenCheckout], idempotency_key: IdempotencyKey
    ) -> Response[Checkout]:
        order = await service.open(
            keyed(request, idempotency_key, data), data.lines, data.customer, data.currency
        )
        found = checkout_of(order)
        return created(found, f"/v1/checkouts/{found.checkout_id}")

    @delete(
        "/v1/checkouts/{checkout_id:str}",
        scope="checkouts:buy",
        summary="Give the bottles back",
        errors=(CheckoutClosed, LeaseLost),
        example=CHECKOUT_EXAMPLE,
    )
    async def abandon_checkout(
        request: Request[Any, Any, Any], checkout_id: FromPath[CheckoutId]
    ) -> Checkout:
        return checkout_of(await cancel.abandon(caller(request).subject, checkout_id))

    return [open_checkout, abandon_checkout]


def _completing_routes(service: CheckoutService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/checkouts/{checkout_id:str}/complete",
        scope="checkouts:buy",
        summary="Pay and confirm",
        description="201 with the order; 202 when the buyer's bank, a human, or the gateway's late answer is awaited.",
        errors=(
            PaymentDeclined,
            SaleForbidden,
            AgeNotProven,
            HoldLapsed,
            CheckoutClosed,
            WrongState,
            LeaseLost,
            CardNumberRefused,
        ),
        example=COMPLETION_EXAMPLE,
        body_example=COMPLETE_EXAMPLE,
        also={202: AWAITING_EXAMPLE},
    )
    async def complete_checkout(
        request: Request[Any, Any, Any],
        checkout_id: FromPath[CheckoutId],
        data: JSONBody[CompleteCheckout],
        idempotency_key: IdempotencyKey,
    ) -> Response[Completion]:
        order = await service.complete(keyed(request, idempotency_key, data), checkout_id, data.payment_token)
        completion = completion_of(order)
        if completion.order is None:
            return Response(completion, status_code=202)
        return created(completion, f"/v1/orders/{order.order_id}")

    return [complete_checkout]


def _review_routes(orders: OrdersService) -> list[HTTPRouteHandler]:
    @get(
        "/v1/checkouts/{checkout_id:str}",
        scope="checkouts:buy",
        summary="Look at a checkout",
        example=CHECKOUT_EXAMPLE,
    )
    async def get_checkout(request: Request[Any, Any, Any], checkout_id: FromPath[CheckoutId]) -> Checkout:
        return checkout_of(await orders.get(OrderId(checkout_id.uuid), _owner(request)))

    @get(
        "/v1/checkouts",
        scope="checkouts:review",
        summary="List the checkouts that wait for a human",
        description="Newest first. Why one waits stands in its `cause`.",
        example=Page((CHECKOUT_EXAMPLE,)),
    )
    async def list_reviews(cursor: Cursor = None, limit: Limit = 24) -> Page[Checkout]:
        before = None if cursor is None else decode_cursor(cursor, OrderId)
        found = await orders.list_reviews(before=before, limit=limit + 1)
        return _page(found, limit, checkout_of)

    @post(
        "/v1/checkouts/{checkout_id:str}/review",
        scope="checkouts:review",
        status=200,
        summary="Settle a review",
        description="Approved, the checkout is open again and its buyer completes it; rejected, it ends.",
        errors=(WrongState, LeaseLost),
        example=CHECKOUT_EXAMPLE,
        body_example=ReviewCheckout(approve=True, note="Looked at the permit."),
    )
    async def review_checkout(
        request: Request[Any, Any, Any],
        checkout_id: FromPath[CheckoutId],
        data: JSONBody[ReviewCheckout],
        idempotency_key: IdempotencyKey,
    ) -> Checkout:
        settled = await orders.review(
            keyed(request, idempotency_key, data), checkout_id, approve=data.approve, note=data.note
        )
        return checkout_of(settled)

    return [get_checkout, list_reviews, review_checkout]


def _reading_routes(orders: OrdersService) -> list[HTTPRouteHandler]:
    @get(
        "/v1/orders",
        scope="orders:read",
        summary="List orders",
        description=f"Newest first. Without the scope `{READ_ALL}`, only the caller's own.",
        example=Page((ORDER_EXAMPLE,)),
    )
    async def list_orders(
        request: Request[Any, Any, Any], cursor: Cursor = None, limit: Limit = 24, in_state: OrderState = None
    ) -> Page[OrderResource]:
        before = None if cursor is None else decode_cursor(cursor, OrderId)
        found = await orders.list_placed(
            owner=_owner(request), before=before, state=in_state, limit=limit + 1
        )
        return _page(found, limit, order_of)

    @get(
        "/v1/orders/{order_id:str}",
        scope="orders:read",
        summary="Look at an order",
        example=ORDER_EXAMPLE,
    )
    async def get_order(request: Request[Any, Any, Any], order_id: FromPath[OrderId]) -> OrderResource:
        return order_of(await orders.get(order_id, _owner(request)))

    @get(
        "/v1/orders/{order_id:str}/timeline",
        scope="orders:read",
        summary="What happened to an order",
        example=TIMELINE_EXAMPLE,
    )
    async def get_timeline(request: Request[Any, Any, Any], order_id: FromPath[OrderId]) -> Timeline:
        return Timeline(await orders.timeline(order_id, _owner(request)))

    return [list_orders, get_order, get_timeline]


def _cancelling_routes(cancel: CancelService) -> list[HTTPRouteHandler]:
    @post(
        "/v1/orders/{order_id:str}/cancel",
        scope="orders:write",
        status=200,
        summary="Cancel an order before it is fulfilled",
        description="Voids or refunds the payment and puts the bottles back on sale.",
        errors=(WrongState, LeaseLost),
        example=ORDER_EXAMPLE,
        body_example=CancelOrder(reason="buyer_asked"),
    )
    async def cancel_order(
        request: Request[Any, Any, Any],
        order_id: FromPath[OrderId],
        data: JSONBody[CancelOrder],
        idempotency_key: IdempotencyKey,
    ) -> OrderResource:
        return order_of(await cancel.cancel(keyed(request, idempotency_key, data), order_id, data.reason))

    return [cancel_order]


def _owner(request: Request[Any, Any, Any]) -> str | None:
    who = caller(request)
    return None if who.may(READ_ALL) else who.subject


def _page(found: list[Order], limit: int, shown_as: Callable[[Order], Shown]) -> Page[Shown]:
    shown = found[:limit]
    more = encode_cursor(shown[-1].order_id) if len(found) > limit else None
    return Page(tuple(shown_as(order) for order in shown), more)
