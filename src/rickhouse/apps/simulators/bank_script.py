"""What the simulated bank's magic tokens ask for. The list for readers stands in `bank`; doing it belongs there."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Final, Literal

import msgspec

Act = Literal["authorise", "capture", "void", "refund"]
Twist = Literal["", "refuse", "challenge", "queue"]


class Script(msgspec.Struct, frozen=True):
    """How one act goes. `late_s` passes before the bank sees the request, `slow_s` while it works on it; `times` bounds
    how often a failure before the money moves happens."""

    twist: Twist = ""
    reason: str = ""
    slow_s: int = 0
    late_s: int = 0
    failure: Literal["", "error", "drop", "timeout"] = ""
    after: bool = False
    times: int = sys.maxsize


_APPROVE: Final = Script()
_UNKNOWN_INSTRUMENT: Final = Script(twist="refuse", reason="UNKNOWN_INSTRUMENT")
_WORDS: Final[dict[str, Script]] = {
    "approve": _APPROVE,
    "3ds": Script(twist="challenge"),
    "pending": Script(twist="queue"),
    "decline": Script(twist="refuse", reason="DO_NOT_HONOUR"),
    "insufficient_funds": Script(twist="refuse", reason="NO_FUNDS"),
    "stolen": Script(twist="refuse", reason="STOLEN"),
    "expired": Script(twist="refuse", reason="EXPIRED"),
    "slow": Script(slow_s=2),
    "late": Script(late_s=2),
    "error_before": Script(failure="error"),
    "error_after": Script(failure="error", after=True),
    "drop_before": Script(failure="drop"),
    "drop_after": Script(failure="drop", after=True),
    "timeout_before": Script(failure="timeout"),
    "timeout_after": Script(failure="timeout", after=True),
}
_TWISTS: Final[dict[str, tuple[Twist, ...]]] = {
    "authorise": ("", "refuse", "challenge"),
    "capture": ("", "refuse"),
    "void": ("", "refuse"),
    "refund": ("", "refuse", "queue"),
}


@lru_cache(maxsize=1024)
def script_of(token: str, act: Act) -> Script:
    """What `token` asks for when it comes to `act`. A token about another act approves; one nobody gave is refused."""
    found = _read(token)
    if found is None:
        return _UNKNOWN_INSTRUMENT
    about, script = found
    return script if about == act else _APPROVE


def _read(token: str) -> tuple[str, Script] | None:
    if not token.startswith("tok_"):
        return None
    name = token.removeprefix("tok_")
    about, _, rest = name.partition("_")
    if about not in ("capture", "void", "refund"):
        about, rest = "authorise", name
    word, _, number = rest.rpartition("_")
    if not (word and len(number) <= 3 and number.isascii() and number.isdigit()):
        word, number = rest, ""
    script = _WORDS.get(word.removeprefix("decline_"))
    if script is None or script.twist not in _TWISTS[about]:
        return None
    return about, _numbered(script, int(number)) if number else script


def _numbered(script: Script, number: int) -> Script:
    if script.failure:
        return msgspec.structs.replace(script, times=number)
    return msgspec.structs.replace(
        script, slow_s=number if script.slow_s else 0, late_s=number if script.late_s else 0
    )
