"""The OpenAPI 3.1 document: paths and parameters as the framework derives them, bodies as the decoder reads them.

Examples, the security scheme. A route's own words belong to its decorator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast, get_args, get_origin, get_type_hints

import msgspec
from litestar import Litestar, Response, Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Contact, License, OpenAPIType, Schema, SecurityScheme
from litestar.plugins import OpenAPISchemaPlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ControllerRouterHandler
from litestar.typing import FieldDefinition

from rickhouse.kernel.ids import Id
from rickhouse.platform.codec import to_builtins
from rickhouse.platform.web.problems import PROBLEM_JSON, Problem

_MANNERS: Final = """\
Ids are text with a prefix of their kind. Money is an integer of minor units and a currency:
`{"minor": 8900, "currency": "USD"}` is 89 dollars. Times are RFC 3339 in UTC. Unknown fields of a request are refused.

A POST that creates something or moves money needs an `Idempotency-Key`, chosen by the caller once per intent: the
same key and body give the same answer, another body under the same key is refused.

Refusals are problem details (RFC 9457) with a stable `code`. Every answer carries an `X-Request-Id`.

Lists take `limit` and `cursor`; `next_cursor` is null on the last page."""

_URI: Final = {"type": "string", "format": "uri-reference"}
_ID_SUFFIX: Final = "01h455vb4pex5vsknk084sn02q"


def config(title: str, version: str) -> OpenAPIConfig:
    """The document's head. The framework's own pages are off: they would load scripts from strangers."""
    return OpenAPIConfig(
        title=title,
        version=version,
        summary="Sell craft spirits: never oversell, never lose a payment, never break the law, never leak a name.",
        description=_MANNERS,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        contact=Contact(name="Rickhouse maintainers"),
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    bearer_format="JWT",
                    description="`rickhouse token issue` makes one. Each operation names the scope that it needs.",
                )
            }
        ),
        render_plugins=[JsonRenderPlugin()],
        openapi_router=_Closed("/schema", route_handlers=[]),
    )


class _Closed(Router):
    """Takes in no route, so that the framework does not serve its own, unfinished document beside ours."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:  # noqa: ARG002  # the framework's signature
        """Nothing."""
        return []


class IdSchema(OpenAPISchemaPlugin):
    """Typed ids are text with their prefix."""

    @staticmethod
    def is_plugin_supported_type(value: object) -> bool:
        """Whether `value` is one of our id classes."""
        return isinstance(value, type) and issubclass(value, Id)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: object) -> Schema:  # noqa: ARG002  # the framework's signature
        """The pattern of an id, and one that fits."""
        shape = _shape_of_id(field_definition.annotation)
        return Schema(type=OpenAPIType.STRING, pattern=shape["pattern"], examples=shape["examples"])


def _shape_of_id(kind: type) -> dict[str, Any]:
    if not issubclass(kind, Id):
        raise NotImplementedError(f"{kind.__name__} has no wire form")
    return {
        "type": "string",
        "pattern": f"^{kind.prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$",
        "examples": [f"{kind.prefix}_{_ID_SUFFIX}"],
    }


def document(app: Litestar) -> dict[str, Any]:
    """The finished document of `app`."""
    result: dict[str, Any] = app.openapi_schema.to_schema()
    handlers = dict(_handlers(app))
    kinds = {kind for handler in handlers.values() for kind in _kinds_of(handler)} | {Problem}
    in_order = sorted(kinds, key=str)
    shapes, components = msgspec.json.schema_components(
        in_order, schema_hook=_shape_of_id, ref_template="#/components/schemas/{name}"
    )
    by_kind = dict(zip(in_order, shapes, strict=True))
    for path, operations in result.get("paths", {}).items():
        for method, operation in operations.items():
            _complete(operation, handlers[path, method], by_kind)
    result["components"]["schemas"] = components
    return cast("dict[str, Any]", _portable(result))


def _complete(operation: dict[str, Any], handler: HTTPRouteHandler, shapes: Mapping[type, Any]) -> None:
    """Give an operation the shapes of its bodies and the route's examples, and say where a created thing is."""
    _show(operation.get("requestBody"), _asked(handler), handler.opt["body_example"], shapes)
    examples: dict[str, object] = {str(status): shown for status, shown in handler.opt["also"].items()}
    examples[str(handler.status_code)] = handler.opt["example"]
    for status, answer in operation["responses"].items():
        _show(answer, _answered(handler, int(status)), to_builtins(examples.get(status)), shapes)
        if status == "201":
            answer["headers"] = {
                "Location": {"description": "Its address.", "required": True, "schema": _URI}
            }


def _kinds_of(handler: HTTPRouteHandler) -> Iterator[type]:
    statuses = (handler.status_code, *handler.opt["also"])
    for kind in (_asked(handler), *(_answered(handler, status) for status in statuses)):
        if kind is not None:
            yield kind


def _asked(handler: HTTPRouteHandler) -> type | None:
    field = handler.parsed_fn_signature.parameters.get("data")
    return None if field is None else field.annotation


def _answered(handler: HTTPRouteHandler, status: int) -> type | None:
    if status != handler.status_code:
        also: object = handler.opt["also"].get(status)
        return None if also is None else type(also)
    kind: Any = get_type_hints(handler.fn)["return"]
    if get_origin(kind) is Response:
        (kind,) = get_args(kind)
    return None if kind is type(None) else kind


def _handlers(app: Litestar) -> Iterator[tuple[tuple[str, str], HTTPRouteHandler]]:
    """Each handler of ours by the path and method under which the document has it."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.resolve_include_in_schema():
                    for method in handler.http_methods:
                        yield (route.path_format, str(method).lower()), handler


def _show(
    holder: dict[str, Any] | None, kind: type | None, example: object, shapes: Mapping[type, Any]
) -> None:
    for media_type, media in ({} if holder is None else holder).get("content", {}).items():
        if media_type == PROBLEM_JSON:
            media["schema"] = shapes[Problem]
        elif kind is not None:
            media["schema"] = shapes[kind]
        if example is not None:
            media["examples"] = {"typical": {"value": example}}


def _portable(node: object) -> object:
    """The document with regular expressions as ECMA-262 has them, which JSON Schema asks for: `$` is the very end."""
    if isinstance(node, dict):
        members = cast("dict[str, object]", node)
        return {
            name: value.replace(r"\Z", "$")
            if name == "pattern" and isinstance(value, str)
            else _portable(value)
            for name, value in members.items()
        }
    if isinstance(node, list):
        return [_portable(item) for item in cast("list[object]", node)]
    return node
