"""A pack's text is refused with the file, the place and the rule; nothing that is missing is filled in."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from jsonschema import Draft202012Validator

from rickhouse.compliance.contract import PackInvalid
from rickhouse.compliance.loader import SHIPPED, load_pack, parse_pack
from rickhouse.compliance.pack import Window
from rickhouse.kernel.errors import Kind
from tests.compliance.samples import PACK, changed_pack, pack_tree, row_of

Change = Callable[[dict[str, Any]], object]


def at(section: str, region: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The row of a section that speaks of the region."""
    return lambda tree: row_of(tree, section, region)


california = at("inbound", "US-CA")


def put(row: Callable[[dict[str, Any]], dict[str, Any]], **values: object) -> Change:
    """Set fields of a row."""
    return lambda tree: row(tree).update(values)


def drop(row: Callable[[dict[str, Any]], dict[str, Any]], name: str) -> Change:
    """Take a field out of a row."""
    return lambda tree: row(tree).pop(name)


def top(tree: dict[str, Any]) -> dict[str, Any]:
    """The pack itself."""
    return tree


def permit(tree: dict[str, Any]) -> dict[str, Any]:
    """California's permit."""
    return california(tree)["permit"]


def source(tree: dict[str, Any]) -> dict[str, Any]:
    """One of the sources."""
    return tree["sources"]["ca-abc94"]


def vermont(tree: dict[str, Any]) -> dict[str, Any]:
    """What Vermont lets in."""
    return at("inbound", "US-VT")(tree)["products"]


BROKEN: Final[list[tuple[Change, str, str]]] = [
    (drop(top, "sources"), "the file", "required: 'sources' is a required property"),
    (put(top, taxes=[]), "the file", "additionalProperties"),
    (put(top, format=2), "format", "const: 1 was expected"),
    (put(top, pack="US spirits"), "pack", "pattern"),
    (put(top, version="latest"), "version", "pattern"),
    (put(top, compiled_on="23/11/2026"), "compiled_on", "pattern"),
    (put(top, compiled_on="2026-02-30"), "compiled_on", "format: '2026-02-30' is not a 'date'"),
    (put(top, effective="unknown"), "effective", "type"),
    (put(top, effective={"from": "2026-11-23"}), "effective", "required: 'until'"),
    (put(top, effective={"from": "2026-11-23", "until": "open"}), "effective.until", "pattern"),
    (put(top, regions={"North Dakota": "US-ND"}), "regions", "'North Dakota' does not match"),
    (put(top, inbound={}), "inbound", "type: {} is not of type 'array'"),
    (put(california, regions=[]), "regions", "minItems"),
    (put(california, regions=["US-CA", "US-CA"]), "regions", "uniqueItems"),
    (put(california, status="limited"), "status", "enum"),
    (put(california, mode="drone"), "mode", "enum"),
    (put(california, weather="fine"), "inbound[", "additionalProperties"),
    (drop(california, "mode"), "inbound[", "required: 'mode'"),
    (drop(california, "permit"), "inbound[", "required: 'permit'"),
    (drop(california, "volume_limit"), "inbound[", "required: 'volume_limit'"),
    (drop(california, "effective"), "inbound[", "required: 'effective'"),
    (drop(california, "sources"), "inbound[", "required: 'sources'"),
    (drop(california, "confidence"), "inbound[", "required: 'confidence'"),
    (put(california, sources=[]), "sources", "minItems"),
    (put(california, confidence="sure"), "confidence", "enum"),
    (put(california, effective="soon"), "effective", "const: 'unknown' was expected"),
    (put(california, effective={"from": "2026-01-01"}), "effective", "required: 'until'"),
    (put(california, effective={"from": "2026-01-01", "until": "later"}), "effective.until", "pattern"),
    (drop(at("inbound", "US-NV"), "because"), "inbound[", "required: 'because'"),
    (drop(at("outbound", "US-NC"), "permit"), "outbound[", "required: 'permit'"),
    (drop(permit, "name"), "permit", "required: 'name'"),
    (put(permit, status="maybe"), "permit.status", "enum"),
    (put(vermont, abv_max_bp=12_000), "products.abv_max_bp", "maximum"),
    (put(vermont, abv_max_bp="12 %"), "products.abv_max_bp", "type"),
    (put(at("minimum_age", "US-ND"), years=12), "years", "minimum"),
    (drop(source, "url"), "sources.ca-abc94", "required: 'url'"),
    (put(source, kind="hearsay"), "sources.ca-abc94.kind", "enum"),
    (drop(lambda tree: tree["classes"][1], "because"), "classes[1]", "required: 'because'"),
]

CONTRADICTING: Final[list[tuple[Change, str, str]]] = [
    (
        put(top, effective={"from": "2026-11-23", "until": "2026-11-22"}),
        "effective",
        "a window does not end before it begins",
    ),
    (
        put(california, effective={"from": "2027-01-01", "until": "2026-12-31"}),
        "effective",
        "a window does not end before it begins",
    ),
    (put(california, sources=["rumour"]), "sources", "'rumour' stands in the table of sources"),
    (put(permit, sources=["rumour"]), "permit.sources", "'rumour' stands in the table of sources"),
    (
        put(california, open_questions=[{"question": "Why?", "sources": ["rumour"]}]),
        "open_questions[0].sources",
        "'rumour' stands in the table of sources",
    ),
    (put(california, regions=["US-CA", "US-PR"]), "regions", "'US-PR' is one of the regions"),
    (put(california, regions=["US-CA", "US-ND"]), "regions", "only one row speaks of 'US-ND' on one day"),
    (put(california, regions=["US-AK"]), "regions", "only one row speaks of 'US-AK' on one day"),
    (
        lambda tree: tree["inbound"].remove(california(tree)),
        "inbound",
        "a row speaks of 'US-CA', if only as unknown",
    ),
    (
        lambda tree: tree.update(minimum_age=[]),
        "minimum_age",
        "a row speaks of 'US-AL', if only as unknown",
    ),
    (put(vermont, classes=["cider"]), "products.classes", "'cider' is one of the classes"),
    (
        lambda tree: tree["classes"][1].update(names=["specialty", "gin"]),
        "classes[1].names",
        "'gin' stands in one row only",
    ),
]


@pytest.mark.parametrize(("change", "place", "rule"), BROKEN + CONTRADICTING)
def test_a_broken_pack_is_refused_by_file_place_and_rule(change: Change, place: str, rule: str) -> None:
    with pytest.raises(PackInvalid) as refused:
        changed_pack(change, "mine.yaml")

    facts = refused.value.facts
    assert facts["file"] == "mine.yaml"
    assert place in str(facts["place"])
    assert rule in str(facts["rule"])
    assert refused.value.detail == f"mine.yaml: {facts['place']}: {facts['rule']}."


def test_the_place_of_a_rule_is_its_path_in_the_file() -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["inbound"] = [california(tree)]
        tree["inbound"][0]["permit"]["fee_usd"] = 30

    with pytest.raises(PackInvalid) as refused:
        changed_pack(change)

    assert refused.value.facts["place"] == "inbound[0].permit"


def test_a_row_of_unknown_time_and_one_with_a_window_are_two_rows_of_one_day() -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["inbound"].append(california(tree) | {"effective": "unknown"})

    with pytest.raises(PackInvalid, match="only one row speaks of 'US-CA' on one day"):
        changed_pack(change)


def test_one_region_may_have_a_row_for_each_time_whatever_their_order() -> None:
    later = {"from": "2027-01-01", "until": "open"}

    def change(tree: dict[str, Any]) -> None:
        tree["inbound"].insert(0, california(tree) | {"effective": later})

    pack = changed_pack(change)

    assert [rule.effective and rule.effective.since.year for rule in pack.inbound["US-CA"]] == [2026, 2027]


@pytest.mark.parametrize(
    ("text", "place", "rule"),
    [
        ("inbound: [", "line 2, column 1", "YAML: "),
        ("pack: a\npack: b\n", "line 2, column 1", "YAML: the key 'pack' stands here once"),
        ("- pack\n", "the file", "is a mapping"),
        ("", "the file", "is a mapping"),
        ("pack: !!python/name:os.system x\n", "line 1, column 7", "YAML: could not determine a constructor"),
        ("pack: \x07", "the file", "YAML: "),
    ],
)
def test_what_is_no_mapping_in_yaml_is_refused(text: str, place: str, rule: str) -> None:
    with pytest.raises(PackInvalid) as refused:
        parse_pack(text, "mine.yaml")

    assert refused.value.facts["place"] == place
    assert str(refused.value.facts["rule"]).startswith(rule)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        PackInvalid, match=r"^gone\.yaml: the file: can be read: No such file or directory\.$"
    ):
        load_pack(tmp_path / "gone.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"pack: \xff")

    with pytest.raises(PackInvalid, match=r"byte 6: is text in UTF-8"):
        load_pack(path)


def test_a_file_of_absurd_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * 2_000_001)

    with pytest.raises(PackInvalid, match="at most 2000000 bytes"):
        load_pack(path)


def test_a_broken_pack_is_the_houses_trouble_and_not_the_callers() -> None:
    assert PackInvalid.kind is Kind.CONFLICT


def test_a_file_is_loaded_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(PACK.text, encoding="utf-8")

    assert load_pack(path) == PACK


def test_the_digest_is_of_the_text() -> None:
    shipped = files("rickhouse.compliance").joinpath("packs", SHIPPED).read_bytes()

    assert PACK.digest == sha256(shipped).hexdigest()
    assert parse_pack(PACK.text + "# a remark\n", "x").digest != PACK.digest


def test_unknown_and_open_are_read_as_such() -> None:
    pack = changed_pack(put(california, effective="unknown"))

    assert pack.inbound["US-CA"][0].effective is None
    assert PACK.inbound["US-ND"][0].effective == Window(PACK.compiled_on, None)


def test_the_schema_is_a_schema() -> None:
    schema = msgspec.json.decode(
        files("rickhouse.compliance").joinpath("packs", "pack.schema.json").read_bytes()
    )

    Draft202012Validator.check_schema(schema)


def test_a_copy_that_nobody_changed_is_the_same_law() -> None:
    copy = changed_pack(lambda _tree: None)

    assert copy.inbound == PACK.inbound
    assert copy.digest != PACK.digest
    assert pack_tree()["version"] == "2026-11-23"
