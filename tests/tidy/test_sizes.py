"""Rooms and functions that have outgrown themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tests.tidy.house import Breach, Source, breaches, python_files

FILE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 60


def file_size(source: Source) -> Iterator[Breach]:
    """A file has at most 500 lines."""
    if len(source.lines) > FILE_LINES_MAX:
        yield Breach(0, f"{len(source.lines)} lines, more than {FILE_LINES_MAX}: split it by what it does")


def function_size(source: Source) -> Iterator[Breach]:
    """A function has at most 60 lines, its docstring among them."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield Breach(node.lineno, f"{node.name} has {lines} lines, more than {FUNCTION_LINES_MAX}")


def test_no_file_is_too_long() -> None:
    assert breaches(file_size, python_files()) == []


def test_no_function_is_too_long() -> None:
    assert breaches(function_size, python_files()) == []


def test_a_file_of_501_lines_is_found() -> None:
    assert breaches(file_size, [Source.snippet("src/a.py", "x = 1\n" * 500)]) == []
    assert breaches(file_size, [Source.snippet("src/a.py", "x = 1\n" * 501)]) == [
        "src/a.py:0: 501 lines, more than 500: split it by what it does"
    ]


def test_a_function_of_61_lines_is_found_at_any_depth() -> None:
    method = "class A:\n    async def long(self):\n" + "        x = 1\n" * 60

    assert breaches(function_size, [Source.snippet("src/a.py", "def short():\n" + "    x = 1\n" * 59)]) == []
    assert breaches(function_size, [Source.snippet("src/a.py", method)]) == [
        "src/a.py:2: long has 61 lines, more than 60"
    ]


def test_a_breach_is_excused_only_by_its_own_name_and_a_reason() -> None:
    body = "    x = 1\n" * 60
    excused = "def long():  # tidy: function_size: a table, read top to bottom\n" + body
    silent = "def long():  # tidy: function_size:\n" + body
    other = "def long():  # tidy: file_size: because\n" + body

    assert breaches(function_size, [Source.snippet("src/a.py", excused)]) == []
    assert len(breaches(function_size, [Source.snippet("src/a.py", silent)])) == 1
    assert len(breaches(function_size, [Source.snippet("src/a.py", other)])) == 1
