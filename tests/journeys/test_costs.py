"""What answers tell of their way and their cost, through the whole house."""

import base64
import http.client
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section, requests
from tests.reckoning import entries
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Tell me more"}]
#: US dollars per million tokens of the prompt and of the answer.
_PROMPT, _COMPLETION = 2, 10


def _at(model: str, *, priced: bool = True) -> Section:
    price = {"price": {"prompt": _PROMPT, "completion": _COMPLETION}} if priced else {}
    return {"provider": "sim", "model": model, **price}


_MODELS: Section = {
    "quality": {"deployments": [_at("good:tokens=5")]},
    "ours": {"deployments": [_at("ours:tokens=5", priced=False)]},
    "best": {"deployments": [_at("best:error=503")], "fallbacks": ["spare", "quality"]},
    "spare": {"deployments": [_at("spare:error=503")]},
    "broken": {"deployments": [_at("broken:error=503")], "ladder": []},
    "cut": {"deployments": [_at("cut:cut_at=3,tokens=10")]},
    "narrow": {"deployments": [{**_at("narrow:ttft_ms=300"), "limits": {"concurrency": 1}}]},
    "vectors": {"deployments": [_at("vectors")]},
}


class Answer(msgspec.Struct):
    """An answer with its headers."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])

    @property
    def told(self) -> dict[str, str]:
        """Our headers, without their prefix."""
        names = {name.lower(): value for name, value in self.headers.items()}
        return {
            name.removeprefix("x-sluice-"): value
            for name, value in names.items()
            if name.startswith("x-sluice-")
        }


@pytest.fixture(scope="module")
def priced_house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run a house where tokens cost something."""
    with House(tmp_path_factory.mktemp("priced"), redis_binary, {}, models=_MODELS) as house:
        yield house.start()


@pytest.fixture
def priced(request: pytest.FixtureRequest, priced_house: House) -> House:
    """Give that house."""
    request.node.stash[NURSERY] = priced_house.nursery
    return priced_house


@pytest.fixture
def client(priced: House) -> Iterator[openai.OpenAI]:
    """Give the official client."""
    with openai.OpenAI(base_url=f"{priced.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def post(house: House, path: str, body: object, **headers: str) -> Answer:
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    try:
        link.request("POST", path, json.dumps(body), headers)
        answer = link.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        link.close()


def chat(house: House, model: str, **fields: object) -> Answer:
    body = {"model": model, "messages": _MESSAGES, **fields}
    return post(house, "/v1/chat/completions", body)


def counted(usage: object) -> float:
    """Say what usage costs by the price of this house."""
    told = msgspec.convert(usage, dict[str, int | float])
    cost = told["prompt_tokens"] * _PROMPT + told.get("completion_tokens", 0) * _COMPLETION
    return round(cost / 1e6, 12)


def chunks_of(answer: Answer) -> list[dict[str, object]]:
    lines = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: {")]
    return [msgspec.json.decode(line, type=dict[str, object]) for line in lines]


def test_a_whole_answer_tells_its_way_and_its_cost(priced: House) -> None:
    answer = chat(priced, "quality")
    usage = msgspec.convert(answer.json["usage"], dict[str, float])
    assert usage["cost"] == counted(usage)
    told = answer.told
    assert told.pop("cost") == f"{usage['cost']:.12f}".rstrip("0")
    times = [float(told.pop(f"{part}-ms")) for part in ("queue", "provider", "overhead")]
    assert times[0] == 0
    assert 0 < times[1] < 30_000
    assert 0 < times[2] < 30_000
    assert told == {
        "attempts": "1",
        "deployment": "sim/good:tokens=5",
        "fallbacks": "0",
        "model": "good:tokens=5",
    }


def test_what_costs_nobody_anything_goes_out_byte_for_byte(priced: House) -> None:
    answer = chat(priced, "ours")
    assert "cost" not in answer.told
    assert b"cost" not in answer.body


def test_an_answer_from_a_fallback_says_so(priced: House) -> None:
    told = chat(priced, "best").told
    assert told["fallbacks"] == "2"
    assert int(told["attempts"]) >= 3
    assert told["deployment"] == "sim/good:tokens=5"


def test_an_error_tells_the_last_deployment_and_the_attempts(priced: House) -> None:
    answer = chat(priced, "broken")
    assert answer.status == 503
    told = answer.told
    assert told["deployment"] == "sim/broken:error=503"
    assert int(told["attempts"]) >= 1
    assert float(told["queue-ms"]) >= 0
    assert "cost" not in told


def test_waiting_for_capacity_is_told_apart(priced: House) -> None:
    body = {"message": "hi", "model": "narrow"}
    ahead = msgspec.convert(post(priced, "/chat/async", body).json["task_id"], str)
    eventually(lambda: priced.ask("GET", f"/v1/requests/{ahead}")[1]["status"] == "running")
    told = chat(priced, "narrow").told
    assert float(told["queue-ms"]) > 50
    assert float(told["provider-ms"]) > 250


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_tells_what_is_known_at_its_first_token(priced: House, *, asked: bool) -> None:
    answer = chat(priced, "best", stream=True, stream_options={"include_usage": asked})
    told = answer.told
    assert told["fallbacks"] == "2"
    assert told["deployment"] == "sim/good:tokens=5"
    assert {"attempts", "queue-ms", "provider-ms", "overhead-ms"} <= told.keys()
    assert not {"cost", "model"} & told.keys()
    chunks = chunks_of(answer)
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert len(usages) == asked
    for usage in usages:
        assert msgspec.convert(usage, dict[str, float])["cost"] == counted(usage)


def test_a_plain_chat_tells_its_way_and_its_usage_with_the_cost(priced: House) -> None:
    answer = post(priced, "/chat", {"message": "hi", "model": "quality"})
    assert answer.told["deployment"] == "sim/good:tokens=5"
    frame = chunks_of(answer)[-1]
    assert frame["type"] == "complete"
    assert msgspec.convert(frame["usage"], dict[str, float])["cost"] == counted(frame["usage"])


def test_records_journals_and_ended_events_tell_the_cost(priced: House) -> None:
    request_id = chat(priced, "quality").headers["x-request-id"]
    shown = priced.ask("GET", f"/v1/requests/{request_id}")[1]
    result = msgspec.convert(shown["result"], dict[str, object])
    usage = msgspec.convert(result["usage"], dict[str, float])
    assert shown["cost"] == usage["cost"] == counted(usage)
    assert priced.client.hget(priced.names.record(request_id), "cost") == f"{usage['cost']:.12g}"
    lines = msgspec.convert(
        priced.ask("GET", f"/v1/requests/{request_id}/events")[1]["data"],
        list[dict[str, object]],
    )
    (facts,) = [line["facts"] for line in lines if line["hop"] == "call"]
    assert msgspec.convert(facts, dict[str, object])["cost"] == usage["cost"]
    rows = [fields for _, fields in entries(priced.client, priced.names.hop("done"))]
    (done,) = [json.loads(fields["event"]) for fields in rows if fields["id"] == request_id]
    assert done["cost"] == usage["cost"]
    assert done["usage"]["cost"] == usage["cost"]


def test_a_callback_tells_the_cost(priced: House) -> None:
    priced.xadd(requests(1, "quality", name="priced", reply_to="answers:priced"))
    (answer,) = eventually(lambda: priced.answers("answers:priced"), 20)
    usage = msgspec.convert(answer["usage"], dict[str, float])
    assert usage["cost"] == counted(usage)


def test_an_answer_that_is_given_again_costs_nothing_again(priced: House) -> None:
    body = {"model": "quality", "messages": _MESSAGES}
    key = {"Idempotency-Key": "once"}
    first = post(priced, "/v1/chat/completions", body, **key)
    again = post(priced, "/v1/chat/completions", body, **key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.body == first.body
    assert "cost" in first.told
    assert again.told == {
        name: first.told[name] for name in ("attempts", "deployment", "fallbacks", "model")
    }


def test_complete_answers_with_the_text_and_echoes_whose_it_was(priced: House) -> None:
    asked = {
        "model": "best",
        "messages": _MESSAGES,
        "tenant_id": "t-1",
        "metadata": {"thread": [1, 2]},
        "temperature": 0.1,
    }
    answer = post(priced, "/complete", asked)
    assert answer.status == 200
    told = answer.json
    usage = msgspec.convert(told.pop("usage"), dict[str, float])
    assert usage["cost"] == counted(usage)
    assert told.pop("content")
    assert told == {
        "id": answer.headers["x-request-id"],
        "model": "good:tokens=5",
        "finish_reason": "stop",
        "tenant_id": "t-1",
        "metadata": {"thread": [1, 2]},
    }
    shown = priced.ask("GET", f"/v1/requests/{told['id']}")[1]
    assert shown["user"] == "t-1"


def test_complete_fails_only_when_all_deployments_have_failed(priced: House) -> None:
    answer = post(priced, "/complete", {"model": "broken", "messages": _MESSAGES})
    assert answer.status == 503
    error = msgspec.convert(answer.json["error"], dict[str, object])
    assert error["code"] == "provider_exhausted"


def test_embeddings_come_as_the_client_decodes_them(client: openai.OpenAI) -> None:
    inputs = ["a", "b", "c"]
    usual = client.embeddings.create(model="vectors", input=inputs)
    floats = client.embeddings.create(model="vectors", input=inputs, encoding_format="float")
    coded = client.embeddings.create(model="vectors", input=inputs, encoding_format="base64")
    assert [row.index for row in usual.data] == [0, 1, 2]
    for one, other, text in zip(usual.data, floats.data, coded.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
        packed = base64.b64decode(str(text.embedding))
        assert list(struct.unpack(f"<{len(packed) // 4}f", packed)) == one.embedding
    assert usual.usage.total_tokens == floats.usage.total_tokens > 0
    short = client.embeddings.create(model="vectors", input="a", dimensions=8)
    assert len(short.data[0].embedding) == 8
    ids = client.embeddings.create(model="vectors", input=[[1, 2, 3], [4, 5]])
    assert len(ids.data) == 2


def test_plain_embeddings_are_floats_and_have_a_cost(priced: House) -> None:
    answer = post(priced, "/embeddings", {"model": "vectors", "input": ["a", "b"]})
    rows = msgspec.convert(answer.json["data"], list[dict[str, object]])
    assert [type(row["embedding"]) for row in rows] == [list, list]
    usage = msgspec.convert(answer.json["usage"], dict[str, float])
    assert usage["cost"] == counted(usage)
    assert answer.told["deployment"] == "sim/vectors"
    assert post(priced, "/embeddings", {"input": "a"}).told["deployment"] == "sim/fast"
