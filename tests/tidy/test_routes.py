"""Every route of the whole house states what it needs, takes and answers; what it does not state is closed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from jsonschema import Draft202012Validator
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from rickhouse.apps.compose import compose
from rickhouse.apps.scopes import OFFICE_SCOPES, SHOP_SCOPES
from rickhouse.platform.codec import encode_json
from rickhouse.platform.settings import load_settings
from rickhouse.platform.web.application import build
from rickhouse.platform.web.caller import hold_to_scope
from rickhouse.platform.web.edge import Edge
from rickhouse.platform.web.openapi import document

Json = dict[str, Any]

PUBLIC: Final = {"/docs", "/health/live", "/health/ready", "/metrics", "/openapi.json"}
"""What anybody may ask for: whether the process lives, its numbers, and how to speak to it. No route of a slice."""

UNDOCUMENTED: Final = {"/docs", "/metrics", "/openapi.json"}
SCOPE: Final = re.compile(r"[a-z]+:[a-z_]+")


class Route(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    handler: HTTPRouteHandler


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    """The whole house behind HTTP, not opened: nothing of it is asked."""
    home: Path = tmp_path_factory.mktemp("house") / "data"
    settings = load_settings(
        environ={"RICKHOUSE_DATA_DIR": str(home), "RICKHOUSE_DATABASE__URL": "postgresql://nobody@/nothing"}
    )
    house = compose(settings)
    edge = build(house.handlers, verifier=house.tokens, probes={}, body_bytes_max=1)
    assert isinstance(edge, Edge)
    inner = edge._app
    assert isinstance(inner, Litestar)
    return inner


@pytest.fixture(scope="module")
def api(app: Litestar) -> Json:
    """The document as a client reads it."""
    found: Json = msgspec.json.decode(encode_json(document(app)))
    return found


def routes(app: Litestar) -> Iterator[Route]:
    """Every route but the answers to OPTIONS."""
    for route in app.routes:
        assert isinstance(route, HTTPRoute)
        for handler in route.route_handlers:
            for method in sorted(map(str, handler.http_methods)):
                if method != "OPTIONS":
                    yield Route(method, route.path_format, handler)


def operations(api: Json) -> Iterator[tuple[str, Json]]:
    """Every operation of the document, by method and path."""
    for path, item in api["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_declares_one_scope_or_is_public_on_purpose(app: Litestar) -> None:
    found = list(routes(app))

    assert len(found) > 40
    assert {route.path for route in found if route.handler.opt["scope"] is None} == PUBLIC
    for route in found:
        assert list(route.handler.guards or ()) == [hold_to_scope], route  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # the framework's generics
        scope: str | None = route.handler.opt["scope"]
        assert scope is None or SCOPE.fullmatch(scope), route


def test_every_scope_can_be_had_and_every_scope_that_can_be_had_opens_something(app: Litestar) -> None:
    asked = {route.handler.opt["scope"] for route in routes(app)} - {None}

    # The last one opens no route of its own: it widens what `orders:read` shows.
    assert asked | {"orders:read_all"} == SHOP_SCOPES | OFFICE_SCOPES


def test_everything_is_documented_but_the_documents(app: Litestar, api: Json) -> None:
    served = {f"{route.method} {route.path}" for route in routes(app) if route.path not in UNDOCUMENTED}

    assert {name for name, _ in operations(api)} == served


def test_every_operation_says_what_it_is_for_and_whom_it_is_open_to(api: Json) -> None:
    assert list(api["components"]["securitySchemes"]) == ["bearer"]
    summaries = [operation["summary"] for _, operation in operations(api)]
    assert len(set(summaries)) == len(summaries)
    for name, operation in operations(api):
        assert operation["tags"], name
        assert operation["operationId"], name
        assert operation["summary"][0].isupper(), name
        assert not operation["summary"].endswith("."), name
        is_public = name.partition(" ")[2] in PUBLIC
        assert len(operation.get("security", [])) == (0 if is_public else 1), name


def test_every_body_and_every_answer_has_an_example_that_fits_its_schema(api: Json) -> None:
    for name, operation in operations(api):
        bodies: list[tuple[str, Json]] = (
            [("asked", operation["requestBody"])] if "requestBody" in operation else []
        )
        bodies += [(status, answer) for status, answer in operation["responses"].items()]
        for part, body in bodies:
            for media in body.get("content", {}).values():
                examples = media.get("examples", {})
                assert examples, f"{name} {part} has no example"
                for example in examples.values():
                    assert _broken(api, media["schema"], example["value"]) == [], f"{name} {part}"


def test_what_creates_takes_a_key_and_says_where_it_is(api: Json) -> None:
    for name, operation in operations(api):
        headers = {parameter["name"] for parameter in operation.get("parameters", ())}
        if "201" in operation["responses"]:
            assert "Idempotency-Key" in headers, name
            assert operation["responses"]["201"]["headers"]["Location"]["required"], name
        if name.startswith("PATCH"):
            assert "If-Match" in headers, name


def test_every_list_has_a_cursor_or_says_that_it_ends(api: Json) -> None:
    for name, operation in operations(api):
        shape = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
        if "Page_" in shape.get("schema", {}).get("$ref", ""):
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert {"cursor", "limit"} <= names or "at most" in operation["description"], name


def test_every_field_of_a_request_is_bounded(api: Json) -> None:
    loose: list[str] = []
    for name, operation in operations(api):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            loose += [f"{name} {place}" for place in _loose(api, media["schema"], "body")]

    assert sorted(set(loose)) == []


def _broken(api: Json, schema: Json, value: Any) -> list[str]:  # noqa: ANN401  any JSON
    checked = Draft202012Validator({**schema, "components": api["components"]})
    return [error.message for error in checked.iter_errors(value)]  # pyright: ignore[reportUnknownMemberType]


def _loose(api: Json, schema: Json, place: str) -> Iterator[str]:
    """Places of a schema where text, a number or a list may be as long or as large as it likes, or fields unknown.

    Money has no bounds of its own: which amounts are too large, or in the wrong currency, the slice tells by field.
    """
    name = schema.get("$ref", "").rpartition("/")[2]
    if name == "Money":
        return
    if name:
        schema = api["components"]["schemas"][name]
    for choice in schema.get("anyOf", ()):
        yield from _loose(api, choice, place)
    for name, field in schema.get("properties", {}).items():
        yield from _loose(api, field, f"{place}.{name}")
    if "items" in schema:
        yield from _loose(api, schema["items"], f"{place}[]")
    for need in _NEEDS.get(schema.get("type", ""), ()):
        if not need & set(schema):
            yield f"{place} has none of {sorted(need)}"


_NEEDS: Final[dict[str, tuple[set[str], ...]]] = {
    "object": ({"additionalProperties"},),
    "array": ({"maxItems"},),
    "string": ({"maxLength", "format", "pattern", "enum"},),
    "integer": ({"minimum"}, {"maximum"}),
    "number": ({"minimum"}, {"maximum"}),
}
"""Of each of these sets a bounded schema of that type has at least one member."""
