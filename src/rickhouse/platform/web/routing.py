"""Route decorators that make a slice state scope, answer, refusals and example, and document them by themselves.

What a route does belongs in its slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypedDict, TypeVar, Unpack

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.handlers import delete as litestar_delete
from litestar.handlers import get as litestar_get
from litestar.handlers import patch as litestar_patch
from litestar.handlers import post as litestar_post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from rickhouse.kernel.errors import (
    Condition,
    FieldInvalid,
    Forbidden,
    KeyReused,
    NotFound,
    StillRunning,
    Unavailable,
    VersionStale,
)
from rickhouse.platform.codec import to_builtins
from rickhouse.platform.db import DatabaseAway
from rickhouse.platform.tokens import TokenExpired, TokenInvalid
from rickhouse.platform.web.body import BodyNotJson
from rickhouse.platform.web.caller import Unauthenticated, hold_to_scope
from rickhouse.platform.web.edge import BodyTooLarge
from rickhouse.platform.web.matching import MatchRequired
from rickhouse.platform.web.problems import PROBLEM_JSON, STATUS, Problem, RequestInvalid, type_of

Content = TypeVar("Content")
Decorator = Callable[[Callable[..., Any]], HTTPRouteHandler]

EXAMPLE_REQUEST_ID: Final = "req-4f1d2a"


class More(TypedDict, total=False):
    """What a route may declare beside its scope and summary.

    `errors`: its own conditions. `example`, `body_example`: instances shown in the reference. `also`: further success
    answers by status, with an example (None: without a body). `keyed=False`: a POST that creates nothing.
    `documented=False`: not part of the API.
    """

    description: str
    errors: Sequence[type[Condition]]
    example: object
    body_example: object
    also: dict[int, object]
    keyed: bool
    documented: bool


def get(path: str, *, scope: str | None, summary: str, **more: Unpack[More]) -> Decorator:
    """A route that changes nothing. See `_options` for the rest."""
    return litestar_get(path, status_code=200, **_options("GET", path, scope, summary, more))


def post(path: str, *, scope: str | None, summary: str, status: int = 201, **more: Unpack[More]) -> Decorator:
    """A route that creates something or moves money; it takes an Idempotency-Key unless `keyed=False`."""
    return litestar_post(path, status_code=status, **_options("POST", path, scope, summary, more))


def patch(path: str, *, scope: str | None, summary: str, **more: Unpack[More]) -> Decorator:
    """A route that changes an object on the version that the caller has read (If-Match)."""
    return litestar_patch(path, status_code=200, **_options("PATCH", path, scope, summary, more))


def delete(
    path: str, *, scope: str | None, summary: str, status: int = 200, **more: Unpack[More]
) -> Decorator:
    """A route that ends something; repeating it changes nothing."""
    return litestar_delete(path, status_code=status, **_options("DELETE", path, scope, summary, more))


def created(content: Content, location: str, **headers: str) -> Response[Content]:
    """201 with the address of what was created."""
    return Response(content, status_code=201, headers={"location": location, **headers})


def _options(method: str, path: str, scope: str | None, summary: str, more: More) -> dict[str, Any]:
    """What a route declares beside its function, as the framework's keyword arguments."""
    example, body_example = more.get("example"), more.get("body_example")
    errors = more.get("errors", ())
    conditions: list[type[Condition]] = [RequestInvalid, FieldInvalid, DatabaseAway, Unavailable, *errors]
    if scope is not None:
        conditions += [Unauthenticated, TokenInvalid, TokenExpired, Forbidden]
    if "{" in path:
        conditions.append(NotFound)
    if method == "POST" and more.get("keyed", True):
        conditions += [KeyReused, StillRunning]
    if method == "PATCH":
        conditions += [VersionStale, MatchRequired]
    if method != "GET":
        conditions.append(BodyTooLarge)
    if body_example is not None:
        conditions.append(BodyNotJson)
    also = more.get("also", {})
    return {
        "opt": {
            "scope": scope,
            "example": to_builtins(example),
            "body_example": to_builtins(body_example),
            "also": {status: shown for status, shown in also.items() if shown is not None},
        },
        "guards": [hold_to_scope],
        "summary": summary,
        "description": more.get("description"),
        "responses": _problems(conditions) | {status: _also(status, shown) for status, shown in also.items()},
        "security": [{"bearer": [scope]}] if scope is not None else [],
        "tags": [path.split("/")[2]] if path.startswith("/v1/") else ["service"],
        "include_in_schema": more.get("documented", True),
    }


def _also(status: int, shown: object) -> ResponseSpec:
    if shown is None:
        return ResponseSpec(None, description="Not modified." if status == 304 else "No content.")
    return ResponseSpec(type(shown), generate_examples=False, description="Accepted.")


def _problems(conditions: Sequence[type[Condition]]) -> dict[int, ResponseSpec]:
    by_status: dict[int, list[type[Condition]]] = {}
    for condition in conditions:
        known = by_status.setdefault(STATUS[condition.kind], [])
        if condition not in known:
            known.append(condition)
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            media_type=PROBLEM_JSON,
            description="; ".join(f"`{condition.code}`: {condition.title}" for condition in found),
            examples=[
                Example(summary=condition.code, value=_example_problem(condition)) for condition in found
            ],
        )
        for status, found in by_status.items()
    }


def _example_problem(condition: type[Condition]) -> dict[str, Any]:
    return {
        "type": type_of(condition.code),
        "title": condition.title,
        "status": STATUS[condition.kind],
        "detail": (condition.__doc__ or condition.title).split("\n")[0].split(";")[0].rstrip(".") + ".",
        "code": condition.code,
        "request_id": EXAMPLE_REQUEST_ID,
    }
