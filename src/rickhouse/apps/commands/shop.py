"""Commands of somebody who uses the API, and of whoever lets him."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from cyclopts import Parameter

from rickhouse.apps import buy as buying
from rickhouse.apps.house import token_key
from rickhouse.apps.refusals import Told
from rickhouse.apps.scopes import OFFICE_SCOPES, ROLES, SHOP_SCOPES
from rickhouse.apps.terminal import Config, say, settings_of


def buy(
    *,
    url: str = "http://127.0.0.1:8000",
    sku: str | None = None,
    payment_token: str = buying.GOOD_CARD,
    config: Config = None,
) -> None:
    """Buy one bottle through a running API, telling each step.

    Parameters
    ----------
    url
        Where the API listens.
    sku
        Which bottling; the first one in stock otherwise.
    payment_token
        The gateway's token, such as tok_decline or tok_3ds of the bank simulator.
    """
    key = token_key(settings_of(config))
    shop = buying.Shop(
        url,
        shop_token=key.issue("demo-shop", SHOP_SCOPES, 600),
        office_token=key.issue("demo-office", OFFICE_SCOPES, 600),
        say=say,
    )
    asyncio.run(shop.buy(sku=sku, payment_token=payment_token))


def token_issue(
    subject: str,
    *,
    role: Literal["shop", "office"] = "shop",
    scope: Annotated[list[str] | None, Parameter(help="Instead of a role: a scope; may be repeated.")] = None,
    ttl_s: int = 3600,
    config: Config = None,
) -> None:
    """Print a signed bearer token.

    Parameters
    ----------
    subject
        Who holds it; owns the checkouts opened with it.
    role
        shop: buy and look. office: everything but buying.
    ttl_s
        Seconds until it expires.
    """
    scopes = frozenset(scope) if scope else ROLES[role]
    try:
        say(token_key(settings_of(config)).issue(subject, scopes, ttl_s))
    except ValueError as error:
        raise Told(f"No such token can be issued: {error}.") from error
