"""Every statement of the house is one that PostgreSQL can prepare on the migrated database, as the role that runs it.

A statement is a constant whose name is upper case; one whose name begins with an underscore is a part of others.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import AsyncGenerator, Iterator
from typing import Final, NamedTuple

import asyncpg
import pytest

from rickhouse import platform
from rickhouse.platform.db import url_for
from rickhouse.platform.schema import role_of
from tests.conftest import SLICES

_SQL: Final = re.compile(r"\s*(?:select|insert|update|delete|with|lock|notify|merge)\s", re.IGNORECASE)
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")


class Statement(NamedTuple):
    """A constant, where it stands, and the slice whose role runs it."""

    slice_name: str
    place: str
    sql: str


def statements() -> Iterator[Statement]:
    """Those of each slice, and those of the platform once for each slice, because each runs them in its own schema."""
    for slice_name in SLICES:
        for module_name in sorted((*_modules(f"rickhouse.{slice_name}.sql"), *_modules(platform.__name__))):
            for name, value in vars(importlib.import_module(module_name)).items():
                if isinstance(value, str) and _NAME.fullmatch(name) and _SQL.match(value):
                    yield Statement(slice_name, f"{module_name}:{name}", value)


def _modules(name: str) -> Iterator[str]:
    yield name
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
        yield found.name


STATEMENTS: Final = tuple(statements())


@pytest.fixture(scope="module")
async def connections(
    module_database_url: str,
) -> AsyncGenerator[dict[str, asyncpg.Connection[asyncpg.Record]]]:
    """A connection for each slice, as the slice's pool makes them."""
    opened = {
        name: await asyncpg.connect(
            url_for(module_database_url, user=role_of(name)), server_settings={"search_path": name}
        )
        for name in SLICES
    }
    yield opened
    for connection in opened.values():
        await connection.close()


@pytest.mark.parametrize("slice_name", SLICES)
async def test_every_statement_can_be_prepared(
    connections: dict[str, asyncpg.Connection[asyncpg.Record]], slice_name: str
) -> None:
    own = [statement for statement in STATEMENTS if statement.slice_name == slice_name]
    refused: list[str] = []
    for statement in own:
        try:
            await connections[slice_name].prepare(statement.sql)
        except asyncpg.PostgresError as error:
            refused.append(f"{statement.place}: {error}")

    assert refused == []
    assert any(statement.place.startswith(f"rickhouse.{slice_name}.sql") for statement in own)
    assert any(statement.place == "rickhouse.platform.events:READ_LOG" for statement in own)


@pytest.mark.parametrize("slice_name", SLICES)
def test_a_slice_runs_nothing_but_its_constants(slice_name: str) -> None:
    """A statement that a function writes out for itself would never be prepared here."""
    inside: list[str] = []
    for module_name in _modules(f"rickhouse.{slice_name}.sql"):
        for name, function in inspect.getmembers(importlib.import_module(module_name), inspect.isfunction):
            constants = function.__code__.co_consts
            texts = [text for text in constants if isinstance(text, str) and text != function.__doc__]
            inside += [f"{module_name}:{name}: {text}" for text in texts if _SQL.match(text)]

    assert inside == []
