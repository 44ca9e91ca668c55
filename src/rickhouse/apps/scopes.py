"""Which scopes a token of each kind carries, until identity brings roles. A route names its own scope."""

from __future__ import annotations

from typing import Final

SHOP_SCOPES: Final = frozenset(("catalog:read", "checkouts:buy", "orders:read"))
"""A storefront: looks at the catalogue, opens and completes its own checkouts, sees its own orders."""

OFFICE_SCOPES: Final = frozenset(
    (
        "catalog:read",
        "catalog:write",
        "inventory:read",
        "inventory:write",
        "customers:read",
        "compliance:read",
        "payments:read",
        "payments:write",
        "checkouts:review",
        "orders:read",
        "orders:read_all",
        "orders:write",
    )
)
"""The back office: everything but buying."""

ROLES: Final = {"shop": SHOP_SCOPES, "office": OFFICE_SCOPES}
