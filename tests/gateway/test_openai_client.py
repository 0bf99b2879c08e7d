"""The official `openai` client, sync and async, against a gateway process."""

import asyncio
import time
import urllib.parse

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.gateway.conftest import House, StartHouse

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


def connect(house: House, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=retries)


def test_a_completion_comes_with_its_request_id(house: House) -> None:
    with connect(house) as client:
        answer = client.chat.completions.create(model="sim/echo", messages=MESSAGES)
        assert answer.choices[0].message.content == "Hello, world!"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 5
        assert answer._request_id
        raw = client.chat.completions.with_raw_response.create(model="fast", messages=MESSAGES)
        assert raw.headers["x-request-id"]
        assert raw.parse().choices[0].finish_reason == "stop"


def test_a_stream_gives_the_words_and_usage_only_when_asked(house: House) -> None:
    with connect(house) as client:
        chunks = list(
            client.chat.completions.create(model="sim/echo", messages=MESSAGES, stream=True)
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello, world!"
        assert {c.id for c in chunks} == {"chatcmpl-1"}
        with_usage = list(
            client.chat.completions.create(
                model="sim/echo",
                messages=MESSAGES,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        last = with_usage[-1]
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens == 5


def test_the_streaming_interface_collects_a_whole_completion(house: House) -> None:
    with (
        connect(house) as client,
        client.chat.completions.stream(model="sim/echo", messages=MESSAGES) as stream,
    ):
        for _ in stream:
            pass
        whole = stream.get_final_completion()
        assert whole.choices[0].message.content == "Hello, world!"


def test_models_are_listed_and_found_also_with_a_slash(house: House) -> None:
    with connect(house) as client:
        listed = [model.id for model in client.models.list()]
        assert "fast" in listed
        assert client.models.retrieve("fast").object == "model"
        assert client.models.retrieve("sim/echo").id == "sim/echo"
        assert client.models.retrieve("sim/any/depth").owned_by == "sim"
        quoted = urllib.parse.quote("sim/echo", safe="")
        assert house.ask("GET", f"/v1/models/{quoted}").status == 200
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")


def test_a_bad_model_is_not_found_in_openais_words(house: House) -> None:
    with connect(house) as client, pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="other", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert caught.value.type == "invalid_request_error"
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["metadata"]["request_id"] == caught.value.request_id


@pytest.mark.parametrize(
    "body", [b'{"model":"sim/echo"', b'{"model":"sim/echo","x":"\xff"}', b"[]"]
)
def test_a_malformed_body_is_a_bad_request(house: House, body: bytes) -> None:
    with connect(house) as client, pytest.raises(openai.BadRequestError) as caught:
        client.post(
            "/chat/completions",
            cast_to=object,
            content=body,
            options={"headers": {"content-type": "application/json"}},
        )
    assert caught.value.code == "invalid_request"


def test_failures_before_the_stream_are_typed_errors(house: House) -> None:
    with connect(house) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="sim/overloaded", messages=MESSAGES, stream=True)
        assert caught.value.status_code == 503
        assert caught.value.response.headers["retry-after"] == "3"
        assert caught.value.response.headers["retry-after-ms"] == "2500"
        assert caught.value.response.headers["x-should-retry"] == "true"
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(model="sim/limited", messages=MESSAGES)
        assert limited.value.response.headers["x-should-retry"] == "false"
        assert limited.value.response.headers["retry-after"] == "600"


def listen(house: House, model: str, heard: list[str]) -> None:
    with connect(house) as client:
        stream = client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        heard.extend(chunk.choices[0].delta.content or "" for chunk in stream)


@pytest.mark.parametrize(("model", "word"), [("sim/cut", "half"), ("sim/restart", "lost")])
def test_a_stream_that_is_cut_or_begins_anew_raises_after_its_words(
    house: House, model: str, word: str
) -> None:
    heard: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        listen(house, model, heard)
    assert heard == [word]
    assert caught.value.code == "stream_interrupted"


def test_pings_do_not_disturb_the_client(start_house: StartHouse) -> None:
    house = start_house(pace='{"ping_s":0.05}')
    with connect(house) as client:
        stream = client.chat.completions.create(
            model="sim/slow", messages=MESSAGES, stream=True, user="pinged"
        )
        chunks = iter(stream)
        assert next(chunks).choices[0].delta.content == "Hello"
        time.sleep(0.2)
        house.go("pinged")
        assert [chunk.choices[0].delta.content for chunk in chunks] == [", ", "world", "!"]


def test_a_hundred_asynchronous_clients_at_once_get_their_own_answers(house: House) -> None:
    async def one(client: openai.AsyncOpenAI, streamed: bool) -> str:
        if not streamed:
            answer = await client.chat.completions.create(model="sim/echo", messages=MESSAGES)
            return answer.choices[0].message.content or ""
        stream = await client.chat.completions.create(
            model="sim/echo", messages=MESSAGES, stream=True
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    async def all_of_them() -> list[str]:
        url = f"{house.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            return await asyncio.gather(*(one(client, n % 2 == 0) for n in range(100)))

    assert asyncio.run(all_of_them()) == ["Hello, world!"] * 100


def test_unknown_fields_and_large_bodies_reach_the_worker_untouched(house: House) -> None:
    for filler in ("x" * 10, "y" * 100_000):
        sent = b'{ "model":"sim/body",\n "messages":[{"role":"user","content":"Hi"}], "odd":1.50, '
        sent += b'"filler":"%s"}' % filler.encode()
        answer = house.ask("POST", "/v1/chat/completions", sent)
        with connect(house) as client:
            whole = client.chat.completions.create(
                model="sim/body", messages=MESSAGES, extra_body={"odd": {"deep": [filler]}}
            )
        assert f'"deep":["{filler}"]' in (whole.choices[0].message.content or "").replace(" ", "")
        assert b'\\"odd\\":1.50' in answer.body


def test_an_embedding_comes_back(house: House) -> None:
    answer = house.ask("POST", "/v1/embeddings", {"model": "sim/tell", "input": ["a", "b"]})
    assert answer.status == 200
    assert b'\\"operation\\":\\"embeddings\\"' in answer.body
