"""The edge of the process: request id, body limit, NUL bytes, the bearer token, HEAD, the access log, metrics.

It wraps the whole web application, so that no answer escapes it. No rule of a slice belongs here.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final, cast

import structlog
from litestar.enums import HttpMethod
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    HTTPRequestEvent,
    Message,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)

from rickhouse.kernel.errors import Condition, FieldInvalid, Kind
from rickhouse.kernel.ids import uuid7
from rickhouse.platform.telemetry import observe_request
from rickhouse.platform.tokens import Verifier
from rickhouse.platform.web.caller import Caller
from rickhouse.platform.web.problems import PROBLEM_JSON, problem_of

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NUL_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_BINARY: Final = "/rpc/"
"""Where MessagePack comes in from other processes of ours, in which a zero is a NUL byte."""

_DROPPED_BYTES_MAX: Final = 8 * 1024 * 1024
_NUL_IN_QUERY: Final = b"%00"
_WITH_BODY: Final = frozenset(("POST", "PATCH", "PUT", "DELETE"))
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class BodyTooLarge(Condition, code="body_too_large", kind=Kind.TOO_LARGE, title="The body is too large"):
    """The request body exceeds the limit (RFC 9110 section 15.5.14)."""


class Edge:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, *, verifier: Verifier, body_bytes_max: int) -> None:
        self._app = app
        self._verifier = verifier
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; anything but HTTP goes straight through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        method, status = scope["method"], 500

        async def send_through(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.body" and method == "HEAD":
                message["body"] = b""
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    *_ALWAYS,
                ]
            await send(message)

        marks = cast("dict[str, Any]", scope)
        marks["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            marks["auth"] = self._authenticate(headers.get(b"authorization"))
            if _NUL_IN_QUERY in scope["query_string"]:
                raise FieldInvalid(
                    "The query holds a NUL character, which no parameter takes.", field="query", rule="no_nul"
                )
            if method == "HEAD":
                # Everything that can be got can be asked for without its content (RFC 9110 section 9.3.2).
                scope["method"] = HttpMethod.GET
            if method in _WITH_BODY:
                receive = await self._read_body(
                    headers, receive, is_text=not scope["path"].startswith(_BINARY)
                )
            await self._app(scope, receive, send_through)
        except Condition as condition:
            await _refuse(condition, request_id, send_through)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")
            route: str = marks.get("path_template") or "unmatched"
            observe_request(method, route, status, time.perf_counter() - began, request_id)

    def _authenticate(self, header: bytes | None) -> Caller | None:
        if header is None:
            return None
        claims = self._verifier.verify_header(header)
        return Caller(claims.subject, claims.scopes)

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive, *, is_text: bool) -> Receive:
        """Take the whole body in, within the limit, before anything is done with it."""
        declared = headers.get(b"content-length", b"0")
        body = b""
        more = True
        if declared.isdigit() and int(declared) > self._body_bytes_max:
            raise await self._too_large(receive)
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message["body"]
            more = message["more_body"]
            if len(body) > self._body_bytes_max:
                raise await self._too_large(receive if more else None)
        if is_text:
            _check_text(body)
        waiting: list[HTTPRequestEvent] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            return waiting.pop() if waiting else await receive()

        return replay

    async def _too_large(self, rest: Receive | None) -> BodyTooLarge:
        """The refusal, after most clients have sent what they will send: one that is still sending does not listen."""
        dropped = 0
        while rest is not None and dropped < _DROPPED_BYTES_MAX:
            message = await rest()
            if message["type"] != "http.request" or not message["more_body"]:
                break
            dropped += len(message["body"])
        return BodyTooLarge(
            f"Send at most {self._body_bytes_max} bytes in one request.", bytes_max=self._body_bytes_max
        )


def _check_text(body: bytes) -> None:
    """Let only UTF-8 (RFC 8259 section 8.1) without NUL characters pass. Raises FieldInvalid."""
    if b"\0" in body or (b"\\u0000" in body and _NUL_ESCAPE.search(body)):
        raise FieldInvalid(
            "The body holds a NUL character, which no field takes.", field="body", rule="no_nul"
        )
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise FieldInvalid(
            "The body is not UTF-8; send JSON in UTF-8.", field="body", rule="utf_8"
        ) from error


def _request_id(header: bytes | None) -> str:
    if header is not None and _REQUEST_ID.fullmatch(header):
        return header.decode()
    return uuid7().hex


async def _refuse(condition: Condition, request_id: str, send: Send) -> None:
    status, headers, body = problem_of(condition, request_id)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw += [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})
