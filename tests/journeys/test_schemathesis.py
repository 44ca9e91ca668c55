"""The API answers whatever is sent to it as its own document says, and nothing that is sent breaks it.

Requests are derived from `/openapi.json` by schemathesis: the examples, every edge of every schema, then at random.
What a refusal of one certain mistake says belongs in `test_bad_input.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from rickhouse.apps.scopes import OFFICE_SCOPES, SHOP_SCOPES
from rickhouse.platform.tokens import TokenKey
from tests.journeys.books import at_rest
from tests.journeys.stack import Stack

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
"""All that one request and its answer can show, save that what fits a schema is accepted: the rules of the trade (a
check digit, a legal fill, a warehouse that exists) say more than a schema can."""

CONFIG: Final = """\
[output.sanitization]
enabled = false

[warnings]
enabled = false

[checks.negative_data_rejection]
# Whatever is wrong with the rest of a request, a stale version or a body over the limit may be told first.
expected-statuses = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "428"]
"""

KNOWN: Final = """
[parameters]
{parameters}
"""
"""Ids of things that are there, so that requests reach what stands behind the look-up."""


async def test_every_edge_of_the_document_is_answered_as_documented(house: Stack, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")

    _explore(house, tmp_path, "--phases", "examples,coverage")

    await _assert_whole(house)


async def test_random_requests_on_what_is_there_are_answered_as_documented(
    house: Stack, tmp_path: Path
) -> None:
    await _write_known(house, tmp_path)

    _explore(house, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "20")

    await _assert_whole(house)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(4))
async def test_ten_minutes_of_random_requests_are_answered_as_documented(
    house: Stack, tmp_path: Path, seed: int
) -> None:
    await _write_known(house, tmp_path)

    _explore(house, tmp_path, "--phases", "coverage,fuzzing,stateful", "--max-time", "600", seed=seed)

    await _assert_whole(house)


async def _write_known(house: Stack, directory: Path) -> None:
    """Buy a bottle, and let every id in a path be one of the things that this left."""
    products = await house.office("GET", "/v1/products?status=active&limit=1")
    product = products.body["items"][0]
    variant_id = product["variants"][0]["variant_id"]
    bought = await house.buy(variant_id)
    assert bought.status == 201
    order = bought.body["order"]
    warehouses = await house.office("GET", "/v1/warehouses")
    checkout = await house.call("GET", f"/v1/checkouts/{order['checkout_id']}")
    entries = await house.office("GET", "/v1/stock/movements?limit=100")
    received = next(entry for entry in entries.body["items"] if entry["movement_id"] is not None)
    known = {
        "product_id": product["product_id"],
        "variant_id": variant_id,
        "warehouse_id": warehouses.body["items"][0]["warehouse_id"],
        "order_id": order["order_id"],
        "checkout_id": order["checkout_id"],
        "customer_id": order["customer_id"],
        "payment_id": order["payment_id"],
        "decision_id": checkout.body["legal"]["decision_id"],
        "movement_id": received["movement_id"],
    }
    parameters = "".join(f'"path.{name}" = "{value}"\n' for name, value in known.items())
    text = CONFIG + KNOWN.format(parameters=parameters)
    (directory / "schemathesis.toml").write_text(text, encoding="utf-8")


def _explore(house: Stack, directory: Path, *options: str, seed: int = 1) -> None:
    """Let schemathesis loose on the house with a token that may do everything; it prints what it finds."""
    key = TokenKey.load(house.home / "keys" / "tokens.json")
    token = key.issue("shop", OFFICE_SCOPES | SHOP_SCOPES, 7_200)
    command: Sequence[str] = (
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        "schemathesis.toml",
        "--no-color",
        "run",
        f"{house.base_url}/openapi.json",
        "--header",
        f"Authorization: Bearer {token}",
        "--checks",
        ",".join(CHECKS),
        "--seed",
        str(seed),
        "--generation-database",
        "none",
        "--suppress-health-check",
        "all",
        "--no-shrink",
        *options,
    )
    found = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


async def _assert_whole(house: Stack) -> None:
    """Every order has come to rest and the stock adds up."""
    await at_rest(house)
    house.start("verify", "inventory", "verify")
    assert house.wait("verify") == 0
    assert (await house.office("GET", "/health/ready")).status == 200
