"""The job worker as a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.journeys.stack import Stack

COUNTED = 'rickhouse_jobs_failed_total{job="inventory.expire_holds"}'


async def test_server_shows_what_a_worker_started_by_itself_counts(database_url: str, tmp_path: Path) -> None:
    async with Stack(database_url, tmp_path / "home") as stack:
        await stack.sql("alter table inventory.holds rename to holds_away")
        stack.start("work", "work")
        await stack.serve()
        metrics = ""
        for _ in range(300):
            metrics = await text_of(stack, "/metrics")
            if COUNTED in metrics:
                break
            await asyncio.sleep(0.1)

    assert COUNTED in metrics
    assert 'route="/health/ready"' in metrics


async def text_of(stack: Stack, path: str) -> str:
    """What the server answers there."""
    async with stack.session.get(stack.base_url + path) as reply:
        return await reply.text()
