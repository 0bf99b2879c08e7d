"""Streams over real sockets: deltas as they come, and every way to break off."""

import asyncio
import gzip
from collections.abc import Callable, Coroutine

import msgspec
import pytest

from pipeline.errors import Cause, Failure, UpstreamError
from pipeline.event import Usage
from tests.providers.served import Connection, Script, Served, served
from tests.providers.shapes import CHUNKS, DONE, STREAM, USAGE, WHOLE, chunk, error, frame
from workers.providers.base import Deltas, Reply

FRAMES = [frame(data) for data in CHUNKS]


class Outcome(msgspec.Struct):
    """What came of a stream."""

    deltas: list[Deltas] = []
    reply: Reply | None = None
    failure: Failure | None = None

    @property
    def chunks(self) -> list[bytes]:
        return [data for deltas in self.deltas for data in deltas.chunks]


async def consumed(here: Served, **changes: object) -> Outcome:
    """Read a stream to its end or its failure."""
    outcome = Outcome()
    stream = here.upstream.stream(here.call(stream=True, **changes))
    try:
        async for deltas in stream:
            outcome.deltas.append(deltas)
        outcome.reply = stream.reply()
    except UpstreamError as raised:
        outcome.failure = raised.failure()
    return outcome


def streamed(script: Script, **changes: object) -> Outcome:
    """Read one stream of an upstream that does as the script says."""

    async def scenario() -> Outcome:
        async with served(script) as here:
            return await consumed(here, **changes)

    return asyncio.run(scenario())


def sending(*pieces: bytes, pause_s: float = 0.005) -> Script:
    """Make a script that sends a stream in HTTP chunks, with a pause after each."""

    async def script(connection: Connection) -> None:
        await connection.begin(x_request_id="req_1")
        for piece in pieces:
            await connection.piece(piece)
            await asyncio.sleep(pause_s)
        await connection.piece(b"")

    return script


def cutting(*pieces: bytes, reset: bool = False) -> Script:
    """Make a script that breaks the connection after some pieces."""

    async def script(connection: Connection) -> None:
        await connection.begin()
        for piece in pieces:
            await connection.piece(piece)
            await asyncio.sleep(0.02)
        connection.reset() if reset else connection._writer.close()

    return script


def test_deltas_come_one_by_one_as_they_are_sent() -> None:
    outcome = streamed(sending(*FRAMES, DONE))
    assert outcome.chunks == CHUNKS
    assert [len(deltas.chunks) for deltas in outcome.deltas] == [2, 1, 1, 1]
    assert [deltas.usage_at for deltas in outcome.deltas] == [-1, -1, -1, 0]
    assert outcome.reply is not None
    assert outcome.reply.usage == Usage(prompt_tokens=9, completion_tokens=2, total_tokens=11)
    assert outcome.reply.finish_reason == "stop"
    assert outcome.reply.headers["x-request-id"] == "req_1"


def test_what_comes_before_the_first_content_comes_with_it() -> None:
    silence = [frame(chunk(choices=[])), FRAMES[0], FRAMES[0]]
    outcome = streamed(sending(*silence, FRAMES[1], FRAMES[3], DONE))
    assert [len(deltas.chunks) for deltas in outcome.deltas] == [4, 1]


def test_deltas_that_arrive_together_come_together() -> None:
    outcome = streamed(sending(STREAM))
    assert [deltas.chunks for deltas in outcome.deltas] == [CHUNKS]


@pytest.mark.parametrize("size", [1, 7, 50])
def test_cuts_anywhere_change_nothing(size: int) -> None:
    pieces = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    outcome = streamed(sending(*pieces, pause_s=0))
    assert outcome.chunks == CHUNKS


def test_other_line_ends_comments_and_compression_are_read() -> None:
    odd = b": PROCESSING\r\n\r\n" + STREAM.replace(b"\n", b"\r\n")
    assert streamed(sending(odd)).chunks == CHUNKS

    async def compressed(connection: Connection) -> None:
        await connection.begin(content_encoding="gzip")
        await connection.piece(gzip.compress(STREAM))
        await connection.piece(b"")

    assert streamed(compressed).chunks == CHUNKS


def test_the_request_asks_for_a_stream_with_usage_and_keeps_other_options() -> None:
    async def scenario() -> list[bytes]:
        async with served(sending(STREAM)) as here:
            for body in (
                b'{"model":"f","stream_options":{"include_obfuscation":false}}',
                b'{"model":"f","stream":false,"stream_options":null}',
            ):
                await consumed(here, body=body)
            assert here.requests[0].headers["accept"] == "text/event-stream"
            return [request.body for request in here.requests]

    assert asyncio.run(scenario()) == [
        b'{"model":"m-1","stream_options":{"include_obfuscation":false,"include_usage":true},'
        b'"stream":true}',
        b'{"model":"m-1","stream":true,"stream_options":{"include_usage":true}}',
    ]


@pytest.mark.parametrize(
    "ending",
    [
        sending(*FRAMES),
        sending(*FRAMES, b"data: [DONE]"),
        sending(*FRAMES[:-1], USAGE.join([b"data: ", b""])),
        cutting(*FRAMES),
        cutting(*FRAMES, reset=True),
        cutting(*FRAMES, DONE, reset=True),
        cutting(STREAM),
    ],
)
def test_a_stream_that_said_all_is_complete_however_it_ends(ending: Script) -> None:
    outcome = streamed(ending)
    assert outcome.failure is None
    assert outcome.chunks == CHUNKS


def test_a_stream_that_hangs_after_it_said_all_is_complete() -> None:
    async def hanging(connection: Connection) -> None:
        await connection.begin()
        await connection.piece(b"".join(FRAMES))
        await connection.closed_by_peer()

    timeout = msgspec.structs.replace(Served(0).call().timeout, idle_s=0.1)
    outcome = streamed(hanging, timeout=timeout)
    assert outcome.failure is None
    assert outcome.chunks == CHUNKS


@pytest.mark.parametrize(
    ("script", "cause", "delivered"),
    [
        (sending(*FRAMES[:2]), "interrupted", 2),
        (sending(*FRAMES[:2], FRAMES[2][:-10]), "interrupted", 2),
        (cutting(*FRAMES[:2]), "interrupted", 2),
        (cutting(*FRAMES[:2], reset=True), "interrupted", 2),
        (sending(), "network", 0),
        (cutting(), "network", 0),
        (cutting(b": hello\n\n", reset=True), "network", 0),
        (sending(DONE), "overloaded", 0),
        (sending(FRAMES[0], DONE), "overloaded", 0),
        (cutting(FRAMES[0]), "network", 0),
        (sending(*FRAMES[:2], b"data: {garbage\n\n", FRAMES[2]), "network", 2),
        (sending(*FRAMES[:2], FRAMES[2] + frame(error(code=429)) + FRAMES[3]), "rate_limited", 3),
        (sending(FRAMES[0], frame(error(code="server_is_overloaded"))), "overloaded", 0),
        (sending(frame(error(type="invalid_request_error"))), "bad_request", 0),
        (sending(b'data: {"object":"error","message":"x","code":400}\n\n'), "bad_request", 0),
        (sending(*FRAMES[:2], frame(chunk(finish="error", error={"code": 502}))), "network", 2),
    ],
)
def test_a_stream_that_breaks_off_gives_what_came_and_then_fails(
    script: Script, cause: Cause, delivered: int
) -> None:
    outcome = streamed(script)
    assert outcome.chunks == CHUNKS[:delivered]
    assert outcome.failure is not None
    assert outcome.failure.cause == cause


def test_a_refusal_before_the_stream_keeps_the_providers_words() -> None:
    async def refusing(connection: Connection) -> None:
        await connection.answer(400, error(message="Too long.", code="context_length_exceeded"))

    failure = streamed(refusing).failure
    assert failure is not None
    assert (failure.message, failure.status) == ("Too long.", 400)


@pytest.mark.parametrize(
    ("body", "kind", "cause"),
    [
        (error(code=429), "application/json", "rate_limited"),
        (WHOLE, "application/json", "network"),
        (b"<html>", "text/html", "network"),
    ],
)
def test_an_answer_that_is_no_stream_fails(body: bytes, kind: str, cause: Cause) -> None:
    async def script(connection: Connection) -> None:
        await connection.answer(200, body, content_type=kind)

    failure = streamed(script).failure
    assert failure is not None
    assert failure.cause == cause


def with_endless_stream(
    scenario: Callable[[Served], Coroutine[object, object, None]],
) -> None:
    """Run a scenario on an upstream that sends one delta and then nothing."""

    async def endless(connection: Connection) -> None:
        await connection.begin()
        await connection.piece(FRAMES[1])
        await connection.closed_by_peer()

    async def run() -> None:
        async with served(endless) as here:
            await scenario(here)

    asyncio.run(run())


def test_a_stream_that_is_left_closes_its_socket_and_tells_what_came() -> None:
    async def scenario(here: Served) -> None:
        async with here.upstream.stream(here.call(stream=True)) as stream:
            await anext(stream)
        await here.until(lambda: here.ended == 1)
        assert "Grüße, ".encode() in stream.reply().response
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    with_endless_stream(scenario)


def test_a_cancelled_stream_closes_its_socket() -> None:
    async def scenario(here: Served) -> None:
        task = asyncio.create_task(consumed(here))
        await here.until(lambda: len(here.requests) == 1)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await here.until(lambda: here.ended == 1)

    with_endless_stream(scenario)


def test_a_stream_that_was_never_begun_has_no_reply_and_sends_nothing() -> None:
    async def scenario(here: Served) -> None:
        stream = here.upstream.stream(here.call(stream=True))
        with pytest.raises(UpstreamError):
            stream.reply()
        await stream.aclose()
        assert here.connections == 0

    with_endless_stream(scenario)


def test_a_stream_whose_end_comes_soon_leaves_its_connection_to_the_next() -> None:
    async def scenario() -> int:
        async with served(sending(STREAM, pause_s=0.02)) as here:
            for _ in range(4):
                assert (await consumed(here)).failure is None
                await here.until(lambda: here.ended == len(here.requests))
                await asyncio.sleep(0.01)
            return here.connections

    assert asyncio.run(scenario()) == 1


def test_a_thousand_streams_are_held_at_once() -> None:
    async def scenario() -> None:
        everybody_here = asyncio.Event()

        async def together(connection: Connection) -> None:
            await connection.begin()
            await connection.piece(FRAMES[0])
            if len(here.requests) == 1000:
                everybody_here.set()
            await everybody_here.wait()
            await connection.piece(b"".join(FRAMES[1:]) + DONE)
            await connection.piece(b"")

        async with served(together) as here:
            patient = dict.fromkeys(("connect_s", "first_byte_s", "idle_s", "total_s"), 60.0)
            timeout = msgspec.structs.replace(here.call().timeout, **patient)
            streams = [consumed(here, timeout=timeout) for _ in range(1000)]
            outcomes = await asyncio.gather(*streams)
        assert all(outcome.chunks == CHUNKS for outcome in outcomes)

    asyncio.run(scenario())
