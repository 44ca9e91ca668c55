"""Decisions, the rule pack and the open lanes over HTTP: decode, authorise, call the service, encode."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from rickhouse.compliance.contract import DecisionLine, PackInvalid
from rickhouse.compliance.model import DecisionRecord
from rickhouse.compliance.resources import (
    DECISION_EXAMPLE,
    LANES_EXAMPLE,
    PACK_EXAMPLE,
    REPLAY_EXAMPLE,
    Lanes,
    PackResource,
    Replay,
    pack_of,
    replay_of,
)
from rickhouse.compliance.service import ComplianceService
from rickhouse.kernel.ids import DecisionId, VariantId
from rickhouse.kernel.units import ABV_BP_MAX
from rickhouse.platform.web import get, post

_NO_VARIANT: Final = VariantId(UUID(int=0))

Origin = Annotated[
    str,
    QueryParameter(
        name="origin",
        min_length=1,
        max_length=6,
        description="Where the bottle would come from, ISO 3166-2.",
    ),
]
SpiritClass = Annotated[
    str, QueryParameter(name="spirit_class", max_length=40, description="A class of the catalogue.")
]
AbvBp = Annotated[int, QueryParameter(name="abv_bp", ge=1, le=ABV_BP_MAX, description="4500 is 45 % ABV.")]
SizeMl = Annotated[int, QueryParameter(name="size_ml", ge=1, le=100_000, description="Net contents.")]
OrderDay = Annotated[
    date | None, QueryParameter(name="day", description="Day of the order; today, if it is not given.")
]


def routes(service: ComplianceService) -> list[HTTPRouteHandler]:
    """Every route of the slice."""
    return [*_decision_routes(service), *_law_routes(service)]


def _decision_routes(service: ComplianceService) -> list[HTTPRouteHandler]:
    @get(
        "/v1/compliance/decisions/{decision_id:str}",
        scope="compliance:read",
        summary="Read a legal decision with all that it rests on",
        example=DECISION_EXAMPLE,
    )
    async def get_decision(decision_id: FromPath[DecisionId]) -> DecisionRecord:
        return await service.get_decision(decision_id)

    @post(
        "/v1/compliance/decisions/{decision_id:str}/replay",
        scope="compliance:read",
        summary="Decide the stored inputs again",
        description="By the rule pack that decided then. Stores nothing; whether both agree is in `agrees`.",
        status=200,
        keyed=False,
        errors=(PackInvalid,),
        example=REPLAY_EXAMPLE,
    )
    async def replay_decision(decision_id: FromPath[DecisionId]) -> Replay:
        record = await service.get_decision(decision_id)
        return replay_of(record.decision, await service.replay(decision_id))

    return [get_decision, replay_decision]


def _law_routes(service: ComplianceService) -> list[HTTPRouteHandler]:
    @get(
        "/v1/compliance/pack",
        scope="compliance:read",
        summary="The rule pack in use",
        example=PACK_EXAMPLE,
    )
    async def get_pack() -> PackResource:
        return pack_of(service.pack)

    @get(
        "/v1/compliance/lanes",
        scope="compliance:read",
        summary="Where a bottle may go",
        description="For an adult buyer, with the permits of this shop: each region, the outcome, and why.",
        example=LANES_EXAMPLE,
    )
    async def get_lanes(
        origin: Origin,
        spirit_class: SpiritClass = "whiskey",
        abv_bp: AbvBp = 4500,
        size_ml: SizeMl = 750,
        day: OrderDay = None,
    ) -> Lanes:
        line = DecisionLine(_NO_VARIANT, spirit_class, abv_bp, size_ml, 1)
        asked = day or service.today()
        return Lanes(
            origin=origin,
            day=asked,
            spirit_class=spirit_class,
            abv_bp=abv_bp,
            size_ml=size_ml,
            pack_version=service.pack.full_version,
            lanes=service.lanes(origin, line, asked),
        )

    return [get_pack, get_lanes]
