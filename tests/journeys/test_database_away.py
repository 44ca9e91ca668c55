"""The database dies in the middle of traffic and comes back: buyers are told to wait, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Final

import pytest

from rickhouse.platform.embedded import EmbeddedPostgres, reset, start_embedded
from tests.journeys.books import assert_books, at_rest
from tests.journeys.stack import Stack
from tests.journeys.traffic import assert_promises_kept, assert_told_to_wait, shopping

KILLABLE: Final = {"fsync": "off", "full_page_writes": "off"}
"""A commit is in the operating system's hands before it is told, so it outlives the server, if not the machine."""


@pytest.fixture(scope="module")
def server(new_cluster_root: Callable[[], Path]) -> Generator[EmbeddedPostgres]:
    """A PostgreSQL of this module's own, which keeps its promises when it is killed."""
    root = new_cluster_root()
    try:
        yield start_embedded(root, settings=KILLABLE)
    finally:
        reset(root)


@pytest.fixture(scope="module")
async def house(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stack]:
    """A seeded house on that server, with its job worker and one server process."""
    async with Stack(server.url("rickhouse"), tmp_path_factory.mktemp("house")) as stack:
        for command in (("db", "migrate"), ("seed",)):
            stack.start("prepare", *command)
            assert stack.wait("prepare") == 0
        stack.start("work", "work")
        await stack.serve()
        yield stack


async def test_traffic_survives_the_death_of_the_database(house: Stack, server: EmbeddedPostgres) -> None:
    async with shopping(house) as traffic:
        await traffic.go_on()
        kill(server)
        await asyncio.sleep(1)
        probed = [(await house.call("GET", f"/health/{probe}")).status for probe in ("live", "ready")]
        await asyncio.sleep(3)
        await asyncio.to_thread(start_embedded, server.data_dir.parent, settings=KILLABLE)
        await traffic.go_on()

    assert probed == [200, 503]
    assert_told_to_wait(traffic.answers, "database_away")
    # Nobody was started again.
    assert [house.processes[name].poll() for name in ("serve", "work")] == [None, None]
    await at_rest(house)
    await assert_promises_kept(house, traffic)
    await assert_books(house)


def kill(server: EmbeddedPostgres) -> None:
    """SIGKILL the postmaster; its children end when they notice."""
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
