"""Decisions, replays, the pack and the lanes over HTTP, for whoever may read them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from rickhouse.compliance.routes import routes
from rickhouse.compliance.service import ComplianceService
from rickhouse.kernel.ids import DecisionId
from rickhouse.platform.tokens import TokenKey
from rickhouse.platform.web.application import build
from tests.compliance.conftest import NOON, Ages
from tests.compliance.samples import PACK, WHISKEY, sale

PATHS = (
    ("GET", f"/v1/compliance/decisions/{DecisionId(UUID(int=1))}"),
    ("POST", f"/v1/compliance/decisions/{DecisionId(UUID(int=1))}/replay"),
    ("GET", "/v1/compliance/pack"),
    ("GET", "/v1/compliance/lanes?origin=US-ND"),
)


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    """Who signs tokens."""
    return TokenKey.load(tmp_path / "tokens.json")


@pytest.fixture
async def client(law: ComplianceService, key: TokenKey) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that may read decisions."""
    app = build(routes(law), verifier=key, probes={}, body_bytes_max=262_144)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI by two names
    token = key.issue("office", ["compliance:read"], 60)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"authorization": f"Bearer {token}"}
    ) as client:
        yield client


async def test_a_decision_is_shown_with_all_that_it_rests_on(
    client: httpx.AsyncClient, law: ComplianceService
) -> None:
    asked = sale()
    decision = await law.decide(asked)

    reply = await client.get(f"/v1/compliance/decisions/{decision.decision_id}")

    assert reply.status_code == 200
    assert reply.json() == {
        "decision": {
            "decision_id": str(decision.decision_id),
            "outcome": "allow",
            "reasons": [
                {
                    "code": "in_state_open",
                    "outcome": "allow",
                    "detail": "North Dakota lets its own distilleries ship to consumers.",
                    "sources": ["N.D.C.C. 5-01-19 / 5-01-19.2 domestic and manufacturing distillery"],
                },
                {
                    "code": "of_age",
                    "outcome": "allow",
                    "detail": "The buyer states an age of 21 or more.",
                    "sources": ["23 U.S.C. 158 and the states' purchase age of 21 (recalled, not read)"],
                },
            ],
            "minimum_age": 21,
            "pack_version": "us-spirits-2026-11-23",
            "day": "2026-12-01",
            "decided_at": NOON.isoformat().replace("+00:00", "Z"),
        },
        "order_id": str(asked.order_id),
        "customer_id": str(asked.customer_id),
        "pack_digest": PACK.digest,
        "inputs": {
            "origins": ["US-ND"],
            "destination": "US-ND",
            "lines": [
                {
                    "variant_id": str(WHISKEY.variant_id),
                    "spirit_class": "whiskey",
                    "abv_bp": 4500,
                    "size_ml": 750,
                    "quantity": 1,
                }
            ],
            "day": "2026-12-01",
            "delivery_day": "2026-12-08",
            "permits": {"US-ND": "DL-1187"},
            "outbound_attested": [],
            "products_attested": False,
            "age_answers": [{"minimum_age": 21, "of_age": True}],
        },
    }


async def test_a_replay_shows_both_and_whether_they_agree(
    client: httpx.AsyncClient, law: ComplianceService, ages: Ages
) -> None:
    asked = sale()
    ages.minors.add(asked.customer_id)
    decision = await law.decide(asked)

    reply = await client.post(f"/v1/compliance/decisions/{decision.decision_id}/replay")

    shown: dict[str, Any] = reply.json()
    assert reply.status_code == 200
    assert shown["agrees"] is True
    assert shown["stored"] == shown["replayed"]
    assert (shown["stored"]["outcome"], shown["stored"]["reasons"][0]["code"]) == ("deny", "under_age")


async def test_a_replay_that_differs_says_so(
    client: httpx.AsyncClient, law: ComplianceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = await law.decide(sale())
    other = await law.decide(sale(destination="US-HI"))

    async def disagree(_decision_id: DecisionId) -> object:
        return other

    monkeypatch.setattr(law, "replay", disagree)
    reply = await client.post(f"/v1/compliance/decisions/{decision.decision_id}/replay")

    shown: dict[str, Any] = reply.json()
    assert shown["agrees"] is False
    assert (shown["stored"]["outcome"], shown["replayed"]["outcome"]) == ("allow", "deny")


async def test_the_pack_is_shown_by_version_digest_and_counts(client: httpx.AsyncClient) -> None:
    reply = await client.get("/v1/compliance/pack")

    assert (reply.status_code, reply.json()) == (
        200,
        {
            "version": "us-spirits-2026-11-23",
            "compiled_on": "2026-11-23",
            "effective_from": "2026-11-23",
            "effective_until": "2027-06-30",
            "digest": PACK.digest,
            "regions": 51,
            "sources": 57,
            # Every inbound rule, 18 of in state and 3 of outbound were read.
            "facts_read": 51 + 18 + 3,
            "facts_recalled": 51 + 33 + 48,
        },
    )


async def test_the_lanes_are_a_table_of_every_region(client: httpx.AsyncClient) -> None:
    reply = await client.get("/v1/compliance/lanes", params={"origin": "US-ND"})

    shown: dict[str, Any] = reply.json()
    assert reply.status_code == 200
    assert {name: shown[name] for name in shown if name != "lanes"} == {
        "origin": "US-ND",
        "day": "2026-12-01",
        "spirit_class": "whiskey",
        "abv_bp": 4500,
        "size_ml": 750,
        "pack_version": "us-spirits-2026-11-23",
    }
    lanes: list[dict[str, Any]] = shown["lanes"]
    assert len(lanes) == 51
    assert [lane["destination"] for lane in lanes if lane["outcome"] == "allow"] == ["US-ND"]
    hawaii = next(lane for lane in lanes if lane["destination"] == "US-HI")
    assert (hawaii["name"], hawaii["minimum_age"]) == ("Hawaii", 21)
    assert [reason["code"] for reason in hawaii["reasons"]] == ["inbound_closed", "outbound_unknown"]


async def test_the_lanes_are_asked_for_a_product_and_a_day(client: httpx.AsyncClient) -> None:
    can = {
        "origin": "US-ND",
        "spirit_class": "ready_to_drink",
        "abv_bp": "800",
        "size_ml": "355",
        "day": "2027-01-04",
    }

    lanes: list[dict[str, Any]] = (await client.get("/v1/compliance/lanes", params=can)).json()["lanes"]

    codes = {lane["destination"]: {reason["code"] for reason in lane["reasons"]} for lane in lanes}
    assert "no_rule_on_order_day" in codes["US-CA"]
    assert "product_class_not_allowed" not in codes["US-VT"]


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
async def test_no_day_is_too_far_away_to_be_denied(client: httpx.AsyncClient, day: str) -> None:
    reply = await client.get("/v1/compliance/lanes", params={"origin": "US-ND", "day": day})

    assert reply.status_code == 200
    assert {lane["outcome"] for lane in reply.json()["lanes"]} == {"deny"}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "origin=",
        "origin=US-NORTH",
        "origin=US-ND&abv_bp=0",
        "origin=US-ND&abv_bp=10001",
        "origin=US-ND&size_ml=-1",
        "origin=US-ND&day=yesterday",
    ],
)
async def test_a_lane_that_makes_no_sense_is_not_asked_for(client: httpx.AsyncClient, query: str) -> None:
    reply = await client.get(f"/v1/compliance/lanes?{query}")

    assert (reply.status_code, reply.json()["code"]) == (400, "request_invalid")


@pytest.mark.parametrize(("method", "path"), PATHS[:2])
async def test_what_was_never_decided_is_not_found(client: httpx.AsyncClient, method: str, path: str) -> None:
    reply = await client.request(method, path)

    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_a_token_without_the_scope_reads_nothing(
    client: httpx.AsyncClient, key: TokenKey, method: str, path: str
) -> None:
    shop = {"authorization": f"Bearer {key.issue('shop', ['checkouts:buy'], 60)}"}

    assert (await client.request(method, path, headers=shop)).status_code == 403
