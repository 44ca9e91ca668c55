"""The page says all that the document says, lets nothing in the document act, and loads nothing."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from rickhouse.platform.web.reference import REFERENCE_CSP, render_reference

NASTY = "</style></code><script>alert(1)</script><img src=x onerror=alert(1)>\"'`<b>`"


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, ids, and the text of each `pre`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pres: list[str] = []
        self.text = ""
        self._in_pre = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "pre":
            self._in_pre = True
            self.pres.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._in_pre = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_pre:
            self.pres[-1] += data

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def document(word: str = "plain") -> dict[str, Any]:
    """A document of four operations; `word` stands wherever an author can write."""
    bottle_id = {
        "name": "bottle_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "examples": ["btl_01h455vb4pex5vsknk084sn02q"]},
        "description": word,
    }
    breaking: dict[str, Any] = {
        "tags": ["bottles"],
        "summary": "Break",
        "security": [{"bearer": []}],
        "responses": {},
    }
    reading: dict[str, Any] = {"tags": ["orders"], "summary": "Read", "deprecated": True, "responses": {}}
    return {
        "openapi": "3.1.0",
        "info": {"title": word, "version": word, "summary": word, "description": f"{word}\n\nSecond."},
        "tags": [{"name": "orders", "description": word}],
        "paths": {
            "/health": {"get": {"summary": "Alive", "responses": {"200": {"description": word}}}},
            "/v1/bottles": {"post": _filling(word)},
            "/v1/bottles/{bottle_id}": {"parameters": [bottle_id], "delete": breaking},
            f"/v1/orders/{word}": {"get": reading},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "description": word}},
            "schemas": _schemas(word),
        },
    }


def _filling(word: str) -> dict[str, Any]:
    """An operation with everything that one can have."""
    problem = {
        "description": f"`{word}`: {word}",
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    "one": {"summary": "sold_out", "value": {"code": "sold_out", "detail": word}},
                    "two": {"summary": "hold_lapsed", "value": {"code": "hold_lapsed"}},
                },
            }
        },
    }
    asked = {
        "schema": {"$ref": "#/components/schemas/Bottle"},
        "examples": {"typical": {"value": {"name": "Angel's share", "note": word}}},
    }
    answered = {
        "schema": {"$ref": "#/components/schemas/Page_x.Bottle_"},
        "examples": {"a": {"value": {"n": 1}}},
    }
    key = {"name": "Idempotency-Key", "in": "header", "required": True, "schema": {"type": "string"}}
    bounds = {"type": "integer", "minimum": 1.0, "maximum": 100.0, "default": 20}
    return {
        "tags": ["bottles"],
        "summary": word,
        "description": word,
        "security": [{"bearer": ["catalog:write"]}],
        "parameters": [key, {"name": "limit", "in": "query", "schema": bounds}],
        "requestBody": {"content": {"application/json": asked}},
        "responses": {
            "201": {
                "description": "Document created, URL follows",
                "headers": {"Location": {"schema": {"type": "string"}, "description": word}},
                "content": {"application/json": answered},
            },
            "409": problem,
        },
    }


def _schemas(word: str) -> dict[str, Any]:
    """Schemas of every kind of field."""
    return {
        "Bottle": {
            "title": "Bottle",
            "description": word,
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 9, "pattern": word},
                "state": {"enum": ["full", "empty", word]},
                "next": {"oneOf": [{"$ref": "#/components/schemas/Bottle"}, {"type": "null"}]},
                "weights": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "labels": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                word: {"const": word},
            },
        },
        "Page_x.Bottle_": {"title": "Page[Bottle]", "type": "object", "properties": {}},
        "Problem": {
            "type": "object",
            "properties": {"at": {"type": "string", "format": "date-time"}},
        },
    }


@pytest.fixture(name="page", scope="module")
def rendered_page() -> Page:
    return Page(render_reference(document()))


def test_words_of_the_document_cannot_become_elements() -> None:
    harmless, attacked = Page(render_reference(document())), Page(render_reference(document(NASTY)))
    assert [tag for tag, _ in attacked.elements if tag in ("script", "img", "b")] == []
    extra_code_spans = len(attacked.named("code")) - len(harmless.named("code"))
    assert len(attacked.elements) - len(harmless.elements) == extra_code_spans
    assert "<script>alert(1)</script>" in attacked.text


def test_the_page_runs_no_script_and_loads_nothing(page: Page) -> None:
    assert page.named("script") == []
    assert page.named("img") == []
    assert [link["href"].partition(",")[0] for link in page.named("link") if link["href"]] == [
        "data:image/svg+xml"
    ]
    acting = [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert acting == []
    assert [name for _, attributes in page.elements for name in attributes if name == "style"] == []


def test_the_policy_admits_exactly_the_style_that_the_page_carries() -> None:
    styles = re.findall(r"<style>(.*?)</style>", render_reference(document()), re.DOTALL)
    assert len(styles) == 1
    digest = b64encode(sha256(styles[0].encode()).digest()).decode()
    assert REFERENCE_CSP.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]


def test_the_style_asks_for_no_other_address() -> None:
    style = re.findall(r"<style>(.*?)</style>", render_reference(document()), re.DOTALL)[0]
    assert "url(" not in style
    assert "@import" not in style


def test_every_operation_has_its_section_and_its_link_in_the_contents(page: Page) -> None:
    sections = [
        str(attributes["id"])
        for attributes in page.named("section")
        if attributes.get("class") == "operation"
    ]
    assert sections == [
        "orders-get-v1-orders-plain",
        "other-get-health",
        "bottles-post-v1-bottles",
        "bottles-delete-v1-bottles-bottle-id",
    ]
    links = [attributes["href"] for attributes in page.named("a")]
    assert [anchor for anchor in sections if f"#{anchor}" not in links] == []


def test_every_link_within_the_page_leads_somewhere_and_no_id_stands_twice(page: Page) -> None:
    targets = [str(a["href"])[1:] for a in page.named("a") if str(a["href"]).startswith("#")]
    assert set(targets) - set(page.ids) == set()
    assert len(page.ids) == len(set(page.ids))
    labelled = [
        str(attributes["aria-labelledby"])
        for _, attributes in page.elements
        if "aria-labelledby" in attributes
    ]
    assert set(labelled) - set(page.ids) == set()


def test_headings_descend_without_gaps_under_one_title(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_a_keyboard_and_a_screen_reader_find_their_way(page: Page) -> None:
    assert page.named("html")[0]["lang"] == "en"
    assert page.named("a")[0] == {"class": "skip", "href": "#content"}
    assert page.named("main") == [{"id": "content", "tabindex": "-1"}]
    assert [nav["aria-label"] for nav in page.named("nav")] == ["Contents"]
    unlabelled = [attributes for attributes in page.named("pre") if not attributes.get("aria-label")]
    assert unlabelled == []


def test_an_operation_names_its_scope(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "POST /v1/bottles Token scope: catalog:write" in text
    assert "DELETE /v1/bottles/{bottle_id} A bearer token is needed." in text
    assert "GET /health Public: no token is needed." in text


def test_the_curl_example_can_be_pasted_into_a_shell(page: Page) -> None:
    assert [text for text in page.pres if text.startswith("curl")] == [
        'curl "$RICKHOUSE"/v1/orders/plain',
        'curl "$RICKHOUSE"/health',
        (
            'curl -X POST "$RICKHOUSE"/v1/bottles \\\n'
            '  -H "Authorization: Bearer $TOKEN" \\\n'
            "  -H 'Idempotency-Key: a-key-of-your-own' \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            "  -d '{\n"
            '  "name": "Angel\'"\'"\'s share",\n'
            '  "note": "plain"\n'
            "}'"
        ),
        (
            'curl -X DELETE "$RICKHOUSE"/v1/bottles/btl_01h455vb4pex5vsknk084sn02q \\\n'
            '  -H "Authorization: Bearer $TOKEN"'
        ),
    ]


def test_every_answer_shows_its_examples(page: Page) -> None:
    summaries = re.findall(r"<summary>(.*?)</summary>", render_reference(document()), re.DOTALL)
    assert [" ".join(re.sub("<[^>]+>", "", summary).split()) for summary in summaries] == [
        "200 OK plain",
        "201 Created",
        "409 Conflict plain: plain",
    ]
    examples = [text for text in page.pres if text.startswith("{")]
    assert examples == [
        '{\n  "name": "Angel\'s share",\n  "note": "plain"\n}',
        '{\n  "n": 1\n}',
        '{\n  "code": "sold_out",\n  "detail": "plain"\n}',
        '{\n  "code": "hold_lapsed"\n}',
    ]


def test_types_and_limits_are_written_out(page: Page) -> None:
    text = " ".join(page.text.split())
    for phrase in (
        "limit query integer; ≥ 1; ≤ 100; default 20",
        "name required string; 1 to 9 characters; pattern plain",
        'state "full" | "empty" | "plain"',
        "next Bottle or null",
        "weights array of integer; each ≥ 0",
        "labels object of string or null",
        "at string (date-time)",
        "application/json Page[Bottle]",
        "Other fields are refused.",
    ):
        assert phrase in text


def test_a_reference_to_nowhere_is_refused() -> None:
    broken = document()
    broken["paths"]["/health"]["get"]["responses"]["200"] = {"$ref": "#/components/responses/Gone"}
    with pytest.raises(KeyError, match="responses"):
        render_reference(broken)
