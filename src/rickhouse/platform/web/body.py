"""Request bodies: one JSON text (RFC 8259), read strictly and at once into the type that the route declares.

The limits of every body, whatever it is for, belong to the edge.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.platform.codec import decode_json
from rickhouse.platform.web.problems import FieldError, request_invalid

_JSON: Final = b"application/json"
_PLACE: Final = re.compile(r" - at `\$\.?(.*)`\Z", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`\Z")
_SHOWN_CHARS_MAX: Final = 200


class BodyNotJson(
    Condition, code="unsupported_media_type", kind=Kind.MEDIA_TYPE, title="The body is not declared as JSON"
):
    """The request has a body whose Content-Type is not application/json (RFC 9110 section 15.5.16)."""


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body is what its route declares as `data`, or is refused with the field that is wrong."""

    async def json(self) -> object:
        """The body, which is not empty, as a value of that type. Raises BodyNotJson, RequestInvalid."""
        body = await self.body()
        if not _declared_as_json(self):
            raise BodyNotJson("Send the body as JSON, with the header 'Content-Type: application/json'.")
        try:
            return decode_json(body, _type_of_data(self.route_handler))
        except msgspec.ValidationError as error:
            raise _field_refused(str(error)) from error
        except msgspec.DecodeError as error:
            raise _refused("", str(error)) from error


def _declared_as_json(request: JsonRequest) -> bool:
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower() == _JSON
    return False


@cache
def _type_of_data(handler: HTTPRouteHandler) -> type[object]:
    kind: type[object] = handler.parsed_fn_signature.parameters["data"].annotation
    return kind


def _field_refused(message: str) -> Condition:
    """What the decoder says of a value, with the field named first: `lines[0].quantity`."""
    place = _PLACE.search(message)
    inside = "" if place is None else place[1]
    rule = message if place is None else message[: place.start()]
    for pattern, said in ((_UNKNOWN, "Unknown field"), (_MISSING, "Required")):
        named = pattern.match(rule)
        if named is not None:
            return _refused(f"{inside}.{named[1]}" if inside else named[1], said)
    return _refused(inside, rule)


def _refused(field: str, rule: str) -> Condition:
    return request_invalid(FieldError(field[:_SHOWN_CHARS_MAX] or "body", rule, "body"))
