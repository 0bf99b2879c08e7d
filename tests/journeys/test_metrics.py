"""Requests of every fate through real processes, and what these tell of them."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from pipeline.embedded.redis_server import free_port
from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section, kill_family, requests
from tests.reckoning import Reckoning
from tests.telemetry.scrape import Scrape, scrape
from tests.waiting import eventually

pytestmark = pytest.mark.journey


def _served_by(*models: str, **more: object) -> Section:
    return {"deployments": [{"provider": "sim", "model": model} for model in models], **more}


_MODELS: Final[Section] = {
    "limited": _served_by("limited:error=429,error_first=1,retry_after_ms=400,tokens=3"),
    "climbing": _served_by("climbing:error=503,error_first=1,tokens=3"),
    "down": {**_served_by("down:error=503"), "ladder": []},
    "priced": {
        "deployments": [
            {"provider": "sim", "model": "priced:tokens=8", "price": {"prompt": 1, "completion": 2}}
        ]
    },
    "turning": _served_by("turning:error=503", fallbacks=["fast"], ladder=[]),
    "closed": {
        "deployments": [{"provider": "sim", "model": "closed", "limits": {"rpm": 1}}],
    },
}
_NUMBERS: Final = itertools.count()
_SECTIONS: Final[dict[str, object]] = {
    "ladder": [1],
    "retry": {"quick": 0},
    "providers": {"sim": {"any_model": True, "breaker": {"failures": 0}}},
    "models": _MODELS,
}


@pytest.fixture(scope="module")
def scraped_house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run a house whose parts tell their metrics."""
    directory = tmp_path_factory.mktemp("scraped")
    with House(directory, redis_binary, {}, **cast("dict[str, Section]", _SECTIONS)) as house:
        house.metrics_port = free_port()
        yield house.start()


@pytest.fixture
def house(request: pytest.FixtureRequest, scraped_house: House) -> House:
    """Give that house."""
    request.node.stash[NURSERY] = scraped_house.nursery
    return scraped_house


def ended(house: House, *models: str, **fields: object) -> Scrape:
    """Let a producer's requests come to their end; gives what the worker tells then."""
    before = scrape(house.metrics_port).total("sluice_requests_total")
    for model in models:
        house.xadd(requests(1, model, f"r{next(_NUMBERS)}-", **fields))
    return told(house, before + len(models))


def told(house: House, requests_ended: float) -> Scrape:
    """Wait until the worker has told of so many requests' ends."""

    def all_told() -> Scrape | None:
        found = scrape(house.metrics_port)
        return found if found.total("sluice_requests_total") >= requests_ended else None

    found = eventually(all_told, 20, "the requests' end")
    assert found is not None
    return found


def test_the_requests_of_a_client_are_told_by_both_processes(house: House) -> None:
    before = scrape(house.metrics_port)
    body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
    for _ in range(2):
        assert house.ask("POST", "/v1/chat/completions", body)[0] == 200
    worker = told(house, before.total("sluice_requests_total") + 2)
    completed = {"model": "fast", "outcome": "completed", "operation": "chat"}
    name = "sluice_requests_total"
    assert worker.total(name, **completed) == before.total(name, **completed) + 2
    assert worker.total("sluice_hop_duration_seconds_count", hop="respond") >= 2
    assert worker.total("sluice_redis_round_trips_total") > 0
    assert worker.total("sluice_worker_running", hop="call") == 0
    gateway = scrape(house.port)
    route = "/v1/chat/completions"
    assert gateway.total("sluice_http_requests_total", route=route, status="200") == 2
    assert gateway.total("sluice_workers") == 1


def test_a_stream_tells_its_first_chunk_and_its_deltas(house: House) -> None:
    found = ended(house, "sim/streamed", "sim/streamed", stream=True)
    name = "sluice_request_time_to_first_chunk_seconds_count"
    assert found.total(name, model="other") == 2
    assert found.total("gen_ai_client_inference_time_to_first_chunk_seconds_count") >= 2
    assert found.total("sluice_reply_deltas_total") > found.total("sluice_reply_flushes_total") > 0


def test_tokens_and_cost_are_those_of_the_answers(house: House) -> None:
    found = ended(house, "priced", "priced", "priced")
    deployment = "sim/priced:tokens=8"
    assert found.total("sluice_calls_total", deployment=deployment, outcome="answered") == 3
    tokens = found.total(
        "gen_ai_client_inference_usage_output_tokens_total",
        gen_ai_request_model="priced:tokens=8",
        gen_ai_provider_name="simulated",
    )
    assert tokens == 24
    cost = found.total("sluice_cost_dollars_total", deployment=deployment, tenant="")
    done = Reckoning(house.client, house.names).ended("done")
    spent = [cast("float", event.get("cost")) for event in done if event.get("model") == "priced"]
    assert len(spent) == 3
    assert cost == pytest.approx(sum(spent)) != 0


def test_a_429_and_the_call_after_it_are_told(house: House) -> None:
    found = ended(house, "limited")
    deployment = "sim/limited:error=429,error_first=1,retry_after_ms=400,tokens=3"
    assert found.total("sluice_calls_total", deployment=deployment, outcome="rate_limited") == 1
    assert found.total("sluice_calls_total", deployment=deployment, outcome="answered") == 1
    assert found.total("sluice_retries_total", deployment=deployment) == 1
    assert found.total("sluice_cooldowns_total", deployment=deployment, cause="rate_limited") == 1
    error = {"error_type": "rate_limited", "gen_ai_operation_name": "chat"}
    assert found.total("gen_ai_client_inference_duration_seconds_count", **error) == 1
    assert found.total("sluice_requests_total", model="limited", outcome="completed") == 1
    # It waited until the key was rested.
    assert found.total("sluice_admissions_total", result="waited", limit="capacity") >= 1
    assert found.total("sluice_gate_wait_seconds_count", model="limited") == 1


def test_a_fallback_is_told_by_the_model_that_was_asked_for(house: House) -> None:
    found = ended(house, "turning")
    assert found.total("sluice_fallbacks_total", model="turning") == 1
    assert found.total("sluice_requests_total", model="turning", outcome="completed") == 1


def test_a_climb_and_a_dead_letter_are_told_with_their_causes(house: House) -> None:
    found = ended(house, "climbing")
    assert found.total("sluice_climbs_total", rung="1", cause="overloaded") == 1
    assert found.total("sluice_transitions_total", hop="call", outcome="climb") == 1
    found = ended(house, "down")
    assert found.total("sluice_dead_letters_total", cause="exhausted") == 1
    assert found.total("sluice_request_failures_total", cause="exhausted", model="down") == 1
    assert scrape(house.port).total("sluice_dead_letters_kept") == 1


def test_a_refusal_is_told_with_its_limit(house: House) -> None:
    found = ended(house, "closed", "closed", "closed", timeout_s=5)
    assert found.total("sluice_admissions_total", result="refused", limit="deadline") == 2
    assert found.total("sluice_deadline_misses_total", model="closed") == 2
    assert found.total("sluice_requests_total", model="closed", outcome="failed") == 2


def test_made_up_names_add_no_series(house: House) -> None:
    ports = (house.metrics_port, house.port)
    ended(house, "sim/made-up-0", user="user-0")
    scrape(house.port)
    before = [len(scrape(port).samples) for port in ports]
    ended(house, *(f"sim/made-up-{number}" for number in range(1, 51)), user="user-1")
    found = [scrape(port) for port in ports]
    assert [len(one.samples) for one in found] == before
    assert found[0].total("sluice_calls_total", deployment="sim/other") >= 51
    assert found[0].total("sluice_requests_total", model="other") >= 51
    assert not [one for one in found if "made-up" in one.text or "user-" in one.text]


def test_counts_are_there_again_from_0_when_a_worker_is_new(house: House) -> None:
    ended(house, "fast")
    worker = house.nursery.spawned.pop("worker")
    kill_family(worker)
    worker.end()
    house.start_worker()
    assert scrape(house.metrics_port).total("sluice_requests_total") == 0
    assert ended(house, "fast").total("sluice_requests_total") == 1
