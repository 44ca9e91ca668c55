"""Stock over HTTP: what staff send, what they see, and refusals that say what to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from rickhouse.inventory.routes import routes
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.ids import MovementId, OrderId, VariantId, WarehouseId
from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build
from tests.inventory.samples import counts_of, fresh_key, held, opened, received

Json = dict[str, Any]


class Api:
    """The routes as one caller meets them."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._token = token

    async def __call__(
        self, method: str, path: str, body: object = None, *, key: str = "", **query: str
    ) -> httpx.Response:
        """One request; a POST gets a fresh idempotency key where none is given."""
        headers = {"authorization": f"Bearer {self._token}"}
        if method == "POST":
            headers["idempotency-key"] = key or fresh_key().key
        return await self._client.request(method, path, headers=headers, json=body, params=query)


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    """Who signs tokens."""
    return TokenKey.load(tmp_path / "tokens.json")


@pytest.fixture
async def client(inventory: InventoryService, key: TokenKey) -> AsyncGenerator[httpx.AsyncClient]:
    """The application over an inventory."""
    app = build(routes(inventory), verifier=key, probes={}, body_bytes_max=262_144)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI by two names
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
def staff(client: httpx.AsyncClient, key: TokenKey) -> Api:
    """Who keeps the warehouses."""
    return Api(client, key.issue("ann", ["inventory:read", "inventory:write"], 60))


@pytest.fixture
def guest(client: httpx.AsyncClient, key: TokenKey) -> Api:
    """Who may only look."""
    return Api(client, key.issue("guest", ["inventory:read"], 60))


def warehouse(name: str) -> Json:
    """The body that opens one."""
    return {"name": name, "region": "US-ND", "kind": "tax_paid", "priority": 7, "sells": True}


async def test_a_warehouse_is_opened_and_shown(staff: Api, guest: Api) -> None:
    made = await staff("POST", "/v1/warehouses", warehouse("Rackhouse A"), key="rackhouse-a")

    assert made.status_code == 201
    shown = made.json()
    path = f"/v1/warehouses/{shown['warehouse_id']}"
    assert made.headers["location"] == path
    assert shown | warehouse("Rackhouse A") == shown
    assert (await guest("GET", path)).json() == shown
    again = await staff("POST", "/v1/warehouses", warehouse("Rackhouse A"), key="rackhouse-a")
    assert (again.status_code, again.json()) == (201, shown)
    other = await staff("POST", "/v1/warehouses", warehouse("Rackhouse B"), key="rackhouse-a")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    taken = await staff("POST", "/v1/warehouses", warehouse("Rackhouse A"))
    assert (taken.status_code, taken.json()["code"]) == (409, "warehouse_name_taken")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "bonded"}, "sells"),
        ({"region": "us-nd"}, "region"),
        ({"name": " "}, "name"),
    ],
)
async def test_a_warehouse_that_breaks_a_rule_is_refused(staff: Api, fields: Json, field: str) -> None:
    refused = await staff("POST", "/v1/warehouses", warehouse("Rackhouse C") | fields)

    assert (refused.status_code, refused.json()["code"]) == (400, "field_invalid")
    assert refused.json()["field"] == field
    assert "Rackhouse C" not in (await staff("GET", "/v1/warehouses", limit="100")).text


async def test_warehouses_come_page_by_page(staff: Api, inventory: InventoryService) -> None:
    made = [str(await opened(inventory, priority=priority)) for priority in (900, 902, 901)]

    seen: list[str] = []
    query = {"limit": "2"}
    while True:
        page = (await staff("GET", "/v1/warehouses", **query)).json()
        seen += [item["warehouse_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert [warehouse_id for warehouse_id in seen if warehouse_id in made] == [made[0], made[2], made[1]]
    assert len(seen) == len(set(seen))


async def test_every_kind_of_movement_can_be_asked_for(
    staff: Api, inventory: InventoryService, shop: WarehouseId
) -> None:
    annex, variant_id = await opened(inventory), VariantId.new()
    here = {"variant_id": str(variant_id), "warehouse_id": str(shop)}
    away = {"from_warehouse_id": str(shop), "to_warehouse_id": str(annex)}
    order_id = str(OrderId.new())
    steps: tuple[tuple[str, Json, tuple[int, int, int]], ...] = (
        ("receipts", here | {"quantity": 20}, (20, 0, 0)),
        ("adjustments", here | {"delta": -2, "reason": "Count"}, (18, 0, 0)),
        ("breakages", here | {"quantity": 1, "reason": "Dropped"}, (17, 0, 0)),
        ("quarantines", here | {"quantity": 3, "reason": "Label"}, (17, 0, 3)),
        ("clearances", here | {"quantity": 1}, (17, 0, 2)),
        ("returns", here | {"quantity": 1, "reason": "Refused", "order_id": order_id}, (18, 0, 3)),
        ("transfers", {"variant_id": str(variant_id), "quantity": 5} | away, (18, 0, 3)),
    )
    for path, body, counts in steps:
        made = await staff("POST", f"/v1/stock/{path}", body)

        assert made.status_code == 201, made.text
        movement = made.json()
        assert made.headers["location"] == f"/v1/stock/movements/{movement['movement_id']}"
        assert movement["actor"] == "ann"
        assert (await staff("GET", made.headers["location"])).json() == movement
        assert await counts_of(inventory, variant_id) == counts

    shelves = (await staff("GET", "/v1/stock", variant_id=str(variant_id))).json()["items"]
    assert {shelf["warehouse_id"]: shelf["free"] for shelf in shelves} == {str(shop): 10, str(annex): 5}
    ledger = (await staff("GET", "/v1/stock/movements", variant_id=str(variant_id))).json()["items"]
    assert [entry["kind"] for entry in ledger] == [
        "transfer",
        "transfer",
        "return",
        "clearance",
        "quarantine",
        "breakage",
        "adjustment",
        "receipt",
    ]


async def test_the_same_key_moves_bottles_once(
    staff: Api, inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = VariantId.new()
    body: Json = {"variant_id": str(variant_id), "warehouse_id": str(shop), "quantity": 20}

    first = await staff("POST", "/v1/stock/receipts", body, key="receipt-1")
    again = await staff("POST", "/v1/stock/receipts", body, key="receipt-1")
    other = await staff("POST", "/v1/stock/receipts", body | {"quantity": 21}, key="receipt-1")

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await counts_of(inventory, variant_id) == (20, 0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 1_000_001},
        {"quantity": 2**63},
        {"quantity": 1.5},
        {"reason": "\0"},
        {"reason": "x" * 201},
        {"price": 1},
        {"variant_id": "whs_01h455vb4pex5vsknk084sn02q"},
        {"warehouse_id": None},
    ],
)
async def test_a_receipt_that_cannot_be_is_refused(
    staff: Api, inventory: InventoryService, shop: WarehouseId, fields: Json
) -> None:
    variant_id = VariantId.new()
    body: Json = {"variant_id": str(variant_id), "warehouse_id": str(shop), "quantity": 1}

    refused = await staff("POST", "/v1/stock/receipts", body | fields)

    assert refused.status_code == 400, refused.text
    assert await counts_of(inventory, variant_id) == (0, 0, 0)


async def test_too_few_free_bottles_are_told_by_number(
    staff: Api, inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 5)
    await held(inventory, (variant_id, 4))
    body = {"variant_id": str(variant_id), "warehouse_id": str(shop), "delta": -2, "reason": "Count"}

    refused = await staff("POST", "/v1/stock/adjustments", body)

    assert refused.status_code == 409
    problem = refused.json()
    assert (problem["code"], problem["held"], problem["free"]) == ("too_few_bottles", 4, 1)
    assert problem["detail"] == (
        "Only 1 of 5 bottles are free, not 2: 4 are held for orders and 0 are in quarantine."
    )
    assert await counts_of(inventory, variant_id) == (5, 4, 0)


async def test_an_unknown_warehouse_in_a_body_is_unprocessable(staff: Api) -> None:
    body = {"variant_id": str(VariantId.new()), "warehouse_id": str(WarehouseId.new()), "quantity": 1}

    refused = await staff("POST", "/v1/stock/receipts", body)

    assert (refused.status_code, refused.json()["code"]) == (422, "warehouse_not_found")


@pytest.mark.parametrize(
    "path", [f"/v1/warehouses/{WarehouseId(UUID(int=1))}", f"/v1/stock/movements/{MovementId(UUID(int=1))}"]
)
async def test_what_does_not_exist_is_not_found(staff: Api, path: str) -> None:
    assert (await staff("GET", path)).status_code == 404


@pytest.mark.parametrize("path", ["/v1/warehouses", "/v1/stock", "/v1/stock/movements"])
@pytest.mark.parametrize("cursor", ["x", "bnVsbA", "WzldCg", "Wy0xXQ", "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2XQ", "é"])
async def test_a_cursor_that_was_not_made_here_is_refused(staff: Api, path: str, cursor: str) -> None:
    reply = await staff("GET", path, cursor=cursor)

    if (path, cursor) == ("/v1/stock/movements", "WzldCg"):
        assert reply.status_code == 200  # [9] is what a page that ended at the ninth row would say
    else:
        assert (reply.status_code, reply.json()["code"]) == (400, "field_invalid")


async def test_the_ledger_comes_page_by_page(
    staff: Api, inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 1)
    for _ in range(4):
        await received(inventory, shop, 1, variant_id)
    query = {"variant_id": str(variant_id), "warehouse_id": str(shop), "limit": "2"}

    sizes: list[int] = []
    while True:
        page = (await staff("GET", "/v1/stock/movements", **query)).json()
        sizes.append(len(page["items"]))
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert sizes == [2, 2, 1]


async def test_whoever_may_only_look_changes_nothing(
    guest: Api, inventory: InventoryService, shop: WarehouseId
) -> None:
    variant_id = await received(inventory, shop, 5)
    here = {"variant_id": str(variant_id), "warehouse_id": str(shop), "quantity": 1}

    for path, body in (
        ("/v1/warehouses", warehouse("Rackhouse D")),
        ("/v1/stock/receipts", here),
        ("/v1/stock/breakages", here | {"reason": "Dropped"}),
    ):
        assert (await guest("POST", path, body)).status_code == 403

    assert await counts_of(inventory, variant_id) == (5, 0, 0)
