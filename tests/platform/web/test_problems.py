"""Every kind of condition has one status; what goes out is what RFC 9457 asks for and nothing of the inside."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import httpx
import pytest
from litestar.params import FromPath

from rickhouse.kernel.errors import Condition, Forbidden, Kind, NotFound, StillRunning, Unavailable
from rickhouse.kernel.ids import OrderId
from rickhouse.platform.tokens import TokenExpired
from rickhouse.platform.web import Limit, get, post
from rickhouse.platform.web.caller import Unauthenticated
from rickhouse.platform.web.problems import STATUS, FieldError, allow_of, problem_of, request_invalid
from tests.platform.web.client import asked, told

STATUSES: Final = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.DECLINED: 402,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.STALE: 412,
    Kind.TOO_LARGE: 413,
    Kind.MEDIA_TYPE: 415,
    Kind.UNPROCESSABLE: 422,
    Kind.PRECONDITION: 428,
    Kind.UNAVAILABLE: 503,
}


class BarrelLeaks(Condition, code="test_barrel_leaks", kind=Kind.CONFLICT, title="The barrel leaks"):
    """It does."""


@get("/leak", scope=None, summary="Leak", errors=(BarrelLeaks,))
async def leak() -> None:
    """A refusal with facts."""
    raise BarrelLeaks("Mend it first.", litres=3, staves=["a", "b"], status="overwritten?")


@get("/orders/{order_id:str}", scope=None, summary="An order")
async def order(order_id: FromPath[OrderId], limit: Limit = 1) -> str:
    """The order's id."""
    return f"{order_id} {limit}"


@post("/orders", scope=None, summary="Nothing", keyed=False)
async def place() -> None:
    """Nothing."""


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    async with asked(leak, order, place) as client:
        yield client


def test_every_kind_has_its_status() -> None:
    assert STATUS == STATUSES
    assert set(STATUS) == set(Kind)


@pytest.mark.parametrize(
    ("condition", "headers"),
    [
        (NotFound("x"), {}),
        (Unavailable("x"), {"retry-after": "2"}),
        (StillRunning("x"), {"retry-after": "1"}),
        (Unauthenticated("x"), {"www-authenticate": 'Bearer realm="rickhouse"'}),
        (TokenExpired("x"), {"www-authenticate": 'Bearer realm="rickhouse", error="invalid_token"'}),
        (Forbidden("x"), {}),
    ],
)
def test_a_refusal_says_when_and_how_to_come_back(condition: Condition, headers: dict[str, str]) -> None:
    status, found, body = problem_of(condition, "req-1")

    assert (status, found) == (STATUSES[condition.kind], headers)
    assert json.loads(body) == {
        "type": f"urn:rickhouse:problem:{condition.code}",
        "title": condition.title,
        "status": status,
        "detail": "x",
        "code": condition.code,
        "request_id": "req-1",
    }


async def test_facts_stand_beside_what_every_problem_has_and_never_in_its_place(
    client: httpx.AsyncClient,
) -> None:
    reply = await client.get("/leak")
    body: dict[str, Any] = reply.json()

    assert told(reply) == (409, "test_barrel_leaks", [])
    assert (body["detail"], body["litres"], body["staves"]) == ("Mend it first.", 3, ["a", "b"])
    assert body["status"] == 409


def test_several_wrong_fields_are_told_together() -> None:
    refusal = request_invalid(FieldError("limit", "Required", "query"), FieldError("body", "Bad", "body"))

    assert refusal.detail == "query limit: Required; body: Bad"
    assert refusal.facts["errors"] == [
        {"field": "limit", "rule": "Required", "where": "query"},
        {"field": "body", "rule": "Bad", "where": "body"},
    ]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/orders/1", "/orders/chk_01h455vb4pex5vsknk084sn02q", "/orders/%00"]
)
async def test_a_path_that_leads_nowhere_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)

    assert told(reply) == (404, "not_found", [])
    assert reply.json()["detail"] == "There is nothing at this path."


async def test_a_wrong_parameter_is_named_as_the_caller_knows_it(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"/orders/{OrderId.new()}?limit=0")

    assert told(reply) == (
        400,
        "request_invalid",
        [{"field": "limit", "rule": "Expected `int` >= 1", "where": "query"}],
    )


async def test_a_wrong_method_is_told_what_there_is(client: httpx.AsyncClient) -> None:
    for path, allow in (("/leak", "GET, HEAD, OPTIONS"), ("/orders", "OPTIONS, POST")):
        reply = await client.delete(path)
        assert told(reply) == (405, "method_not_allowed", [])
        assert reply.headers["allow"] == allow
        options = await client.options(path)
        assert (options.status_code, options.headers["allow"], options.content) == (204, allow, b"")


def test_what_can_be_got_can_be_asked_for_by_head() -> None:
    assert allow_of(["POST", "GET"]) == "GET, HEAD, POST"
    assert allow_of(["POST"]) == "POST"
