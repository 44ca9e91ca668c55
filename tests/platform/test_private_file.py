"""A private file is made once and whole, and is not used when it is not private."""

from __future__ import annotations

import multiprocessing
import os
import stat
from itertools import count
from pathlib import Path

import pytest

from rickhouse.platform.private_file import PrivateFileRefused, read_or_make


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_missing_file_is_made_with_its_directory_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key"
    numbers = count(1)
    assert read_or_make(path, lambda: f"text {next(numbers)}") == "text 1"
    assert read_or_make(path, lambda: f"text {next(numbers)}") == "text 1"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def _make_and_tell(path: Path) -> str:
    return read_or_make(path, lambda: f"made by {os.getpid()}\n" * 200)


def test_processes_that_make_it_at_once_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        texts = set(pool.map(_make_and_tell, [path] * 12))
    assert texts == {path.read_text()}


@pytest.mark.parametrize("open_mode", [0o640, 0o604, 0o620])
def test_file_that_others_reach_is_refused(tmp_path: Path, open_mode: int) -> None:
    path = tmp_path / "key"
    read_or_make(path, lambda: "text")
    path.chmod(open_mode)
    with pytest.raises(PrivateFileRefused, match=f"mode 0{open_mode:o}"):
        read_or_make(path, lambda: "other")
    assert path.read_text() == "text"


def test_directory_that_others_write_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(PrivateFileRefused, match="chmod go-w"):
        read_or_make(directory / "key", lambda: "text")
    assert list(directory.iterdir()) == []


def test_path_that_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrivateFileRefused, match="cannot be used"):
        read_or_make(tmp_path / "file" / "key", lambda: "text")
