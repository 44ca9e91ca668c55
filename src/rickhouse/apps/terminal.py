"""What every command shares: its settings, the embedded database where no other is named, and how it talks."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from rickhouse.apps.databases import EMBEDDED_DATABASE, embedded
from rickhouse.platform.settings import Settings, load_settings

Config = Annotated[
    Path | None, Parameter(name="--config", help="A settings file other than ./rickhouse.toml.")
]
"""Where the settings are."""

Slice = Literal["catalog", "inventory", "customers", "compliance", "payments", "orders"]
"""A slice's name."""


def say(line: str) -> None:
    """One line for a person, at once."""
    print(line, flush=True)


def program() -> str:
    """What to type for another command of the Rickhouse that runs now, seen from the working directory."""
    beside = Path(sys.executable).with_name("rickhouse")
    if not beside.exists():
        return f"{_from_here(Path(sys.executable))} -m rickhouse"
    found = shutil.which("rickhouse")
    return "rickhouse" if found and Path(found).samefile(beside) else _from_here(beside)


def _from_here(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def settings_of(config: Path | None) -> Settings:
    """The settings, and the same for every process that this one starts. Raises SettingsError."""
    if config is not None:
        os.environ["RICKHOUSE_CONFIG"] = str(config)
    return load_settings(config)


def with_database(settings: Settings) -> Settings:
    """The settings with the embedded PostgreSQL running, where no other server is named. Raises EmbeddedError."""
    if settings.database.url:
        return settings
    url = embedded(settings, say).url(EMBEDDED_DATABASE)
    return msgspec.structs.replace(settings, database=msgspec.structs.replace(settings.database, url=url))


def for_slices(settings: Settings, slices: tuple[str, ...]) -> Settings:
    """The settings of a process that serves the named slices only; no names mean the settings as they are."""
    if not slices:
        return settings
    return msgspec.structs.replace(settings, web=msgspec.structs.replace(settings.web, slices=slices))
