"""What checkouts leave behind in the database, by which two ways of doing them are held to have done the same."""

from __future__ import annotations

from typing import Final, NamedTuple

import asyncpg

_CONFIRMED: Final = "select count(*) from orders.orders where state = 'confirmed'"
_TABLES: Final = """
select format('%I.%I', schemaname, tablename) from pg_tables
where schemaname not in ('pg_catalog', 'information_schema')
"""


class EffectDiffers(Exception):
    """What stands in the database is not what was answered; the message says where."""


class Counts(NamedTuple):
    """Confirmed orders, and the rows of every table."""

    confirmed: int
    rows: dict[str, int]


async def count(url: str) -> Counts:
    """Count everything in the database of that administrator's URL."""
    connection = await asyncpg.connect(url)
    try:
        tables = [row[0] for row in await connection.fetch(_TABLES)]
        each = ", ".join(f"(select count(*) from {table})" for table in tables)  # noqa: S608  the server's own names
        found = await connection.fetchrow(f"select {each}")
        assert found is not None
        confirmed: int = await connection.fetchval(_CONFIRMED)
        return Counts(confirmed, dict(zip(tables, found.values(), strict=True)))
    finally:
        await connection.close()


def of_each(before: Counts, after: Counts, checkouts: int) -> dict[str, int]:
    """How many rows each checkout has added, by table. Raises EffectDiffers unless each confirmed an order.

    A table in which something else wrote meanwhile (the jobs' own log) is left out: its growth is no multiple.
    """
    _require("confirmed orders", after.confirmed - before.confirmed, checkouts)
    grown = {table: rows - before.rows[table] for table, rows in after.rows.items()}
    return {table: rows // checkouts for table, rows in grown.items() if rows and rows % checkouts == 0}


def require(before: Counts, after: Counts, checkouts: int, each: dict[str, int]) -> None:
    """Raises EffectDiffers unless every checkout has confirmed an order and added as many rows as `each` says."""
    _require("confirmed orders", after.confirmed - before.confirmed, checkouts)
    for table, rows in each.items():
        _require(f"rows of {table}", after.rows[table] - before.rows[table], checkouts * rows)


def _require(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise EffectDiffers(f"{what}: {found} came to be, and {expected} should have")
