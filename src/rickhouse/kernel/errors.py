"""Conditions that a contract can raise: a stable code, a kind, a sentence a person can act on.

Mapping to HTTP belongs in `platform.web` alone; personal data never belongs in a detail or a fact.

Condition
├── CurrencyMismatch        invalid
├── FieldInvalid            invalid       one field breaks one rule
├── NotFound                not found
├── Forbidden               forbidden
├── KeyReused               invalid       an idempotency key came back with another body
├── StillRunning            conflict      the first request with this key has not finished
├── VersionStale            conflict      somebody changed the object since it was read
└── Unavailable             unavailable   a dependency is away; trying again later may succeed
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Final

JsonFact = str | int | bool | None | list["JsonFact"] | dict[str, "JsonFact"]
"""What a condition may carry beside its sentence: plain JSON, no personal datum."""


class Kind(Enum):
    """What sort of refusal this is; `platform.web` turns each into one HTTP status."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    DECLINED = "declined"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    STALE = "stale"
    PRECONDITION = "precondition"
    UNPROCESSABLE = "unprocessable"
    TOO_LARGE = "too_large"
    MEDIA_TYPE = "media_type"
    UNAVAILABLE = "unavailable"


_BY_CODE: Final[dict[str, type[Condition]]] = {}


class Condition(Exception):
    """A refusal that belongs to a contract.

    `code` is stable and machine-readable, `detail` tells a person what to do, `facts` are extension members of the
    RFC 9457 problem (for example how many bottles are left).
    """

    code: ClassVar[str] = "condition"
    kind: ClassVar[Kind] = Kind.INVALID
    title: ClassVar[str] = "Refused"

    def __init_subclass__(cls, *, code: str, kind: Kind, title: str) -> None:
        super().__init_subclass__()
        known = _BY_CODE.get(code)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise TypeError(f"code {code!r} already belongs to {known.__qualname__}")
        cls.code, cls.kind, cls.title = code, kind, title
        _BY_CODE[code] = cls

    def __init__(self, detail: str, **facts: JsonFact) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


def condition_of(code: str, detail: str, facts: dict[str, JsonFact]) -> Condition | None:
    """Rebuild the condition named `code`, or None where no loaded contract declares it."""
    cls = _BY_CODE.get(code)
    return None if cls is None else cls(detail, **facts)


class CurrencyMismatch(Condition, code="currency_mismatch", kind=Kind.UNPROCESSABLE, title="Wrong currency"):
    """Two amounts of different currencies met, or a currency is not the shop's."""


class FieldInvalid(Condition, code="field_invalid", kind=Kind.INVALID, title="A field is not valid"):
    """One field breaks one rule; facts carry `field` and `rule`."""


class NotFound(Condition, code="not_found", kind=Kind.NOT_FOUND, title="Not found"):
    """No such object, or none that this caller may see."""


class Forbidden(Condition, code="forbidden", kind=Kind.FORBIDDEN, title="Not allowed"):
    """The caller is known and may not do this."""


class KeyReused(
    Condition, code="idempotency_key_reused", kind=Kind.UNPROCESSABLE, title="Idempotency key used before"
):
    """The same Idempotency-Key arrived with a different request body."""


class StillRunning(Condition, code="still_running", kind=Kind.CONFLICT, title="Still running"):
    """The first request with this key has not finished; ask again shortly."""


class VersionStale(Condition, code="version_stale", kind=Kind.STALE, title="Changed by somebody else"):
    """The object changed since it was read; read it again and repeat the change."""


class Unavailable(Condition, code="unavailable", kind=Kind.UNAVAILABLE, title="Temporarily unavailable"):
    """Something this service depends on is away; the request had no effect or can be repeated safely."""
