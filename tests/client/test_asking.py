"""Asking through the client: answers, streams, repetitions, failures and timeouts."""

import asyncio
import contextlib
from typing import Unpack

import msgspec
import pytest
import redis

from pipeline.client import Chunk, Client, Wishes
from pipeline.client_errors import (
    ClientClosed,
    KeyConflict,
    QueueTimeoutError,
    RequestFailed,
    RequestUnknown,
    SchedulerQueueFullError,
    UserIdHeaderMissingError,
    UserRateLimitExceededError,
)
from pipeline.errors import BadRequest, Failure, RedisUnavailable
from pipeline.event import Usage
from pipeline.names import Names
from tests.gateway.answers import USAGE, WORDS
from tests.reckoning import entries
from tests.waiting import eventually_async

pytestmark = pytest.mark.anyio

_NAMES = Names()
_TEXT = "".join(WORDS)


async def _told(
    client: Client, *, cancel_on_timeout: bool = False, **wishes: Unpack[Wishes]
) -> dict[str, object]:
    """Have the stand-in tell the event it was given."""
    wishes |= {"prompt": "Hi", "model": "sim/tell"}
    answer = await client.ask(cancel_on_timeout=cancel_on_timeout, **wishes)
    return msgspec.json.decode(answer.content, type=dict[str, object])


async def test_an_answer_is_whole(client: Client) -> None:
    answer = await client.ask(prompt="Hi", timeout_s=10)
    assert (answer.content, answer.finish_reason, answer.usage) == (_TEXT, "stop", USAGE)
    assert answer.status == "completed"
    assert answer.json()["object"] == "chat.completion"


async def test_a_submitted_request_is_asked_for_later_and_again(client: Client) -> None:
    request_id = await client.submit(prompt="Hi")
    first = await client.result(request_id, timeout_s=10)
    assert (first.id, first.content) == (request_id, _TEXT)
    assert await client.result(request_id, timeout_s=10) == first
    state = await client.state(request_id)
    assert (state.status, state.has_ended, state.model) == ("completed", True, "sim/echo")
    assert state.finished is not None


async def test_the_event_is_as_a_gateways(client: Client) -> None:
    told = await _told(client, priority=-1, tenant="acme", user="bob", session_id="s-1")
    expected = {"tenant": "acme", "user": "bob", "session": "s-1", "priority": -1, "patient": True}
    assert told.items() >= expected.items()
    assert not told["deadline"]
    assert "direct" not in told


async def test_a_timeout_of_asking_is_the_requests_own_only_if_that_is_to_end_it(
    client: Client,
) -> None:
    assert not (await _told(client, timeout_s=10))["deadline"]
    told = await _told(client, timeout_s=10, cancel_on_timeout=True)
    assert float(str(told["deadline"])) - float(str(told["created"])) == pytest.approx(10)


async def test_large_bodies_arrive_whole(client: Client) -> None:
    text = "x" * 300_000
    answer = await client.ask(prompt=text, model="sim/body", timeout_s=10)
    assert text in answer.content


async def test_a_stream_gives_each_chunk_and_how_it_ended(client: Client) -> None:
    chunks = [chunk async for chunk in client.stream(prompt="Hi", timeout_s=10)]
    assert "".join(chunk.content for chunk in chunks) == _TEXT
    assert len(chunks) > len(WORDS)
    assert all(b"chat.completion.chunk" in line for chunk in chunks[:-1] for line in chunk.lines)
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", USAGE)
    assert len({chunk.request_id for chunk in chunks}) == 1


async def test_a_stream_is_resumed_behind_any_of_its_chunks(client: Client) -> None:
    whole = [chunk async for chunk in client.stream(prompt="Hi", timeout_s=10)]
    request_id = whole[0].request_id
    for place, chunk in enumerate(whole):
        rest = [each async for each in client.resume(request_id, chunk.entry, 10)]
        assert rest == whole[place + 1 :]
    assert [each async for each in client.resume(request_id)] == whole
    assert (await client.result(request_id, timeout_s=10)).content == _TEXT


async def test_an_answer_that_was_not_streamed_is_one_chunk(client: Client) -> None:
    request_id = await client.submit(prompt="Hi")
    [chunk] = [each async for each in client.resume(request_id, timeout_s=10)]
    assert (chunk.content, chunk.usage) == (_TEXT, USAGE)


async def test_an_answer_that_begins_anew_says_so(client: Client) -> None:
    chunks = [each async for each in client.stream(prompt="Hi", model="sim/restart", timeout_s=10)]
    assert [(each.content, each.restarts) for each in chunks[:2]] == [
        ("lost", False), ("kept", True),
    ]  # fmt: skip
    answer = await client.result(chunks[0].request_id, timeout_s=10)
    assert answer.content == "kept"


async def test_a_stream_that_is_cut_raises_behind_its_chunks(client: Client) -> None:
    stream = client.stream(prompt="Hi", model="sim/cut", timeout_s=10)
    half = await anext(stream)
    assert half.content == "half"
    with pytest.raises(RequestFailed) as raised:
        await anext(stream)
    assert (raised.value.code, raised.value.request_id) == ("stream_interrupted", half.request_id)


async def test_who_stops_reading_leaves_nothing_behind(client: Client, look: redis.Redis) -> None:
    async with contextlib.aclosing(client.stream(prompt="Hi", model="sim/slow", user="r1")) as read:
        first = await anext(read)
    assert client._post._inbox.watching == 0
    look.set("go:r1", 1)
    rest = [each.content async for each in client.resume(first.request_id, first.entry, 10)]
    assert "".join([first.content, *rest]) == _TEXT


async def test_an_id_given_twice_is_answered_once(client: Client, look: redis.Redis) -> None:
    asked = [
        asyncio.create_task(
            client.ask(prompt="Hi", model="sim/silent", user="t1", request_id="twice", timeout_s=10)
        )
        for _ in range(3)
    ]
    await eventually_async(lambda: _is_known(look, "twice"))
    look.set("go:t1", 1)
    first, *others = await asyncio.gather(*asked)
    assert others == [first, first]
    later = await client.ask(prompt="Hi", request_id="twice", timeout_s=10)
    assert later == first
    lane = entries(look, _NAMES.requests["default"])
    assert sum('"twice"' in fields["event"] for _, fields in lane) == 1


async def _is_known(look: redis.Redis, request_id: str) -> bool:
    return bool(look.exists(_NAMES.record(request_id)))


async def test_a_key_given_twice_is_answered_once(client: Client, look: redis.Redis) -> None:
    async def ask() -> tuple[str, str]:
        answer = await client.ask(
            prompt="Hi", model="sim/silent", user="k1", idempotency_key="k", timeout_s=10
        )
        return answer.id, answer.content

    asked = [asyncio.create_task(ask()) for _ in range(3)]
    submitted = await client.submit(prompt="Hi", model="sim/silent", user="k1", idempotency_key="k")
    look.set("go:k1", 1)
    assert set(await asyncio.gather(*asked)) == {(submitted, _TEXT)}
    assert await ask() == (submitted, _TEXT)
    chunks = client.stream(prompt="Other", idempotency_key="k", timeout_s=10)
    with pytest.raises(KeyConflict):
        await anext(chunks)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(message="a", code="rate_limited", status=429), UserRateLimitExceededError),
        (Failure(message="b", code="queue_full", status=503), SchedulerQueueFullError),
        (Failure(message="c", code="queue_timeout", status=504), QueueTimeoutError),
        (Failure(message="d", code="provider_exhausted", retry_after_s=3.0), RequestFailed),
    ],
)
async def test_a_failure_is_raised_as_what_it_is(
    client: Client, look: redis.Redis, failure: Failure, kind: type[RequestFailed]
) -> None:
    look.set(f"failure:{failure.message}", msgspec.json.encode(failure))
    with pytest.raises(kind) as raised:
        await client.ask(prompt="Hi", model="sim/refused", user=failure.message, timeout_s=10)
    assert raised.value.failure() == failure
    state = await client.state(raised.value.request_id)
    assert (state.status, state.failure) == ("failed", failure)


async def test_a_timeout_ends_the_wait_and_not_the_request(
    client: Client, look: redis.Redis
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(QueueTimeoutError) as raised:
        await client.ask(prompt="Hi", model="sim/silent", user="late", timeout_s=0.2)
    assert loop.time() - began < 2
    assert not (await client.state(raised.value.request_id)).has_ended
    look.set("go:late", 1)
    answer = await client.result(raised.value.request_id, timeout_s=10)
    assert answer.content == _TEXT


async def test_a_result_is_not_waited_for_longer_than_said(client: Client) -> None:
    request_id = await client.submit(prompt="Hi", model="sim/never")
    with pytest.raises(QueueTimeoutError):
        await client.result(request_id, timeout_s=0)
    with pytest.raises(QueueTimeoutError):
        await anext(client.resume(request_id, timeout_s=0.05))
    assert client._post._inbox.watching == 0


async def test_a_timeout_that_cancels_marks_the_request(client: Client, look: redis.Redis) -> None:
    with pytest.raises(QueueTimeoutError) as raised:
        await client.ask(prompt="Hi", model="sim/never", timeout_s=0.1, cancel_on_timeout=True)
    record = _NAMES.record(raised.value.request_id)

    async def mark() -> object:
        return look.hget(record, "cancel")

    assert await eventually_async(mark) == "timeout"


async def test_what_is_not_known_is_said_so(client: Client) -> None:
    for asked in (client.result("nobody"), client.state("nobody"), client.cancel("nobody")):
        with pytest.raises(RequestUnknown, match="nobody"):
            await asked
    with pytest.raises(BadRequest, match="no entry"):
        await anext(client.resume("nobody", "first"))


async def test_a_user_may_be_demanded(answered: str) -> None:
    async with Client(answered, default_model="sim/echo", require_user=True) as client:
        with pytest.raises(UserIdHeaderMissingError):
            await client.submit(prompt="Hi")
        assert (await client.ask(prompt="Hi", user="bob", timeout_s=10)).content == _TEXT


async def test_a_client_is_made_of_the_environment(
    answered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_REDIS_URL", answered)
    monkeypatch.setenv("SLUICE_NAMESPACE", "sluice")
    monkeypatch.setenv("SLUICE_GATEWAY__DEFAULT_MODEL", "quality")
    async with Client.from_settings() as client:
        assert (await client.ask(prompt="Hi", timeout_s=10)).usage == Usage(
            prompt_tokens=3, completion_tokens=2, total_tokens=5
        )


async def test_closing_ends_every_wait_with_a_clear_error(answered: str) -> None:
    client = Client(answered)
    await client.open()
    request_id = await client.submit(prompt="Hi", model="sim/never")
    waits = [
        asyncio.create_task(client.result(request_id)),
        asyncio.create_task(client.ask(prompt="Hi", model="sim/never")),
        asyncio.create_task(_drain(client)),
    ]
    await asyncio.sleep(0.1)
    await client.close()
    ended = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 2)
    assert [type(each) for each in ended] == [ClientClosed] * 3
    with pytest.raises(ClientClosed):
        await client.submit(prompt="Hi")
    await client.close()


async def _drain(client: Client) -> list[Chunk]:
    return [chunk async for chunk in client.stream(prompt="Hi", model="sim/never")]


async def test_a_client_that_is_not_open_says_so(answered: str) -> None:
    client = Client(answered)
    with pytest.raises(ClientClosed):
        await client.submit(prompt="Hi")
    with pytest.raises(ClientClosed):
        await client.state("any")
    with pytest.raises(ClientClosed):
        await client.result("any")


async def test_who_is_cancelled_before_anything_was_sent_leaves_nothing(client: Client) -> None:
    task = asyncio.create_task(client.ask(prompt="Hi", model="sim/never"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client._post._inbox.watching == 0
    assert not client._post._hall


async def test_a_redis_that_is_not_there_is_named_without_its_password(free_port: int) -> None:
    client = Client(f"redis://bob:secret@127.0.0.1:{free_port}/0")
    assert "secret" not in repr(client)
    with pytest.raises(RedisUnavailable) as raised:
        await client.open()
    assert str(free_port) in str(raised.value)
    assert "secret" not in str(raised.value)


def test_what_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="URL"):
        Client("nonsense")


async def test_a_client_is_no_gateway_to_whoever_counts_them(
    client: Client, look: redis.Redis
) -> None:
    assert look.exists(_NAMES.inbox(client._post.name))
    assert look.zscore(_NAMES.gateways, client._post.name) is None
