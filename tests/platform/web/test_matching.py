"""Conditional requests (RFC 9110 section 13)."""

from __future__ import annotations

import pytest

from rickhouse.kernel.errors import VersionStale
from rickhouse.platform.web import etag, not_modified, require_match
from rickhouse.platform.web.matching import MatchRequired


def test_a_change_passes_on_the_version_that_was_read() -> None:
    assert etag(7) == '"7"'
    for header in ('"7"', 'W/"7"', '"6", "7"', "*", ' "7" '):
        require_match(header, 7)


@pytest.mark.parametrize("header", ['"6"', "7", '"77"', "", '"7', "null", '"7"x'])
def test_a_change_of_another_version_is_stale(header: str) -> None:
    with pytest.raises(VersionStale):
        require_match(header, 7)


def test_a_change_of_no_version_is_refused() -> None:
    with pytest.raises(MatchRequired):
        require_match(None, 7)


def test_a_copy_holds_while_its_tag_does() -> None:
    assert not_modified('"a", "b"', '"b"')
    assert not_modified('W/"b"', '"b"')
    assert not_modified("*", '"b"')
    assert not not_modified('"a"', '"b"')
    assert not not_modified(None, '"b"')
