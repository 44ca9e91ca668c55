"""The web server: a parent that holds the port, and granian's workers, each with an application of its own.

The parent loads nothing of the house; what a worker serves belongs in `application.py`.
"""

from __future__ import annotations

import os

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

from rickhouse.apps.ports import WEB_PORT, require_free_port
from rickhouse.platform.codec import encode_json
from rickhouse.platform.embedded import claim_data_root
from rickhouse.platform.settings import Settings
from rickhouse.platform.telemetry import share_metrics


def serve(settings: Settings) -> None:
    """Serve until told to stop; requests under way are finished first. Raises PortTaken, EmbeddedError."""
    require_free_port(settings.web.host, settings.web.port, WEB_PORT)
    claim_data_root(settings.data_root)
    share_metrics(settings.metrics_dir)
    os.environ["RICKHOUSE_DATABASE__URL"] = settings.database.url
    os.environ["RICKHOUSE_WEB__SLICES"] = encode_json(settings.web.slices).decode()
    Server(
        "rickhouse.apps.application:application",
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
