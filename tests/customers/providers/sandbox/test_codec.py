"""What the bureau is told, and that only its explicit yes to the very question is a proof."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rickhouse.customers.port import AgeAnswer, BureauAway
from rickhouse.customers.providers.sandbox.codec import answer_of, request_of
from rickhouse.kernel.wire import HttpReply
from tests.customers.age_bureau import question_about

QUESTION = question_about("Ada Example")
YES: dict[str, Any] = {"id": "age_7", "key": QUESTION.key, "minimum_age": 21, "result": "pass"}


def reply(body: object, status: int = 200) -> HttpReply:
    """A reply with this JSON."""
    return HttpReply(status, {"content-type": "application/json"}, msgspec.json.encode(body))


def test_bureau_is_told_name_birth_date_and_address_and_nothing_else() -> None:
    request = request_of(QUESTION)
    assert (request.method, request.path) == ("POST", "/v1/age-checks")
    assert request.headers == {"content-type": "application/json", "idempotency-key": QUESTION.key}
    assert msgspec.json.decode(request.body) == {
        "minimum_age": 21,
        "name": "Ada Example",
        "birth_date": "1985-04-12",
        "address": {
            "line1": "1 Main Street",
            "line2": "Apartment 2",
            "city": "Medora",
            "region": "US-ND",
            "postal_code": "58645",
            "country": "US",
        },
    }


@pytest.mark.parametrize(
    ("result", "outcome"), [("pass", "proven"), ("fail", "refused"), ("manual_review", "review")]
)
def test_each_result_has_one_outcome(result: str, outcome: str) -> None:
    answer = answer_of(QUESTION, reply(YES | {"result": result}))
    assert (answer.outcome, answer.reference) == (outcome, "age_7")


@pytest.mark.parametrize("status", [201, 202, 204, 301, 400, 401, 404, 429, 500, 503])
def test_no_other_status_than_200_is_an_answer(status: int) -> None:
    with pytest.raises(BureauAway, match=f"^sandbox: HTTP {status}$"):
        answer_of(QUESTION, reply(YES, status))


@pytest.mark.parametrize(
    "changes",
    [
        {"result": "PASS"},
        {"result": "perhaps"},
        {"result": True},
        {"result": None},
        {"key": "another"},
        {"key": None},
        {"minimum_age": 18},
        {"minimum_age": "21"},
        {"id": ""},
        {"id": "x" * 101},
        {"id": 7},
    ],
)
def test_answer_to_another_question_or_in_other_words_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(BureauAway):
        answer_of(QUESTION, reply(YES | changes))


@pytest.mark.parametrize("missing", sorted(YES))
def test_answer_that_leaves_something_out_is_none(missing: str) -> None:
    with pytest.raises(BureauAway):
        answer_of(QUESTION, reply({name: value for name, value in YES.items() if name != missing}))


@given(st.binary(max_size=200))
def test_any_bytes_are_no_answer(body: bytes) -> None:
    with pytest.raises(BureauAway):
        answer_of(QUESTION, HttpReply(200, {}, body))


def test_more_than_the_contract_has_is_passed_over() -> None:
    assert answer_of(QUESTION, reply(YES | {"score": 99})) == AgeAnswer("proven", "age_7")


def test_request_and_question_show_nothing_of_the_person() -> None:
    request = request_of(QUESTION)
    assert repr(QUESTION) == "AgeQuestion(…)"
    assert repr(request) == f"HttpRequest(POST /v1/age-checks, {len(request.body)} bytes)"
