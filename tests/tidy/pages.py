"""The two pages of `docs/reference` that are written from the code: problem codes and settings.

`python -m tests.tidy.pages` writes them; `test_docs.py` fails while what is written differs from the code.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

import rickhouse
from rickhouse.kernel.errors import Condition
from rickhouse.platform.settings import Section, Settings
from rickhouse.platform.web.problems import STATUS

ROOT: Final = Path(__file__).parent.parent.parent
REFERENCE: Final = ROOT / "docs" / "reference"

_CODES_HEAD: Final = """\
<!-- Written by `python -m tests.tidy.pages`; change the code, not this page. -->
# Problem codes

Every refusal is an `application/problem+json` body (RFC 9457). Its `code` is stable: program against it, and show
its `detail` to people. Which of these an operation can answer stands beside it in the API reference.

| code | status | title | declared by | meaning |
|---|---|---|---|---|
"""

_CODES_FOOT: Final = """
Besides these, a path that does not exist answers `not_found` (404), a method that a path does not take
`method_not_allowed` (405), and a mistake of ours `internal_error` (500), which says nothing more than that.
"""

_SETTINGS_HEAD: Final = """\
<!-- Written by `python -m tests.tidy.pages`; change the code, not this page. -->
# Settings

Settings come from one TOML file and, above it, the environment: `RICKHOUSE_WEB__PORT=8080` overrides `port` of the
table `[web]`. A value in the environment is taken as it stands where text is wanted, and read as JSON otherwise.
An unknown or ill-typed setting is refused by its name.

The file is the one named by `RICKHOUSE_CONFIG`, else `rickhouse.toml` in the working directory, else
`rickhouse/rickhouse.toml` in the user's configuration directory. Without a file, every default below holds.
"""


def problem_codes() -> str:
    """Every condition that the code declares, by the part that declares it."""
    rows = [
        f"| `{found.code}` | {STATUS[found.kind]} | {found.title} | {_owner(found)} | {_sentence(found)} |"
        for found in sorted(conditions(), key=lambda found: (_owner(found), found.code))
    ]
    return "\n".join([_CODES_HEAD + rows[0], *rows[1:], _CODES_FOOT])


def settings() -> str:
    """Every setting with its variable, type and default."""
    tables = [
        (field.encode_name, field.type)
        for field in msgspec.structs.fields(Settings)
        if _is_section(field.type)
    ]
    lines: list[str] = []
    for name, kind in (("", Settings), *tables):
        heading = f"`[{name}]`" if name else "At the top of the file"
        lines += ["", f"## {heading}", "", _sentences(kind), ""]
        lines += ["| setting | variable | type | default |", "|---|---|---|---|", *_rows(name, kind)]
    return _SETTINGS_HEAD + "\n".join([*lines, ""])


def conditions() -> list[type[Condition]]:
    """Every condition of the package, whoever declares it."""
    for module in pkgutil.walk_packages(rickhouse.__path__, "rickhouse."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    return [found for found in _subclasses(Condition) if found.__module__.startswith("rickhouse.")]


def _subclasses(kind: type[Condition]) -> Iterator[type[Condition]]:
    for found in kind.__subclasses__():
        yield found
        yield from _subclasses(found)


def _owner(condition: type[Condition]) -> str:
    return condition.__module__.split(".")[1]


def _sentence(kind: type) -> str:
    """What stands first in the docstring, on one line of a table."""
    return _sentences(kind).replace("|", "\\|")


def _sentences(kind: type) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split())


def _is_section(kind: Any) -> bool:  # noqa: ANN401  a field's type can be anything
    return isinstance(kind, type) and issubclass(kind, Section)


def _rows(table: str, kind: type[msgspec.Struct]) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        if _is_section(field.type):
            continue
        variable = "__".join(part.upper() for part in (table, field.encode_name) if part)
        value: object = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            value = field.default_factory()
        schema = msgspec.json.schema(field.type)
        yield f"| `{field.encode_name}` | `RICKHOUSE_{variable}` | {_type(schema)} | `{_toml(value)}` |"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    words = [str(schema["type"])]
    if schema["type"] == "object":
        words = [f"table of {_type(schema['additionalProperties'])}"]
    if schema["type"] == "array":
        words = [f"array of {_type(schema['items'])}"]
    words += [f"at least {schema['minimum']}"] if "minimum" in schema else []
    words += [f"at most {schema['maximum']}"] if "maximum" in schema else []
    words += [f"matching `{schema['pattern']}`".replace("|", "\\|")] if "pattern" in schema else []
    return ", ".join(words)


def _toml(value: object) -> str:
    return "[]" if value == () else json.dumps(value)


PAGES: Final = {"problem-codes.md": problem_codes, "settings.md": settings}
"""What writes each page of `REFERENCE`."""

if __name__ == "__main__":
    for name, write in PAGES.items():
        (REFERENCE / name).write_text(write(), encoding="utf-8")
