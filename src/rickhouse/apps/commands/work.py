"""The command that runs the slices' jobs."""

from __future__ import annotations

import asyncio

from rickhouse.apps.terminal import Config, Slice, for_slices, settings_of, with_database
from rickhouse.apps.work import work as work_off
from rickhouse.platform.logs import configure_logging


def work(*slices: Slice, config: Config = None) -> None:
    """Run what the slices do by themselves: expiring holds, finishing interrupted orders, following events."""
    settings = for_slices(with_database(settings_of(config)), slices)
    configure_logging(level=settings.log.level, plain=settings.log.format == "plain")
    asyncio.run(work_off(settings))
