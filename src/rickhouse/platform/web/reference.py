"""The API reference as one page of HTML, made from the OpenAPI 3.1 document: no script, no asset from elsewhere.

What an operation says of itself belongs to its route; how the page looks belongs to `templates/`.
"""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

_Json = dict[str, Any]

_METHODS: Final = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
_CODE_SPAN: Final = re.compile(r"`([^`]+)`")
_NOT_IN_ANCHOR: Final = re.compile(r"[^A-Za-z0-9]+")
_ALTERNATIVES: Final = {"oneOf": " or ", "anyOf": " or ", "allOf": " and "}
_STATUSES: Final = {str(status.value): status for status in HTTPStatus}
_CURL_VALUES: Final[Mapping[str, str]] = {
    "Idempotency-Key": "a-key-of-your-own",
    "If-Match": '"1"',
}
"""Headers that a `curl` example shows even where the document gives them no example."""

_templates: Final = Environment(
    loader=PackageLoader("rickhouse.platform.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _policy(style: str) -> str:
    """A Content-Security-Policy (CSP Level 3) that lets this one style through, inline images, and nothing else."""
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


_STYLE: Final = files("rickhouse.platform.web").joinpath("templates", "reference.css").read_text("utf-8")

REFERENCE_CSP: Final[str] = _policy(_STYLE)
"""The header `Content-Security-Policy` that the page is to be sent with."""


class Piece(msgspec.Struct, frozen=True):
    """A run of text: plain, a code span, or a link to the section `anchor` of this page."""

    text: str
    code: bool = False
    anchor: str = ""


Prose = tuple[tuple[Piece, ...], ...]
"""Paragraphs."""


class Example(msgspec.Struct, frozen=True):
    """A value as it travels; `title` tells it from its neighbours and may be empty."""

    title: str
    text: str


class Field(msgspec.Struct, frozen=True):
    """A parameter or a member of an object. `place` is query, header, path, cookie, or empty for a member."""

    name: str
    place: str
    required: bool
    type: tuple[Piece, ...]
    limits: tuple[str, ...]
    description: Prose


class Body(msgspec.Struct, frozen=True):
    """What a request or an answer carries in one media type."""

    media_type: str
    type: tuple[Piece, ...]
    fields: tuple[Field, ...]
    examples: tuple[Example, ...]


class Answer(msgspec.Struct, frozen=True):
    """One status that an operation answers with."""

    status: str
    phrase: str
    description: Prose
    headers: tuple[Field, ...]
    bodies: tuple[Body, ...]

    @property
    def good(self) -> bool:
        """Whether the caller got what was asked for."""
        return self.status[:1] in "123"


class Operation(msgspec.Struct, frozen=True):
    """One method on one path. `scopes` is None where no token is needed."""

    anchor: str
    method: str
    path: str
    summary: str
    description: Prose
    deprecated: bool
    scopes: tuple[str, ...] | None
    parameters: tuple[Field, ...]
    bodies: tuple[Body, ...]
    answers: tuple[Answer, ...]
    curl: str


class Group(msgspec.Struct, frozen=True):
    """The operations of one tag."""

    anchor: str
    name: str
    description: Prose
    operations: tuple[Operation, ...]


class Shape(msgspec.Struct, frozen=True):
    """A named schema."""

    anchor: str
    name: str
    description: Prose
    type: tuple[Piece, ...]
    limits: tuple[str, ...]
    fields: tuple[Field, ...]
    closed: bool


def render_reference(document: _Json) -> str:
    """The page for an OpenAPI 3.1 `document`, as HTML text; every word of the document is escaped.

    Raises KeyError when a `$ref` leads nowhere.
    """
    info = document.get("info", {})
    reader = _Reader(document)
    return _templates.get_template("reference.html").render(
        style=_STYLE,
        title=str(info.get("title", "API")),
        version=str(info.get("version", "")),
        summary=str(info.get("summary", "")),
        description=_prose(info.get("description")),
        schemes=[
            (name, _prose(scheme.get("description")))
            for name, scheme in reader.components("securitySchemes").items()
        ],
        groups=reader.groups(),
        shapes=reader.shapes(),
    )


class _Reader:
    """Reads the parts of one document, following its references."""

    def __init__(self, document: _Json) -> None:
        self._document = document

    def components(self, kind: str) -> dict[str, _Json]:
        """The named parts of a kind: schemas, securitySchemes."""
        found: dict[str, _Json] = self._document.get("components", {}).get(kind, {})
        return found

    def groups(self) -> tuple[Group, ...]:
        """Operations by tag, in the order of the document's own list of tags; an operation may stand in several."""
        described: dict[str, _Json] = {str(tag["name"]): tag for tag in self._document.get("tags", ())}
        members: dict[str, list[Operation]] = {name: [] for name in described}
        for path, item in self._document.get("paths", {}).items():
            for method in _METHODS:
                if method in item:
                    for tag in item[method].get("tags") or ("other",):
                        members.setdefault(str(tag), []).append(self._operation(path, item, method, str(tag)))
        return tuple(
            Group(
                anchor=_anchor("group", name),
                name=name,
                description=_prose(described.get(name, {}).get("description")),
                operations=tuple(operations),
            )
            for name, operations in members.items()
            if operations
        )

    def shapes(self) -> tuple[Shape, ...]:
        """Every named schema, by name."""
        return tuple(
            Shape(
                anchor=_anchor("schema", key),
                name=str(schema.get("title") or key),
                description=_prose(schema.get("description")),
                type=self._type(schema),
                limits=tuple(_limits(schema)),
                fields=self._fields(schema),
                closed=schema.get("additionalProperties") is False,
            )
            for key, schema in sorted(self.components("schemas").items())
        )

    def _operation(self, path: str, item: _Json, method: str, tag: str) -> Operation:
        node: _Json = item[method]
        parameters = [self._resolved(p) for p in (*item.get("parameters", ()), *node.get("parameters", ()))]
        bodies = self._bodies(self._resolved(node.get("requestBody", {})))
        scopes = _scopes(node.get("security", self._document.get("security", ())))
        answers = sorted((str(status), answer) for status, answer in node.get("responses", {}).items())
        return Operation(
            anchor=_anchor(tag, f"{method} {path}"),
            method=method.upper(),
            path=path,
            summary=str(node.get("summary") or f"{method.upper()} {path}"),
            description=_prose(node.get("description")),
            deprecated=bool(node.get("deprecated")),
            scopes=scopes,
            parameters=tuple(self._parameter(parameter) for parameter in parameters),
            bodies=bodies,
            answers=tuple(self._answer(status, answer) for status, answer in answers),
            curl=_curl(method.upper(), path, parameters, bodies, with_token=scopes is not None),
        )

    def _answer(self, status: str, node: _Json) -> Answer:
        node = self._resolved(node)
        known = _STATUSES.get(status)
        description = str(node.get("description", ""))
        headers = [(name, self._resolved(header)) for name, header in node.get("headers", {}).items()]
        return Answer(
            status=status,
            phrase=known.phrase if known else "",
            description=() if known and description == known.description else _prose(description),
            headers=tuple(self._parameter({"name": name, **header}) for name, header in headers),
            bodies=self._bodies(node),
        )

    def _bodies(self, holder: _Json) -> tuple[Body, ...]:
        return tuple(
            Body(
                media_type=str(media_type),
                type=self._type(node.get("schema", {})),
                fields=self._fields(self._resolved(node.get("schema", {}))),
                examples=self._examples(node),
            )
            for media_type, node in holder.get("content", {}).items()
        )

    def _examples(self, node: _Json) -> tuple[Example, ...]:
        named = [self._resolved(example) for example in node.get("examples", {}).values()]
        if named:
            return tuple(
                Example(
                    str(example.get("summary", "")) if len(named) > 1 else "", _pretty(example.get("value"))
                )
                for example in named
            )
        return (Example("", _pretty(node["example"])),) if "example" in node else ()

    def _parameter(self, node: _Json) -> Field:
        schema = node.get("schema", {})
        return Field(
            name=str(node["name"]),
            place=str(node.get("in", "")),
            required=bool(node.get("required")),
            type=self._type(schema),
            limits=tuple(_limits(schema)),
            description=_prose(node.get("description") or schema.get("description")),
        )

    def _fields(self, schema: _Json) -> tuple[Field, ...]:
        required = frozenset(schema.get("required", ()))
        return tuple(
            Field(
                name=str(name),
                place="",
                required=name in required,
                type=self._type(member),
                limits=tuple(_limits(member)),
                description=_prose(member.get("description")),
            )
            for name, member in schema.get("properties", {}).items()
        )

    def _type(self, schema: _Json) -> tuple[Piece, ...]:
        """What a schema takes, in JSON Schema's own words, with a link where it is a named one."""
        if "$ref" in schema:
            key = _steps(schema["$ref"])[-1]
            return (Piece(str(self._resolved(schema).get("title") or key), anchor=_anchor("schema", key)),)
        if "enum" in schema or "const" in schema:
            values: list[object] = schema["enum"] if "enum" in schema else [schema["const"]]
            return _joined([(Piece(json.dumps(value), code=True),) for value in values], " | ")
        for keyword, word in _ALTERNATIVES.items():
            if keyword in schema:
                return _joined([self._type(member) for member in schema[keyword]], word)
        kinds = schema.get("type", "any")
        if isinstance(kinds, list):
            alternatives = cast("list[str]", kinds)
            return _joined([self._type({**schema, "type": kind}) for kind in alternatives], " or ")
        return self._one_type(schema, str(kinds))

    def _one_type(self, schema: _Json, kind: str) -> tuple[Piece, ...]:
        if kind == "array":
            return (Piece("array of "), *self._type(schema.get("items", {})))
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return (Piece("object of "), *self._type(schema["additionalProperties"]))
        return (Piece(f"{kind} ({schema['format']})" if "format" in schema else kind),)

    def _resolved(self, node: _Json) -> _Json:
        """What `node` refers to, itself when it refers to nothing. Raises KeyError for a reference to nowhere."""
        while "$ref" in node:
            found: Any = self._document
            for step in _steps(node["$ref"]):
                found = found[step]
            node = found
        return node


def _scopes(security: list[_Json]) -> tuple[str, ...] | None:
    """The roles that a requirement lists (OpenAPI 3.1, Security Requirement Object); None: no token is needed."""
    if not security or {} in security:
        return None
    return tuple(str(role) for requirement in security for roles in requirement.values() for role in roles)


def _curl(
    method: str, path: str, parameters: list[_Json], bodies: tuple[Body, ...], *, with_token: bool
) -> str:
    """A command for a POSIX shell in which `RICKHOUSE` is the address of the server and `TOKEN` a bearer token."""
    values = {(str(p.get("in")), str(p["name"])): _sample(p) for p in parameters if _is_shown(p)}
    target = re.sub(
        r"\{([^{}:]+)[^{}]*\}", lambda found: quote(values.get(("path", found[1]), found[1]), safe=""), path
    )
    query = urlencode({name: value for (place, name), value in values.items() if place == "query"})
    headers = [f"{name}: {value}" for (place, name), value in values.items() if place == "header"]
    command = ["curl" if method == "GET" else f"curl -X {method}"]
    command[0] += ' "$RICKHOUSE"' + shlex.quote(f"{target}?{query}" if query else target)
    if with_token:
        command.append('-H "Authorization: Bearer $TOKEN"')
    if bodies:
        headers.append(f"Content-Type: {bodies[0].media_type}")
    command += [f"-H {shlex.quote(header)}" for header in headers]
    if bodies and bodies[0].examples:
        command.append(f"-d {shlex.quote(bodies[0].examples[0].text)}")
    return " \\\n  ".join(command)


def _is_shown(parameter: _Json) -> bool:
    return bool(parameter.get("required")) or parameter["name"] in _CURL_VALUES


def _sample(parameter: _Json) -> str:
    schema = parameter.get("schema", {})
    if "example" in parameter:
        return str(parameter["example"])
    if schema.get("examples"):
        return str(schema["examples"][0])
    return _CURL_VALUES.get(parameter["name"], str(schema.get("default", parameter["name"])))


def _joined(parts: list[tuple[Piece, ...]], separator: str) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    for index, part in enumerate(parts):
        pieces += [Piece(separator), *part] if index else part
    return tuple(pieces)


def _limits(schema: _Json) -> Iterator[str]:
    """The bounds that a value is held to, each in a few words."""
    for keyword, sign in (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    ):
        if keyword in schema:
            yield f"{sign} {schema[keyword]:.15g}"
    for low, high, unit in (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "items")):
        if low in schema or high in schema:
            yield f"{schema.get(low, 0)} to {schema.get(high, 'any number of')} {unit}"
    if "pattern" in schema:
        yield f"pattern {schema['pattern']}"
    if "default" in schema:
        yield f"default {json.dumps(schema['default'])}"
    for keyword in _ALTERNATIVES:
        for member in schema.get(keyword, ()):
            yield from _limits(member)
    if isinstance(schema.get("items"), dict):
        yield from (f"each {limit}" for limit in _limits(schema["items"]))


def _prose(text: str | None) -> Prose:
    """Paragraphs are parted by empty lines; code stands between backticks."""
    paragraphs = [paragraph for paragraph in (text or "").split("\n\n") if paragraph.strip()]
    return tuple(
        tuple(
            Piece(part, code=index % 2 == 1) for index, part in enumerate(_CODE_SPAN.split(paragraph)) if part
        )
        for paragraph in paragraphs
    )


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _anchor(kind: str, name: str) -> str:
    return f"{kind}-{_NOT_IN_ANCHOR.sub('-', name).strip('-')}"


def _steps(reference: str) -> list[str]:
    """The steps of a reference within the document, a JSON Pointer (RFC 6901 sections 4 and 6)."""
    return [step.replace("~1", "/").replace("~0", "~") for step in reference.removeprefix("#/").split("/")]
