"""A stream that is cut, or whose worker dies, goes on as one answer to the official client."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.house_of_sluice import House, Section, kill_family, signal_family
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Reckoning, entries
from tests.waiting import eventually
from workers.providers.simulated.chat import answer_text

pytestmark = pytest.mark.journey

Ask = Callable[[str], "Future[list[ChatCompletionChunk]]"]

#: In Anthropic's form only such names go on.
_NAME = "claude-3-5-haiku-latest"
_KINDS = ("simulated", "anthropic", "gemini", "openrouter", "vllm", "ollama")
_WHOLE = answer_text("hi", 4 * 24)
_LONG = answer_text("hi", 4 * 60)


def _model(*deployments: tuple[str, str]) -> Section:
    listed = [{"provider": provider, "model": model} for provider, model in deployments]
    return {"deployments": listed, "on_cut": "continue"}


def _cut(kind: str, at: int) -> tuple[str, str]:
    return kind, f"{_NAME}:tokens=24,cut_at={at}"


_MODELS: Section = {
    **{
        f"{first}-{second}": _model(_cut(first, 9), (second, f"{_NAME}:tokens=24"))
        for first, second in zip(_KINDS, (*_KINDS[1:], _KINDS[0]), strict=True)
    },
    "worn": _model(
        _cut("simulated", 3),
        _cut("anthropic", 4),
        _cut("gemini", 5),
        ("vllm", f"{_NAME}:tokens=24"),
    ),
    "lost": _model(_cut("simulated", 9), ("openai", "new:tokens=24")),
    "slow": _model(("simulated", "slow:tokens=60,tps=25")),
}


@pytest.fixture
def house(build_house: BuildHouse) -> House:
    """Build a house with a provider of each kind, and no worker yet."""
    house = build_house(models=_MODELS, retry={"quick": 0})
    root = f"http://127.0.0.1:{house.simulated_port}"
    roots = {"anthropic": root, "gemini": root}
    common = {"keys": ["k"], "any_model": True}
    providers = {
        kind: {"kind": kind, "base_url": roots.get(kind, f"{root}/v1"), **common}
        for kind in (*_KINDS, "openai")
    }
    house.configure({"models": _MODELS, "retry": {"quick": 0}, "providers": providers})
    house.start_simulated()
    house.await_gateway(house.spawn_gateway())
    return house


@pytest.fixture
def ask(house: House) -> Iterator[Ask]:
    """Give what asks for a stream and reads it to its end beside the test."""
    with (
        ThreadPoolExecutor(1) as beside,
        openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0) as client,
    ):

        def read(model: str) -> list[ChatCompletionChunk]:
            stream = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            return list(stream)

        yield lambda model: beside.submit(read, model)


def _check(chunks: list[ChatCompletionChunk], whole: str) -> None:
    told = [one.choices[0] for one in chunks if one.choices]
    assert "".join(one.delta.content or "" for one in told) == whole
    assert [one.finish_reason for one in told if one.finish_reason] == ["stop"]
    assert [one.delta.role for one in told if one.delta.role] == ["assistant"]
    assert len({(one.id, one.created, one.model) for one in chunks}) == 1
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == len(whole) // 4


def _request_id(house: House) -> str:
    """Find the only request whose reply has begun; empty: none has."""
    prefix = house.names.reply("")
    return next((str(key).removeprefix(prefix) for key in house.client.keys(f"{prefix}*")), "")


def _entries(house: House) -> list[str]:
    """List the entries of the only reply."""
    request_id = _request_id(house)
    if not request_id:
        return []
    return [entry for entry, _ in entries(house.client, house.names.reply(request_id))]


def test_the_client_sees_one_stream_whoever_goes_on(house: House, ask: Ask) -> None:
    house.start_worker()
    for first, second in zip(_KINDS, (*_KINDS[1:], _KINDS[0]), strict=True):
        _check(ask(f"{first}-{second}").result(20), _WHOLE)


def test_what_is_cut_again_goes_on_again_and_the_record_has_the_whole(
    house: House, ask: Ask
) -> None:
    house.start_worker()
    chunks = ask("worn").result(20)
    _check(chunks, _WHOLE)
    request_id = _request_id(house)
    _, shown = house.ask("GET", f"/v1/requests/{request_id}")
    assert shown["attempts"] == 4
    assert str(shown["deployment"]).startswith("vllm/")
    response = house.client.hget(house.names.record(request_id), "response")
    whole = ChatCompletion.model_validate_json(str(response))
    assert whole.choices[0].message.content == _WHOLE


def test_where_nobody_can_go_on_the_client_is_told(house: House, ask: Ask) -> None:
    house.start_worker()
    with pytest.raises(openai.APIError) as told:
        ask("lost").result(20)
    assert told.value.code == "stream_interrupted"


def test_the_death_of_a_worker_in_mid_stream_is_not_noticed(house: House, ask: Ask) -> None:
    worker, _ = house.start_worker()
    answer = ask("slow")
    eventually(lambda: len(_entries(house)) > 10, what="the first deltas")
    kill_family(worker)
    house.start_worker()
    _check(answer.result(30), _LONG)
    *deltas, _ = _entries(house)
    assert [int(entry.split("-")[1]) for entry in deltas] == [*range(1, len(deltas) + 1)]


def test_a_worker_that_stood_still_mixes_nothing_in(house: House, ask: Ask) -> None:
    worker, _ = house.start_worker()
    answer = ask("slow")
    eventually(lambda: len(_entries(house)) > 10, what="the first deltas")
    signal_family(worker, signal.SIGSTOP)
    stood = len(_entries(house))
    house.start_worker()
    eventually(lambda: len(_entries(house)) > stood, what="the deltas of the other")
    signal_family(worker, signal.SIGCONT)
    _check(answer.result(30), _LONG)
    assert house.counter("claimed") == 1
    assert len(Reckoning(house.client, house.names).ended("done")) == 1
