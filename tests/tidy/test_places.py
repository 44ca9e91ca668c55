"""Where things stand: tests mirror the source, SQL keeps to its files, every module says what it is for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.tidy.house import ROOT, Breach, Source, breaches, python_files

STORY_DIRS: Final = frozenset({"contracts", "journeys", "simulators", "tidy"})
"""Tests of more than one file: whole contracts, whole stories, the simulators, the house rules."""

SQL_HOMES: Final = re.compile(
    r"^src/rickhouse/(?:[a-z]+/sql(?:/\w+)?\.py|platform/(?:db|schema|events|jobs|queue|saga|worker)\.py)$"
)
_SQL: Final = re.compile(
    r"""\s*(?:
        select\s+(?:[\d*$'(] | [\w.]+\s*\( | .*\sfrom\s) | insert\s+into\s | update\s+\w+\s+(?:\w+\s+)?set\s
      | delete\s+from\s | with\s+\w+\s+(?:\([^)]*\)\s+)?as\s | truncate\s+(?:table\s|\w+\s*(?:;|$))
      | (?:create|alter|drop)\s+(?:table|index|schema|role|database|view|type|function|trigger|sequence)\s
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def mirrored(source: Source) -> Iterator[Breach]:
    """`tests/orders/test_checkout.py` tests `src/rickhouse/orders/checkout.py`."""
    _, *folders, name = source.path.parts
    if not name.startswith("test_") or (folders and folders[0] in STORY_DIRS):
        return
    tested = ROOT.joinpath("src", "rickhouse", *folders, name.removeprefix("test_").removesuffix(".py"))
    if not tested.with_suffix(".py").is_file() and not tested.is_dir():
        yield Breach(0, f"tests nothing: there is no {tested.relative_to(ROOT).with_suffix('.py')}")


def sql_at_home(source: Source) -> Iterator[Breach]:
    """SQL stands in a slice's `sql.py`, in migrations, and in the platform's modules about the database."""
    if SQL_HOMES.match(str(source.path)):
        return
    for line, text in _texts(source.tree):
        if _is_sql(text):
            yield Breach(line, "SQL outside sql.py")


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string that the program uses, with its line: docstrings left out, f-strings with `x` for what is put in."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inner.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "x" for part in node.values]
            inner.update(map(id, node.values))
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, node.value


def _is_sql(text: str) -> bool:
    """Whether `text` begins as a statement does, and not as a sentence, whose first word has one capital."""
    first = text.split(maxsplit=1)[:1]
    return all(word in {word.lower(), word.upper()} for word in first) and _SQL.match(text) is not None


def introduced(source: Source) -> Iterator[Breach]:
    """A module's docstring says what it is for."""
    if ast.get_docstring(source.tree) is None:
        yield Breach(1, "no docstring: say what the module is for and what never belongs in it")


def test_every_test_file_mirrors_a_source_file() -> None:
    assert breaches(mirrored, python_files("tests")) == []


def test_sql_keeps_to_its_files() -> None:
    assert breaches(sql_at_home, python_files("src")) == []


def test_every_module_is_introduced() -> None:
    assert breaches(introduced, python_files()) == []


def test_a_test_of_nothing_is_found() -> None:
    assert breaches(mirrored, [Source.snippet("tests/platform/test_settings.py", "")]) == []
    assert breaches(mirrored, [Source.snippet("tests/journeys/test_drop.py", "")]) == []
    assert breaches(mirrored, [Source.snippet("tests/conftest.py", "")]) == []
    assert breaches(mirrored, [Source.snippet("tests/platform/test_gone.py", "")]) == [
        "tests/platform/test_gone.py:0: tests nothing: there is no src/rickhouse/platform/gone.py"
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "select 1",
        "SELECT order_id FROM orders",
        "\n    insert into orders (order_id) values ($1)",
        "update stock set held = held + 1",
        "delete from holds",
        "with short as (select 1) select 2",
        "create table orders (order_id uuid)",
        "drop schema orders cascade",
    ],
)
def test_a_statement_away_from_home_is_found(statement: str) -> None:
    code = f"async def load(queries):\n    return await queries.fetch({statement!r})\n"

    assert breaches(sql_at_home, [Source.snippet("src/rickhouse/orders/service.py", code)]) == [
        "src/rickhouse/orders/service.py:2: SQL outside sql.py"
    ]
    assert breaches(sql_at_home, [Source.snippet("src/rickhouse/orders/sql.py", code)]) == []


@pytest.mark.parametrize(
    "text",
    ["Select a bottle from the shelf.", "select a bottle", "update your card", "Delete from here", "drop it"],
)
def test_a_sentence_is_not_a_statement(text: str) -> None:
    code = f'"""select 1"""\nx = {text!r}\n'

    assert breaches(sql_at_home, [Source.snippet("src/rickhouse/apps/cli.py", code)]) == []


def test_a_formatted_statement_is_found() -> None:
    code = 'x = f"select {column} from orders"\n'

    assert len(breaches(sql_at_home, [Source.snippet("src/rickhouse/orders/routes.py", code)])) == 1


def test_a_module_without_docstring_is_found() -> None:
    assert len(breaches(introduced, [Source.snippet("src/a.py", "x = 1\n")])) == 1
    assert breaches(introduced, [Source.snippet("src/a.py", '"""What it is for."""\n')]) == []
