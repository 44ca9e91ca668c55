"""A rule pack in memory: facts of the law by region, each with its window, its sources and how sure it is.

Reading and checking a pack's text belongs to `loader`; what follows from the facts belongs to `model`.
"""

from collections.abc import Mapping
from datetime import date
from typing import Literal, TypeVar

import msgspec

Confidence = Literal["source-read", "recalled-unverified"]
Status = Literal["open", "closed", "unknown"]
Mode = Literal[
    "common_carrier",
    "licensee_delivery",
    "own_employee_delivery",
    "licensee_or_licensed_transporter",
    "retail_outlet_only",
    "onsite_order_only",
]


class Window(msgspec.Struct, frozen=True):
    """Days, both included. `until` is None where no end is known."""

    since: date
    until: date | None

    def covers(self, day: date) -> bool:
        """Whether `day` lies in it."""
        return self.since <= day and (self.until is None or day <= self.until)


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the pack says. `sources` are keys of the pack's table of sources."""

    confidence: Confidence
    sources: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether somebody read a source for it."""
        return self.confidence == "source-read"


class Timed(Fact, frozen=True, kw_only=True):
    """A row that holds for its regions on the days of its window. No window: nobody knows when it holds."""

    regions: tuple[str, ...]
    effective: Window | None


class Permit(Fact, frozen=True, kw_only=True):
    """What the shipper must hold, and from whom."""

    status: Literal["required", "none", "unknown"]
    name: str = ""
    authority: str = ""


class VolumeLimit(Fact, frozen=True, kw_only=True):
    """Whether the sources state how much may be sent."""

    amount: Literal["stated", "unknown"]


class DryAreas(Fact, frozen=True, kw_only=True):
    """Parts of the region into which nothing may be sent, and what its authority lists them by."""

    list: Literal["zip_codes", "municipalities", "areas"]


class Products(Fact, frozen=True, kw_only=True):
    """What may be sent. Strength in basis points of ABV, `size_max_ml` per container; None is no limit.

    `condition` is for a person: the catalogue does not know whether a product meets it.
    """

    classes: tuple[str, ...] | None = None
    abv_over_bp: int | None = None
    abv_max_bp: int | None = None
    size_max_ml: int | None = None
    condition: str | None = None


class Reciprocity(Fact, frozen=True, kw_only=True):
    """The region takes spirits only from regions that take its own."""


class OpenQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a person has to find out before a parcel leaves."""

    question: str
    sources: tuple[str, ...]


class LaneRule(Timed, frozen=True, kw_only=True):
    """Whether spirits may be sent to a consumer in these regions, and how.

    An open one has a mode, a permit and a volume limit, a closed or unknown one says why.
    """

    status: Status
    because: str = ""
    mode: Mode | None = None
    permit: Permit | None = None
    volume_limit: VolumeLimit | None = None
    dry_areas: DryAreas | None = None
    products: Products | None = None
    reciprocity: Reciprocity | None = None
    open_questions: tuple[OpenQuestion, ...] = ()


class OutboundRule(Timed, frozen=True, kw_only=True):
    """Whether a distillery of these regions may send spirits to consumers of another one."""

    status: Status
    because: str = ""
    except_reciprocity: bool = False
    permit: Permit | None = None


class AgeRule(Timed, frozen=True, kw_only=True):
    """How old a buyer must be."""

    years: int


class ProductClass(Fact, frozen=True, kw_only=True):
    """Classes of the catalogue that the pack knows. `manual`: a person looks at such a product first."""

    names: tuple[str, ...]
    check: Literal["none", "manual"]
    because: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a fact was read. `as_of` is the state of the text, as far as it says so."""

    title: str
    kind: str
    url: str = ""
    as_of: str = ""
    note: str = ""


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """A checked rule pack. The rows of a region are in order of time; `digest` is the SHA-256 of `text` in hex."""

    name: str
    version: str
    compiled_on: date
    effective: Window
    regions: Mapping[str, str]
    classes: Mapping[str, ProductClass]
    minimum_age: Mapping[str, tuple[AgeRule, ...]]
    inbound: Mapping[str, tuple[LaneRule, ...]]
    in_state: Mapping[str, tuple[LaneRule, ...]]
    outbound: Mapping[str, tuple[OutboundRule, ...]]
    sources: Mapping[str, Source]
    digest: str
    text: str

    @property
    def full_version(self) -> str:
        """Name and version together, which stand for one text for ever."""
        return f"{self.name}-{self.version}"

    def cite(self, *facts: Fact | OpenQuestion) -> tuple[str, ...]:
        """The titles of the sources of these facts, each once."""
        cited = dict.fromkeys(source for fact in facts for source in fact.sources)
        return tuple([self.sources[source].title for source in cited])


Row = TypeVar("Row", bound=Timed)


def in_force(rows: tuple[Row, ...], day: date) -> Row | None:
    """The row that holds on `day`."""
    for row in rows:
        if row.effective is not None and row.effective.covers(day):
            return row
    return None
