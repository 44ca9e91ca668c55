"""The command that serves the HTTP API. Its process only watches over the workers, so it loads nothing of the house."""

from __future__ import annotations

from rickhouse.apps.serve import serve as serve_slices
from rickhouse.apps.terminal import Config, Slice, for_slices, settings_of, with_database


def serve(*slices: Slice, config: Config = None) -> None:
    """Serve the HTTP API of every slice that is not remote, or of the named ones."""
    serve_slices(for_slices(with_database(settings_of(config)), slices))
