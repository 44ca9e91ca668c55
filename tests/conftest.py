"""What every test can ask for: a running PostgreSQL, and fresh databases in it with every slice's schema.

Fixtures of one slice belong in that slice's directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from rickhouse.platform import schema
from rickhouse.platform.db import Database, url_for
from rickhouse.platform.embedded import EmbeddedError, EmbeddedPostgres, reset, start_embedded

_SOURCE: Final = Path(__file__).parent.parent / "src" / "rickhouse"
SLICES: Final = tuple(sorted(path.parent.name for path in _SOURCE.glob("*/contract.py")))
"""Every slice that has a door."""

_TEMPLATE: Final = "rickhouse_template"
# Short, because a socket's path must be, and open to PostgreSQL's own account, which pytest's directories are not.
_TEMPORARY: Final = Path("/tmp")  # noqa: S108
_ROOT_PREFIX: Final = "rickhouse-test-"
_ROOT_KEY: Final = pytest.StashKey[Path]()

FAST: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "400",
}
"""Settings of a cluster whose data nobody needs after the tests; a killed server, unlike a power cut, loses nothing."""


def pytest_configure(config: pytest.Config) -> None:
    """Settle where this run's cluster lives: one for all of xdist's processes, named after the first of them."""
    # Processes that a test starts find the package too, whether or not it is installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(_SOURCE.parent), os.environ.get("PYTHONPATH")))
    )
    given: dict[str, str] | None = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[_ROOT_KEY] = Path(given["cluster_root"])
        return
    for left in _TEMPORARY.glob(f"{_ROOT_PREFIX}*"):
        # A run that was killed could not stop its server. Another account's is its own affair.
        runner = left.name.removeprefix(_ROOT_PREFIX).partition("-")[0]
        if runner.isdecimal() and not psutil.pid_exists(int(runner)) and left.stat().st_uid == os.geteuid():
            with suppress(EmbeddedError):
                reset(left)
    config.stash[_ROOT_KEY] = _TEMPORARY / f"{_ROOT_PREFIX}{os.getpid()}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401  xdist has no public type for its worker
    """Tell an xdist process where the cluster is."""
    node.workerinput["cluster_root"] = str(node.config.stash[_ROOT_KEY])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the cluster and delete it, after the last process has ended."""
    if not hasattr(config, "workerinput"):
        reset(config.stash[_ROOT_KEY])


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> EmbeddedPostgres:
    """The PostgreSQL of this test run. Kill `private_cluster`, never this one."""
    server = start_embedded(pytestconfig.stash[_ROOT_KEY], settings=FAST)
    with _locked(pytestconfig.stash[_ROOT_KEY] / "template.lock"):
        make_template(server)
    return server


@pytest.fixture(scope="session")
def new_cluster_root(pytestconfig: pytest.Config) -> Callable[[], Path]:
    """Name a directory that does not exist yet, where a cluster can be made; whoever makes one resets it."""
    root = pytestconfig.stash[_ROOT_KEY]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "own")
    numbers = count(1)
    return lambda: root.with_name(f"{root.name}-{worker}-{next(numbers)}")


@pytest.fixture
def private_cluster(new_cluster_root: Callable[[], Path]) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of one test's own, empty, for tests that kill or stop it."""
    root = new_cluster_root()
    try:
        yield start_embedded(root, settings=FAST)
    finally:
        reset(root)


@pytest.fixture(scope="session")
def new_database(cluster: EmbeddedPostgres) -> Callable[[], str]:
    """Make a migrated, empty database and answer with its administrator's URL."""
    return database_maker(cluster)


def make_template(server: EmbeddedPostgres) -> None:
    """Have the migrated database that the others are copied from."""
    if _TEMPLATE in _sql(server, "select datname from pg_database").split():
        return
    draft = "rickhouse_draft"
    _sql(server, f"drop database if exists {draft}")
    _sql(server, f"create database {draft}")
    # A thread of its own, because a loop of pytest-asyncio's may belong to this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, schema.migrate(server.url(draft), SLICES)).result()
    _sql(server, f"alter database {draft} rename to {_TEMPLATE}")


def database_maker(server: EmbeddedPostgres) -> Callable[[], str]:
    """What makes one migrated, empty database after the other on `server`."""
    numbers = count(1)

    def make() -> str:
        name = f"test_{os.getpid()}_{next(numbers)}"
        _sql(server, f"create database {name} template {_TEMPLATE}")
        return server.url(name)

    return make


@pytest.fixture
def database_url(cluster: EmbeddedPostgres, new_database: Callable[[], str]) -> Iterator[str]:
    """A database of one test's own."""
    with _dropped(cluster, new_database()) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(cluster: EmbeddedPostgres, new_database: Callable[[], str]) -> Iterator[str]:
    """A database that the tests of one module share."""
    with _dropped(cluster, new_database()) as url:
        yield url


@pytest.fixture
async def open_slice(database_url: str) -> AsyncGenerator[Callable[[str], Awaitable[Database]]]:
    """Open a slice's database in this test's own, under the slice's role; closed afterwards."""
    async with AsyncExitStack() as opened:

        async def open_one(slice_name: str) -> Database:
            database = Database(url_for(database_url, user=schema.role_of(slice_name)), schema=slice_name)
            opened.push_async_callback(database.close)
            return await database.open()

        yield open_one


@contextmanager
def _dropped(cluster: EmbeddedPostgres, url: str) -> Generator[str]:
    try:
        yield url
    finally:
        name = url.rpartition("@/")[2].partition("?")[0]
        _sql(cluster, f"drop database {name} with (force)")


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sql(cluster: EmbeddedPostgres, statement: str) -> str:
    """Run one statement as the administrator, and answer what psql prints."""
    command = (
        str(cluster.bin_dir / "psql"),
        cluster.url(),
        "-XqAt",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        statement,
    )
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
