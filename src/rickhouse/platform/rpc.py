"""A contract between processes: HTTP routes and a client, both derived from the same `Protocol`.

`POST /rpc/<name>/<method>` with MessagePack bodies. Whoever calls a contract cannot tell which side of the network it
is on, save that it may be `Unavailable`. What a method does never belongs here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar, cast, get_type_hints

import msgspec
import structlog
from litestar import Request, Response
from litestar import post as litestar_post
from litestar.handlers import HTTPRouteHandler
from msgspec import defstruct
from stamina import AsyncRetryingCaller

from rickhouse.kernel.errors import Condition, JsonFact, Kind, Unavailable, condition_of
from rickhouse.kernel.wire import HttpReply, HttpRequest
from rickhouse.platform.codec import decode_json, decode_msgpack, encode_msgpack
from rickhouse.platform.db import refuse_in_transaction
from rickhouse.platform.http import HttpClient, TransportFailed
from rickhouse.platform.telemetry import count_rpc_failure
from rickhouse.platform.web.caller import hold_to_scope
from rickhouse.platform.web.problems import PROBLEM_JSON, problem_of

Contract = TypeVar("Contract")

MSGPACK: Final = "application/msgpack"
_SPOKEN: Final = "x-rickhouse-condition"
"""Marks a refusal as the contract's own. One of the web layer before it (a token, a limit) is a fault between us."""

_ATTEMPTS_MAX: Final = 3
_LIMIT_S: Final = 8.0
_STANDARD: Final = frozenset(("type", "title", "status", "detail", "code", "request_id"))
"""Members of a problem (RFC 9457) that are not facts of the condition."""

_log = structlog.get_logger("rickhouse.rpc")


class CallMalformed(Condition, code="call_malformed", kind=Kind.INVALID, title="The call is not valid"):
    """The arguments are not those of the method: the two processes run versions that do not fit."""


class _Call:
    """One method of a contract: its arguments as a struct, its answer as a type, made once at start."""

    def __init__(self, contract: type, name: str) -> None:
        method = getattr(contract, name)
        where = f"{contract.__name__}.{name}"
        if not inspect.iscoroutinefunction(method):
            raise TypeError(f"{where} must be declared with async def")
        hints = get_type_hints(method, include_extras=True)
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for parameter in list(inspect.signature(method).parameters.values())[1:]:
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(f"{where}: {parameter.name} must be a plain parameter")
            if parameter.name not in hints:
                raise TypeError(f"{where}: {parameter.name} needs a type")
            has_default = parameter.default is not parameter.empty
            default = (parameter.default,) if has_default else ()
            fields.append((parameter.name, hints[parameter.name], *default))
        if "return" not in hints:
            raise TypeError(f"{where} needs a return type")
        self.name = name
        self.parameters = tuple(field[0] for field in fields)
        self.answer: Any = hints["return"]
        self.arguments: type[msgspec.Struct] = defstruct(f"{name}_arguments", fields, frozen=True)
        # What cannot be told apart on the wire (a union of two structs) is found now, not at the first call.
        msgspec.msgpack.Decoder(self.arguments)
        msgspec.msgpack.Decoder(self.answer)


def rpc_routes(contract: type[Contract], name: str, implementation: Contract) -> list[HTTPRouteHandler]:
    """A route for each method of `contract`, under the scope `rpc:<name>`, answered by `implementation`.

    Raises TypeError when the contract is not one that can be called remotely, or the implementation lacks a method.
    """
    return [_route(call, name, implementation) for call in _calls_of(contract)]


def rpc_client(contract: type[Contract], name: str, http: HttpClient, token: Callable[[], str]) -> Contract:
    """A `contract` whose methods are answered by the process behind `http`, with `token()` as the bearer token.

    Every method refuses inside a transaction; raises the contract's own conditions, and Unavailable for whatever went
    wrong in between. Contract methods can be repeated, so a call without an answer is: three times, within 8 s in all.
    Raises TypeError as `rpc_routes` does.
    """
    remote = _Remote(name, http, token)
    methods = {call.name: _method(remote, call) for call in _calls_of(contract)}
    return cast("Contract", type(f"Remote{contract.__name__}", (), methods)())


def _calls_of(contract: type) -> list[_Call]:
    if not getattr(contract, "_is_protocol", False):
        raise TypeError(f"{contract.__name__} is not a Protocol")
    names = {
        name: None
        for cls in reversed(contract.__mro__)
        if cls not in (object, Protocol)
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    if not names:
        raise TypeError(f"{contract.__name__} has no methods")
    return [_Call(contract, name) for name in names]


def _route(call: _Call, name: str, implementation: object) -> HTTPRouteHandler:
    method = getattr(implementation, call.name, None)
    if method is None:
        raise TypeError(f"{type(implementation).__name__} has no method {call.name}, which {name} needs")

    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            arguments = decode_msgpack(await request.body(), call.arguments)
        except msgspec.MsgspecError as error:
            raise CallMalformed(f"{name}.{call.name} takes other arguments.") from error
        try:
            result = await method(**{name: getattr(arguments, name) for name in call.parameters})
        except Condition as condition:
            request_id = cast("dict[str, Any]", request.scope).get("request_id", "")
            status, headers, body = problem_of(condition, request_id)
            headers[_SPOKEN] = condition.code
            return Response(body, status_code=status, headers=headers, media_type=PROBLEM_JSON)
        return Response(encode_msgpack(result), status_code=200, media_type=MSGPACK)

    route = litestar_post(
        f"/rpc/{name}/{call.name}",
        name=f"rpc.{name}.{call.name}",
        status_code=200,
        opt={"scope": f"rpc:{name}", "example": None, "body_example": None},
        guards=[hold_to_scope],
        include_in_schema=False,
    )
    return route(answer)


class _Remote:
    """The way to another process."""

    def __init__(self, name: str, http: HttpClient, token: Callable[[], str]) -> None:
        self.name = name
        self._http = http
        self._token = token
        self._repeating = AsyncRetryingCaller(
            attempts=_ATTEMPTS_MAX - 1, timeout=_LIMIT_S, wait_initial=0.05, wait_max=0.5, wait_jitter=0.1
        )

    async def exchange(self, method: str, arguments: msgspec.Struct) -> HttpReply:
        """Send one call until something answers. Raises Unavailable."""
        request = HttpRequest(
            method="POST",
            path=f"/rpc/{self.name}/{method}",
            headers={
                "authorization": f"Bearer {self._token()}",
                "content-type": MSGPACK,
                "x-request-id": structlog.contextvars.get_contextvars().get("request_id", ""),
            },
            body=encode_msgpack(arguments),
        )
        try:
            async with asyncio.timeout(_LIMIT_S):
                try:
                    return await self._http.send(request)
                except TransportFailed:
                    return await self._repeating(TransportFailed, self._http.send, request)
        except (TransportFailed, TimeoutError) as error:
            raise self.away(method, str(error) or "no answer in time") from None

    def away(self, method: str, reason: str) -> Unavailable:
        """Count and log a failure between the processes, and say what the caller is to be told."""
        call = f"{self.name}.{method}"
        count_rpc_failure(call)
        _log.warning("rpc_failed", call=call, reason=reason)
        return Unavailable(f"The service '{self.name}' does not answer; try again in a few seconds.")


def _method(remote: _Remote, call: _Call) -> Callable[..., Any]:
    async def method(_self: object, *args: object, **kwargs: object) -> object:
        refuse_in_transaction(f"{remote.name}.{call.name}")
        reply = await remote.exchange(call.name, call.arguments(*args, **kwargs))
        if reply.status != 200:
            raise _condition_in(reply) or remote.away(call.name, f"answered with status {reply.status}")
        try:
            return decode_msgpack(reply.body, call.answer)
        except msgspec.MsgspecError:
            raise remote.away(call.name, "answered with something else than agreed") from None

    method.__name__ = call.name
    return method


def _condition_in(reply: HttpReply) -> Condition | None:
    """The contract's refusal that a reply carries, or None when it is none, or of a class that nobody here knows."""
    if _SPOKEN not in reply.headers:
        return None
    try:
        problem = decode_json(reply.body, dict[str, Any])
        facts: dict[str, JsonFact] = {name: fact for name, fact in problem.items() if name not in _STANDARD}
        return condition_of(problem["code"], problem["detail"], facts)
    except (msgspec.MsgspecError, KeyError, TypeError):
        return None
