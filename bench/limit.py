"""The limit of one checkout: pgbench running the very statements of the house, one pipelined transaction per request.

The script is made from what the house ran (`statements`), so it cannot drift from it. A value that differed between two
checkouts is made anew for each iteration where something must be unique (an id, a key, a digest); a moment, a sealed
field or a JSON text that differed stays as it was taken down, and so does everything that did not differ. Each value is
a pgbench variable and reaches the server as a parameter, as the driver's do.

What differs from the house, all in the limit's favour but the last: one role instead of six, one commit per request
instead of one per statement, no HTTP, no bank, no age bureau, no encryption; and one more select per iteration, which
makes the new values.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

import asyncpg

from bench.statements import Checkout, Statement
from rickhouse.kernel.ids import Id, VariantId
from rickhouse.platform.embedded import EmbeddedPostgres

_PARAMETER: Final = re.compile(r"\$(\d+)")
_LITERALS: Final = re.compile(r"('(?:[^']|'')*')")
_TEXT_CHARS_MAX: Final = 64
"""A longer text is a sentence or a document, not a key."""

_AMBIGUOUS: Final = """
select name from (
    select relname as name, relnamespace as room from pg_class
    union select typname, typnamespace from pg_type
    union select proname, pronamespace from pg_proc
) as things
where room = any(select oid from pg_namespace where nspname = any($1))
group by name having count(distinct room) > 1
"""


class LimitFailed(Exception):
    """There is no script, or pgbench did not run it through; the message says why."""


class Script(NamedTuple):
    """What pgbench runs: `fresh`, which makes the values of one iteration, then the statements of each request.

    `variables` are the values that stay the same, `schemas` the search path, `names` what our own code calls the
    statements.
    """

    fresh: str
    phases: tuple[tuple[str, ...], ...]
    names: tuple[tuple[str, ...], ...]
    variables: dict[str, str]
    schemas: tuple[str, ...]

    @property
    def statements(self) -> int:
        """How many there are in one checkout."""
        return sum(map(len, self.phases))

    @property
    def pipelined(self) -> str:
        """One transaction for each request, sent at once."""
        return "\n".join(
            (self.fresh, *(f"\\startpipeline\n{_transaction(phase)}\n\\endpipeline" for phase in self.phases))
        )

    @property
    def one_by_one(self) -> str:
        """The same, each statement waiting for the one before."""
        return "\n".join((self.fresh, *map(_transaction, self.phases)))


def _transaction(statements: Iterable[str]) -> str:
    return "\n".join(f"{statement};" for statement in ("begin", *statements, "commit"))


class Limit(NamedTuple):
    """What pgbench did: whole checkouts, and how many a second."""

    checkouts: int
    per_s: float


async def script_of(
    url: str, schemas: Sequence[str], checkouts: Sequence[Checkout], variants: Sequence[VariantId]
) -> Script:
    """The script that does what two `checkouts` of the first two of `variants` did, each time with any of `variants`.

    Raises LimitFailed when the two did not run the same statements.
    """
    first, second = checkouts
    connection = await asyncpg.connect(url)
    try:
        ambiguous = [row["name"] for row in await connection.fetch(_AMBIGUOUS, list(schemas))]
        values = _Values(variants)
        phases = [
            [
                await _rendered(connection, one, other, values, ambiguous)
                for one, other in _pairs(phase_of_first, phase_of_second)
            ]
            for phase_of_first, phase_of_second in zip(first, second, strict=True)
        ]
    finally:
        await connection.close()
    return Script(
        values.fresh_select(),
        tuple(map(tuple, phases)),
        tuple(tuple(map(_name, phase)) for phase in first),
        values.kept,
        tuple(schemas),
    )


def run(
    postgres: EmbeddedPostgres, url: str, script: Script, directory: Path, *, clients: int, seconds: float
) -> Limit:
    """Run the script for `seconds` by that many clients. Raises LimitFailed."""
    said = _pgbench(
        postgres, url, script, script.pipelined, directory, f"--client={clients}", f"--time={round(seconds)}"
    )
    return Limit(
        int(_found(r"number of transactions actually processed: (\d+)", said)),
        float(_found(r"tps = ([\d.]+)", said)),
    )


def latencies_ms(
    postgres: EmbeddedPostgres, url: str, script: Script, directory: Path, *, seconds: float
) -> tuple[float, ...]:
    """How long one client waits for each statement on average, begin and commit of each transaction included."""
    said = _pgbench(
        postgres,
        url,
        script,
        script.one_by_one,
        directory,
        "--client=1",
        f"--time={round(seconds)}",
        "--report-per-command",
    )
    table = said.partition("statement latencies in milliseconds")[2]
    return tuple(float(found[1]) for found in re.finditer(r"^ +(\d+\.\d+) +\d+ ", table, re.MULTILINE))


def _pgbench(
    postgres: EmbeddedPostgres, url: str, script: Script, text: str, directory: Path, *options: str
) -> str:
    path = directory / "checkout.pgbench"
    path.write_text(text, encoding="utf-8")
    defined = [word for name, value in script.variables.items() for word in ("-D", f"{name}={value}")]
    command = [
        *(str(postgres.bin_dir / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={path}"),
        *(f"--jobs={os.cpu_count() or 1}", *options),
        *defined,
        url,
    ]
    session = f"-c search_path={','.join(script.schemas)} -c timezone=UTC"
    done = subprocess.run(
        command, env={**os.environ, "PGOPTIONS": session}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LimitFailed(f"pgbench: {done.stderr.strip() or done.stdout.strip()}")
    if _found(r"number of failed transactions: (\d+)", done.stdout) != "0":
        raise LimitFailed(f"pgbench: {done.stdout.strip()}")
    return done.stdout


def _name(statement: Statement) -> str:
    """What our own code calls the statement: `orders.CLAIM`."""
    prefix = f"rickhouse.{statement.schema}.sql"
    for module in [loaded for name, loaded in sys.modules.items() if name.startswith(prefix)]:
        for name, value in vars(module).items():
            if value is statement.query:
                return f"{statement.schema}.{name}"
    return f"{statement.schema}: {statement.query.strip().splitlines()[0][:40]}"


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise LimitFailed(f"pgbench said something else than expected: {text.strip()}")
    return found[1]


def _pairs(one: Sequence[Statement], other: Sequence[Statement]) -> Iterable[tuple[Statement, Statement]]:
    if [(each.schema, each.query) for each in one] != [(each.schema, each.query) for each in other]:
        raise LimitFailed("two checkouts ran different statements, so neither stands for all")
    return zip(one, other, strict=True)


async def _rendered(
    connection: asyncpg.Connection[asyncpg.Record],
    one: Statement,
    other: Statement,
    values: _Values,
    ambiguous: Sequence[str],
) -> str:
    """The statement with its names and values as pgbench needs them."""
    await connection.execute(f"set search_path = {one.schema}")
    types = (await connection.prepare(one.query)).get_parameters()
    names = [kind.name if kind.schema == "pg_catalog" else f"{kind.schema}.{kind.name}" for kind in types]
    words = [
        values.word(name, given, differs=written(given) != written(before))
        for name, before, given in zip(names, one.args, other.args, strict=True)
    ]
    query = _qualified(one.query.strip(), one.schema, ambiguous)
    return _PARAMETER.sub(lambda found: words[int(found[1]) - 1], query)


def _qualified(query: str, schema: str, ambiguous: Sequence[str]) -> str:
    """`query` with the schema before every name that more than one schema has. The others are found by search path."""
    if not ambiguous:
        return query
    names = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, ambiguous))})(?!\w)")
    parts = _LITERALS.split(query)
    return "".join(part if part.startswith("'") else names.sub(rf"{schema}.\1", part) for part in parts)


class _Values:
    """The script's variables: what stays as it was taken down, and what each iteration makes anew."""

    def __init__(self, variants: Sequence[VariantId]) -> None:
        self._variants = [str(variant_id.uuid) for variant_id in variants]
        self._made: dict[tuple[str, str], tuple[str, str]] = {}
        self.kept: dict[str, str] = {}

    def word(self, kind: str, given: object, *, differs: bool) -> str:
        """What stands in the script for a parameter of PostgreSQL's type `kind`."""
        text = written(given)
        # pgbench has no null, and takes no empty value from its command line.
        if text is None:
            return f"null::{kind}"
        if not text:
            return f"''::{kind}"
        making = self._making(kind, given, text) if differs else None
        if making is None:
            name = f"kept_{len(self.kept) + 1}"
            self.kept[name] = text
        else:
            # What was equal in the checkout is equal in the script: an order's id, wherever it stands.
            name = self._made.setdefault((kind, text), (f"made_{len(self._made) + 1}", making))[0]
        return f":{name}::{kind}"

    def fresh_select(self) -> str:
        """The statement with which each iteration begins."""
        columns = ",\n    ".join(f"{making} as {name}" for name, making in self._made.values())
        return f"select\n    {columns} \\gset"

    def _making(self, kind: str, given: object, text: str) -> str | None:
        """The expression that makes another value of this sort; None for one that can stay the same."""
        if self._variants[1] in text:
            every = ", ".join(f"'{text.replace(self._variants[1], each)}'" for each in self._variants)
            return f"(array[{every}])[1 + floor(random() * {len(self._variants)})::integer]"
        if kind == "uuid":
            return "uuidv7()"
        if kind == "bytea":
            return _digest(given)
        if kind == "bytea[]":
            digests = [_digest(one) for one in cast("Iterable[object]", given)]
            return f"array[{digests[0]}]" if len(digests) == 1 and digests[0] else None
        if kind == "text" and len(text) <= _TEXT_CHARS_MAX and text[0] not in "{[":
            return "gen_random_uuid()"
        return None


def _digest(given: object) -> str | None:
    """As random as what the house computes, of the same length; None for bytes that are no digest.

    16 bytes are a fingerprint, 32 a SHA-256, and 34 that of a blind index, after two bytes with its key's version.
    """
    match given:
        case bytes() if len(given) == 16:
            return "uuid_send(gen_random_uuid())"
        case bytes() if len(given) == 32:
            return "sha256(uuid_send(gen_random_uuid()))"
        case bytes() if len(given) == 34:
            return f"'\\x{given[:2].hex()}'::bytea || sha256(uuid_send(gen_random_uuid()))"
        case _:
            return None


def written(given: object) -> str | None:
    """A value as PostgreSQL reads it in text form; None for null."""
    match given:
        case None | str():
            return given
        case bytes():
            return f"\\x{given.hex()}"
        case Id():
            return str(given.uuid)
        case list() | tuple():
            items = map(written, cast("Iterable[object]", given))
            return "{" + ",".join("NULL" if item is None else _quoted(item) for item in items) + "}"
        case _:
            return str(given)


def _quoted(item: str) -> str:
    escaped = item.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
