"""The command that brings everything up on one machine."""

from __future__ import annotations

from rickhouse.apps.run import run as run_house
from rickhouse.apps.terminal import Config, say, settings_of


def run(*, once: bool = False, config: Config = None) -> None:
    """Bring everything up on this machine, buy one bottle through the API, and keep serving.

    Parameters
    ----------
    once
        Stop after the purchase, exit code 0.
    """
    run_house(settings_of(config), once=once, say=say)
