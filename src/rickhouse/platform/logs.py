"""Logs as lines on standard error, without personal data: what is masked, and what an error may say of itself.

What is worth a line belongs to whoever logs it.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import msgspec
import structlog

from rickhouse.kernel.errors import Condition
from rickhouse.kernel.personal import Personal

PERSONAL_KEYS: Final = frozenset(
    {
        *("name", "first_name", "last_name", "full_name", "surname"),
        *("email", "phone", "phone_number"),
        *("address", "line1", "line2", "street", "city", "postal_code", "zip", "zip_code"),
        *("birth_date", "birth_day", "birthdate", "birthday", "date_of_birth", "dob"),
        *("ssn", "tax_id", "passport", "iban"),
        *("card", "card_number", "pan", "cvc", "cvv"),
        *("authorization", "password", "secret", "token"),
    }
)
"""Names under which personal data or secrets travel. A value logged under one of them is left out."""

LEFT_OUT: Final = "[left out]"
_DEPTH_MAX: Final = 6
_FRAMES_MAX: Final = 20
_PLAIN: Final = frozenset((str, int, float, bool, type(None)))
_BARE: Final = re.compile(r"[^\s\"'=\x00-\x1f]+")
_STDERR_FD: Final = 2
_OURS: Final = str(Path(__file__).parents[1])

EventDict = MutableMapping[str, Any]


class AccessLine(msgspec.Struct, frozen=True):
    """One request as the access log shows it: the route's template, never the path or the query."""

    at: datetime
    level: str
    event: str
    method: str
    route: str
    status: int
    ms: float
    request_id: str


def configure_logging(*, level: str = "info", plain: bool = False, access: bool = True) -> None:
    """Send every log of this process to standard error; `access` adds one line for each request.

    Each line is a JSON object, or `plain`: time, level, what happened, and `name=value` of the rest. Libraries are
    heard from `warning` upwards. Raises ValueError when there is no such level.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"{level!r} is not a log level: use debug, info, warning or error")
    _output.line = _plain_line if plain else _json_line
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _stamp, mask, _render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(True)
    _output.access = access and threshold <= logging.INFO


def log_request(method: str, route: str, status: int, seconds: float, request_id: str) -> None:
    """Write the access line of one request, if access lines are wanted."""
    if not _output.access:
        return
    line = AccessLine(
        datetime.now(UTC), "info", "request", method, route, status, round(seconds * 1e3, 2), request_id
    )
    _write(_output.line(line) + b"\n")


def describe(error: BaseException) -> str:
    """An error in one line without personal data: its type, what it may say, and the last place in our own code."""
    says = _safe_text(error)
    places = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_OURS)
    ]
    at = f" at {_place(places[-1].filename)}:{places[-1].lineno}" if places else ""
    return f"{type(error).__name__}{at}" + (f": {says}" if says else "")


def mask(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Structlog processor: what is logged under a personal name, or is of a personal type, is left out."""
    for key, value in event.items():
        if key == "exc_info":
            continue
        if key.lower() in PERSONAL_KEYS:
            event[key] = LEFT_OUT
        elif type(value) not in _PLAIN:
            event[key] = _masked(value, _DEPTH_MAX)
    error = _error_of(event.pop("exc_info", None))
    if error is not None:
        event["error"] = _story(error)
    return event


def _masked(value: object, depth: int) -> object:
    """`value` as plain JSON. Of a type that is not known to be harmless, only its name remains."""
    shown: object = f"{type(value).__name__}(…)"
    if type(value) in _PLAIN:
        shown = value
    elif isinstance(value, Personal | bytes | bytearray | memoryview) or depth == 0:
        pass
    elif isinstance(value, BaseException):
        shown = describe(value)
    elif isinstance(value, msgspec.Struct):
        shown = _masked({field: getattr(value, field) for field in value.__struct_fields__}, depth)
    elif isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        shown = {str(key): LEFT_OUT if _is_personal(key) else _masked(item, depth - 1) for key, item in pairs}
    elif isinstance(value, list | tuple | set | frozenset):
        shown = [_masked(item, depth - 1) for item in cast("Iterable[object]", value)]
    else:
        with suppress(TypeError):
            shown = msgspec.to_builtins(value, enc_hook=_by_prefix)
    return shown


def _by_prefix(value: object) -> str:
    """Typed ids show themselves; anything else that has no plain form does not."""
    if hasattr(type(value), "prefix"):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no plain form")


def _is_personal(key: object) -> bool:
    return isinstance(key, str) and key.lower() in PERSONAL_KEYS


def _error_of(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return cast("tuple[object, BaseException | None, object]", exc_info)[1]
    return sys.exc_info()[1] if exc_info else None


def _story(error: BaseException) -> dict[str, object]:
    """An error for the log: where it came from, frame by frame, without the source lines and without values."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    story: dict[str, object] = {
        "type": type(error).__name__,
        "says": _safe_text(error),
        "frames": [f"{_place(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        story["cause"] = describe(cause)
    return story


def _safe_text(error: BaseException) -> str:
    """What an error may say. Foreign messages quote the values that they stumbled over, so they are not repeated."""
    if isinstance(error, Condition):
        return f"{error.code}: {error.detail}"
    if isinstance(error, asyncpg.PostgresError):
        constraint = cast("str | None", getattr(error, "constraint_name", None))
        return " ".join(filter(None, (f"sqlstate {error.sqlstate}", constraint)))
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else ""
    if type(error).__module__.startswith("rickhouse."):
        return str(error)
    return ""


def _place(filename: str) -> str:
    return "/".join(Path(filename).parts[-2:])


def _stamp(_logger: object, method: str, event: EventDict) -> EventDict:
    event["level"] = method
    event["at"] = datetime.now(UTC).isoformat()
    return event


def _render(_logger: object, _method: str, event: EventDict) -> bytes:
    return _output.line(event)


_json_line: Final = msgspec.json.Encoder(enc_hook=lambda value: f"{type(value).__name__}(…)").encode


def _plain_line(event: EventDict | AccessLine) -> bytes:
    """What happened as a person reads it, always on one line: whatever could break it, or its parts, stays JSON."""
    parts = msgspec.structs.asdict(event) if isinstance(event, AccessLine) else dict(event)
    at = str(parts.pop("at"))[:19].replace("T", " ")
    what = str(parts.pop("event"))
    head = f"{at} {parts.pop('level'):<8} {what if what.isprintable() else _plain(what)}"
    return "  ".join((head, *(f"{name}={_plain(value)}" for name, value in parts.items()))).encode()


def _plain(value: object) -> str:
    bare = isinstance(value, str) and _BARE.fullmatch(value) is not None
    return str(value) if bare else _json_line(value).decode()


class _Output:
    """How a line is written, and whether requests leave one: not before logging is configured."""

    line: Callable[[EventDict | AccessLine], bytes] = staticmethod(_json_line)
    access: bool = False


_output: Final = _Output()


class _Bridge(logging.Handler):
    """What libraries log through `logging`, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; their messages are templates and arguments, of which only the template is kept."""
        event: EventDict = {"event": str(record.msg), "logger": record.name, "exc_info": record.exc_info}
        _stamp(None, record.levelname.lower(), event)
        _write(_output.line(mask(None, "", event)) + b"\n")


def _write(line: bytes) -> None:
    try:
        os.write(_STDERR_FD, line)
    except OSError:
        return  # nobody reads the log any more; serving goes on
