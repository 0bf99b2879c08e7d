"""Errors of each class in each form, and answers that are none."""

import asyncio
from typing import Final

import pytest

from pipeline.errors import Cause
from tests.conformance.forms import Error, Form
from tests.conformance.ground import Made, made_with, refusing
from tests.conformance.listed import ERRORS, FORMS
from tests.providers.served import KEY, Connection

STATUSES: Final[dict[int, Cause]] = {
    400: "bad_request",
    401: "credentials",
    402: "credentials",
    403: "credentials",
    404: "model_not_found",
    408: "timeout",
    413: "bad_request",
    429: "rate_limited",
    500: "network",
    502: "network",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
#: Headers, in whose names `_` stands for `-`, and the seconds that they tell.
HINTS: Final[dict[str, tuple[dict[str, str], float]]] = {
    "seconds": ({"retry_after": "7"}, 7),
    "milliseconds": ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
    "of azure": ({"x_ms_retry_after_ms": "2500"}, 2.5),
    "a date": (
        {"date": "Mon, 01 Jun 2026 10:00:00 GMT", "retry_after": "Mon, 01 Jun 2026 10:01:00 GMT"},
        60,
    ),
}

each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


def failed(form: Form, status: int, body: bytes, **headers: str) -> Made:
    """Make a call that is answered so, whole and as a stream, which must fail alike."""
    script = refusing(status, body, headers)
    made, streamed = (made_with(script, form, one) for one in (form.whole, form.stream))
    assert made.failure is not None
    assert streamed.failure is not None
    assert streamed.failure.cause == made.failure.cause
    assert streamed.deltas == []
    return made


@each_form
@pytest.mark.parametrize("status", STATUSES)
def test_each_status_has_its_cause(form: Form, status: int) -> None:
    failure = failed(form, status, form.error(status)).failure
    assert failure is not None
    assert failure.cause == STATUSES[status]
    assert failure.message
    assert failure.metadata["provider_status"] == status
    if failure.cause in ("bad_request", "model_not_found"):
        assert failure.status == status


@each_form
@pytest.mark.parametrize("hint", HINTS)
def test_a_rate_limit_tells_when_to_come_back(form: Form, hint: str) -> None:
    headers, seconds = HINTS[hint]
    failure = failed(form, 429, form.error(429), **headers).failure
    assert failure is not None
    assert failure.retry_after_s == pytest.approx(seconds)


@pytest.mark.parametrize(("form", "error"), ERRORS.values(), ids=ERRORS)
def test_an_error_of_the_providers_own_has_its_cause(form: Form, error: Error) -> None:
    failure = failed(form, error.status, error.body, **error.headers).failure
    assert failure is not None
    assert failure.cause == error.cause
    if error.code:
        assert failure.code == error.code
    assert failure.retry_after_s == pytest.approx(error.retry_after_s, abs=1)


@each_form
def test_the_page_of_a_proxy_is_judged_by_its_status(form: Form) -> None:
    page = b"<html><head><title>x</title></head><body>Bad Gateway</body></html>"
    failure = failed(form, 502, page, content_type="text/html").failure
    assert failure is not None
    assert failure.cause == "network"
    assert "Bad Gateway" in failure.message


@each_form
def test_an_error_that_repeats_the_key_does_not_tell_it(form: Form) -> None:
    for status in (400, 401):
        failure = failed(form, status, form.error(status).replace(b"No.", KEY.encode())).failure
        assert failure is not None
        assert KEY not in str(failure)


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form.error_within], ids=lambda form: form.name
)
def test_an_error_within_a_success_has_its_cause(form: Form) -> None:
    failure = failed(form, 200, form.error_within).failure
    assert failure is not None
    assert failure.cause == "overloaded"


@each_form
def test_a_success_that_is_no_answer_is_a_failure_of_the_network(form: Form) -> None:
    for body in (form.whole.answer[:-5], b"", b"[]", b'{"task":"accepted"}', b"<html></html>"):
        made = made_with(refusing(200, body, {}), form, form.whole)
        assert made.failure is not None
        assert made.failure.cause == "network"


@each_form
def test_an_empty_completion_is_a_cold_deployments(form: Form) -> None:
    made = made_with(refusing(200, form.empty, {}), form, form.whole)
    assert made.failure is not None
    assert (made.failure.cause, made.failure.code) == ("overloaded", "empty_completion")


@each_form
def test_an_error_within_a_stream_ends_it_with_its_cause(form: Form) -> None:
    frames = form.stream.answer.split(b"\n\n")
    for before in (0, len(frames) // 2):
        started = b"".join(frame + b"\n\n" for frame in frames[:before])

        async def script(connection: Connection, started: bytes = started) -> None:
            await connection.begin()
            await connection.piece(started + form.error_frame)
            await asyncio.sleep(0.01)
            await connection.piece(b"")

        made = made_with(script, form, form.stream)
        assert made.failure is not None
        assert made.failure.cause == form.error_frame_cause
        assert bool(made.chunks) == bool(before)


@each_form
def test_a_frame_that_is_no_chunk_ends_the_stream(form: Form) -> None:
    name, _, rest = form.stream.answer.partition(b"data: ")
    frame = name + b"data: " + rest.partition(b"\n")[0][:-7] + b"\n\n"

    async def script(connection: Connection) -> None:
        await connection.begin()
        await connection.piece(frame)
        await connection.piece(b"")

    made = made_with(script, form, form.stream)
    assert made.failure is not None
    assert made.failure.cause == "network"
    assert made.chunks == []
