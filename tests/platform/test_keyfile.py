"""The key file: made once, closed to others, and never replaced by a new one that would open nothing."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rickhouse.platform.crypto import KeyDescription, KeyRefused, Wrapped, new_key
from rickhouse.platform.keyfile import KeyFile
from rickhouse.platform.private_file import PrivateFileRefused

CONTEXT = "customers/people/1"


def keyset_in(path: Path) -> dict[str, Any]:
    """The file's JSON."""
    return json.loads(path.read_text())


def write_keyset(path: Path, keyset: dict[str, Any]) -> None:
    """Replace the file's JSON."""
    path.write_text(json.dumps(keyset))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file that has been made, in a directory that was made for it."""
    path = tmp_path / "keys" / "customers.json"
    KeyFile.load(path)
    return path


def test_first_start_makes_a_file_for_the_owner_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_second_start_unwraps_what_the_first_one_wrapped(path: Path) -> None:
    key, keyset = new_key(), keyset_in(path)
    wrapped = await KeyFile.load(path).wrap(key, CONTEXT)
    assert await KeyFile.load(path).unwrap(wrapped, CONTEXT) == key
    assert keyset_in(path) == keyset


async def test_wrapped_key_opens_in_its_context_alone_and_whole(path: Path) -> None:
    keys = KeyFile.load(path)
    wrapped = await keys.wrap(new_key(), CONTEXT)
    with pytest.raises(KeyRefused):
        await keys.unwrap(wrapped, "customers/email/1")
    with pytest.raises(KeyRefused):
        await keys.unwrap(Wrapped(wrapped.key_id, wrapped.ciphertext[:-1]), CONTEXT)


async def test_another_key_file_does_not_open_and_says_what_to_do(path: Path, tmp_path: Path) -> None:
    wrapped = await KeyFile.load(path).wrap(new_key(), CONTEXT)
    other = KeyFile.load(tmp_path / "other.json")
    with pytest.raises(KeyRefused) as refused:
        await other.unwrap(wrapped, CONTEXT)
    assert refused.value.detail == (
        f"The key file {tmp_path / 'other.json'} does not open what key {wrapped.key_id} wrapped: put back the key "
        "file that belongs to this database."
    )


async def test_it_describes_its_keys_by_the_names_in_the_file(path: Path) -> None:
    key_id = str(keyset_in(path)["primaryKeyId"])
    assert await KeyFile.load(path).describe() == KeyDescription("file", key_id, (key_id,))
    assert (await KeyFile.load(path).wrap(new_key(), CONTEXT)).key_id == key_id


async def test_file_with_an_added_key_wraps_by_the_primary_and_unwraps_by_both(path: Path) -> None:
    old, key = keyset_in(path), new_key()
    wrapped = await KeyFile.load(path).wrap(key, CONTEXT)
    KeyFile.load(path.with_name("new.json"))
    added = keyset_in(path.with_name("new.json"))
    write_keyset(path, added | {"key": [*old["key"], *added["key"]]})
    rotated = KeyFile.load(path)
    assert await rotated.unwrap(wrapped, CONTEXT) == key
    assert (await rotated.wrap(key, CONTEXT)).key_id == str(added["primaryKeyId"]) != wrapped.key_id


async def test_first_starts_at_once_get_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "customers.json"
    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(KeyFile.load, [path] * 8))
    assert len({await keys.describe() for keys in loaded}) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644, 0o666])
def test_file_that_others_can_reach_is_refused_and_left_as_it_is(path: Path, mode: int) -> None:
    text = path.read_text()
    path.chmod(mode)
    with pytest.raises(PrivateFileRefused, match=rf"mode {mode:04o}\): run 'chmod 600 {path}'"):
        KeyFile.load(path)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (text, mode)


def test_read_only_file_of_the_owner_is_taken(path: Path) -> None:
    path.chmod(0o400)
    KeyFile.load(path)


def test_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(
        PrivateFileRefused, match=f"belongs to user {owner}, and this process runs as user {owner + 1}"
    ):
        KeyFile.load(path)


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"primaryKeyId": 1, "key": []}'])
def test_file_without_a_keyset_is_refused_and_not_replaced(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(
        PrivateFileRefused, match="is not a key file, or was cut short: restore it from its backup"
    ):
        KeyFile.load(path)
    assert path.read_text() == content


def test_file_that_was_cut_short_is_refused(path: Path) -> None:
    path.write_text(path.read_text()[:-20])
    with pytest.raises(PrivateFileRefused, match="was cut short"):
        KeyFile.load(path)


def test_key_material_is_not_shown(path: Path) -> None:
    assert repr(KeyFile.load(path)) == f"KeyFile({str(path)!r})"
