"""`sluice check`: faults, doubts, and what holds."""

import json
from pathlib import Path

import yaml

from pipeline.embedded.redis_server import EmbeddedRedis
from tests.cli.command import error_of, sluice


def test_no_file_is_a_valid_configuration(tmp_path: Path) -> None:
    done = sluice(tmp_path, "check")
    assert done.returncode == 0
    assert "valid" in done.stdout


def test_every_fault_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "sluice.yaml").write_text("gateway: {port: x}\nworkers: {processes: 0}\n")
    done = sluice(tmp_path, "check")
    assert done.returncode == 1
    assert "sluice: gateway.port: " in done.stderr
    assert "sluice: workers.processes: " in done.stderr


def test_faults_are_told_in_json_too(tmp_path: Path) -> None:
    (tmp_path / "sluice.yaml").write_text("gateway: {port: x}\n")
    done = sluice(tmp_path, "check", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["valid"] is False
    assert told["faults"][0].startswith("gateway.port: ")


def test_the_effective_configuration_is_shown_without_its_secrets(tmp_path: Path) -> None:
    key = "sk-" + "abcdefgh" * 4
    environment = {"OPENAI_API_KEY": key, "SLUICE_REDIS_URL": "redis://:word@127.0.0.1:1/0"}
    done = sluice(tmp_path, "check", "--show", env=environment)
    shown = yaml.safe_load(done.stdout)
    assert shown["providers"]["openai"]["keys"] == ["sk-…efgh"]
    assert shown["redis"]["url"] == "redis://…@127.0.0.1:1/0"
    assert shown["gateway"]["port"] == 8080
    assert key not in done.stdout
    assert "word" not in done.stdout


def test_the_command_line_wins(tmp_path: Path) -> None:
    done = sluice(tmp_path, "check", "--show", "--namespace", "other", "--json")
    assert json.loads(done.stdout)["settings"]["redis"]["namespace"] == "other"


def test_a_redis_that_may_lose_events_is_warned_of(tmp_path: Path, redis_binary: Path) -> None:
    options = {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}
    with EmbeddedRedis(tmp_path / "redis", options=options, binary=redis_binary) as server:
        done = sluice(tmp_path, "check", "--redis", "--redis-url", server.url)
    assert done.returncode == 0
    assert "warning: Redis evicts (allkeys-lru)" in done.stderr
    assert "warning: Redis has appendonly off" in done.stderr


def test_a_redis_as_it_should_be_gives_no_warning(tmp_path: Path, own_redis: EmbeddedRedis) -> None:
    done = sluice(tmp_path, "check", "--redis", "--redis-url", own_redis.url)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_redis_that_is_not_there_makes_the_check_fail(tmp_path: Path, free_port: int) -> None:
    url = f"redis://127.0.0.1:{free_port}/0"
    assert url in error_of(sluice(tmp_path, "check", "--redis", "--redis-url", url))


TENANTS = f"""
tenants:
  acme:
    tokens: ["sha256:{"5e" * 32}"]
    weight: 3
    priority: 5
    models: [f*, quality]
    limits: {{rpm: 60, concurrency: 10, window: {{requests: 40, seconds: 60}}}}
    users: {{default: {{rpm: 10}}, bob: {{tpd: 0}}}}
    token_limits: {{"5e5e5e5e": {{tpm: 7}}}}
    model_limits: {{fast: {{rpd: 9}}}}
  empty: {{}}
"""


def test_the_tenants_are_told_with_their_limits_and_their_tokens_as_ids(tmp_path: Path) -> None:
    (tmp_path / "sluice.yaml").write_text(TENANTS)
    done = sluice(tmp_path, "check")
    assert done.stdout.splitlines()[1:] == [
        "tenant acme: tokens 5e5e5e5e; models f*, quality; weight 3; priority 5; "
        "rpm 60, concurrency 10, 40 requests in 60 s",
        "  each other user: rpm 10",
        "  user bob: tpd 0",
        "  token 5e5e5e5e: tpm 7",
        "  model fast: rpd 9",
        "tenant empty: no tokens, so that nobody can be it; no limits",
    ]


def test_json_tells_the_tenants_and_no_hash_in_full(tmp_path: Path) -> None:
    (tmp_path / "sluice.yaml").write_text(TENANTS)
    done = sluice(tmp_path, "check", "--json", "--show")
    told = json.loads(done.stdout)
    assert told["tenants"]["acme"]["tokens"] == ["5e5e5e5e"]
    assert told["tenants"]["acme"]["users"]["bob"]["tpd"] == 0
    assert told["settings"]["tenants"]["acme"]["tokens"] == ["sha256:5e5e5e5e…"]
    assert "5e5e5e5e5" not in done.stdout
