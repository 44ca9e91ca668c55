"""Names that say nothing, and names that promise something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.tidy.house import Breach, Source, breaches, python_files

EMPTY_WORDS: Final = frozenset(
    {"util", "utils", "helper", "helpers", "common", "manager", "managers", "base", "misc"}
)
_CURSOR: Final = frozenset({"cursor", "after", "before"})


def empty_names(source: Source) -> Iterator[Breach]:
    """No module, package or class is named by a word that would fit any other as well."""
    parts = (source.path.parent / source.path.stem).parts
    for part in parts:
        for word in set(part.strip("_").split("_")) & EMPTY_WORDS:
            yield Breach(0, f"{part!r} in the path says nothing ({word}): name it after what it holds")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            words = {word.lower() for word in re.findall(r"[A-Z][a-z0-9]*", node.name)}
            for word in words & EMPTY_WORDS:
                yield Breach(
                    node.lineno, f"class {node.name} says nothing ({word}): name it after what it is"
                )


def handwritten_remotes(source: Source) -> Iterator[Breach]:
    """A client of a slice in another process is derived from its Protocol by `platform.rpc`, never written."""
    if source.path.stem in {"remote", "proxy", "stub"} and "platform" not in source.path.parts:
        yield Breach(0, "a slice has no remote of its own: platform.rpc derives it from the contract")


def name_promises(source: Source) -> Iterator[Breach]:
    """`get_` answers or raises, `find_` may answer None, `list_` is bounded by a cursor.

    The statements behind a service are bounded by it, so `sql.py` may list what belongs to one thing.
    """
    in_sql = "sql" in (source.path.parent / source.path.stem).parts
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        answer = "" if node.returns is None else ast.unparse(node.returns)
        optional = re.search(r"\bNone\b|\bOptional\b", answer) is not None
        arguments = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
        if node.name.startswith("get_") and optional:
            yield Breach(
                node.lineno, f"{node.name} raises when there is nothing; call it find_ if it answers None"
            )
        if node.name.startswith("list_") and not in_sql and not arguments & _CURSOR:
            yield Breach(node.lineno, f"{node.name} has no end: it takes a cursor")


def test_no_name_is_empty() -> None:
    assert breaches(empty_names, python_files()) == []


def test_no_slice_has_a_remote_of_its_own() -> None:
    assert breaches(handwritten_remotes, python_files("src")) == []


def test_get_find_and_list_keep_their_promises() -> None:
    assert breaches(name_promises, python_files("src")) == []


def test_an_empty_name_is_found_in_path_and_class() -> None:
    assert len(breaches(empty_names, [Source.snippet("src/rickhouse/orders/utils.py", "")])) == 1
    assert len(breaches(empty_names, [Source.snippet("src/rickhouse/common/money.py", "")])) == 1
    assert len(breaches(empty_names, [Source.snippet("src/rickhouse/orders/sql_helpers.py", "")])) == 1
    assert len(breaches(empty_names, [Source.snippet("src/a.py", "class StockManager: ...")])) == 1
    assert len(breaches(empty_names, [Source.snippet("src/a.py", "class _BaseProvider: ...")])) == 1
    assert breaches(empty_names, [Source.snippet("src/rickhouse/database.py", "class Basement: ...")]) == []


def test_a_remote_is_found() -> None:
    assert len(breaches(handwritten_remotes, [Source.snippet("src/rickhouse/inventory/remote.py", "")])) == 1


def test_a_broken_promise_is_found() -> None:
    broken = (
        "def get_order(i: int) -> Order | None: ...\nasync def list_orders(limit: int) -> list[Order]: ...\n"
    )
    kept = (
        "def get_order(i: int) -> Order: ...\n"
        "def find_order(i: int) -> Order | None: ...\n"
        "async def list_orders(after: str | None, limit: int) -> list[Order]: ...\n"
    )

    assert breaches(name_promises, [Source.snippet("src/a.py", broken)]) == [
        "src/a.py:1: get_order raises when there is nothing; call it find_ if it answers None",
        "src/a.py:2: list_orders has no end: it takes a cursor",
    ]
    assert breaches(name_promises, [Source.snippet("src/a.py", kept)]) == []
    assert len(breaches(name_promises, [Source.snippet("src/rickhouse/orders/sql.py", broken)])) == 1
