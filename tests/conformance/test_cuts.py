"""Replies and streams that break off at any byte: complete, or told as broken, never wrong."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from tests.conformance.forms import Exchange, Form
from tests.conformance.ground import Made, answering, call_of, made_with, make
from tests.conformance.listed import FORMS
from tests.providers.served import Connection, head, served

#: Calls at a time: the pool keeps a socket each.
AT_ONCE = 16


def promised(answer: bytes, cut: int, *, stream: bool) -> bytes:
    """Write what breaks off short of the length that its frame promises."""
    if stream:
        frame = b"%x\r\n%b" % (len(answer), answer[:cut])
        headers = {"content_type": "text/event-stream", "transfer_encoding": "chunked"}
        return head(200, headers) + frame
    length = str(len(answer))
    headers = {"content_type": "application/json", "content_length": length}
    return head(200, headers) + answer[:cut]


def unbounded(answer: bytes, cut: int, *, stream: bool) -> bytes:
    """Write what promises no length: its break looks like its end."""
    kind = "text/event-stream" if stream else "application/json"
    return head(200, {"content_type": kind, "connection": "close"}) + answer[:cut]


@pytest.mark.parametrize("write", [promised, unbounded])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_reply_cut_at_any_byte_is_whole_or_a_failure(
    form: Form, write: Callable[..., bytes]
) -> None:
    whole = made_with(answering(form.whole), form, form.whole).response
    for made in cut_everywhere(form, form.whole, write):
        if made.failure is None:
            assert same(made.response, whole)
        else:
            assert made.failure.cause == "network"


@pytest.mark.parametrize("write", [promised, unbounded])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_stream_cut_at_any_byte_is_whole_or_a_failure(
    form: Form, write: Callable[..., bytes]
) -> None:
    complete = made_with(answering(form.stream), form, form.stream)
    chunks = [undated(chunk) for chunk in complete.chunks]
    text = content_of(complete.response)
    for made in cut_everywhere(form, form.stream, write):
        got = [undated(chunk) for chunk in made.chunks]
        if made.failure is None:
            # The usage that comes after the end may be lost with the connection.
            assert content_of(made.response) == text
            assert [chunk for chunk in got if chunk["choices"]] == [
                chunk for chunk in chunks if chunk["choices"]
            ]
        else:
            assert got == chunks[: len(got)]
            assert made.failure.cause == ("interrupted" if got else "network")


def cut_everywhere(form: Form, exchange: Exchange, write: Callable[..., bytes]) -> list[Made]:
    """Make a call for each byte at which its answer breaks off; the last has all of it."""

    async def script(connection: Connection) -> None:
        cut = int(connection.request.headers["x-client-request-id"])
        await connection.send(write(exchange.answer, cut, stream=exchange.stream))
        connection._writer.close()

    async def scenario() -> list[Made]:
        async with served(script) as here:
            call = call_of(here, form, exchange)
            gate = asyncio.Semaphore(AT_ONCE)

            async def cut_at(cut: int) -> Made:
                async with gate:
                    return await make(here, msgspec.structs.replace(call, request_id=str(cut)))

            return await asyncio.gather(*map(cut_at, range(len(exchange.answer) + 1)))

    made = asyncio.run(scenario())
    assert made[0].failure is not None
    if write is unbounded or not exchange.stream:
        assert made[-1].failure is None
    return made


def undated(chunk: bytes) -> dict[str, object]:
    """Read a chunk without its date, which may be ours."""
    fields: dict[str, object] = msgspec.json.decode(chunk)
    return {**fields, "created": 0}


def same(one: dict[str, object], other: dict[str, object]) -> bool:
    """Compare but for the date."""
    return {**one, "created": 0} == {**other, "created": 0}


def content_of(response: dict[str, object]) -> object:
    """Give what the answer says and why it ended."""
    return response["choices"]
