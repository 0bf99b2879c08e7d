"""Callbacks: the forms of the result, once for each request, and never where they do harm."""

import msgspec
import pytest

from pipeline.errors import Failure
from pipeline.event import Event, Usage
from pipeline.streams.callbacks import Callbacks
from pipeline.streams.link import Link
from tests.streams.rig import NAMES, Client, make_event

pytestmark = pytest.mark.anyio

RESPONSE = {
    "id": "chatcmpl-1",
    "model": "m-2026",
    "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
}
USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
FAILURE = Failure(message="Every candidate failed", code="provider_exhausted", status=503)


def done(**changes: object) -> Event:
    """Make a request that has been answered and asked to be called back."""
    ended = make_event(status="completed", reply_to="back", usage=USAGE)
    return msgspec.structs.replace(ended, **changes)


@pytest.fixture
def callbacks(link: Link, client: Client) -> Callbacks:
    """Deliver results; r1's record and response are there."""
    client.hset(
        NAMES.record("r1"),
        mapping={"status": "completed", "response": msgspec.json.encode(RESPONSE)},
    )
    return Callbacks(link, NAMES, 100)


def delivered(client: Client, stream: str = "back") -> list[dict[str, object]]:
    rows = client.xrange(stream)
    assert all(list(fields) == [b"event"] for _, fields in rows)
    return [msgspec.json.decode(fields[b"event"]) for _, fields in rows]


async def test_a_success_has_the_form_that_producers_know(
    callbacks: Callbacks, client: Client
) -> None:
    await callbacks.deliver(done(metadata=msgspec.Raw(b'{"mine":[1]}')))
    [result] = delivered(client)
    assert float(str(result.pop("processing_time_ms"))) > 0
    assert str(result.pop("timestamp")).endswith("Z")
    assert result == {
        "request_id": "r1",
        "status": "success",
        "content": "Hello",
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        "model_used": "m-2026",
        "response": RESPONSE,
        "metadata": {"mine": [1]},
    }
    assert client.hget(NAMES.record("r1"), "callback") == b"written"


async def test_an_error_has_the_form_that_producers_know(
    callbacks: Callbacks, client: Client
) -> None:
    await callbacks.deliver(done(status="failed", failure=FAILURE, usage=None))
    [result] = delivered(client)
    assert result.pop("processing_time_ms")
    assert result.pop("timestamp")
    assert result == {
        "request_id": "r1",
        "status": "error",
        "error": "Every candidate failed",
        "error_code": "provider_exhausted",
    }


@pytest.mark.parametrize(
    "response",
    [b'{"choices":null}', b'{"choices":[{"message":{"content":[{"type":"text"}]}}]}', b"[]"],
)
async def test_a_response_in_another_form_is_handed_on_whole(
    callbacks: Callbacks, client: Client, response: bytes
) -> None:
    client.hset(NAMES.record("r1"), "response", response)
    await callbacks.deliver(done())
    [result] = delivered(client)
    assert result["status"] == "success"
    assert result["response"] == msgspec.json.decode(response)
    assert "content" not in result


async def test_a_request_is_called_back_once(callbacks: Callbacks, client: Client) -> None:
    for _ in range(3):
        await callbacks.deliver(done())
    assert len(delivered(client)) == 1


async def test_a_key_that_is_no_stream_is_left_alone_and_noted(
    callbacks: Callbacks, client: Client
) -> None:
    client.set("back", "mine")
    await callbacks.deliver(done())
    assert client.get("back") == b"mine"
    assert client.hget(NAMES.record("r1"), "callback") == b"the key holds a string, not a stream"


@pytest.mark.parametrize("stream", ["t:requests:default", "t:done", "t:anything"])
async def test_a_stream_of_ours_is_refused_and_noted(
    callbacks: Callbacks, client: Client, stream: str
) -> None:
    await callbacks.deliver(done(reply_to=stream))
    assert not client.exists(stream)
    assert client.hget(NAMES.record("r1"), "callback").startswith(b"refused")


async def test_a_shadows_result_goes_to_the_side_stream_alone(
    callbacks: Callbacks, client: Client
) -> None:
    shadow = done(shadow=True, replay_of="r0", reply_to="")
    for event in (shadow, msgspec.structs.replace(shadow, reply_to="back")):
        await callbacks.deliver(event)
    [result] = delivered(client, NAMES.shadow)
    assert (result["request_id"], result["replay_of"], result["content"]) == ("r1", "r0", "Hello")
    assert not client.exists("back")


async def test_the_side_stream_takes_shadows_only(callbacks: Callbacks, client: Client) -> None:
    await callbacks.deliver(done(reply_to=NAMES.shadow))
    assert not client.exists(NAMES.shadow)


async def test_a_callback_stream_is_capped(link: Link, client: Client) -> None:
    callbacks = Callbacks(link, NAMES, 10)
    with client.pipeline(transaction=False) as pipe:
        for n in range(1000):
            pipe.xadd("back", {"n": n})
        pipe.execute()
    await callbacks.deliver(done())
    assert client.xlen("back") < 300


async def test_a_full_redis_still_tells_who_waits(callbacks: Callbacks, client: Client) -> None:
    client.config_set("maxmemory", 1)
    try:
        await callbacks.deliver(done())
    finally:
        client.config_set("maxmemory", 0)
    assert len(delivered(client)) == 1


async def test_a_lost_record_does_not_keep_a_result_back(link: Link, client: Client) -> None:
    await Callbacks(link, NAMES, 10).deliver(done())
    [result] = delivered(client)
    assert result["status"] == "success"
    assert not client.exists(NAMES.record("r1"))
