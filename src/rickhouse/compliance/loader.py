"""From a rule pack's text to a checked `Pack`. A broken rule of the format is told with file, place and rule.

What the facts mean for a sale never belongs here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec
import yaml
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from rickhouse.compliance.contract import PackInvalid
from rickhouse.compliance.pack import (
    AgeRule,
    LaneRule,
    OutboundRule,
    Pack,
    ProductClass,
    Source,
    Timed,
    Window,
)

SHIPPED: Final = "us-spirits-2026-11-23.yaml"
"""The pack that is used where no other is named."""

_BYTES_MAX: Final = 2_000_000
_MESSAGE_CHARS_MAX: Final = 200
_SECTIONS: Final = ("minimum_age", "inbound", "in_state", "outbound")

Row = TypeVar("Row", bound=Timed)


def load_pack(path: Path | None = None) -> Pack:
    """The pack in the file `path`, or the one that is shipped. Raises PackInvalid."""
    if path is None:
        shipped = files("rickhouse.compliance").joinpath("packs", SHIPPED)
        return parse_pack(shipped.read_text(encoding="utf-8"), SHIPPED)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _invalid(path.name, "the file", f"can be read: {error.strerror}") from error
    if len(content) > _BYTES_MAX:
        raise _invalid(path.name, "the file", f"holds at most {_BYTES_MAX} bytes")
    try:
        return parse_pack(content.decode(), path.name)
    except UnicodeDecodeError as error:
        raise _invalid(path.name, f"byte {error.start}", "is text in UTF-8") from error


def parse_pack(text: str, file: str) -> Pack:
    """The pack that `text` writes out; `file` is what it is called in a refusal. Raises PackInvalid."""
    tree = _read_yaml(text, file)
    for place, rule in chain(_schema_violations(tree), _violations(tree)):
        raise _invalid(file, place, rule)
    window = cast("Window", _window(tree["effective"]))
    return Pack(
        name=tree["pack"],
        version=tree["version"],
        compiled_on=date.fromisoformat(tree["compiled_on"]),
        effective=window,
        regions=tree["regions"],
        classes=_by_class(msgspec.convert(tree["classes"], list[ProductClass])),
        minimum_age=_by_region(_rows(tree["minimum_age"], AgeRule)),
        inbound=_by_region(_rows(tree["inbound"], LaneRule)),
        in_state=_by_region(_rows(tree["in_state"], LaneRule)),
        outbound=_by_region(_rows(tree["outbound"], OutboundRule)),
        sources=msgspec.convert(tree["sources"], dict[str, Source]),
        digest=sha256(text.encode()).hexdigest(),
        text=text,
    )


class _Loader(yaml.CSafeLoader):
    """YAML 1.1 without two of its traps: a day stays text, and a key that is given twice is refused."""

    yaml_implicit_resolvers = {  # noqa: RUF012  the library's own way to say this
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, unless a key stands in it twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands here once", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(text: str, file: str) -> dict[str, Any]:
    try:
        tree: object = yaml.load(text, _Loader)  # noqa: S506  a safe loader, made stricter
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "the file" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
        raise _invalid(file, place, f"YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise _invalid(file, "the file", f"YAML: {error}") from error
    if not isinstance(tree, dict):
        raise _invalid(file, "the file", "is a mapping")
    return cast("dict[str, Any]", tree)


@cache
def _validator() -> Draft202012Validator:
    schema = files("rickhouse.compliance").joinpath("packs", "pack.schema.json").read_bytes()
    return Draft202012Validator(msgspec.json.decode(schema), format_checker=FormatChecker(("date",)))


def _schema_violations(tree: Mapping[str, Any]) -> Generator[tuple[str, str]]:
    """Place and rule of everything that breaks the schema, the outermost first."""
    validator: Any = _validator()
    errors: list[ValidationError] = list(validator.iter_errors(tree))
    for error in sorted(errors, key=lambda error: (len(error.absolute_path), _place(error))):
        yield _place(error), _rule(error)


def _place(error: ValidationError) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path]
    return "".join(parts).removeprefix(".") or "the file"


def _rule(error: ValidationError) -> str:
    message = error.message
    if len(message) > _MESSAGE_CHARS_MAX:
        message = f"{message[:_MESSAGE_CHARS_MAX]}…"
    return f"{error.validator}: {message}"


def _violations(tree: Mapping[str, Any]) -> Generator[tuple[str, str]]:
    """Place and rule of everything that a schema cannot see."""
    yield from _backward_windows(tree)
    yield from _unknown_sources(tree, tree["sources"], "")
    yield from _repeated_classes(tree["classes"])
    classes = {name for row in tree["classes"] for name in row["names"]}
    for section in ("inbound", "in_state"):
        for index, row in enumerate(tree[section]):
            for name in row.get("products", {}).get("classes", ()):
                if name not in classes:
                    yield f"{section}[{index}].products.classes", f"'{name}' is one of the classes"
    for section in _SECTIONS:
        yield from _regions_amiss(section, tree[section], tree["regions"])


def _backward_windows(tree: Mapping[str, Any]) -> Generator[tuple[str, str]]:
    places = [("effective", tree["effective"])]
    for section in _SECTIONS:
        places += [
            (f"{section}[{index}].effective", row["effective"]) for index, row in enumerate(tree[section])
        ]
    for place, value in places:
        window = _window(value)
        if window is not None and window.until is not None and window.until < window.since:
            yield place, "a window does not end before it begins"


def _unknown_sources(node: object, known: Mapping[str, object], place: str) -> Generator[tuple[str, str]]:
    """Citations anywhere in the tree that the table of sources does not have."""
    if isinstance(node, dict):
        for key, value in cast("dict[str, Any]", node).items():
            inner = f"{place}.{key}" if place else key
            if key == "sources" and isinstance(value, list):
                for source in cast("list[str]", value):
                    if source not in known:
                        yield inner, f"'{source}' stands in the table of sources"
            else:
                yield from _unknown_sources(value, known, inner)
    elif isinstance(node, list):
        for index, value in enumerate(cast("list[Any]", node)):
            yield from _unknown_sources(value, known, f"{place}[{index}]")


def _repeated_classes(rows: Sequence[Mapping[str, Any]]) -> Generator[tuple[str, str]]:
    seen: set[str] = set()
    for index, row in enumerate(rows):
        for name in row["names"]:
            if name in seen:
                yield f"classes[{index}].names", f"'{name}' stands in one row only"
            seen.add(name)


def _regions_amiss(
    section: str, rows: Sequence[Mapping[str, Any]], regions: Mapping[str, str]
) -> Generator[tuple[str, str]]:
    """Regions that nobody knows, that no row speaks of, or that two rows speak of on the same day."""
    windows: dict[str, list[Window | None]] = {region: [] for region in regions}
    for index, row in enumerate(rows):
        window = _window(row["effective"])
        for region in row["regions"]:
            place = f"{section}[{index}].regions"
            if region not in windows:
                yield place, f"'{region}' is one of the regions"
                continue
            if any(_overlap(window, other) for other in windows[region]):
                yield place, f"only one row speaks of '{region}' on one day"
            windows[region].append(window)
    for region, found in windows.items():
        if not found:
            yield section, f"a row speaks of '{region}', if only as unknown"


def _overlap(one: Window | None, other: Window | None) -> bool:
    """Whether two windows share a day. A row without window stands alone, since it could hold at any time."""
    if one is None or other is None:
        return True
    last_of_one, last_of_other = one.until or date.max, other.until or date.max
    return one.since <= last_of_other and other.since <= last_of_one


def _window(value: str | Mapping[str, str]) -> Window | None:
    """`unknown` becomes None; `open` as the end becomes an end of None."""
    if isinstance(value, str):
        return None
    until = value["until"]
    return Window(date.fromisoformat(value["from"]), None if until == "open" else date.fromisoformat(until))


def _rows(rows: Iterable[dict[str, Any]], kind: type[Row]) -> list[Row]:
    return [msgspec.convert(row | {"effective": _window(row["effective"])}, kind) for row in rows]


def _by_region(rows: Iterable[Row]) -> dict[str, tuple[Row, ...]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        for region in row.regions:
            found.setdefault(region, []).append(row)
    return {region: tuple(sorted(its, key=_since)) for region, its in found.items()}


def _since(row: Timed) -> date:
    return date.min if row.effective is None else row.effective.since


def _by_class(rows: Iterable[ProductClass]) -> dict[str, ProductClass]:
    return {name: row for row in rows for name in row.names}


def _invalid(file: str, place: str, rule: str) -> PackInvalid:
    return PackInvalid(f"{file}: {place}: {rule}.", file=file, place=place, rule=rule)
