"""Every SQL statement of the compliance slice. What is decided belongs to `model`, and when to `service`."""

from __future__ import annotations

from typing import Final

from rickhouse.compliance.contract import Decision, Reason, SaleDecided
from rickhouse.compliance.facts import Facts
from rickhouse.compliance.model import DecisionRecord
from rickhouse.compliance.pack import Pack
from rickhouse.kernel.ids import CustomerId, DecisionId, OrderId
from rickhouse.platform.codec import decode_json, encode_json
from rickhouse.platform.db import Queries, Row
from rickhouse.platform.events import encode as encode_event

FILE_PACK: Final = "insert into packs (digest, version, text) values ($1, $2, $3) on conflict do nothing"

FIND_PACK_DIGEST: Final = "select digest from packs where version = $1"

FIND_PACK_TEXT: Final = "select text from packs where digest = $1"

# A repeat finds the conflict and answers with the row that stands; the second select never sees a row that this very
# statement inserts. No row at all: another runner has committed the same decision since this statement began.
KEEP: Final = """
with decided as (
    insert into decisions (
        decision_id, order_id, customer_id, day, pack_version, pack_digest, inputs, input_digest, outcome, reasons,
        minimum_age, decided_at
    ) values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10::jsonb, $11, $12)
    on conflict (order_id, input_digest) do nothing
    returning decision_id
), noted as (
    insert into events (kind, subject, body)
    select 'compliance.sale_decided', $2, $13::jsonb from decided
)
select
    decision_id, null as outcome, null::jsonb as reasons, null::integer as minimum_age, null::timestamptz as decided_at
from decided
union all
select decision_id, outcome, reasons, minimum_age, decided_at
from decisions
where order_id = $2 and input_digest = $8
"""

FIND_DECISION: Final = """
select decision_id, order_id, customer_id, day, pack_version, pack_digest, inputs, outcome, reasons, minimum_age,
    decided_at
from decisions
where decision_id = $1
"""


async def file_pack(q: Queries, pack: Pack) -> None:
    """Keep the pack's text, unless its digest or its version is on file."""
    await q.execute(FILE_PACK, bytes.fromhex(pack.digest), pack.full_version, pack.text)


async def find_pack_digest(q: Queries, version: str) -> str | None:
    """The digest of the text that stands for this version."""
    row = await q.fetchrow(FIND_PACK_DIGEST, version)
    return None if row is None else _hex(row["digest"])


async def find_pack_text(q: Queries, digest: str) -> str | None:
    """The text with this digest."""
    row = await q.fetchrow(FIND_PACK_TEXT, bytes.fromhex(digest))
    return None if row is None else row["text"]


async def keep(q: Queries, record: DecisionRecord, input_digest: bytes) -> Decision | None:
    """Store a decision and its event; answers with the one that now stands for these inputs.

    None when another runner stored it at the same moment: then ask again.
    """
    made = record.decision
    event = SaleDecided(
        decision_id=made.decision_id,
        order_id=record.order_id,
        outcome=made.outcome,
        pack_version=made.pack_version,
    )
    row = await q.fetchrow(
        KEEP,
        made.decision_id,
        record.order_id,
        record.customer_id,
        made.day,
        made.pack_version,
        bytes.fromhex(record.pack_digest),
        encode_json(record.inputs).decode(),
        input_digest,
        made.outcome,
        encode_json(made.reasons).decode(),
        made.minimum_age,
        made.decided_at,
        encode_event(event),
    )
    if row is None:
        return None
    if row["reasons"] is None:
        return made
    return Decision(
        DecisionId(row["decision_id"]),
        row["outcome"],
        _reasons(row),
        row["minimum_age"],
        made.pack_version,
        made.day,
        row["decided_at"],
    )


async def find_decision(q: Queries, decision_id: DecisionId) -> DecisionRecord | None:
    """A decision with all that it rests on."""
    row = await q.fetchrow(FIND_DECISION, decision_id)
    if row is None:
        return None
    decision = Decision(
        DecisionId(row["decision_id"]),
        row["outcome"],
        _reasons(row),
        row["minimum_age"],
        row["pack_version"],
        row["day"],
        row["decided_at"],
    )
    return DecisionRecord(
        decision=decision,
        order_id=OrderId(row["order_id"]),
        customer_id=CustomerId(row["customer_id"]),
        pack_digest=_hex(row["pack_digest"]),
        inputs=decode_json(row["inputs"], Facts),
    )


def _reasons(row: Row) -> tuple[Reason, ...]:
    return decode_json(row["reasons"], tuple[Reason, ...])


def _hex(digest: bytes) -> str:
    return digest.hex()
