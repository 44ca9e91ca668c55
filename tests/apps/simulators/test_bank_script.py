"""Every magic token asks for exactly what the bank's docstring says."""

from __future__ import annotations

import pytest

from rickhouse.apps.simulators import bank
from rickhouse.apps.simulators.bank_script import Act, Script, script_of


@pytest.mark.parametrize(
    ("token", "act", "script"),
    [
        ("tok_approve", "authorise", Script()),
        ("tok_decline", "authorise", Script(twist="refuse", reason="DO_NOT_HONOUR")),
        ("tok_decline_stolen", "authorise", Script(twist="refuse", reason="STOLEN")),
        ("tok_3ds", "authorise", Script(twist="challenge")),
        ("tok_3ds", "capture", Script()),
        ("tok_slow", "authorise", Script(slow_s=2)),
        ("tok_slow_3", "authorise", Script(slow_s=3)),
        ("tok_late_12", "authorise", Script(late_s=12)),
        ("tok_error_before", "authorise", Script(failure="error")),
        ("tok_error_before_2", "authorise", Script(failure="error", times=2)),
        ("tok_timeout_after", "authorise", Script(failure="timeout", after=True)),
        ("tok_timeout_after", "refund", Script()),
        ("tok_capture_drop_after", "authorise", Script()),
        ("tok_capture_drop_after", "capture", Script(failure="drop", after=True)),
        ("tok_capture_drop_after", "void", Script()),
        ("tok_void_slow_1", "void", Script(slow_s=1)),
        ("tok_refund_decline", "refund", Script(twist="refuse", reason="DO_NOT_HONOUR")),
        ("tok_refund_pending", "refund", Script(twist="queue")),
    ],
)
def test_a_token_asks_for_one_thing_at_one_time(token: str, act: Act, script: Script) -> None:
    assert script_of(token, act) == script


@pytest.mark.parametrize(
    "token",
    [
        "",
        "tok_",
        "approve",
        "tok_whatever",
        "tok_pending",
        "tok_capture_3ds",
        "tok_void_pending",
        "tok_slow_9999",
    ],
)
def test_a_token_that_nobody_gave_is_refused(token: str) -> None:
    assert script_of(token, "authorise") == Script(twist="refuse", reason="UNKNOWN_INSTRUMENT")


@pytest.mark.parametrize(
    "token",
    ["tok_approve", "tok_decline", "tok_3ds", "tok_slow_", "tok_late_", "tok_error_before", "tok_drop_after"],
)
def test_the_tokens_are_told_to_readers(token: str) -> None:
    assert bank.__doc__ is not None
    assert token in bank.__doc__
