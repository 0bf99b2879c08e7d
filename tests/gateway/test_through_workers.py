"""The gateway with the real workers and the simulated provider behind it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import openai
import pytest

from pipeline.embedded import redis_server as embedded
from tests.gateway.conftest import House, chat_body, starter
from tests.gateway.test_openai_client import MESSAGES, connect
from tests.gateway.test_plain import finished, frames
from tests.processes import Nursery
from tests.waiting import eventually

pytestmark = pytest.mark.journey

CONFIG = """
gateway: {{default_model: fast}}
simulate: {{port: {port}}}
providers: {{sim: {{kind: simulated, base_url: "http://127.0.0.1:{port}/v1", any_model: true}}}}
models: {{fast: {{deployments: [{{provider: sim, model: fast}}]}}}}
"""


@contextmanager
def all_hops(binary: Path, directory: Path, config: str, pace: str = "{}") -> Iterator[House]:
    """Give a gateway with a worker and the simulated provider; `config` has room for its port."""
    nursery = Nursery(directory)
    with embedded.EmbeddedRedis(directory, options={"appendonly": "no"}, binary=binary) as server:
        port = embedded.free_port()
        config = config.format(port=port)
        file = directory / "workers.yaml"
        file.write_text(config)
        environment = {"SLUICE_CONFIG": str(file), "SLUICE_REDIS_URL": server.url}
        simulated = [sys.executable, "-m", "workers.providers.simulated", "--port", str(port)]
        workers = [sys.executable, "-m", "dramatiq", "workers.app", "-p", "1", "-t", "1"]
        try:
            nursery.spawn(simulated, name="simulated")
            nursery.spawn(workers, environment, name="workers")
            start = starter(nursery.spawn, directory, server.url)
            house = start(config, pace=pace, standin=False)
            eventually(lambda: house.ask("GET", "/health/full").status == 200, 30)
            yield house
        finally:
            nursery.end()


@pytest.fixture(scope="module")
def whole(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a gateway that everyone may use as they like."""
    with all_hops(redis_binary, tmp_path_factory.mktemp("whole"), CONFIG) as house:
        yield house


def test_completions_and_streams_come_through_all_hops(whole: House) -> None:
    with connect(whole) as client:
        answer = client.chat.completions.create(model="fast", messages=MESSAGES)
        assert answer.choices[0].message.content
        assert answer.usage is not None
        chunks = list(client.chat.completions.create(model="fast", messages=MESSAGES, stream=True))
        assert all(chunk.choices for chunk in chunks)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        with_usage = list(
            client.chat.completions.create(
                model="fast",
                messages=MESSAGES,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        assert with_usage[-1].choices == []
        assert with_usage[-1].usage is not None
        embedded_text = client.embeddings.create(model="fast", input="Hi")
        assert embedded_text.data[0].embedding


def test_the_journal_tells_all_four_hops(whole: House) -> None:
    request_id = whole.ask("POST", "/v1/chat/completions", chat_body("fast")).headers[
        "x-request-id"
    ]
    told = whole.ask("GET", f"/v1/requests/{request_id}/events").json
    lines = msgspec.convert(told["data"], list[dict[str, object]])
    assert [line["hop"] for line in lines] == ["route", "gate", "call", "respond"]
    state = whole.ask("GET", f"/v1/requests/{request_id}").json
    assert (state["status"], state["deployment"]) == ("completed", "sim/fast")


def test_a_task_is_finished_and_streamed_with_the_same_words(whole: House) -> None:
    queued = whole.ask("POST", "/chat/async", {"message": "Hi"}).json
    state = finished(whole, queued["task_id"])
    result = msgspec.convert(state["result"], dict[str, object])
    shown = frames(whole.ask("GET", str(queued["stream_url"])).body)
    assert "".join(str(frame.get("content", "")) for frame in shown) == result["content"]
    assert result["content"]
    assert state["started_at"]
    assert state["attempts"] == 1


def test_a_refusal_of_the_provider_comes_back_typed(whole: House) -> None:
    with connect(whole) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="sim/x:error=400", messages=MESSAGES)
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["metadata"]["request_id"] == caught.value.response.headers["x-request-id"]
