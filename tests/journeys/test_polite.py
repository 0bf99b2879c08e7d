"""Polite answers through the whole house: over HTTP, in callbacks and in the records."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import NURSERY
from tests.crowd import Crowd
from tests.house_of_sluice import House, Section
from tests.reckoning import entries
from tests.waiting import eventually

pytestmark = pytest.mark.journey

TEXT = "Sorry, nobody can answer now."


def _at(model: str, **changes: object) -> Section:
    return {"deployments": [{"provider": "sim", "model": model, **changes}], "polite": TEXT}


_MODELS: Section = {
    "broken": {**_at("broken:error=503"), "ladder": []},
    "narrow": _at("narrow:ttft_ms=1500", limits={"concurrency": 1}),
    "refusing": _at("refusing:error=400"),
    "climbing": {**_at("climbing:error=503"), "ladder": [1]},
}


@pytest.fixture(scope="module")
def open_house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run the house that these tests share."""
    directory = tmp_path_factory.mktemp("house")
    untiring: Section = {"sim": {"any_model": True, "breaker": {"failures": 0}}}
    retry: Section = {"quick": 0}
    with House(
        directory, redis_binary, {}, models=_MODELS, providers=untiring, retry=retry
    ) as house:
        yield house.start()


@pytest.fixture
def house(request: pytest.FixtureRequest, open_house: House) -> House:
    """Give the shared house."""
    request.node.stash[NURSERY] = open_house.nursery
    return open_house


def test_clients_of_either_kind_are_answered_with_the_text(house: House) -> None:
    before = house.counter("polite")
    with Crowd(house.url, 6, "broken") as crowd:
        heard = crowd.heard()
    assert {(one.status, one.content, one.code) for one in heard} == {(200, TEXT, "")}
    assert house.counter("polite") == before + 6
    _, shown = house.ask("GET", f"/v1/requests/{heard[0].request_id}")
    assert (shown["status"], shown["attempts"]) == ("completed", 1)
    _, events = house.ask("GET", f"/v1/requests/{heard[0].request_id}/events")
    told = json.dumps(events)
    assert '"polite": "provider_exhausted"' in told
    ids = {one.request_id for one in heard}
    letters = {fields["id"] for _, fields in entries(house.client, house.names.dead)}
    assert not ids & letters


def test_who_cannot_be_admitted_in_time_is_answered_politely(house: House) -> None:
    body = {"model": "narrow", "messages": [{"role": "user", "content": "hi"}]}
    url, soon = f"{house.url}/v1/chat/completions", {"X-Request-Timeout": "0.5"}
    with Crowd(house.url, 1, "narrow") as first:
        leases = f"{house.names.limits}:due:leases"
        eventually(lambda: house.client.zcard(leases), what="a lease")
        late = httpx.post(url, json=body, headers=soon, timeout=20)
        assert late.json()["choices"][0]["message"]["content"] == TEXT
        assert late.headers["x-sluice-polite"] == "true"
        assert first.heard()[0].content != TEXT


def test_a_fault_of_the_client_is_told(house: House) -> None:
    with Crowd(house.url, 2, "refusing") as crowd:
        assert {one.status for one in crowd.heard()} == {400}


def test_a_direct_producer_climbs_first_and_is_called_back_politely(house: House) -> None:
    messages = [{"role": "user", "content": "hi"}]
    asked = {"model": "climbing", "messages": messages, "reply_to": "answers", "request_id": "p1"}
    house.xadd([asked])
    [result] = eventually(lambda: house.answers("answers"), 20.0, "the callback")
    assert (result["status"], result["content"]) == ("success", TEXT)
    _, shown = house.ask("GET", "/v1/requests/p1")
    assert (shown["status"], shown["leg"]) == ("completed", 2)
