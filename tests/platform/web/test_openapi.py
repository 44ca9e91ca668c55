"""The document says of each route what its decorator and its types say, and nothing is left to a stranger's guess."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from litestar import Litestar
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.ids import ProductId
from rickhouse.platform.web import IdempotencyKey, Page, get, openapi, post


class LabelTaken(Condition, code="test_label_taken", kind=Kind.CONFLICT, title="Label taken"):
    """Another product wears it."""


class Cask(msgspec.Struct, frozen=True):
    """Where a spirit grows old."""

    product_id: ProductId
    size_ml: int


class FillCask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be filled."""

    size_ml: Annotated[int, Meta(ge=1, le=500_000)]
    casks: tuple[Cask, ...] = ()


CASK = Cask(ProductId.parse("prd_01h455vb4pex5vsknk084sn02q"), 200_000)


@post(
    "/v1/casks/{product_id:str}",
    scope="casks:write",
    summary="Fill a cask",
    errors=(LabelTaken,),
    example=CASK,
    body_example=FillCask(size_ml=200_000),
)
async def fill_cask(
    product_id: FromPath[ProductId], data: JSONBody[FillCask], idempotency_key: IdempotencyKey
) -> Cask:
    """Never called."""
    raise NotImplementedError(product_id, data, idempotency_key)


@get("/v1/casks", scope=None, summary="List casks", example=Page((CASK,)))
async def list_casks() -> Page[Cask]:
    """Never called."""
    raise NotImplementedError


@get("/hidden", scope=None, summary="Hidden", documented=False)
async def hidden() -> None:
    """Never called."""


@pytest.fixture(name="document", scope="module")
def finished_document() -> dict[str, Any]:
    app = Litestar(
        [fill_cask, list_casks, hidden],
        plugins=[openapi.IdSchema()],
        openapi_config=openapi.config("House", "1.2.3"),
    )
    return openapi.document(app)


def test_only_documented_routes_are_in_it(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert {(path, method) for path, item in document["paths"].items() for method in item} == {
        ("/v1/casks", "get"),
        ("/v1/casks/{product_id}", "post"),
    }


def test_a_route_names_its_scope_and_a_public_one_none(document: dict[str, Any]) -> None:
    assert document["paths"]["/v1/casks/{product_id}"]["post"]["security"] == [{"bearer": ["casks:write"]}]
    assert "security" not in document["paths"]["/v1/casks"]["get"]
    assert "security" not in document


def test_request_and_answer_show_the_routes_examples(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/casks/{product_id}"]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["examples"]
    assert asked == {"typical": {"value": {"size_ml": 200_000, "casks": ()}}}
    answered = operation["responses"]["201"]["content"]["application/json"]["examples"]
    assert answered == {"typical": {"value": {"product_id": str(CASK.product_id), "size_ml": 200_000}}}
    listed = document["paths"]["/v1/casks"]["get"]["responses"]["200"]["content"]["application/json"]
    assert listed["examples"]["typical"]["value"]["next_cursor"] is None


def test_every_refusal_has_an_example_of_its_code(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/casks/{product_id}"]["post"]["responses"]
    shown = {
        status: [example["value"]["code"] for example in media["examples"].values()]
        for status, answer in responses.items()
        for media in answer.get("content", {}).values()
        if int(status) >= 400
    }
    assert shown == {
        "400": ["request_invalid", "field_invalid"],
        "401": ["unauthenticated", "token_invalid", "token_expired"],
        "403": ["forbidden"],
        "404": ["not_found"],
        "409": ["test_label_taken", "still_running"],
        "413": ["body_too_large"],
        "415": ["unsupported_media_type"],
        "422": ["idempotency_key_reused"],
        "503": ["database_away", "unavailable"],
    }


def test_a_body_that_refuses_unknown_fields_says_so(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["FillCask"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["Cask"]


def test_schemas_carry_the_words_of_their_structs(document: dict[str, Any]) -> None:
    words = {
        schema["title"]: schema.get("description") for schema in document["components"]["schemas"].values()
    }
    assert words["FillCask"] == "What is to be filled."
    assert words["Cask"] == "Where a spirit grows old."
    assert words["Page[Cask]"] == "Some items in a stable order. `next_cursor` is null on the last page."
    assert str(words["Problem"]).startswith("What was refused, why, and what to do")


def test_an_id_is_text_with_its_prefix(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Cask"]["properties"]["product_id"]
    assert schema == {
        "type": "string",
        "pattern": "^prd_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "examples": ["prd_01h455vb4pex5vsknk084sn02q"],
    }
