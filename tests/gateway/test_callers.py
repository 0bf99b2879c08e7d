"""Tenants: who may enter, what they may ask for and see."""

import hashlib

import pytest

from tests.gateway.conftest import House, StartHouse, chat_body
from tests.gateway.test_plain import frames

TOKENS = {"acme": "acme-token", "globex": "globex-token"}


def hashed(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


CONFIG = f"""
gateway: {{default_model: fast}}
providers: {{sim: {{kind: simulated, any_model: true}}}}
models: {{fast: {{deployments: [{{provider: sim, model: echo}}]}}}}
tenants:
  acme: {{tokens: ["{hashed(TOKENS["acme"])}"], priority: 4}}
  globex: {{tokens: ["{hashed(TOKENS["globex"])}"], models: ["fast"]}}
"""


@pytest.fixture
def guarded(start_house: StartHouse) -> House:
    return start_house(CONFIG)


def bearer(tenant: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[tenant]}"}


def test_tenants_are_told_apart_by_their_tokens(guarded: House) -> None:
    ask = guarded.ask
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
            refused = ask(method, path, chat_body("fast"), headers)
            assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    assert ask("POST", "/v1/chat/completions", chat_body("fast"), bearer("acme")).status == 200
    told = ask("POST", "/v1/chat/completions", chat_body("sim/tell"), bearer("acme")).body
    assert b'\\"tenant\\":\\"acme\\"' in told
    assert b'\\"priority\\":4' in told

    foreign = ask("POST", "/v1/chat/completions", chat_body("sim/tell"), bearer("globex"))
    assert (foreign.status, foreign.error["code"]) == (404, "model_not_found")
    models = ask("GET", "/v1/models", None, bearer("globex")).json["data"]
    assert isinstance(models, list)
    assert [model["id"] for model in models] == ["fast"]

    sent = {"message": "Hi", "session_id": "s"}
    task = ask("POST", "/chat/async", sent, bearer("acme")).json["task_id"]
    paths = [f"/chat/{task}", f"/v1/requests/{task}", f"/v1/requests/{task}/events"]
    for path in [*paths, f"/v1/requests/{task}/stream", "/stream/s"]:
        assert ask("GET", path, None, bearer("acme")).status == 200
        assert ask("GET", path, None, bearer("globex")).status == 404
        assert ask("GET", path).status == 401


def test_nobody_can_take_a_session_from_its_tenant(guarded: House) -> None:
    own = {"message": "Hi", "session_id": "mine", "model": "fast"}
    for tenant in ("acme", "globex"):
        assert guarded.ask("POST", "/chat", own, bearer(tenant)).status == 200
    body = guarded.ask("GET", "/stream/mine", None, bearer("acme")).body
    shown = [frame for frame in frames(body) if frame["type"] == "chunk"]
    assert len({frame["task_id"] for frame in shown}) == 1
    assert "".join(str(frame["content"]) for frame in shown) == "Hello, world!"
