"""Who is calling, as the bearer token says, and the guard that holds a route to its scope."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from rickhouse.kernel.errors import Condition, Forbidden, Kind


class Unauthenticated(
    Condition, code="unauthenticated", kind=Kind.UNAUTHENTICATED, title="A bearer token is needed"
):
    """The route needs a token and none came."""


class Caller(msgspec.Struct, frozen=True):
    """The bearer of a verified token. `subject` owns what it creates."""

    subject: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the token carries `scope`."""
        return scope in self.scopes


def caller(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """The caller of a route that declares a scope. Raises Unauthenticated."""
    found = cast("dict[str, Caller | None]", connection.scope).get("auth")
    if found is None:
        raise Unauthenticated("Send a token in the header 'Authorization: Bearer <token>'.")
    return found


async def hold_to_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Litestar guard: a route without a declared scope is closed, not open."""
    scope: str | None = handler.opt["scope"]
    if scope is None:
        return
    if scope not in caller(connection).scopes:
        raise Forbidden(f"The token lacks the scope '{scope}'.", scope=scope)
