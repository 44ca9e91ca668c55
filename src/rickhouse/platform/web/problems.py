"""RFC 9457 problem details: the one place where a kind of condition becomes an HTTP status.

No stack trace, SQL or personal datum leaves through here.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException

from rickhouse.kernel.errors import Condition, JsonFact, Kind, StillRunning
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
    Kind.UNPROCESSABLE: 422,
    Kind.PRECONDITION: 428,
    Kind.UNAVAILABLE: 503,
}

_log = structlog.get_logger("rickhouse.web")


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
    request_id = _request_id(request)
    if isinstance(error, ValidationException):
        problem = _validation_problem(error, request_id)
    else:
        phrase = HTTPStatus(error.status_code)
        problem = Problem(
            type=type_of(phrase.name.lower()),
            title=phrase.phrase,
            status=error.status_code,
            detail=_DETAILS.get(error.status_code, error.detail or phrase.description),
            code=phrase.name.lower() if error.status_code != 400 else "request_invalid",
            request_id=request_id,
        )
    return Response(
        encode_json(problem), status_code=problem.status, headers=error.headers, media_type=PROBLEM_JSON
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


_DETAILS: Final = {
    404: "There is nothing at this path.",
    405: "This path does not take that method; see the header Allow.",
}


def _validation_problem(error: ValidationException, request_id: str) -> Problem:
    extra = cast("list[dict[str, Any]]", error.extra if isinstance(error.extra, list) else [])
    found = [
        FieldError(
            field=str(item.get("key", "")),
            rule=str(item.get("message", "")).strip(),
            where=_where(item),
        )
        for item in extra
    ]
    if found and all(item.where == "path" for item in found):
        return Problem(
            type_of("not_found"), "Not found", 404, "There is nothing at this path.", "not_found", request_id
        )
    detail = "; ".join(f"{item.where} {item.field}: {item.rule}" for item in found) or error.detail
    return Problem(
        type=type_of("request_invalid"),
        title="The request is not valid",
        status=400,
        detail=detail,
        code="request_invalid",
        request_id=request_id,
        errors=tuple(found) or msgspec.UNSET,
    )


def _where(item: dict[str, Any]) -> str:
    """Where the framework says the field stood: an enumeration of its own, or plain text."""
    source: object = item.get("source", "body")
    return source.value if isinstance(source, ParamType) else str(source)
