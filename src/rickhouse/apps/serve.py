"""The web server: granian's workers, each with a house of its own. What a house holds belongs in `compose.py`."""

from __future__ import annotations

import os

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from litestar.types import ASGIApp

from rickhouse.apps.compose import compose
from rickhouse.apps.ports import require_free_port
from rickhouse.platform.codec import encode_json
from rickhouse.platform.logs import configure_logging
from rickhouse.platform.settings import Settings, load_settings
from rickhouse.platform.web.application import build


def application() -> ASGIApp:
    """The web application of one worker process, by the settings in its environment."""
    settings = load_settings()
    configure_logging(level=settings.log.level)
    house = compose(settings, settings.web.slices)
    return build(
        house.handlers,
        verifier=house.tokens,
        probes=house.probes,
        body_bytes_max=settings.web.body_bytes_max,
        on_startup=(house.open,),
        on_shutdown=(house.close,),
    )


def serve(settings: Settings) -> None:
    """Serve until told to stop; requests under way are finished first. Raises PortTaken."""
    require_free_port(settings.web.host, settings.web.port)
    os.environ["RICKHOUSE_DATABASE__URL"] = settings.database.url
    os.environ["RICKHOUSE_WEB__SLICES"] = encode_json(settings.web.slices).decode()
    Server(
        "rickhouse.apps.serve:application",
        factory=True,
        address=settings.web.host,
        port=settings.web.port,
        workers=settings.web.workers,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=15,
        log_level=LogLevels.warning,
    ).serve()
