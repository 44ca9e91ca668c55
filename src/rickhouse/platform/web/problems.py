"""RFC 9457 problem details: the one place where a kind of condition becomes an HTTP status.

No stack trace, SQL or personal datum leaves through here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException
from litestar.params import ParameterKwarg

from rickhouse.kernel.errors import Condition, JsonFact, Kind, NotFound, StillRunning
from rickhouse.platform.codec import encode_json

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_S: Final = "2"

STATUS: Final[dict[Kind, int]] = {
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

_MISSING: Final = re.compile(r"Missing required (\w+) parameter '([^']+)'")

_log = structlog.get_logger("rickhouse.web")


class RequestInvalid(Condition, code="request_invalid", kind=Kind.INVALID, title="The request is not valid"):
    """The request does not have the documented shape; `errors` names each field and rule."""


class FieldError(msgspec.Struct, frozen=True):
    """One rule that one field breaks. `where` is body, query, header or path."""

    field: str
    rule: str
    where: str


class Problem(msgspec.Struct, frozen=True):
    """What was refused, why, and what to do (RFC 9457). `code` is stable; further members carry facts."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: tuple[FieldError, ...] | msgspec.UnsetType = msgspec.UNSET


def request_invalid(*errors: FieldError) -> RequestInvalid:
    """The refusal of a request in which these fields break a rule."""
    return RequestInvalid(
        "; ".join(f"{_named(error)}: {error.rule}" for error in errors),
        errors=[{"field": error.field, "rule": error.rule, "where": error.where} for error in errors],
    )


def _named(error: FieldError) -> str:
    return error.field if error.field == error.where else f"{error.where} {error.field}"


def problem_of(condition: Condition, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a condition."""
    status = STATUS[condition.kind]
    body: dict[str, JsonFact] = {
        "type": type_of(condition.code),
        "title": condition.title,
        "status": status,
        "detail": condition.detail,
        "code": condition.code,
        "request_id": request_id,
    }
    for name, fact in condition.facts.items():
        body.setdefault(name, fact)
    return status, _headers(condition), encode_json(body)


def type_of(code: str) -> str:
    """The problem type as a URI that needs no host."""
    return f"urn:rickhouse:problem:{code}"


def _headers(condition: Condition) -> dict[str, str]:
    if condition.kind is Kind.UNAUTHENTICATED:
        error = "" if condition.code == "unauthenticated" else ', error="invalid_token"'
        return {"www-authenticate": f'Bearer realm="rickhouse"{error}'}
    if condition.kind is Kind.UNAVAILABLE:
        return {"retry-after": RETRY_AFTER_S}
    if isinstance(condition, StillRunning):
        return {"retry-after": "1"}
    return {}


def on_condition(request: Request[Any, Any, Any], condition: Condition) -> Response[bytes]:
    """A contract's refusal."""
    status, headers, body = problem_of(condition, _request_id(request))
    return Response(body, status_code=status, headers=headers, media_type=PROBLEM_JSON)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """A refusal by the web framework: bad shape, no such path, wrong method."""
    if isinstance(error, ValidationException):
        return on_condition(request, _validation_refusal(request, error))
    if error.status_code == 404:
        return on_condition(request, _nothing_there())
    phrase = HTTPStatus(error.status_code)
    code = phrase.name.lower()
    problem = Problem(
        type=type_of(code),
        title=phrase.phrase,
        status=error.status_code,
        detail=_DETAILS.get(error.status_code, phrase.description or phrase.phrase),
        code=code,
        request_id=_request_id(request),
    )
    headers = error.headers
    if headers and "allow" in headers:
        headers = {"allow": allow_of(headers["allow"].split(", "))}
    return Response(
        encode_json(problem), status_code=problem.status, headers=headers, media_type=PROBLEM_JSON
    )


def on_crash(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A bug: logged in full on this side, silent on the other."""
    request_id = _request_id(request)
    _log.error("request_crashed", path=_scope(request).get("path_template", ""), exc_info=error)
    problem = Problem(
        type=type_of("internal_error"),
        title="Internal error",
        status=500,
        detail="This is our mistake. It was logged under the request id; repeating the request is safe.",
        code="internal_error",
        request_id=request_id,
    )
    return Response(encode_json(problem), status_code=500, media_type=PROBLEM_JSON)


def _scope(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The ASGI scope with the keys that the edge adds to it."""
    return cast("dict[str, Any]", request.scope)


def _request_id(request: Request[Any, Any, Any]) -> str:
    return _scope(request).get("request_id", "")


_DETAILS: Final = {405: "This path does not take that method; see the header Allow."}


def allow_of(methods: Iterable[str]) -> str:
    """The methods of a path as a header Allow: what can be got can be asked for by HEAD too."""
    named = set(methods)
    return ", ".join(sorted(named | {"HEAD"} if "GET" in named else named))


def _nothing_there() -> NotFound:
    return NotFound("There is nothing at this path.")


def _validation_refusal(request: Request[Any, Any, Any], error: ValidationException) -> Condition:
    """Which parameter breaks which rule. An id in a path that cannot be one leads nowhere."""
    missing = _MISSING.search(error.detail)
    if missing is not None:
        return request_invalid(FieldError(missing[2], "Required", missing[1]))
    extra = cast("list[dict[str, Any]]", error.extra if isinstance(error.extra, list) else [])
    found = [_field_error(request, item) for item in extra]
    if found and all(item.where == "path" for item in found):
        return _nothing_there()
    return request_invalid(*found) if found else RequestInvalid(error.detail)


def _field_error(request: Request[Any, Any, Any], item: dict[str, Any]) -> FieldError:
    """What the framework says of one parameter, under the name that the caller knows it by."""
    name = str(item.get("key", ""))
    parameter = request.route_handler.parsed_fn_signature.parameters.get(name)
    declared = None if parameter is None else parameter.kwarg_definition
    if isinstance(declared, ParameterKwarg):
        return FieldError(declared.name or name, str(item["message"]), declared.param_type.value)
    if name == "data":
        return FieldError("body", "Required", "body")
    source: object = item.get("source", "body")
    where = source.value if isinstance(source, ParamType) else str(source)
    return FieldError(name, str(item["message"]), where)
