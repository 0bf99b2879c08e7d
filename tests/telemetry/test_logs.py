"""Log lines in both forms: whatever a field holds, it is one line, and hides what it must."""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from typing import cast

import pytest
import redis.exceptions
from hypothesis import given
from hypothesis import strategies as st

from pipeline.about import FIELDS, about, said
from pipeline.telemetry.logs import MAX_CHARS, JsonForm, TextForm, is_line, told_of, wrapped
from pipeline.tracing import NOBODY, begin
from tests.streams.rig import make_event

PROMPT = "tell me of my illness"


def record_of(
    message: str = "Worker started", *, name: str = "workers.process", **told: object
) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": name,
            "msg": message,
            "levelno": logging.INFO,
            "levelname": "INFO",
            "created": 1_700_000_000.0625,
            FIELDS: told,
        }
    )


def as_json(record: logging.LogRecord) -> dict[str, object]:
    line = JsonForm("worker-1").format(record)
    assert is_line(line)
    return cast("dict[str, object]", json.loads(line))


def as_text(record: logging.LogRecord) -> str:
    return TextForm("worker-1").format(record)


def broken(error: BaseException) -> logging.LogRecord:
    """Give the record of a raised error."""
    record = record_of("Hop failed")
    try:
        raise error
    except type(error):
        record.exc_info = sys.exc_info()
    return record


def test_a_line_of_json_tells_when_where_and_what() -> None:
    assert as_json(record_of(worker="w-1", left=3, share=0.5, ok=True)) == {
        "time": "2023-11-14T22:13:20.062Z",
        "level": "info",
        "part": "worker-1",
        "logger": "workers.process",
        "event": "Worker started",
        "worker": "w-1",
        "left": 3,
        "share": 0.5,
        "ok": True,
    }


def test_a_readable_line_tells_the_same() -> None:
    assert as_text(record_of(worker="w-1", left=3, why="no room", ok=True)) == (
        "2023-11-14T22:13:20.062Z INFO    worker-1  Worker started  "
        'worker=w-1 left=3 why="no room" ok=true'
    )


def test_a_foreign_logger_is_named_in_both_forms() -> None:
    record = record_of("Shutting down...", name="dramatiq.worker")
    assert as_json(record)["logger"] == "dramatiq.worker"
    assert as_text(record).endswith("  Shutting down...  logger=dramatiq.worker")


def test_a_request_is_known_by_id_tenant_hop_and_trace() -> None:
    trace = begin(NOBODY, "r1/1")
    event = make_event("r1", tenant="acme", trace=trace)
    assert about(event, "call", rung=60) == {
        FIELDS: {"request": "r1", "tenant": "acme", "hop": "call", "trace": trace.id, "rung": 60}
    }


def test_what_is_unknown_is_left_out() -> None:
    assert set(about(make_event("r1"))[FIELDS].values()) == {"r1", None}
    assert "tenant" not in as_json(record_of(tenant=None))


def test_letters_of_all_scripts_survive() -> None:
    assert as_json(record_of(tenant="Übergröße ≤ 日本"))["tenant"] == "Übergröße ≤ 日本"
    assert 'tenant="Übergröße ≤ 日本"' in as_text(record_of(tenant="Übergröße ≤ 日本"))


@given(st.text(), st.text())
def test_no_field_and_no_message_ends_a_line_or_begins_one(message: str, value: str) -> None:
    record = record_of(message, name="asyncio.x", request=value)
    line = JsonForm("worker").format(record)
    assert len(line.splitlines()) == 1
    if "@" not in value and len(value) <= MAX_CHARS:
        assert json.loads(line)["request"] == value
    assert len(as_text(record).splitlines()) == 1


def test_a_field_cannot_pass_for_another_one() -> None:
    forged = 'x" tenant=other level=error'
    assert r'request="x\" tenant=other level=error"' in as_text(record_of(request=forged))
    assert as_json(record_of(level="error", event="other", part="me"))["level"] == "info"


def test_a_value_of_another_kind_shows_its_type_alone() -> None:
    line = as_json(record_of(one={"prompt": PROMPT}, two=b"bytes", three=float("nan")))
    assert (line["one"], line["two"], line["three"]) == ("<dict>", "<bytes>", "nan")


def test_a_very_long_value_is_cut() -> None:
    line = as_json(record_of("m" * 50_000, request="x" * 50_000))
    assert str(line["request"]).endswith("x… (50000 characters)")
    assert len(json.dumps(line)) < 3 * MAX_CHARS


def test_an_error_tells_its_type_its_place_and_a_text_that_quotes_no_data() -> None:
    error = cast("Mapping[str, str]", as_json(broken(TypeError("int has no len")))["error"])
    assert (error["type"], error["message"]) == ("TypeError", "int has no len")
    assert "in broken" in error["stack"]
    assert "raise error" in error["stack"]


@pytest.mark.parametrize("error", [ValueError(PROMPT), KeyError(PROMPT), RuntimeError(PROMPT)])
def test_an_error_that_may_quote_a_request_keeps_its_text(error: Exception) -> None:
    for line in (JsonForm("w").format(broken(error)), as_text(broken(error))):
        assert PROMPT not in line
        assert type(error).__name__ in line
        assert "in broken" in line


def test_errors_behind_an_error_are_told_without_their_texts() -> None:
    try:
        try:
            raise ValueError(PROMPT)
        except ValueError as inner:
            raise ExceptionGroup(PROMPT, [KeyError(PROMPT)]) from inner
    except ExceptionGroup as group:
        told = told_of(group)
    assert PROMPT not in str(told)
    assert told["stack"].index("KeyError") < told["stack"].index("ValueError")


def test_the_stack_stands_below_a_readable_line_indented() -> None:
    first, *rest = as_text(broken(TypeError("no"))).splitlines()
    assert first.endswith("Hop failed  error=TypeError message=no")
    assert rest
    assert all(row.startswith("    ") for row in rest)


def test_what_asyncio_says_of_a_task_is_kept_short() -> None:
    text = f"Task exception was never retrieved\nfuture: <Task exception=ValueError({PROMPT!r})>"
    assert as_json(record_of(text, name="asyncio"))["event"] == "Task exception was never retrieved"


def test_a_password_in_an_address_is_masked() -> None:
    text = "redis://user:pass-word@host:6379/0 does not answer"
    line = as_json(record_of(text, reason=text))
    assert line["event"] == line["reason"] == "redis://…@host:6379/0 does not answer"


def test_redis_is_cited_without_the_arguments_that_it_quotes() -> None:
    error = redis.exceptions.ResponseError(
        f"unknown command `XADD`, with args beginning with: `sluice:call`, `{PROMPT}`, "
    )
    assert said(error) == "unknown command `XADD`"
    assert said(redis.exceptions.ReadOnlyError("READONLY You can't write")).startswith("READONLY")


def test_a_message_whose_arguments_do_not_fit_is_written_as_it_is() -> None:
    record = record_of("%d apples")
    record.args = ("many",)
    assert as_json(record)["event"] == "%d apples"


def test_a_line_beside_the_log_is_wrapped_and_known_by_its_process() -> None:
    line = wrapped("worker-2", 'Traceback (most recent call last):\x1b[31m "x"')
    assert is_line(line)
    told = json.loads(line)
    assert (told["part"], told["level"], told["logger"]) == ("worker-2", "info", "output")
    assert told["event"] == 'Traceback (most recent call last):\x1b[31m "x"'


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"time": 1}', "plain", '{"event', "\ud800"])
def test_what_is_no_line_of_ours_is_known(text: str) -> None:
    assert not is_line(text)


_SET_UP = """
import logging, sys, threading, warnings
from pipeline.about import noted
from pipeline.settings.schema import TelemetrySettings
from pipeline.telemetry.logs import configure
logging.basicConfig(format="before %(message)s")
configure("gateway", TelemetrySettings(logs="json", log_level=sys.argv[1]))
log = logging.getLogger("gateway.x")
"""


def lines_of(program: str, level: str = "info") -> list[dict[str, object]]:
    """Run a program with logs set up; give what it wrote on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", _SET_UP + program, level],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = done.stderr.splitlines()
    assert all(map(is_line, lines)), done.stderr
    return [json.loads(line) for line in lines]


_EACH_LEVEL = """
for name in ("gateway.x", "pipeline.y", "httpx", "asyncio", "elsewhere"):
    for say in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), say)("Said")
"""


@pytest.mark.parametrize(
    ("level", "ours", "loud", "others"),
    [("debug", 4, 2, 3), ("info", 3, 2, 3), ("warning", 2, 2, 2), ("error", 1, 1, 1)],
)
def test_the_level_holds_for_us_and_never_opens_others(
    level: str, ours: int, loud: int, others: int
) -> None:
    lines = lines_of(_EACH_LEVEL, level)
    told = [str(line["logger"]) for line in lines]
    counts = {name: told.count(name) for name in told}
    assert counts == {
        "gateway.x": ours, "pipeline.y": ours, "httpx": loud, "asyncio": loud, "elsewhere": others,
    }  # fmt: skip


def test_a_crash_is_a_line_as_well_without_its_text() -> None:
    [line] = lines_of(f"raise ValueError({PROMPT!r})")
    assert (line["level"], line["event"]) == ("critical", "Process crashed")
    assert PROMPT not in str(line)


def test_a_thread_that_crashes_and_a_warning_are_lines_as_well() -> None:
    thread = "t = threading.Thread(target=lambda: 1 / 0, name='spin'); t.start(); t.join()"
    crash, warning = lines_of(f"{thread}\nwarnings.warn('old')")
    assert (crash["event"], crash["thread"]) == ("Thread crashed", "spin")
    assert warning["logger"] == "py.warnings"
    assert "old" in str(warning["event"])


def test_a_line_that_cannot_be_made_is_no_traceback() -> None:
    assert lines_of("log.info('Said', extra=noted(**{'x': 1})); log.info('%d', 'a', 'b')")
