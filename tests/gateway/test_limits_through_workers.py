"""What clients are told of limits by the gate itself, with the real workers behind the gateway."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.gateway.conftest import House, chat_body
from tests.gateway.test_callers import TOKENS, bearer, hashed
from tests.gateway.test_through_workers import all_hops
from tests.waiting import eventually

pytestmark = pytest.mark.journey

CONFIG = f"""
gateway: {{{{default_model: fast}}}}
simulate: {{{{port: {{port}}}}}}
providers:
  sim: {{{{kind: simulated, base_url: "http://127.0.0.1:{{port}}/v1"}}}}
models:
  fast: {{{{deployments: [{{{{provider: sim, model: fast}}}}], on_limit: refuse}}}}
  slow:
    deployments: [{{{{provider: sim, model: "fast:ttft_ms=1000", limits: {{{{concurrency: 1}}}}}}}}]
tenants:
  acme: {{{{tokens: ["{hashed(TOKENS["acme"])}"], limits: {{{{rpm: 2, tpd: 100000}}}}}}}}
  globex: {{{{tokens: ["{hashed(TOKENS["globex"])}"]}}}}
"""
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def limited(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("limited")
    with all_hops(redis_binary, directory, CONFIG, '{"ping_s":0.1}') as house:
        yield house


def test_a_tenant_sees_its_limit_dwindle_and_is_then_refused_by_name(limited: House) -> None:
    left = []
    for stream in (False, True):
        answer = limited.ask("POST", PATH, chat_body("fast", stream=stream), bearer("acme"))
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
        left.append(answer.headers["x-ratelimit-remaining-requests"])
        assert 0 < int(answer.headers["x-ratelimit-remaining-tokens"]) < 100_000
        assert '"tenant-tpd";q=100000;w=86400;qu="tokens"' in answer.headers["ratelimit-policy"]
    assert left == ["1", "0"]

    refused = limited.ask("POST", PATH, chat_body("fast", stream=True), bearer("acme"))
    assert (refused.status, refused.error["code"]) == (429, "rate_limited")
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["ratelimit-policy"] == '"tenant-rpm";q=2;w=60'
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    metadata = msgspec.convert(refused.error["metadata"], dict[str, object])
    assert (metadata["source"], metadata["scope"], metadata["name"]) == ("sluice", "tenant", "acme")


def test_who_waits_for_capacity_is_told_where(limited: House) -> None:
    sent = {"message": "Hi", "model": "slow"}
    tasks = [
        limited.ask("POST", "/chat/async", sent, bearer("globex")).json["task_id"] for _ in range(3)
    ]

    def positions() -> set[object]:
        told = [limited.ask("GET", f"/chat/{task}", None, bearer("globex")).json for task in tasks]
        return {state["position"] for state in told if state["status"] == "waiting"}

    eventually(lambda: positions() & {1, 2})
    body = limited.ask("POST", PATH, chat_body("slow", stream=True), bearer("globex")).body
    assert re.search(rb": waiting position=\d+( eta_s=\d+)?\n", body)
    assert body.endswith(b"data: [DONE]\n\n")
