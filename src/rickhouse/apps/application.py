"""The web application of one server process: a house put behind HTTP. What a house holds belongs in `compose.py`."""

from __future__ import annotations

import gc

from litestar.types import ASGIApp

from rickhouse.apps.compose import compose
from rickhouse.platform.logs import configure_logging
from rickhouse.platform.settings import load_settings
from rickhouse.platform.web.application import build


def application() -> ASGIApp:
    """The web application of one worker process, by the settings in its environment."""
    settings = load_settings()
    configure_logging(level=settings.log.level, plain=settings.log.format == "plain")
    house = compose(settings, settings.web.slices)
    # What was made until now lives as long as the process: no collection needs to look at it again. Requests leave
    # little garbage in cycles, so looking for it can be rarer than by default.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return build(
        house.handlers,
        verifier=house.tokens,
        probes=house.probes,
        body_bytes_max=settings.web.body_bytes_max,
        fingerprint_key=house.tokens.secret_for("request fingerprints"),
        on_startup=(house.open,),
        on_shutdown=(house.close,),
    )
