"""Commands about jobs that failed too often: seeing them, and trying them again."""

from __future__ import annotations

import asyncio

from rickhouse.apps.databases import SLICES, opened
from rickhouse.apps.terminal import Config, Slice, say, settings_of, with_database
from rickhouse.platform.jobs import list_given_up, try_again
from rickhouse.platform.settings import Settings


def jobs_given_up(*slices: Slice, config: Config = None) -> None:
    """Show the jobs that failed too often: slice, number, task, attempts, when, and why."""

    async def show(settings: Settings) -> None:
        for name in slices or SLICES:
            async with opened(settings, name) as database:
                page = await list_given_up(database)
                while page:
                    for job in page:
                        failed = f"{job.failed_at:%Y-%m-%d %H:%M:%S}  {job.error}"
                        say(f"{name} {job.job_id}  {job.task}  {job.attempts} attempts  {failed}")
                    page = await list_given_up(database, after=page[-1].job_id)

    asyncio.run(show(with_database(settings_of(config))))


def jobs_try_again(slice_name: Slice, job_id: int, *, config: Config = None) -> None:
    """Put a job that was given up back into its queue, with all its attempts.

    Parameters
    ----------
    slice_name
        As `rickhouse jobs given-up` shows it.
    job_id
        As `rickhouse jobs given-up` shows it.
    """

    async def requeue(settings: Settings) -> None:
        async with opened(settings, slice_name) as database:
            await try_again(database, job_id)

    asyncio.run(requeue(with_database(settings_of(config))))
    say(f"{slice_name} tries job {job_id} again")
