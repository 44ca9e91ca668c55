"""The law at work: each sale decided once, kept with all that it rested on, and decided again for proof.

What the law says belongs to the rule pack, what follows from it to `model`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from hashlib import blake2b
from typing import Final

import msgspec

from rickhouse.compliance import sql
from rickhouse.compliance.contract import Decision, DecisionLine, PackInvalid, Sale
from rickhouse.compliance.facts import TRANSIT_DAYS, AgeAnswer, Facts, Seller, facts_of
from rickhouse.compliance.loader import parse_pack
from rickhouse.compliance.model import (
    DecisionRecord,
    Lane,
    Verdict,
    conclude,
    decide,
    examine,
    lanes,
)
from rickhouse.compliance.pack import Pack
from rickhouse.customers.contract import Customers
from rickhouse.kernel.clock import Clock, now
from rickhouse.kernel.errors import NotFound, Unavailable
from rickhouse.kernel.ids import DecisionId
from rickhouse.platform.codec import encode_json
from rickhouse.platform.db import Database

_KEEP_ATTEMPTS_MAX: Final = 3


class ComplianceService:
    """Implements the contract `Compliance` with one rule pack and one seller's permits.

    `permits`, `outbound_attested` and `products_attested` are as in `Seller`; without permits nothing is allowed.
    Raises ValueError when a parcel would take less than a day.
    """

    def __init__(
        self,
        db: Database,
        *,
        customers: Customers,
        pack: Pack,
        permits: Mapping[str, str],
        outbound_attested: Collection[str] = (),
        products_attested: Collection[str] = (),
        transit_days: int = TRANSIT_DAYS,
        clock: Clock = now,
    ) -> None:
        if transit_days < 1:
            raise ValueError(f"a parcel takes a day at the least, not {transit_days}")
        self._db = db
        self._customers = customers
        self._seller = Seller(
            permits=dict(permits),
            outbound_attested=frozenset(outbound_attested),
            products_attested=frozenset(products_attested),
            transit_days=transit_days,
        )
        self._clock = clock
        self._pack_filed = False
        self._packs = {pack.digest: pack}
        self.pack = pack

    async def decide(self, sale: Sale) -> Decision:
        """See Compliance. One statement of this slice, and none more for a repeat."""
        if not self._pack_filed:
            await self.file_pack()
        facts = facts_of(sale.origins, sale.destination, sale.lines, sale.day, self._seller)
        input_digest = self._digest(sale, facts)
        facts, verdict = await self._judge(sale, facts)
        record = DecisionRecord(
            decision=self._decision(verdict, sale.day),
            order_id=sale.order_id,
            customer_id=sale.customer_id,
            pack_digest=self.pack.digest,
            inputs=facts,
        )
        for _ in range(_KEEP_ATTEMPTS_MAX):
            kept = await sql.keep(self._db, record, input_digest)
            if kept is not None:
                return kept
        raise Unavailable("The same sale is being decided elsewhere; try again in a moment.")

    async def replay(self, decision_id: DecisionId) -> Decision:
        """See Compliance. The answer carries the stored decision's id and time."""
        record = await self.get_decision(decision_id)
        verdict = decide(await self._pack_of(record), record.inputs)
        return msgspec.structs.replace(
            record.decision,
            outcome=verdict.outcome,
            reasons=verdict.reasons,
            minimum_age=verdict.minimum_age,
        )

    async def get_decision(self, decision_id: DecisionId) -> DecisionRecord:
        """A decision with all that it rests on. Raises NotFound."""
        record = await sql.find_decision(self._db, decision_id)
        if record is None:
            raise NotFound("There is no such decision.")
        return record

    async def file_pack(self) -> None:
        """Keep the text of the pack, so that what it decides can be replayed for ever.

        Done once per process; asking at the start of one shows a mistake before a buyer meets it. Raises PackInvalid
        when another text has already been used under the same version.
        """
        await sql.file_pack(self._db, self.pack)
        if await sql.find_pack_digest(self._db, self.pack.full_version) != self.pack.digest:
            raise PackInvalid(
                f"The rule pack {self.pack.full_version} was changed after it had decided sales; give the changed "
                "text a new version.",
                file=self.pack.full_version,
                place="version",
                rule="a version stands for one text",
            )
        self._pack_filed = True

    def lanes(self, origin: str, line: DecisionLine, day: date) -> tuple[Lane, ...]:
        """Where this seller may send such a bottle to an adult who orders it on `day`. Stores nothing."""
        return lanes(self.pack, self._seller, origin, line, day)

    def today(self) -> date:
        """The calendar day in UTC."""
        return self._clock().date()

    async def _judge(self, sale: Sale, facts: Facts) -> tuple[Facts, Verdict]:
        """Ask for the buyer's age where that can still change something; the facts then hold the answer."""
        examined = examine(self.pack, facts)
        if examined.outcome == "deny":
            return facts, examined
        of_age = await self._customers.is_of_age(sale.customer_id, examined.minimum_age, on=sale.day)
        facts = msgspec.structs.replace(facts, age_answers=(AgeAnswer(examined.minimum_age, of_age),))
        return facts, conclude(self.pack, examined, facts)

    def _decision(self, verdict: Verdict, day: date) -> Decision:
        return Decision(
            DecisionId.new(),
            verdict.outcome,
            verdict.reasons,
            verdict.minimum_age,
            self.pack.full_version,
            day,
            self._clock(),
        )

    def _digest(self, sale: Sale, facts: Facts) -> bytes:
        """16 bytes over pack, customer and facts, taken before anybody is asked for his age."""
        digest = blake2b(self.pack.digest.encode(), digest_size=16)
        digest.update(sale.customer_id.bytes)
        digest.update(encode_json(facts))
        return digest.digest()

    async def _pack_of(self, record: DecisionRecord) -> Pack:
        pack = self._packs.get(record.pack_digest)
        if pack is not None:
            return pack
        version = record.decision.pack_version
        text = await sql.find_pack_text(self._db, record.pack_digest)
        pack = None if text is None else parse_pack(text, version)
        if pack is None or pack.digest != record.pack_digest:
            raise PackInvalid(
                f"The rule pack {version} that decided this is not on file as it was; the decision cannot be replayed.",
                file=version,
                place="the file",
                rule="a decision's pack is on file",
            )
        self._packs[pack.digest] = pack
        return pack
