"""The web application: handlers put together, errors mapped, health, metrics and the reference.

Which slices it serves is decided by `apps`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from litestar import Litestar, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler, route
from litestar.types import ASGIApp, ControllerRouterHandler

from rickhouse import __version__
from rickhouse.kernel.errors import Condition, Kind
from rickhouse.kernel.ids import Id
from rickhouse.platform.codec import dec_hook, encode_json
from rickhouse.platform.telemetry import render_metrics
from rickhouse.platform.tokens import Verifier
from rickhouse.platform.web import openapi
from rickhouse.platform.web.body import JsonRequest
from rickhouse.platform.web.edge import Edge
from rickhouse.platform.web.idempotency import FINGERPRINT_KEY
from rickhouse.platform.web.problems import allow_of, on_condition, on_crash, on_http_exception
from rickhouse.platform.web.reference import REFERENCE_CSP, render_reference
from rickhouse.platform.web.routing import get

Lifecycle = Sequence[Callable[[], Awaitable[object]]]
Probe = Callable[[], Awaitable[bool]]

_PROBE_S_MAX: Final = 2.0
"""A dependency that takes longer is away; whoever asks for readiness waits little longer than this himself."""

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class NotReady(Condition, code="not_ready", kind=Kind.UNAVAILABLE, title="Not ready"):
    """A dependency is away; facts carry `checks`."""


class Health(msgspec.Struct, frozen=True):
    """`checks` tells of each dependency whether it answers."""

    status: str
    checks: dict[str, bool]


def build(
    handlers: Sequence[HTTPRouteHandler],
    *,
    verifier: Verifier,
    probes: Mapping[str, Probe],
    body_bytes_max: int,
    fingerprint_key: bytes = b"",
    on_startup: Lifecycle = (),
    on_shutdown: Lifecycle = (),
) -> ASGIApp:
    """An ASGI application that serves `handlers`, health, metrics and the API reference."""
    everything = [*handlers, *_service_routes(probes)]
    # The framework's own answer to OPTIONS knows only the handler of a path that comes first.
    routes: list[ControllerRouterHandler] = [*_options_routes(everything), *everything]
    app = Litestar(
        routes,
        request_class=JsonRequest,
        type_encoders={Id: str},
        type_decoders=[(_is_id, dec_hook)],
        plugins=[openapi.IdSchema()],
        openapi_config=openapi.config("Rickhouse", __version__),
        exception_handlers={Condition: on_condition, HTTPException: on_http_exception, Exception: on_crash},
        on_startup=list(on_startup),
        on_shutdown=list(on_shutdown),
        state=State({FINGERPRINT_KEY: fingerprint_key}),
        request_max_body_size=None,
        logging_config=None,
        debug=False,
    )
    for page in _reference_routes(app):
        app.register(page)
    return Edge(app, verifier=verifier, body_bytes_max=body_bytes_max)


def _options_routes(handlers: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """For each path, what can be done there (RFC 9110 section 9.3.7)."""
    methods: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(map(str, handler.http_methods))
    return [_options_route(path, allow_of(found)) for path, found in methods.items()]


def _options_route(path: str, allow: str) -> HTTPRouteHandler:
    @route(path, http_method="OPTIONS", status_code=204, include_in_schema=False, opt={"scope": None})
    async def options() -> Response[None]:
        return Response(None, headers={"allow": allow})

    return options


def _is_id(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Id)


def _reference_routes(app: Litestar) -> list[HTTPRouteHandler]:
    @cache
    def document() -> dict[str, Any]:
        return openapi.document(app)

    @cache
    def page() -> str:
        return render_reference(document())

    @get("/openapi.json", scope=None, summary="This API as OpenAPI 3.1", documented=False)
    async def openapi_json() -> Response[bytes]:
        return Response(encode_json(document()), media_type="application/json")

    @get("/docs", scope=None, summary="The API reference", documented=False)
    async def docs() -> Response[str]:
        return Response(page(), media_type="text/html", headers={"content-security-policy": REFERENCE_CSP})

    return [openapi_json, docs]


async def _answers(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(_PROBE_S_MAX):
            return await probe()
    except TimeoutError:
        return False


def _service_routes(probes: Mapping[str, Probe]) -> list[HTTPRouteHandler]:
    @get(
        "/health/live",
        scope=None,
        summary="Whether the process runs",
        example=Health(status="live", checks={}),
    )
    async def health_live() -> Health:
        return Health(status="live", checks={})

    @get(
        "/health/ready",
        scope=None,
        summary="Whether the process can serve",
        description="503 while a dependency is away; traffic should then go elsewhere.",
        errors=(NotReady,),
        example=Health(status="ready", checks={"database": True}),
    )
    async def health_ready() -> Health:
        answers = await asyncio.gather(*(_answers(probe) for probe in probes.values()))
        checks = dict(zip(probes, answers, strict=True))
        if not all(checks.values()):
            raise NotReady("A dependency does not answer; see checks.", checks=dict(checks))
        return Health(status="ready", checks=checks)

    @get("/metrics", scope=None, summary="Metrics for Prometheus", documented=False)
    async def metrics() -> Response[bytes]:
        return Response(render_metrics(), media_type=_METRICS_TYPE)

    return [health_live, health_ready, metrics]
