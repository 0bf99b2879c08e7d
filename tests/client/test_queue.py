"""The face of LLM Queue: its statuses, its exceptions, its shutting down."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import redis

from pipeline.client import Client
from pipeline.client_errors import (
    ClientClosed,
    QueueTimeoutError,
    SchedulerQueueFullError,
    UserIdHeaderMissingError,
    UserRateLimitExceededError,
)
from pipeline.client_queue import LLMQueue, ModelPreferences
from pipeline.errors import Failure
from tests.gateway.answers import WORDS
from tests.waiting import eventually_async

pytestmark = pytest.mark.anyio

CHAT: dict[str, object] = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def queue(answered: str) -> AsyncIterator[LLMQueue]:
    """Open a queue before the stand-in."""
    client = Client(answered, default_model="sim/echo", default_embedding_model="sim/tell")
    queue = LLMQueue(client, request_timeout_seconds=20)
    await queue.initiate()
    try:
        yield queue
    finally:
        await queue.graceful_shutdown()


def content(response: dict[str, object]) -> str:
    return str(
        msgspec.json.decode(msgspec.json.encode(response))["choices"][0]["message"]["content"]
    )


async def test_a_chat_is_answered_with_200(queue: LLMQueue) -> None:
    preferences = ModelPreferences(require_llm_model=True, require_embedding_model=False)
    response, status = await queue.execute_request("chat_completion", CHAT, "bob", preferences)
    assert (content(response), status) == ("".join(WORDS), 200)


async def test_preferences_and_the_user_go_along(queue: LLMQueue) -> None:
    preferences = ModelPreferences(
        specific_llm_model="sim/tell",
        require_embedding_model=True,
        num_llm_calls_per_req=2,
        num_emb_calls_per_req=3,
    )
    response, status = await queue.execute_request("chat_completion", CHAT, "bob", preferences)
    assert status == 200
    event = msgspec.json.decode(content(response))
    assert (event["model"], event["user"], event["calls"]) == ("sim/tell", "bob", 2)
    assert event["also"] == [{"model": "", "operation": "embeddings", "calls": 3}]


async def test_embeddings_go_to_the_usual_model_of_theirs(queue: LLMQueue) -> None:
    response, status = await queue.execute_request("embeddings", {"input": "Hi"}, "bob")
    assert status == 200
    event = msgspec.json.decode(content(response))
    assert (event["model"], event["operation"]) == ("sim/tell", "embeddings")


@pytest.mark.parametrize(
    ("req_type", "data", "preferences", "status"),
    [
        ("translation", CHAT, None, 404),
        ("chat_completion", {}, None, 400),
        ("embeddings", CHAT, None, 400),
        ("chat_completion", CHAT, ModelPreferences(num_llm_calls_per_req=-1), 400),
        ("chat_completion", CHAT, ModelPreferences(num_llm_calls_per_req=float("nan")), 400),
        ("chat_completion", CHAT, ModelPreferences(require_llm_model=False), 400),
        ("chat_completion", CHAT, ModelPreferences(specific_llm_model="sim/overloaded"), 500),
    ],
)
async def test_what_fails_has_a_status_and_an_error(
    queue: LLMQueue,
    req_type: str,
    data: dict[str, object],
    preferences: ModelPreferences | None,
    status: int,
) -> None:
    response, told = await queue.execute_request(req_type, data, "bob", preferences)
    assert told == status
    assert msgspec.convert(response["error"], dict[str, object])["message"]


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure(message="?", code="model_not_found", status=404, cause="model_not_found"), 400),
        (Failure(message="?", code="rate_limited", status=429, cause="limited"), 0),
        (Failure(message="?", code="queue_full", status=503, cause="limited"), 0),
    ],
)
async def test_an_unknown_model_is_a_400_and_limits_are_raised(
    queue: LLMQueue, look: redis.Redis, failure: Failure, status: int
) -> None:
    user = f"refused-{failure.code}"
    look.set(f"failure:{user}", msgspec.json.encode(failure))
    preferences = ModelPreferences(specific_llm_model="sim/refused")
    asked = queue.execute_request("chat_completion", CHAT, user, preferences)
    if status:
        assert (await asked)[1] == status
    else:
        with pytest.raises((UserRateLimitExceededError, SchedulerQueueFullError)):
            await asked


async def test_a_user_is_needed_and_time_runs_out(answered: str) -> None:
    queue = LLMQueue(Client(answered), request_timeout_seconds=0.2)
    with pytest.raises(ClientClosed):
        await queue.execute_request("chat_completion", CHAT, "bob")
    await queue.initiate()
    try:
        with pytest.raises(UserIdHeaderMissingError):
            await queue.execute_request("chat_completion", CHAT, "")
        preferences = ModelPreferences(specific_llm_model="sim/never")
        with pytest.raises(QueueTimeoutError):
            await queue.execute_request("chat_completion", CHAT, "bob", preferences)
    finally:
        await queue.graceful_shutdown()


async def test_shutting_down_waits_for_who_is_under_way(answered: str, look: redis.Redis) -> None:
    queue = LLMQueue(Client(answered))
    await queue.initiate()
    preferences = ModelPreferences(specific_llm_model="sim/silent")
    asked = asyncio.create_task(
        queue.execute_request("chat_completion", CHAT, "shutting-down", preferences)
    )
    await asyncio.sleep(0)
    closing = asyncio.create_task(queue.graceful_shutdown())

    async def refuses() -> bool:
        try:
            await queue.execute_request("chat_completion", CHAT, "late")
        except ClientClosed:
            return True
        return False

    await eventually_async(refuses, what="the queue's refusal")
    assert not closing.done()
    look.set("go:shutting-down", 1)
    assert (await asked)[1] == 200
    await closing
