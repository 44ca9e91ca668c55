"""The job worker: everything that the slices do by themselves. What that is belongs to their `handlers.py`."""

from __future__ import annotations

import asyncio
import signal

from rickhouse.apps.compose import compose
from rickhouse.platform.embedded import claim_data_root
from rickhouse.platform.events import Subscriber
from rickhouse.platform.settings import Settings
from rickhouse.platform.telemetry import share_metrics
from rickhouse.platform.worker import Worker


async def work(settings: Settings) -> None:
    """Run every slice's jobs until SIGTERM or SIGINT; what is under way is finished first.

    What it counts is shown by the `/metrics` of any server that keeps to the same data directory.
    """
    claim_data_root(settings.data_root)
    share_metrics(settings.metrics_dir)
    house = compose(settings, settings.web.slices)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await house.open()
    workers = [
        Worker(
            room.database,
            periodics=room.periodics,
            tasks=room.tasks,
            subscribers=[Subscriber(room.database, subscription) for subscription in room.subscriptions],
        )
        for room in house.rooms
    ]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait((waiting, *running), return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()
    finally:
        for worker in workers:
            await worker.stop()
        await asyncio.gather(*running, return_exceptions=True)
        waiting.cancel()
        await house.close()
