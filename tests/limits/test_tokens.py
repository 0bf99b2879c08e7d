"""Tokens per minute that a provider allows: reserved by estimate, settled by what was used."""

from pathlib import Path

import pytest

from pipeline.limits import refusals
from pipeline.limits.tickets import Settlement
from tests.limits.rooms import FAILED, Gates, advance, configured, deployment, woken
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

TEN = tuple(f"r{n}" for n in range(10))


def used(prompt: int, completion: int) -> Settlement:
    """Give the end of a call that used these."""
    return Settlement(ending="answered", prompt_tokens=prompt, completion_tokens=completion)


async def test_at_once_go_as_many_tokens_as_a_seconds_worth(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 3600})) as gates:
        assert len(await gates.first.rush(*TEN)) == 3, "60 tokens by 20"


async def test_a_request_larger_than_the_burst_is_a_burst_of_its_own(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        await gate.take("whole minute", output_tokens=50)
        assert 58 < await gate.eta_s("next") <= 60
        assert 58 < await gate.eta_s("next large", output_tokens=40) <= 60


async def test_what_was_reserved_and_not_used_comes_back(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", output_tokens=50), used(10, 10))
        assert 18 < await gate.eta_s("next") <= 20


async def test_what_was_used_beyond_the_estimate_is_taken_too(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        await gate.end(await gate.take("a"), used(10, 20))
        assert 28 < await gate.eta_s("next", prompt_tokens=1) <= 30


async def test_a_call_of_unknown_usage_used_what_it_reserved(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        await gate.end(await gate.take("a"), Settlement(ending="answered"))
        assert 18 < await gate.eta_s("next") <= 20


async def test_a_call_that_failed_gives_its_tokens_back_and_wakes_who_waits(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        failing = await gate.take("a", output_tokens=50)
        await gate.wait("b")
        await gate.end(failing, FAILED)
        assert woken(client) == ["b"]


async def test_tokens_are_settled_once(redis_url: str, client: Client, tmp_path: Path) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        first = await gate.take("a", output_tokens=20)
        for _ in range(3):
            await gate.end(first, used(10, 10))
        assert 18 < await gate.eta_s("next") <= 20


async def test_tokens_that_time_has_given_back_are_not_given_back_again(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        slow = await gate.take("slow", output_tokens=20)
        await gate.renew(slow)
        for _ in range(2):
            advance(client, 50)
            await gate.renew(slow)
        await gate.take("a", output_tokens=20)
        await gate.end(slow, used(1, 1))
        assert 28 < await gate.eta_s("next") <= 30


async def test_a_request_that_no_minute_holds_is_refused(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        await gate.take("just", output_tokens=50)
        heavy = gate.ask("heavy", output_tokens=51)
        refusal = await gate.refused(heavy)
        assert refusal.why == "heavy"
        assert refusals.failure(refusal, heavy).status == 413


@pytest.mark.parametrize("other", [{"concurrency": 1}, {"rpm": 1}, {"rpd": 1}])
async def test_a_request_that_no_minute_holds_is_refused_at_once_whatever_else_stops_it(
    redis_url: str, client: Client, tmp_path: Path, other: dict[str, int]
) -> None:
    settings = configured(tmp_path, limits={"tpm": 60, **other})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("first", output_tokens=1)
        assert (await gate.refused("heavy", output_tokens=51)).why == "heavy"
        await gate.wait("second")
        assert (await gate.refused("heavy behind others", output_tokens=51)).why == "heavy"


async def test_a_request_that_only_another_candidate_can_hold_goes_there(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    models = {"m": {"deployments": [deployment("a", tpm=60), deployment("b", tpm=600)]}}
    async with Gates(redis_url, client, configured(tmp_path, models=models)) as gates:
        gate = gates.first
        got = await gate.take("large", output_tokens=200)
        assert got.lease
        assert got.lease.deployment == "p/b"
        await gate.wait("large too", output_tokens=200)
        assert (await gate.refused("larger than all", output_tokens=600)).why == "heavy"


async def test_without_a_limit_on_its_answer_a_request_takes_what_answers_use(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 600})) as gates:
        gate = gates.first
        first = await gate.take("a", output_tokens=0)
        assert 26 < await gate.eta_s("next") <= 26.6, "10 tokens, and 256 that nobody knows yet"
        await gate.end(first, used(10, 20))
        advance(client, 60)
        await gate.take("b", output_tokens=0)
        assert 2 < await gate.eta_s("next") <= 3, "10 and 20, as the first one used"


async def test_a_prompts_estimate_is_corrected_by_what_providers_counted(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpm": 60})) as gates:
        gate = gates.first
        await gate.end(await gate.take("a"), used(20, 10))
        advance(client, 60)
        await gate.take("b")
        assert 28 < await gate.eta_s("next") <= 30, "twice the estimate of 10, and 10"
