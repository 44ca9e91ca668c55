"""The OpenAPI 3.1 document: what the framework derives, completed with what only we know.

Examples, closed objects, the security scheme. A route's own words belong to its decorator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args, get_type_hints

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, Contact, License, OpenAPIType, Schema, SecurityScheme
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from rickhouse.kernel.ids import Id

_ID_SUFFIX: Final = "01h455vb4pex5vsknk084sn02q"


def config(title: str, version: str) -> OpenAPIConfig:
    """The document's head. The framework's own pages are off: they would load scripts from strangers."""
    return OpenAPIConfig(
        title=title,
        version=version,
        summary="Sell craft spirits: never oversell, never lose a payment, never break the law, never leak a name.",
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
        enabled_endpoints=set(),
        render_plugins=[],
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
    handlers = list(_handlers(app))
    _show_examples(result, handlers)
    _close_objects(result, handlers)
    return result


def _handlers(app: Litestar) -> Iterator[HTTPRouteHandler]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler) and "scope" in handler.opt:
                yield handler


def _show_examples(result: dict[str, Any], handlers: Iterable[HTTPRouteHandler]) -> None:
    by_operation = {handler.operation_id: handler for handler in handlers}
    for operations in result.get("paths", {}).values():
        for operation in operations.values():
            handler = by_operation.get(operation.get("operationId"))
            if handler is None:
                continue
            scope = handler.opt["scope"]
            if scope is not None:
                operation["description"] = "\n\n".join(
                    part for part in (operation.get("description"), f"Scope: `{scope}`.") if part
                )
            _show(operation.get("requestBody"), handler.opt.get("body_example"))
            _show(operation["responses"].get(str(handler.status_code)), handler.opt.get("example"))


def _show(holder: dict[str, Any] | None, example: object) -> None:
    if holder is None or example is None:
        return
    for media in holder.get("content", {}).values():
        media["examples"] = {"typical": {"value": example}}


def _close_objects(result: dict[str, Any], handlers: Iterable[HTTPRouteHandler]) -> None:
    """Say `additionalProperties: false` where unknown fields are refused."""
    closed: set[str] = set()
    for handler in handlers:
        data = get_type_hints(handler.fn, include_extras=True).get("data")
        if data is not None:
            closed |= {
                struct.__name__
                for struct in _structs(data, set())
                if struct.__struct_config__.forbid_unknown_fields
            }
    for schema in result.get("components", {}).get("schemas", {}).values():
        if schema.get("title") in closed and schema.get("type") == "object":
            schema["additionalProperties"] = False


def _structs(annotation: object, seen: set[type]) -> set[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        if annotation in seen:
            return set()
        seen.add(annotation)
        found: set[type[msgspec.Struct]] = {annotation}
        for hint in get_type_hints(annotation, include_extras=True).values():
            found |= _structs(hint, seen)
        return found
    found = set()
    for argument in get_args(annotation):
        found |= _structs(argument, seen)
    return found
