"""Roles, schemas and migrations: numbered SQL, applied once, in order, each in a transaction.

What a migration says belongs to the slice that owns it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Final

import asyncpg
import msgspec

from rickhouse.kernel.errors import Condition, Kind
from rickhouse.platform.db import DatabaseAway
from rickhouse.platform.events import continue_log

PLATFORM_PACKAGE: Final = "rickhouse.platform"
_LOCK_KEY: Final = 7_234_015_518
_NUMBERED: Final = re.compile(r"^\d{4}_[a-z0-9_]+\.sql$")


class MigrationRefused(Condition, code="migration_refused", kind=Kind.CONFLICT, title="Migration refused"):
    """The database was migrated by other files than these; nothing was changed."""


class Migration(msgspec.Struct, frozen=True):
    """One file. `name` carries the package (`platform/0001_events.sql`), so that names never meet."""

    name: str
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, kept with the record of its application."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Status(msgspec.Struct, frozen=True):
    """What stands in one slice's schema, and what waits."""

    slice: str
    applied: tuple[str, ...]
    pending: tuple[str, ...]


class ServerFacts(msgspec.Struct, frozen=True):
    """A PostgreSQL server. `version` is its major version; `durable`, whether a commit survives a power cut."""

    version: int
    durable: bool


async def server_facts(admin_url: str) -> ServerFacts:
    """What kind of server answers at `admin_url`."""
    connection = await _connect(admin_url)
    try:
        rows = await connection.fetch(
            "select current_setting('server_version_num')::int / 10000 as version, "
            "current_setting('fsync') = 'on' and current_setting('synchronous_commit') <> 'off' as durable"
        )
    finally:
        await connection.close()
    return ServerFacts(rows[0]["version"], rows[0]["durable"])


def role_of(slice_name: str) -> str:
    """The database role of a slice."""
    return f"rickhouse_{slice_name}"


def role_password(secret: str, slice_name: str) -> str | None:
    """The role's password, derived from one secret so that only that one is kept; None without a secret (the Unix
    socket of the embedded server trusts its owner)."""
    if not secret:
        return None
    return hmac.new(secret.encode(), f"role:{slice_name}".encode(), hashlib.sha256).hexdigest()


def migrations_of(slice_name: str) -> tuple[Migration, ...]:
    """The platform's files, then the slice's, in order of their numbers."""
    return (*_read(PLATFORM_PACKAGE, "platform"), *_read(f"rickhouse.{slice_name}", slice_name))


def _read(package: str, label: str) -> tuple[Migration, ...]:
    folder = files(package).joinpath("migrations")
    if not folder.is_dir():
        return ()
    found = sorted(
        (entry for entry in folder.iterdir() if _NUMBERED.match(entry.name)), key=lambda entry: entry.name
    )
    return tuple(Migration(f"{label}/{entry.name}", entry.read_text(encoding="utf-8")) for entry in found)


async def ensure_database(admin_url: str, name: str) -> bool:
    """Create the database `name` when it is missing; answers whether it was made. `admin_url` names another one."""
    connection = await _connect(admin_url)
    try:
        if await connection.fetchval("select 1 from pg_database where datname = $1", name):
            return False
        try:
            await connection.execute(f'create database "{_identifier(name)}"')
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            return False
        return True
    finally:
        await connection.close()


async def migrate(
    admin_url: str,
    slices: Sequence[str],
    *,
    role_secret: str = "",
    report: Callable[[str], None] = lambda _line: None,
) -> int:
    """Bring each slice's schema up to date and answer how many files were applied. Safe to run twice, and at once.

    `admin_url` is a role that may create roles and schemas in the database it names. Raises MigrationRefused when an
    applied file has been changed since.
    """
    connection = await _connect(admin_url)
    applied = 0
    try:
        await connection.execute("select pg_advisory_lock($1)", _LOCK_KEY)
        for slice_name in slices:
            await _prepare(connection, slice_name, role_password(role_secret, slice_name))
            for migration in await _pending(connection, slice_name):
                report(f"{slice_name}: {migration.name}")
                await _apply(connection, slice_name, migration)
                applied += 1
            async with connection.transaction():
                await connection.execute(f"set local search_path = {_identifier(slice_name)}")
                if await continue_log(connection):
                    report(f"{slice_name}: new events follow on those of the restored log")
    finally:
        await connection.close()
    return applied


async def status(admin_url: str, slices: Sequence[str]) -> tuple[Status, ...]:
    """What stands and what waits, per slice. Raises MigrationRefused as `migrate` does."""
    connection = await _connect(admin_url)
    try:
        found: list[Status] = []
        for slice_name in slices:
            exists = await connection.fetchval(
                "select to_regclass($1) is not null", f"{slice_name}.migrations"
            )
            pending = await _pending(connection, slice_name) if exists else migrations_of(slice_name)
            waiting = tuple(migration.name for migration in pending)
            done = tuple(m.name for m in migrations_of(slice_name) if m.name not in waiting)
            found.append(Status(slice_name, done, waiting))
        return tuple(found)
    finally:
        await connection.close()


async def _connect(admin_url: str) -> asyncpg.Connection[asyncpg.Record]:
    try:
        return await asyncpg.connect(admin_url, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseAway(f"The database server cannot be used: {error}.") from error


async def _prepare(
    connection: asyncpg.Connection[asyncpg.Record], slice_name: str, password: str | None
) -> None:
    """Role and schema. The role may read and write rows of its schema and nothing else: it owns no table."""
    schema, role = _identifier(slice_name), _identifier(role_of(slice_name))
    async with connection.transaction():
        if not await connection.fetchval("select 1 from pg_roles where rolname = $1", role):
            try:
                async with connection.transaction():
                    await connection.execute(f"create role {role} login noinherit")
            except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                pass  # another database of this cluster is being migrated at the same time
        if password is not None:
            await connection.execute(f"alter role {role} password '{password}'")
        await connection.execute(
            f"""
            create schema if not exists {schema};
            grant usage on schema {schema} to {role};
            alter default privileges in schema {schema}
                grant select, insert, update, delete on tables to {role};
            alter default privileges in schema {schema} grant usage on sequences to {role};
            create table if not exists {schema}.migrations (
                name text primary key, digest text not null, applied_at timestamptz not null default now()
            );
            revoke all on {schema}.migrations from {role};
            grant select on {schema}.migrations to {role};
            revoke create on schema public from public;
            """  # noqa: S608  # `_identifier` has checked the names
        )


async def _pending(connection: asyncpg.Connection[asyncpg.Record], slice_name: str) -> tuple[Migration, ...]:
    known_sql = f"select name, digest from {_identifier(slice_name)}.migrations"  # noqa: S608  # a checked name
    rows = await connection.fetch(known_sql)
    known = {row["name"]: row["digest"] for row in rows}
    wanted = migrations_of(slice_name)
    for migration in wanted:
        if known.get(migration.name, migration.digest) != migration.digest:
            raise MigrationRefused(
                f"{migration.name} was changed after it had been applied; add a new migration instead."
            )
    unknown = sorted(known.keys() - {migration.name for migration in wanted})
    if unknown:
        raise MigrationRefused(
            f"The database has {', '.join(unknown)}, which this version does not know; run the newer version."
        )
    return tuple(migration for migration in wanted if migration.name not in known)


async def _apply(
    connection: asyncpg.Connection[asyncpg.Record], slice_name: str, migration: Migration
) -> None:
    schema = _identifier(slice_name)
    async with connection.transaction():
        await connection.execute(f"set local search_path = {schema}")
        await connection.execute(migration.sql)
        await connection.execute(
            f"insert into {schema}.migrations (name, digest) values ($1, $2)",  # noqa: S608  # a checked name
            migration.name,
            migration.digest,
        )


def _identifier(name: str) -> str:
    """`name`, if it can stand in SQL as it is: names come from this code and from settings, never from a buyer."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise ValueError(f"{name!r} cannot be the name of a schema, role or database: use a-z, 0-9 and _")
    return name
