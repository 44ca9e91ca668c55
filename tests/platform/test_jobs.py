"""Asking for a task is part of the asker's transaction. Running tasks is tested with the queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rickhouse.kernel.errors import NotFound
from rickhouse.platform.db import Database, Row
from rickhouse.platform.jobs import enqueue, list_given_up, try_again


@pytest.fixture
async def db(open_slice: Callable[[str], Awaitable[Database]]) -> Database:
    """The slice whose queue it is."""
    return await open_slice("orders")


async def queued(db: Database) -> list[Row]:
    return await db.fetch(
        "select id, entrypoint, payload, status::text, execute_after - now() as wait from pgqueuer order by id"
    )


async def test_enqueue_leaves_one_waiting_job(db: Database) -> None:
    job_id = await enqueue(db, "mail", b"one", delay_s=60)
    [job] = await queued(db)
    assert (job["id"], job["entrypoint"], job["payload"], job["status"]) == (job_id, "mail", b"one", "queued")
    assert 58 < job["wait"].total_seconds() <= 60


async def enqueue_and_fail(db: Database) -> None:
    async with db.transaction() as queries:
        assert await enqueue(queries, "mail") is not None
        raise ZeroDivisionError


async def test_enqueue_is_undone_with_its_transaction(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await enqueue_and_fail(db)
    assert await queued(db) == []
    assert await db.fetch("select * from pgqueuer_log") == []


async def test_enqueue_of_a_key_that_waits_or_runs_changes_nothing(db: Database) -> None:
    first = await enqueue(db, "mail", b"one", dedupe_key="k")
    assert await enqueue(db, "mail", b"two", dedupe_key="k") is None
    await db.execute("update pgqueuer set status = 'picked'")
    assert await enqueue(db, "mail", b"three", dedupe_key="k") is None
    assert [(job["id"], job["payload"]) for job in await queued(db)] == [(first, b"one")]
    await db.execute("update pgqueuer set status = 'failed'")
    assert await enqueue(db, "mail", b"four", dedupe_key="k") is not None


async def test_only_what_was_given_up_can_be_tried_again(db: Database) -> None:
    job_id = await enqueue(db, "mail")
    assert job_id is not None
    with pytest.raises(NotFound):
        await try_again(db, job_id)
    await db.execute("update pgqueuer set status = 'failed', attempts = 7")
    [given_up] = await list_given_up(db)
    assert (given_up.job_id, given_up.task, given_up.attempts, given_up.error) == (job_id, "mail", 8, "")
    assert await list_given_up(db, after=job_id) == ()
    await try_again(db, job_id)
    assert [job["status"] for job in await queued(db)] == ["queued"]
    assert await list_given_up(db) == ()
