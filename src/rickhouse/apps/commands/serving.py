"""Commands that bring processes up."""

from __future__ import annotations

import asyncio

from rickhouse.apps import run as running
from rickhouse.apps import work as working
from rickhouse.apps.serve import serve as serve_slices
from rickhouse.apps.terminal import Config, Slice, for_slices, say, settings_of, with_database
from rickhouse.platform.logs import configure_logging


def run(*, once: bool = False, config: Config = None) -> None:
    """Bring everything up on this machine, buy one bottle through the API, and keep serving.

    Parameters
    ----------
    once
        Stop after the purchase, exit code 0.
    """
    running.run(settings_of(config), once=once, say=say)


def serve(*slices: Slice, config: Config = None) -> None:
    """Serve the HTTP API of every slice that is not remote, or of the named ones."""
    serve_slices(for_slices(with_database(settings_of(config)), slices))


def work(*slices: Slice, config: Config = None) -> None:
    """Run what the slices do by themselves: expiring holds, finishing interrupted orders, following events."""
    settings = for_slices(with_database(settings_of(config)), slices)
    configure_logging(level=settings.log.level)
    asyncio.run(working.work(settings))
