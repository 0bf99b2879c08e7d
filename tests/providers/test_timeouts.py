"""Connect, first byte, idle, total: each ends the call, says so, and closes the socket."""

import asyncio
import socket

import msgspec
import pytest

from pipeline.errors import Failure, UpstreamError
from tests.providers.served import SHORT, Connection, Script, Served, served
from tests.providers.shapes import CHUNKS, STREAM, WHOLE, frame
from workers.providers.base import Timeouts
from workers.providers.watch import Expired, Watch


async def drained(here: Served, limits: Timeouts, *, stream: bool) -> None:
    """Make a call and read its answer to the end."""
    call = here.call(timeout=limits, stream=stream)
    if not stream:
        await here.upstream.complete(call)
        return
    async for _ in here.upstream.stream(call):
        pass


async def failure_of(here: Served, limits: Timeouts, *, stream: bool) -> Failure:
    """Make a call that is to run into a timeout."""
    with pytest.raises(UpstreamError) as raised:
        await drained(here, limits, stream=stream)
    return raised.value.failure()


def overdue(script: Script, *, stream: bool = False, **timeouts: float) -> Failure:
    """Run into a timeout, and see that the socket is closed."""

    async def scenario() -> Failure:
        async with served(script) as here:
            timeout = msgspec.structs.replace(SHORT, **timeouts)
            failure = await failure_of(here, timeout, stream=stream)
            await here.until(lambda: here.ended == 1)
            return failure

    return asyncio.run(scenario())


def check(failure: Failure, phase: str) -> None:
    """Check that a failure tells its timeout."""
    assert (failure.cause, failure.status, failure.code) == ("timeout", 504, "upstream_timeout")
    assert failure.metadata["timeout"] == phase
    assert "0.15 s" in failure.message


async def silent(connection: Connection) -> None:
    """Answer nothing at all."""
    await connection.closed_by_peer()


async def head_alone(connection: Connection) -> None:
    """Send the head at once and no byte after it."""
    await connection.begin()
    await connection.closed_by_peer()


async def stalled(connection: Connection) -> None:
    """Stop in mid-stream."""
    await connection.begin()
    await connection.piece(frame(CHUNKS[0]))
    await connection.closed_by_peer()


async def stalled_in_the_body(connection: Connection) -> None:
    """Stop in the middle of a whole answer."""
    await connection.answer(200, WHOLE[:50], content_length=str(len(WHOLE)))
    await connection.closed_by_peer()


async def trickling(connection: Connection) -> None:
    """Send a comment every few milliseconds for ever."""
    await connection.begin()
    closed = asyncio.create_task(connection.closed_by_peer())
    while not closed.done():
        await connection.piece(b": still here\n\n")
        await asyncio.wait([closed], timeout=0.02)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", [silent, head_alone])
def test_no_first_byte_ends_the_call(script: Script, *, stream: bool) -> None:
    check(overdue(script, stream=stream, first_byte_s=0.15), "first_byte")


def test_a_stream_that_stalls_is_ended() -> None:
    check(overdue(stalled, stream=True, idle_s=0.15), "idle")


def test_an_answer_that_stalls_is_ended() -> None:
    check(overdue(stalled_in_the_body, idle_s=0.15), "idle")


def test_a_call_that_goes_on_and_on_is_ended() -> None:
    check(overdue(trickling, stream=True, total_s=0.15), "total")


def test_bytes_that_keep_coming_are_not_idle() -> None:
    async def slow(connection: Connection) -> None:
        await connection.begin()
        for _ in range(10):
            await connection.piece(b": still here\n\n")
            await asyncio.sleep(0.03)
        await connection.piece(STREAM)
        await connection.piece(b"")

    async def scenario() -> list[bytes]:
        async with served(slow) as here:
            timeout = msgspec.structs.replace(SHORT, idle_s=0.15)
            call = here.call(stream=True, timeout=timeout)
            return [c async for deltas in here.upstream.stream(call) for c in deltas.chunks]

    assert asyncio.run(scenario()) == CHUNKS


def test_a_connection_that_does_not_come_about_ends_the_call() -> None:
    async def scenario() -> Failure:
        # A listener whose queue is full does not answer: the SYN is dropped.
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            here = Served(full.getsockname()[1])
            timeout = msgspec.structs.replace(SHORT, connect_s=0.15)
            try:
                return await failure_of(here, timeout, stream=False)
            finally:
                await here.upstream.close()
                for filler in fillers:
                    filler.close()

    check(asyncio.run(scenario()), "connect")


def test_a_slow_consumer_is_not_taken_for_an_idle_upstream() -> None:
    async def scenario() -> list[bytes]:
        async def script(connection: Connection) -> None:
            await connection.begin()
            for data in CHUNKS:
                await connection.piece(frame(data))
                await asyncio.sleep(0.01)
            await connection.piece(b"data: [DONE]\n\n")
            await connection.piece(b"")

        chunks: list[bytes] = []
        async with served(script) as here:
            timeout = msgspec.structs.replace(SHORT, idle_s=0.1, first_byte_s=0.1)
            async for deltas in here.upstream.stream(here.call(stream=True, timeout=timeout)):
                chunks += deltas.chunks
                await asyncio.sleep(0.15)
        return chunks

    assert asyncio.run(scenario()) == CHUNKS


def test_a_cancellation_from_outside_wins_over_a_timeout() -> None:
    async def waiting(watch: Watch) -> None:
        with watch:
            await asyncio.sleep(5)

    async def scenario() -> None:
        watch = Watch(msgspec.structs.replace(SHORT, first_byte_s=0.05))
        task = asyncio.create_task(waiting(watch))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, task.cancel)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        watch.close()

    asyncio.run(scenario())


def test_a_timeout_leaves_the_task_uncancelled() -> None:
    async def scenario() -> None:
        watch = Watch(msgspec.structs.replace(SHORT, first_byte_s=0.02))
        with pytest.raises(Expired), watch:
            await asyncio.sleep(5)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        watch.close()

    asyncio.run(scenario())


def test_a_wait_costs_no_timer_of_its_own() -> None:
    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        set_before = loop._scheduled  # type: ignore[attr-defined]
        watch = Watch(SHORT)
        for _ in range(100):
            with watch:
                await asyncio.sleep(0)
            watch.phase = "idle"
        count = len(set_before)
        watch.close()
        return count

    assert asyncio.run(scenario()) == 1
