"""A server that is killed at one place.

`CRASH_AT=rickhouse.orders.sql.moves:confirm:after` ends it with SIGKILL right after that statement has committed. The
place is named by module, attribute and side; nothing in the house knows of it.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from litestar.types import ASGIApp

from rickhouse.platform.settings import load_settings

VARIABLE: Final = "CRASH_AT"


def application() -> ASGIApp:
    """The house's own application, with the trap set."""
    module_name, path, side = os.environ[VARIABLE].split(":")
    holder: Any = importlib.import_module(module_name)
    *owners, name = path.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    setattr(holder, name, _trap(getattr(holder, name), side))
    return importlib.import_module("rickhouse.apps.application").application()


def _trap(function: Callable[..., Awaitable[object]], side: str) -> Callable[..., Awaitable[object]]:
    @functools.wraps(function)
    async def trapped(*args: object, **kwargs: object) -> object:
        if side == "after":
            await function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("SIGKILL cannot be survived")

    return trapped


def main() -> None:
    """Serve with one worker; the server ends when its worker does."""
    settings = load_settings()
    Server(
        f"{__name__ if __name__ != '__main__' else 'tests.journeys.crashing'}:application",
        factory=True,
        address=settings.web.host,
        port=settings.web.port,
        workers=1,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        websockets=False,
        log_level=LogLevels.critical,
    ).serve()


if __name__ == "__main__":
    main()
