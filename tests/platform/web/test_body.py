"""A body is read once, strictly, into the type that its route declares; what is wrong with it is named."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import date
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from litestar import Request
from litestar.params import JSONBody
from msgspec import Meta

from rickhouse.kernel.ids import VariantId
from rickhouse.platform.web import post
from tests.platform.web.client import Json, asked, told


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands on a bottle."""

    words: Annotated[str, Meta(min_length=1, max_length=20)]
    abv_bp: Annotated[int, Meta(ge=0, le=10_000)]


class Fill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body with a field of each kind."""

    variant_id: VariantId
    labels: tuple[Label, ...]
    day: date
    price: float = 0.0
    note: str | None = None


VARIANT = VariantId.new()
GOOD: Json = {
    "variant_id": str(VARIANT),
    "labels": [{"words": "Rye", "abv_bp": 4750}],
    "day": "2026-11-23",
}


@post("/fill", scope=None, summary="Fill", keyed=False, body_example=GOOD, status=200)
async def fill(data: JSONBody[Fill]) -> Fill:
    """What was understood."""
    return data


@post("/twice", scope=None, summary="Twice", keyed=False, body_example=GOOD, status=200)
async def twice(request: Request[Any, Any, Any], data: JSONBody[Fill]) -> bool:
    """Whether a second look sees the same."""
    return await request.json() == data


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    async with asked(fill, twice) as client:
        yield client


async def test_a_body_becomes_the_value_that_the_route_declares(client: httpx.AsyncClient) -> None:
    reply = await client.post("/fill", json=GOOD)

    assert (reply.status_code, reply.json()) == (200, {**GOOD, "price": 0.0, "note": None})
    assert (await client.post("/twice", json=GOOD)).json() is True


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"colour": "amber"}, "colour", "Unknown field"),
        ({"labels": [{"words": "Rye", "abv_bp": 1, "size": 1}]}, "labels[0].size", "Unknown field"),
        ({"labels": [{"words": "Rye"}]}, "labels[0].abv_bp", "Required"),
        ({"labels": [GOOD["labels"][0], {"words": "", "abv_bp": 1}]}, "labels[1].words", "length >= 1"),
        ({"labels": [{"words": "Rye", "abv_bp": -1}]}, "labels[0].abv_bp", "Expected `int` >= 0"),
        ({"labels": [{"words": "Rye", "abv_bp": "1"}]}, "labels[0].abv_bp", "Expected `int`, got `str`"),
        ({"labels": [{"words": "Rye", "abv_bp": 1.0}]}, "labels[0].abv_bp", "Expected `int`, got `float`"),
        ({"labels": [{"words": 5, "abv_bp": 1}]}, "labels[0].words", "Expected `str`, got `int`"),
        ({"labels": {}}, "labels", "Expected `array`, got `object`"),
        ({"variant_id": "var_1"}, "variant_id", "expected an id such as var_"),
        ({"variant_id": 1}, "variant_id", "expected text such as var_"),
        ({"day": "2026-02-30"}, "day", "Invalid RFC3339 encoded date"),
        ({"price": "1.5"}, "price", "Expected `float`, got `str`"),
        ({"note": False}, "note", "Expected `str | null`, got `bool`"),
    ],
)
async def test_the_field_that_breaks_a_rule_is_named(
    client: httpx.AsyncClient, change: Json, field: str, rule: str
) -> None:
    reply = await client.post("/fill", json={**GOOD, **change})

    status, code, errors = told(reply)
    assert (status, code) == (400, "request_invalid")
    assert [(error["field"], error["where"]) for error in errors] == [(field, "body")]
    assert rule in errors[0]["rule"]
    assert reply.json()["detail"] == f"body {field}: {errors[0]['rule']}"


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "Required"),
        (b"{", "Input data was truncated"),
        (b"{} x", "Object missing required field"),
        (b"null", "Expected `object`, got `null`"),
        (b"[" * 900, "Expected `object`, got `array`"),
        (b"lines=1", "JSON is malformed: invalid character (byte 0)"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused_as_a_whole(
    client: httpx.AsyncClient, body: bytes, rule: str
) -> None:
    reply = await client.post("/fill", content=body, headers={"content-type": "application/json"})

    status, code, errors = told(reply)
    assert (status, code) == (400, "request_invalid")
    if rule.startswith("Object missing"):
        assert errors == [{"field": "variant_id", "rule": "Required", "where": "body"}]
    else:
        assert errors == [{"field": "body", "rule": rule, "where": "body"}]
        assert reply.json()["detail"] == f"body: {rule}"


async def test_a_name_that_the_caller_made_up_is_cut_short(client: httpx.AsyncClient) -> None:
    reply = await client.post("/fill", json={**GOOD, "x" * 500: 1})

    assert told(reply)[2] == [{"field": "x" * 200, "rule": "Unknown field", "where": "body"}]


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", "application/json ; charset=utf-8"]
)
async def test_json_by_any_spelling_is_taken(client: httpx.AsyncClient, content_type: str) -> None:
    sent = msgspec.json.encode(GOOD)

    assert (
        await client.post("/fill", content=sent, headers={"content-type": content_type})
    ).status_code == 200


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/json5", "application/msgpack", "multipart/form-data"]
)
async def test_anything_but_json_is_refused(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}

    reply = await client.post("/fill", content=msgspec.json.encode(GOOD), headers=headers)

    assert told(reply) == (415, "unsupported_media_type", [])
