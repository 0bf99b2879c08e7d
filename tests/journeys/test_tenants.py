"""Tenants, their users and tokens, with the official client: who goes over a limit of ours."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionUserMessageParam

from pipeline.settings.secret import token_hash
from tests.conftest import NURSERY
from tests.house_of_sluice import House
from tests.reckoning import Reckoning

pytestmark = [pytest.mark.journey, pytest.mark.anyio]

_MESSAGES: Final[list[ChatCompletionUserMessageParam]] = [{"role": "user", "content": "hi"}]
#: So many requests in any so many seconds.
_COUNT, _WINDOW_S = 5, 1.5
_WINDOW: Final = {"window": {"requests": _COUNT, "seconds": _WINDOW_S}}
#: A limit that is reached in a test, and not over before its end.
_TWO: Final = {"rpm": 2}


def _token(name: str) -> str:
    return f"slu-{name}-0123456789abcdef"


def _tenant(*tokens: str, **settings: object) -> dict[str, object]:
    hashes = [token_hash(_token(token).encode()).reveal() for token in tokens]
    return {"tokens": hashes, **settings}


_TENANTS: Final = {
    "windowed": _tenant("windowed", limits=_WINDOW),
    "patient": _tenant("patient", limits=_WINDOW),
    "retrying": _tenant("retrying", limits=_WINDOW),
    "small": _tenant("small", limits=_TWO),
    "shared": _tenant("shared", users={"default": _TWO, "big": {"rpm": 4}}),
    "tokened": _tenant(
        "first", "second",
        token_limits={token_hash(_token("first").encode()).id: _TWO},
    ),
    "modelled": _tenant("modelled", model_limits={"strict": _TWO}),
    "shut": _tenant("shut", limits={"rpm": 0}),
}  # fmt: skip


@pytest.fixture(scope="module")
def tenants_house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run the house that the tenants share; the model `strict` refuses rather than lets wait."""
    deployments = [{"provider": "sim", "model": "m:tokens=2"}]
    models = {
        "patient": {"deployments": deployments},
        "strict": {"deployments": deployments, "on_limit": "refuse"},
    }
    directory = tmp_path_factory.mktemp("tenants")
    with House(directory, redis_binary, {}, models=models, tenants=_TENANTS) as house:
        yield house.start(workers=2)


@pytest.fixture
def house(request: pytest.FixtureRequest, tenants_house: House) -> House:
    """Give that house."""
    request.node.stash[NURSERY] = tenants_house.nursery
    return tenants_house


def _client(house: House, token: str, retries: int = 0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{house.url}/v1", api_key=_token(token), max_retries=retries
    )


async def _ask(client: openai.AsyncOpenAI, model: str, **more: str) -> ChatCompletion:
    if "header" in more:
        headers = {"X-Sluice-User": more["header"]}
        return await client.chat.completions.create(
            model=model, messages=_MESSAGES, extra_headers=headers
        )
    user = more.get("user", openai.omit)
    return await client.chat.completions.create(model=model, messages=_MESSAGES, user=user)


async def _refused(client: openai.AsyncOpenAI, model: str, **more: str) -> openai.RateLimitError:
    with pytest.raises(openai.RateLimitError) as raised:
        await _ask(client, model, **more)
    return raised.value


def _facts(error: openai.APIStatusError) -> dict[str, object]:
    """Give what an error tells of the limit."""
    assert isinstance(error.body, dict)
    facts: dict[str, object] = error.body["metadata"]
    return facts


async def test_a_refusal_tells_scope_limit_remaining_and_reset(house: House) -> None:
    async with _client(house, "windowed") as client:
        for _ in range(_COUNT):
            await _ask(client, "strict")
        error = await _refused(client, "strict")
    assert error.code == "rate_limited"
    facts = _facts(error)
    assert facts["source"] == "sluice"
    assert (facts["scope"], facts["name"]) == ("tenant", "windowed")
    assert (facts["limit"], facts["remaining"]) == (_COUNT, 0)
    reset_s = facts["reset_s"]
    assert isinstance(reset_s, float)
    assert 0 < reset_s <= _WINDOW_S
    headers = error.response.headers
    assert abs(float(headers["retry-after-ms"]) / 1000 - reset_s) < 0.01
    assert headers["retry-after"] in ("1", "2")
    assert headers["x-ratelimit-limit-requests"] == str(_COUNT)
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert f"q={_COUNT}" in headers["ratelimit-policy"]
    assert ";r=0;" in headers["ratelimit"]


async def test_the_clients_own_retries_are_enough_for_a_refused_request(house: House) -> None:
    async with _client(house, "retrying", retries=2) as client:
        answers = [await _ask(client, "strict") for _ in range(_COUNT + 1)]
    assert all(answer.choices for answer in answers)


async def test_who_waits_is_answered_and_the_limit_holds_in_any_window(house: House) -> None:
    async with _client(house, "patient") as client:
        answers = await asyncio.gather(*(_ask(client, "patient") for _ in range(3 * _COUNT)))
    assert all(answer.choices for answer in answers)
    ended = Reckoning(house.client, house.names).ended()
    mine = [event["journal"] for event in ended if event.get("tenant") == "patient"]
    admitted = sorted(
        float(str(line["end"])) for journal in mine for line in journal if line["hop"] == "gate"
    )[-3 * _COUNT :]
    assert len(admitted) == 3 * _COUNT
    for first, later in zip(admitted, admitted[_COUNT:], strict=False):
        # The journal's times are told a little after the grants.
        assert later - first > _WINDOW_S - 0.2


async def test_a_tenant_takes_its_whole_limit_at_once_and_no_more(house: House) -> None:
    async with _client(house, "small") as client:
        asked = [_ask(client, "strict") for _ in range(8)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, ChatCompletion) for answer in answers) == 2
    assert sum(isinstance(answer, openai.RateLimitError) for answer in answers) == 6


@pytest.mark.parametrize("by", ["user", "header"])
async def test_each_user_has_limits_of_its_own(house: House, by: str) -> None:
    async with _client(house, "shared") as client:
        for user in (f"anna-{by}", f"bert-{by}"):
            for _ in range(2):
                await _ask(client, "strict", **{by: user})
            facts = _facts(await _refused(client, "strict", **{by: user}))
            assert (facts["scope"], facts["name"], facts["limit"]) == ("user", f"shared/{user}", 2)


async def test_a_user_named_in_the_configuration_has_its_own_limits(house: House) -> None:
    async with _client(house, "shared") as client:
        for _ in range(4):
            await _ask(client, "strict", user="big")
        assert _facts(await _refused(client, "strict", user="big"))["limit"] == 4


async def test_a_token_has_limits_of_its_own(house: House) -> None:
    async with _client(house, "first") as first, _client(house, "second") as second:
        for _ in range(2):
            await _ask(first, "strict")
        assert _facts(await _refused(first, "strict"))["scope"] == "token"
        for _ in range(3):
            await _ask(second, "strict")


async def test_a_model_has_limits_of_its_own(house: House) -> None:
    async with _client(house, "modelled") as client:
        for _ in range(2):
            await _ask(client, "strict")
        facts = _facts(await _refused(client, "strict"))
        assert (facts["scope"], facts["name"]) == ("model", "modelled/strict")
        for _ in range(3):
            await _ask(client, "patient")


async def test_a_limit_of_none_is_no_access(house: House) -> None:
    async with _client(house, "shut") as client:
        with pytest.raises(openai.PermissionDeniedError) as raised:
            await _ask(client, "strict")
    assert raised.value.code == "no_access"
