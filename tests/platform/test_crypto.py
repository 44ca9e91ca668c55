"""What is sealed opens in its own place, under its own key, whole, and nowhere else."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.platform.crypto import (
    BlindIndex,
    DataKey,
    Keyring,
    KeyVersionUnknown,
    SealBroken,
    WrappedDataKey,
    new_key,
)

OWNER, OTHER = UUID(int=1), UUID(int=2)
KEY = new_key()


class Place(NamedTuple):
    """Where a value stands, and the generation of its owner's key."""

    owner: UUID
    generation: int
    row: UUID
    field: str

    def seal(self, text: str) -> bytes:
        """`text` for this place. Every key has the same bytes, so that only the place can make a difference."""
        return DataKey(self.owner, self.generation, KEY).seal(self.row, self.field, text)

    def open(self, sealed: bytes) -> str:
        """What was sealed for this place."""
        return DataKey(self.owner, self.generation, KEY).open(self.row, self.field, sealed)


places = st.builds(Place, st.uuids(), st.integers(1, 65_535), st.uuids(), st.text(min_size=1, max_size=20))


@given(places, st.text())
def test_sealed_text_opens_in_its_own_place(place: Place, text: str) -> None:
    sealed = place.seal(text)
    assert place.open(sealed) == text
    assert len(sealed) == len(text.encode()) + 30


@given(places, places, st.text())
def test_sealed_text_opens_in_no_other_place(place: Place, elsewhere: Place, text: str) -> None:
    sealed = place.seal(text)
    moved = (
        place._replace(owner=elsewhere.owner),
        place._replace(generation=elsewhere.generation),
        place._replace(row=elsewhere.row),
        place._replace(field=elsewhere.field),
    )
    for other in moved:
        if other != place:
            with pytest.raises(SealBroken):
                other.open(sealed)


@given(st.text(), st.data())
def test_altered_or_shortened_bytes_do_not_open(text: str, data: st.DataObject) -> None:
    key = DataKey(OWNER, 1, KEY)
    sealed = key.seal(OWNER, "name", text)
    position = data.draw(st.integers(0, len(sealed) - 1))
    flipped = bytearray(sealed)
    flipped[position] ^= data.draw(st.integers(1, 255))
    for broken in (bytes(flipped), sealed[:position], sealed + b"\0"):
        with pytest.raises(SealBroken):
            key.open(OWNER, "name", broken)


def test_row_and_field_do_not_run_into_each_other() -> None:
    key = DataKey(OWNER, 1, KEY)
    # The same bytes in a row, if the row's end and the field's beginning were not kept apart.
    row, field = UUID(bytes=b"0123456789abcdef"), "x"
    sealed = key.seal(row, field, "text")
    with pytest.raises(SealBroken):
        key.open(UUID(bytes=b"123456789abcdefx"), "", sealed)


def test_equal_texts_are_sealed_differently() -> None:
    key = DataKey(OWNER, 1, KEY)
    assert key.seal(OWNER, "city", "Medora") != key.seal(OWNER, "city", "Medora")


def test_another_key_does_not_open() -> None:
    sealed = DataKey(OWNER, 1, KEY).seal(OWNER, "name", "Ada")
    with pytest.raises(SealBroken):
        DataKey(OWNER, 1, new_key()).open(OWNER, "name", sealed)


def test_data_key_is_unwrapped_for_its_owner_alone() -> None:
    keyring = Keyring({1: new_key()})
    key, wrapped = keyring.new_data_key(OWNER)
    sealed = key.seal(OWNER, "name", "Ada")
    assert keyring.open(OWNER, wrapped).open(OWNER, "name", sealed) == "Ada"
    with pytest.raises(SealBroken):
        keyring.open(OTHER, wrapped)
    with pytest.raises(SealBroken):
        keyring.open(OWNER, WrappedDataKey(2, wrapped.keyring_version, wrapped.ciphertext))


def test_new_keyring_version_wraps_and_older_ones_still_unwrap() -> None:
    first, second = new_key(), new_key()
    old_key, old = Keyring({1: first}).new_data_key(OWNER)
    sealed = old_key.seal(OWNER, "name", "Ada")
    rotated = Keyring({1: first, 2: second})
    assert rotated.open(OWNER, old).open(OWNER, "name", sealed) == "Ada"
    assert (old.keyring_version, rotated.new_data_key(OTHER)[1].keyring_version) == (1, 2)


def test_unknown_keyring_version_is_told_from_a_broken_key() -> None:
    _, wrapped = Keyring({1: new_key(), 2: new_key()}).new_data_key(OWNER)
    with pytest.raises(KeyVersionUnknown, match="no version 2"):
        Keyring({1: new_key()}).open(OWNER, wrapped)
    with pytest.raises(SealBroken):
        Keyring({2: new_key()}).open(OWNER, wrapped)


def test_blind_index_finds_equal_values_under_one_key_only() -> None:
    index, other = BlindIndex({1: KEY}), BlindIndex({1: new_key()})
    assert index.digest("ada@example.com") == index.digest("ada@example.com")
    assert index.digest("ada@example.com") != index.digest("bob@example.com")
    assert index.digest("ada@example.com") != other.digest("ada@example.com")
    assert len(index.digest("")) == 34


def test_blind_index_matches_hmac_sha256_of_rfc_4231() -> None:
    key = b"\x0b" * 20
    digest = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    assert BlindIndex({1: key}).digest("Hi There") == b"\x00\x01" + bytes.fromhex(digest)


def test_blind_index_writes_by_the_newest_key_and_searches_by_all() -> None:
    first, second = new_key(), new_key()
    old, rotated = BlindIndex({1: first}), BlindIndex({1: first, 2: second})
    assert rotated.digest("ada") == BlindIndex({2: second}).digest("ada") == rotated.digests("ada")[0]
    assert rotated.digests("ada")[1] == old.digest("ada")
    assert [digest[:2] for digest in rotated.digests("ada")] == [b"\x00\x02", b"\x00\x01"]


def test_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(OWNER, 1, b"short")


def test_keys_show_nothing_of_themselves() -> None:
    shown = f"{DataKey(OWNER, 1, KEY)!r} {Keyring({1: KEY})!r} {BlindIndex({1: KEY})!r}"
    assert shown == "DataKey(…) Keyring(version=1) BlindIndex(version=1)"
