"""Identifiers: TypeID text, UUIDv7 order, kinds that do not mix."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.kernel.ids import CheckoutId, OrderId, VariantId, uuid7

# The specification's own valid example (TypeID 0.3, spec/valid.yml).
TYPEID_SUFFIX = "01h455vb4pex5vsknk084sn02q"
TYPEID_UUID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def test_text_is_the_specifications() -> None:
    assert str(OrderId(TYPEID_UUID)) == f"ord_{TYPEID_SUFFIX}"
    assert OrderId.parse(f"ord_{TYPEID_SUFFIX}").uuid == TYPEID_UUID


@given(st.uuids())
def test_text_comes_back(uuid: UUID) -> None:
    assert VariantId.parse(str(VariantId(uuid))) == VariantId(uuid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ord",
        "ord_",
        f"chk_{TYPEID_SUFFIX}",
        f"ord_{TYPEID_SUFFIX}0",
        f"ord_{TYPEID_SUFFIX.upper()}",
        "ord_81h455vb4pex5vsknk084sn02q",  # more than 128 bits
        "ord_01h455vb4pex5vsknk084sn02u",  # `u` is not in the alphabet
        "ord_01890a5d-ac96-774b-bcce-b3020",
        f"ord_{TYPEID_SUFFIX}\n",
    ],
)
def test_parse_refuses_what_is_no_id_of_this_kind(text: str) -> None:
    with pytest.raises(ValueError, match="expected an id such as ord_"):
        OrderId.parse(text)


def test_kinds_do_not_mix() -> None:
    assert OrderId(TYPEID_UUID) != CheckoutId(TYPEID_UUID)
    assert len({OrderId(TYPEID_UUID), CheckoutId(TYPEID_UUID)}) == 2


def test_uuid7_has_version_variant_and_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    value = uuid7()
    after_ms = time.time_ns() // 1_000_000
    assert value.version == 7
    assert value.variant == "specified in RFC 4122"
    assert before_ms <= value.int >> 80 <= after_ms


def test_uuid7_is_unique() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000
