"""The web application of one server process: a house put behind HTTP. What a house holds belongs in `compose.py`."""

from __future__ import annotations

from litestar.types import ASGIApp

from rickhouse.apps.compose import compose
from rickhouse.platform.logs import configure_logging
from rickhouse.platform.settings import load_settings
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
