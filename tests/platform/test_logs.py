"""Logs tell what happened and nothing about people."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.kernel.errors import NotFound
from rickhouse.kernel.ids import OrderId
from rickhouse.kernel.money import Money
from rickhouse.kernel.personal import Personal
from rickhouse.platform.logs import LEFT_OUT, PERSONAL_KEYS, configure_logging, describe, mask

ADA = "Ada Lovelace"
ORDER = OrderId(UUID(int=7))


class Buyer(Personal, frozen=True, kw_only=True):
    """A person, for the purpose."""

    full: str


class Command(msgspec.Struct):
    """A shape that is not personal itself but carries a person."""

    order_id: OrderId
    buyer: Buyer


def masked(**event: object) -> dict[str, object]:
    """The event as the log shows it, proven to be JSON."""
    shown = dict(mask(None, "info", dict(event)))
    json.loads(msgspec.json.encode(shown))
    return shown


def test_personal_types_show_their_name_only() -> None:
    shown = masked(event="opened", who=Buyer(full=ADA), order=ORDER, price=Money(5, "USD"))
    assert shown == {
        "event": "opened",
        "who": "Buyer(…)",
        "order": str(ORDER),
        "price": {"minor": 5, "currency": "USD"},
    }


def test_persons_inside_other_shapes_are_found() -> None:
    shown = masked(event="x", command=Command(ORDER, Buyer(full=ADA)), many=[{"a": (Buyer(full=ADA),)}])
    assert shown == {
        "event": "x",
        "command": {"order_id": str(ORDER), "buyer": "Buyer(…)"},
        "many": [{"a": ["Buyer(…)"]}],
    }


@pytest.mark.parametrize(
    "key", ["email", "Phone", "birth_date", "authorization", "name", "token", "postal_code"]
)
def test_values_under_personal_keys_are_left_out_at_any_depth(key: str) -> None:
    assert masked(**{key: ADA}) == {key: LEFT_OUT}
    assert masked(inner=[{key: ADA}]) == {"inner": [{key: LEFT_OUT}]}


def test_unknown_objects_and_bytes_show_their_type_only() -> None:
    class Opaque:
        def __repr__(self) -> str:
            return ADA

    assert masked(a=Opaque(), b=ADA.encode()) == {"a": "Opaque(…)", "b": "bytes(…)"}


harmless = st.one_of(st.integers(), st.booleans(), st.none(), st.uuids(), st.datetimes())
personal = st.builds(Buyer, full=st.just(ADA))
keyed = st.dictionaries(st.sampled_from(sorted(PERSONAL_KEYS)), st.just(ADA), max_size=2)


@given(
    st.recursive(
        st.one_of(harmless, personal, keyed, st.builds(Command, st.just(ORDER), personal)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.tuples(inner, inner),
        ),
        max_leaves=12,
    )
)
def test_no_nesting_lets_a_person_through(value: object) -> None:
    assert ADA not in msgspec.json.encode(masked(event="x", value=value)).decode()


def story(error: Exception) -> dict[str, Any]:
    """What the log tells of an error that was raised."""
    with pytest.raises(type(error)) as caught:
        raise error
    return cast("dict[str, Any]", masked(exc_info=caught.value)["error"])


def test_errors_tell_type_and_place_but_not_foreign_messages() -> None:
    error = story(ValueError(ADA))
    assert (error["type"], error["says"]) == ("ValueError", "")
    assert error["frames"][-1].startswith("platform/test_logs.py:")


def test_causes_are_told_unless_suppressed() -> None:
    told, hidden = KeyError(ADA), KeyError(ADA)
    told.__cause__ = ValueError(ADA)
    hidden.__context__, hidden.__suppress_context__ = ValueError(ADA), True
    assert story(told)["cause"] == "ValueError"
    assert "cause" not in story(hidden)
    assert ADA not in str(story(told)) + str(story(hidden))


def test_describe_repeats_our_own_words_and_sql_states_only() -> None:
    assert describe(NotFound("There is no such order.")) == "NotFound: not_found: There is no such order."
    violation = asyncpg.UniqueViolationError(f"Key (email)=({ADA}) already exists.")
    violation.constraint_name = "customers_email_key"
    assert describe(violation) == "UniqueViolationError: sqlstate 23505 customers_email_key"
    assert describe(KeyError(ADA)) == "KeyError"
    assert describe(FileNotFoundError(2, ADA)) == "FileNotFoundError: No such file or directory"


def test_configured_process_writes_json_lines_to_standard_error_alone() -> None:
    script = """
import logging, structlog
from rickhouse.platform.logs import configure_logging, log_request
configure_logging(level="info")
structlog.contextvars.bind_contextvars(request_id="r1")
structlog.get_logger("t").info("order_opened", email="ada@example.com", quantity=2)
structlog.get_logger("t").debug("unheard")
logging.getLogger("library").warning("cannot reach %s", "ada@example.com")
logging.getLogger("library").info("unheard")
log_request("GET", "/v1/orders/{order_id}", 200, 0.01234, "r1")
try:
    raise ValueError("ada@example.com")
except ValueError:
    structlog.get_logger("t").exception("failed")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert "ada" not in done.stderr
    for line in lines:
        assert datetime.fromisoformat(line.pop("at")).tzinfo == UTC
    assert lines[0] == {
        "event": "order_opened",
        "email": LEFT_OUT,
        "quantity": 2,
        "request_id": "r1",
        "level": "info",
    }
    assert lines[1] == {"event": "cannot reach %s", "logger": "library", "level": "warning"}
    assert lines[2] == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "route": "/v1/orders/{order_id}",
        "status": 200,
        "ms": 12.34,
        "request_id": "r1",
    }
    assert (lines[3]["event"], lines[3]["error"]["type"]) == ("failed", "ValueError")
    assert len(lines) == 4


def test_plain_logs_are_one_line_each_for_a_person() -> None:
    script = """
import logging, structlog
from rickhouse.platform.logs import configure_logging, log_request
configure_logging(level="info", plain=True)
structlog.get_logger("t").info("order_opened", email="ada@example.com", quantity=2, note="two\\nlines")
logging.getLogger("library").warning("cannot reach %s", "ada@example.com")
log_request("GET", "/v1/orders/{order_id}", 200, 0.01234, "r1")
try:
    raise ValueError("ada@example.com")
except ValueError:
    structlog.get_logger("t").exception("failed")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert "ada" not in done.stderr
    for line in lines:
        datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert [line[20:] for line in lines[:3]] == [
        'info     order_opened  email="[left out]"  quantity=2  note="two\\nlines"',
        "warning  cannot reach %s  logger=library",
        "info     request  method=GET  route=/v1/orders/{order_id}  status=200  ms=12.34  request_id=r1",
    ]
    assert lines[3][20:].startswith('error    failed  error={"type":"ValueError","says":"","frames":[')
    assert len(lines) == 4


def test_unknown_level_is_refused_and_changes_nothing() -> None:
    before = list(logging.getLogger().handlers)
    with pytest.raises(ValueError, match="is not a log level"):
        configure_logging(level="loud")
    assert logging.getLogger().handlers == before
