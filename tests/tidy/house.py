"""How a house rule is written and applied. The rules themselves stand beside their tests, one file per subject.

A rule is a function from a source file to its breaches. `# tidy: <rule>: <reason>` on the line excuses one breach, in
sight of every reader.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent.parent
_CODE_DIRS: Final = ("src", "tests", "bench")
_UNREAD_DIRS: Final = frozenset({"node_modules", "__pycache__", "results", "dist", "build"})
_READ_DOT_DIRS: Final = frozenset({".ci", ".github"})
_TEXT_SUFFIXES: Final = frozenset(
    {
        "",
        ".cfg",
        ".css",
        ".html",
        ".ini",
        ".js",
        ".json",
        ".lock",
        ".md",
        ".mmd",
        ".py",
        ".sh",
        ".sql",
        ".svg",
        ".toml",
    }
    | {".ts", ".tsx", ".txt", ".yaml", ".yml"}
)


class Breach(NamedTuple):
    """One place where a rule is broken. Lines count from 1; line 0 is the file as a whole."""

    line: int
    message: str


@dataclass(frozen=True)
class Source:
    """A file of the repository, or a snippet that pretends to be one. `path` is relative to the repository."""

    path: PurePosixPath
    text: str

    @classmethod
    def snippet(cls, path: str, text: str) -> Source:
        """What a test feeds to a rule."""
        return cls(PurePosixPath(path), text)

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed module."""
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> list[str]:
        """The lines, the first at index 0."""
        return self.text.splitlines()

    def excuses(self, line: int, rule_name: str) -> bool:
        """Whether the line says why the rule does not bind it."""
        if not 1 <= line <= len(self.lines):
            return False
        return re.search(rf"# tidy: {re.escape(rule_name)}: \w", self.lines[line - 1]) is not None


Rule = Callable[[Source], Iterable[Breach]]


def breaches(rule: Rule, sources: Iterable[Source]) -> list[str]:
    """What is not excused, as `path:line: message`, so that a failed comparison with `[]` prints it all."""
    name = getattr(rule, "__name__", "rule")
    return [
        f"{source.path}:{breach.line}: {breach.message}"
        for source in sources
        for breach in rule(source)
        if not source.excuses(breach.line, name)
    ]


def python_files(*directories: str) -> list[Source]:
    """Every Python file of the repository, or of some of its directories."""
    return [
        _read(path)
        for directory in directories or _CODE_DIRS
        for path in sorted((ROOT / directory).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]


def text_files() -> Iterator[Source]:
    """Every file of the repository that people write, of whatever kind."""
    for path in sorted(_walk(ROOT)):
        if path.suffix in _TEXT_SUFFIXES:
            yield _read(path)


def _walk(directory: Path) -> Iterator[Path]:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            hidden = entry.name.startswith(".") and entry.name not in _READ_DOT_DIRS
            if not hidden and entry.name not in _UNREAD_DIRS:
                yield from _walk(entry)
        elif entry.is_file() and not entry.name.startswith(".coverage"):
            yield entry


def _read(path: Path) -> Source:
    return Source(PurePosixPath(path.relative_to(ROOT).as_posix()), path.read_text(encoding="utf-8"))
