"""How this process's log lines look, JSON or readable, and the one place where that is set up.

A line holds what the call said and its fields (`pipeline.about`). Nothing that a field holds can
end its line or begin another one. The text of an error is left out unless its kind is known to
quote no data: a bug's error may quote the prompt that it stumbled over.
"""

import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.about import FIELDS, noted, said
from pipeline.errors import StartError
from pipeline.settings.schema import TelemetrySettings

log = logging.getLogger(__name__)

#: Longer values are cut: a supervisor hands on lines of 64 KiB whole.
MAX_CHARS: Final = 2000
#: Innermost frames that are shown of each error.
_FRAMES: Final = 20
_STACK_CHARS: Final = 8000

#: Loggers of our own, which go by the configured level; others say nothing below `info`.
_OURS: Final = ("pipeline", "gateway", "workers")
#: Of these, what is below a warning tells of each request, with addresses or with headers.
_LOUD: Final = ("aiohttp", "asyncio", "grpc", "httpcore", "httpx", "opentelemetry", "uvicorn")

#: Errors whose text names types, places and addresses, never what a request holds.
_PLAIN: Final = (
    OSError, redis.exceptions.RedisError, StartError, AttributeError, TypeError, NameError,
    IndexError, ArithmeticError, ImportError, MemoryError, NotImplementedError,
)  # fmt: skip

#: A user and a password in an address.
_PASSWORD: Final = re.compile(r"(?<=://)[^/@\s]*@")
#: Text that needs no quotes.
_WORD: Final = re.compile(r'[^\s"=\\]+')

Value = str | int | float | bool | None | Mapping[str, str]


class _Line(msgspec.Struct):
    """What every line has."""

    time: str
    level: str
    part: str
    logger: str
    event: str


_reader: Final = msgspec.json.Decoder(_Line)


class _Form(logging.Formatter):
    """Gathers what both forms tell; `part` is the process's name among ours."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def told(self, record: logging.LogRecord) -> dict[str, Value]:
        """Give a line's fields, those that every line has first."""
        line: dict[str, Value] = {
            "time": clock.rfc3339(record.created),
            "level": record.levelname.lower(),
            "part": self.part,
            "logger": record.name,
            "event": _event(record),
        }
        given: Mapping[str, object] = getattr(record, FIELDS, {})
        for name, value in given.items():
            if value is not None:
                line.setdefault(name, _plain(value))
        error = record.exc_info[1] if record.exc_info else None
        if error:
            line["error"] = told_of(error)
        return line


class JsonForm(_Form):
    """One JSON object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as a line."""
        return json.dumps(self.told(record), separators=(",", ":"))


class TextForm(_Form):
    """Time, level, part, what happened, and fields as `name=value`; an error's stack below."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as a line, and its error's stack as further ones, indented."""
        line = self.told(record)
        time, level, part, logger, event = (str(line.pop(name)) for name in tuple(line)[:5])
        error = line.pop("error", None)
        if record.name.partition(".")[0] not in _OURS:
            line["logger"] = logger
        if isinstance(error, Mapping):
            line |= {"error": error["type"]}
            line |= {"message": error["message"]} if "message" in error else {}
        told = " ".join(f"{name}={_quoted(value)}" for name, value in line.items())
        written = f"{time} {level.upper():<7} {part}  {_printable(event)}"
        written = f"{written}  {told}" if told else written
        if isinstance(error, Mapping):
            written += "".join(f"\n    {_printable(row)}" for row in error["stack"].splitlines())
        return written


def configure(part: str, telemetry: TelemetrySettings) -> None:
    """Have all loggers of this process write to its stderr in one form, crashes included.

    Handlers that are there are replaced, as Dramatiq's is; it has put its pipe in stderr's place.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonForm(part) if telemetry.logs == "json" else TextForm(part))
    level = logging.getLevelNamesMapping()[telemetry.log_level.upper()]
    logging.basicConfig(force=True, handlers=[handler], level=max(level, logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for name in _LOUD:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # It would tell what could not be written, with its arguments, past the handler.
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _crashed
    threading.excepthook = _thread_crashed


def wrapped(part: str, text: str) -> str:
    """Give what a process has written beside its log as a line of JSON."""
    told = {"name": "output", "levelname": "INFO", "msg": text}
    return JsonForm(part).format(logging.makeLogRecord(told))


def is_line(text: str) -> bool:
    """Tell whether a text is a line as `JsonForm` writes them."""
    try:
        _reader.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True


def told_of(error: BaseException) -> dict[str, str]:
    """Tell of an error: its type, its text where that quotes no data, and where it came up."""
    told = {"type": type(error).__name__}
    if isinstance(error, _PLAIN):
        told["message"] = _plain_text(said(error))
    return {**told, "stack": _cut("".join(_stack(error)), _STACK_CHARS)}


def _stack(error: BaseException) -> Iterator[str]:
    """Give the frames of an error, and of those that it came of, without their texts."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        if seen:
            yield f"beside or before that, {type(one).__name__}:\n"
        seen.add(id(one))
        yield from traceback.format_tb(one.__traceback__, limit=-_FRAMES)
        before = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting += [before] if before else []


def _event(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):
        text = str(record.msg)
    if record.name == "asyncio":
        # What follows is the repr of a task or of a call, with its error and its arguments.
        text = re.split(r"[\n(]", text, maxsplit=1)[0]
    return _plain_text(text)


def _plain(value: object) -> Value:
    match value:
        case str():
            return _plain_text(value)
        case float() if not math.isfinite(value):
            return str(value)
        case int() | float():
            return value
    return f"<{type(value).__name__}>"


def _plain_text(text: str) -> str:
    return _cut(_PASSWORD.sub("…@", text), MAX_CHARS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _quoted(value: Value) -> str:
    text = _printable(str(value).lower() if isinstance(value, bool) else str(value))
    if _WORD.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _printable(text: str) -> str:
    """Write what would move a terminal's cursor, or end the line, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("Process crashed", exc_info=error)


def _thread_crashed(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value:
        name = crash.thread.name if crash.thread else None
        log.critical("Thread crashed", exc_info=crash.exc_value, extra=noted(thread=name))
