"""Requests over several models through the whole house: planned, paid for, told of, followed."""

import httpx
import msgspec
import pytest

from tests.house_of_sluice import House, Section
from tests.journeys.conftest import BuildHouse

pytestmark = pytest.mark.journey

_LIMITS: Section = {"rpm": 6, "burst": 3}
_MODELS: Section = {
    "talk": {"deployments": [{"provider": "sim", "model": "talk:tokens=2"}]},
    "vectors": {"deployments": [{"provider": "sim", "model": "vectors", "limits": _LIMITS}]},
}
_GATEWAY: Section = {"default_model": "talk", "default_embedding_model": "vectors"}
_CHAT: Section = {
    "model": "talk",
    "messages": [{"role": "user", "content": "hi"}],
    "model_preferences": {"require_embedding_model": True, "num_emb_calls_per_req": 3},
}


def ask(house: House, path: str, body: Section, **headers: str) -> httpx.Response:
    """Ask the gateway; who cannot be served within a second is told so."""
    soon = {"X-Request-Timeout": "1", **headers}
    return httpx.post(f"{house.url}{path}", json=body, headers=soon, timeout=20)


def test_a_request_pays_for_its_companions_calls_and_they_go_at_once(
    build_house: BuildHouse,
) -> None:
    house = build_house(models=_MODELS, gateway=_GATEWAY).start()
    answer = ask(house, "/v1/chat/completions", _CHAT)
    assert answer.status_code == 200
    request_id = answer.headers["x-request-id"]
    _, events = house.ask("GET", f"/v1/requests/{request_id}/events")
    decision = msgspec.convert(events["decision"], dict[str, object])
    assert decision["also"] == ["vectors: 3 calls, first sim/vectors"]
    # Three calls were taken together, and one a ten seconds is allowed: who comes now has to wait.
    assert ask(house, "/embeddings", {"input": "hi"}).status_code == 429
    for number in range(3):
        followed: Section = {"follows": request_id} if number else {}
        headers = {} if number else {"X-Sluice-Follows": request_id}
        paid = ask(house, "/embeddings", {"input": "hi", **followed}, **headers)
        assert paid.status_code == 200, paid.text
        _, events = house.ask("GET", f"/v1/requests/{paid.headers['x-request-id']}/events")
        assert '"chosen_by":"paid"' in msgspec.json.encode(events).decode()
    assert ask(house, "/embeddings", {"input": "hi", "follows": request_id}).status_code == 429


def test_a_request_waits_until_its_companion_has_capacity(build_house: BuildHouse) -> None:
    house = build_house(models=_MODELS, gateway=_GATEWAY).start()
    for _ in range(3):
        assert ask(house, "/embeddings", {"input": "hi"}).status_code == 200
    refused = ask(house, "/v1/chat/completions", _CHAT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "deadline_unreachable")
    assert ask(house, "/v1/chat/completions", {**_CHAT, "model_preferences": {}}).status_code == 200


def test_a_call_that_is_repeated_elsewhere_pays_once(build_house: BuildHouse) -> None:
    shaky: Section = {
        "deployments": [
            {"provider": "sim", "model": "first:error=503"}, {"provider": "sim", "model": "second"},
        ]
    }  # fmt: skip
    house = build_house(models={**_MODELS, "talk": shaky}, gateway=_GATEWAY).start()
    preferences = {"require_embedding_model": True, "num_emb_calls_per_req": 1}
    answer = ask(house, "/v1/chat/completions", {**_CHAT, "model_preferences": preferences})
    assert answer.status_code == 200
    assert answer.headers["x-sluice-attempts"] == "2"
    # One of three is taken: two are left.
    assert [ask(house, "/embeddings", {"input": "hi"}).status_code for _ in range(3)] == [
        200, 200, 429,
    ]  # fmt: skip
