"""Entity tags and conditional requests (RFC 9110 section 13): no lost updates, no body sent twice."""

from __future__ import annotations

from typing import Annotated

from litestar.params import HeaderParameter

from rickhouse.kernel.errors import Condition, Kind, VersionStale

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        max_length=200,
        description="The ETag that was read before changing; required, so that nobody's change is lost.",
    ),
]
IfNoneMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-None-Match",
        max_length=2_000,
        description="ETag of the copy at hand; 304 if it still holds.",
    ),
]


class MatchRequired(Condition, code="if_match_required", kind=Kind.PRECONDITION, title="If-Match is needed"):
    """A change came without the version that it is a change of (RFC 6585 section 3)."""


def etag(version: int | str) -> str:
    """The entity tag of a version of an object."""
    return f'"{version}"'


def require_match(if_match: str | None, version: int | str) -> None:
    """Let a change pass only on the version that the caller has read. Raises MatchRequired, VersionStale."""
    if if_match is None:
        raise MatchRequired("Read the object, then send its ETag in the header If-Match.")
    if not _matches(if_match, etag(version)):
        raise VersionStale("The object was changed since it was read; read it again and repeat the change.")


def not_modified(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller's copy is the current one."""
    return if_none_match is not None and _matches(if_none_match, tag)


def _matches(header: str, tag: str) -> bool:
    return any(part.strip().removeprefix("W/") in (tag, "*") for part in header.split(","))
