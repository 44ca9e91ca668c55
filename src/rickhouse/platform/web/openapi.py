"""The OpenAPI 3.1 document: what the framework derives, completed with what only we know.

Examples, descriptions, closed objects, the security scheme. A route's own words belong to its decorator.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Contact, License, OpenAPIType, Schema, SecurityScheme
from litestar.plugins import OpenAPISchemaPlugin
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition

from rickhouse.kernel.ids import Id
from rickhouse.platform.web.problems import Problem

_MANNERS: Final = """\
Ids are text with a prefix of their kind. Money is an integer of minor units and a currency:
`{"minor": 8900, "currency": "USD"}` is 89 dollars. Times are RFC 3339 in UTC. Unknown fields of a request are refused.

A POST that creates something or moves money needs an `Idempotency-Key`, chosen by the caller once per intent: the
same key and body give the same answer, another body under the same key is refused.

Refusals are problem details (RFC 9457) with a stable `code`. Every answer carries an `X-Request-Id`.

Lists take `limit` and `cursor`; `next_cursor` is null on the last page."""

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
    )


class IdSchema(OpenAPISchemaPlugin):
    """Typed ids are text with their prefix."""

    @staticmethod
    def is_plugin_supported_type(value: object) -> bool:
        """Whether `value` is one of our id classes."""
        return isinstance(value, type) and issubclass(value, Id)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: object) -> Schema:  # noqa: ARG002  # the framework's signature
        """The pattern of an id, and one that fits."""
        prefix: str = field_definition.annotation.prefix
        return Schema(
            type=OpenAPIType.STRING,
            pattern=f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$",
            examples=[f"{prefix}_{_ID_SUFFIX}"],
        )


def document(app: Litestar) -> dict[str, Any]:
    """The finished document of `app`."""
    result: dict[str, Any] = app.openapi_schema.to_schema()
    handlers = dict(_handlers(app))
    for path, operations in result.get("paths", {}).items():
        for method, operation in operations.items():
            handler = handlers[path, method]
            _show(operation.get("requestBody"), handler.opt["body_example"])
            _show(operation["responses"].get(str(handler.status_code)), handler.opt["example"])
    _complete_schemas(result, handlers.values())
    return result


def _handlers(app: Litestar) -> Iterator[tuple[tuple[str, str], HTTPRouteHandler]]:
    """Each handler of ours by the path and method under which the document has it."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if "scope" in handler.opt:
                    for method in handler.http_methods:
                        yield (route.path_format, str(method).lower()), handler


def _show(holder: dict[str, Any] | None, example: object) -> None:
    if holder is None or example is None:
        return
    for media in holder.get("content", {}).values():
        media["examples"] = {"typical": {"value": example}}


def _complete_schemas(result: dict[str, Any], handlers: Iterable[HTTPRouteHandler]) -> None:
    """Say what each struct is, and `additionalProperties: false` where unknown fields are refused."""
    asked: set[type[msgspec.Struct]] = set()
    answered: set[type[msgspec.Struct]] = set()
    _collect_structs(Problem, answered)
    for handler in handlers:
        hints = get_type_hints(handler.fn, include_extras=True)
        _collect_structs(hints.get("data"), asked)
        _collect_structs(hints.get("return"), answered)
    words = {struct.__name__: inspect.cleandoc(struct.__doc__ or "") for struct in asked | answered}
    closed = {struct.__name__ for struct in asked if struct.__struct_config__.forbid_unknown_fields}
    for schema in result.get("components", {}).get("schemas", {}).values():
        name = schema.get("title", "").partition("[")[0]
        if words.get(name):
            schema.setdefault("description", words[name])
        if name in closed:
            schema["additionalProperties"] = False


def _collect_structs(annotation: object, found: set[type[msgspec.Struct]]) -> None:
    """Add every struct that `annotation` reaches to `found`."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
        found.add(kind)
        for hint in get_type_hints(kind, include_extras=True).values():
            _collect_structs(hint, found)
    for argument in get_args(annotation):
        _collect_structs(argument, found)
