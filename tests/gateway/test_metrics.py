"""`GET /metrics`: what a gateway has served, the state in Redis, and who may read them."""

import http.client
import json
import shutil
import time
from typing import Final

import pytest
import redis

from pipeline.embedded.redis_server import EmbeddedRedis
from tests.gateway.conftest import CONFIG, House, StartHouse, chat_body
from tests.gateway.test_callers import CONFIG as TENANTS
from tests.gateway.test_callers import hashed
from tests.telemetry.scrape import Scrape, fetch, lint, scrape
from tests.waiting import eventually

#: The port is the gateway's own: another one than 0 only switches metrics on.
_ON: Final = "telemetry: {metrics_port: 9464}\n"


@pytest.fixture
def measured(start_house: StartHouse, monkeypatch: pytest.MonkeyPatch) -> StartHouse:
    """Start gateways that tell metrics."""
    monkeypatch.delenv("SLUICE_TELEMETRY__METRICS_PORT")

    def start(
        config: str = CONFIG, *, pace: str = "{}", url: str = "", standin: bool = True
    ) -> House:
        text = config if "telemetry" in config else f"{config}\n{_ON}"
        return start_house(text, pace=pace, url=url, standin=standin)

    return start


def test_exchanges_are_counted_by_template_method_and_status(measured: StartHouse) -> None:
    house = measured()
    assert house.chat().status == 200
    assert b"[DONE]" in house.chat(stream=True).body
    for number in range(3):
        assert house.ask("GET", f"/v1/requests/nobody-{number}").status == 404
        assert house.ask("GET", f"/no/such/path-{number}").status == 404
    assert house.ask("GET", "/v1/models/sim/made-up").status == 200
    assert house.ask("PUT", "/chat").status == 405
    found = scrape(house.port)
    name, route = "sluice_http_requests_total", "/v1/chat/completions"
    assert found.total(name, route=route, method="POST", status="200") == 2
    assert found.total(name, route="/v1/requests/{id}", method="GET", status="404") == 3
    assert found.total(name, route="other", status="404") == 3
    assert found.total(name, route="/chat", method="other", status="405") == 1
    assert found.total(name, route="/v1/models/{id}") == 1
    assert found.total("sluice_http_request_duration_seconds_count", route=route) == 2
    assert found.total("sluice_http_time_to_first_byte_seconds_count") == 1
    # The scrape itself.
    assert found.total("sluice_http_open_requests") == 1
    assert not [word for word in ("nobody", "path-", "made-up") if word in found.text]


def test_open_requests_and_clients_that_hang_up_are_counted(measured: StartHouse) -> None:
    house = measured()
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=10)
    body = json.dumps(chat_body("sim/silent", stream=True))
    link.request("POST", "/v1/chat/completions", body)
    eventually(lambda: scrape(house.port).total("sluice_http_open_requests") == 2)
    link.close()

    def gone() -> float:
        return scrape(house.port).total(
            "sluice_http_clients_gone_total", route="/v1/chat/completions"
        )

    assert eventually(gone) == 1


def test_the_state_in_redis_is_told(measured: StartHouse) -> None:
    house = measured()
    house.chat()
    with redis.Redis.from_url(house.redis_url, protocol=2) as link:
        link.xgroup_create("sluice:gate", "gate", "0", mkstream=True)
        link.xadd("sluice:gate", {"event": "{}"}, id="1000-0")
        link.xadd("sluice:gate", {"event": "{}"})
        link.xreadgroup("gate", "me", {"sluice:gate": ">"}, count=1)
        link.xadd("sluice:dead", {"event": "{}"})
        link.hset("sluice:counters", mapping={"refused": 3, "claimed": 2, "duplicates": 1})
    found = scrape(house.port)
    expected: dict[str, tuple[float, dict[str, str]]] = {
        "sluice_redis_up": (1, {}),
        "sluice_workers": (1, {}),
        "sluice_gateways": (1, {}),
        "sluice_dead_letters_kept": (1, {}),
        "sluice_stream_length": (2, {"stream": "gate"}),
        "sluice_group_lag": (1, {"stream": "gate", "group": "gate"}),
        "sluice_group_pending": (1, {"stream": "gate", "group": "gate"}),
        "sluice_group_held_back": (0, {}),
        "sluice_rung_events": (0, {"rung": "86400"}),
        "sluice_waiting": (0, {"lane": "high"}),
        "sluice_leases": (0, {"deployment": "sim/echo"}),
        "sluice_deployment_cut_off": (0, {"deployment": "sim/echo"}),
        "sluice_keys": (1, {"provider": "sim", "state": "ok"}),
        "sluice_redis_memory_limit_bytes": (0, {}),
        "sluice_events_refused_total": (3, {}),
        "sluice_events_claimed_total": (2, {}),
        "sluice_events_duplicate_total": (1, {}),
        "sluice_events_lost_total": (0, {}),
        "sluice_redis_reconnects_total": (0, {}),
    }
    for name, (value, labels) in expected.items():
        assert name in found.names
        assert (name, found.total(name, **labels)) == (name, value)
    # The entry's id says that it was written in 1970.
    oldest = found.total("sluice_group_oldest_pending_seconds", stream="gate")
    assert oldest == pytest.approx(time.time(), abs=100)
    assert found.total("sluice_redis_memory_bytes") > 100_000
    assert found.total("sluice_redis_commands_total") > 10


def test_nobody_who_scrapes_costs_redis_no_command(measured: StartHouse) -> None:
    house = measured()
    with redis.Redis.from_url(house.redis_url, protocol=2) as link:
        scrape(house.port)
        link.config_resetstat()
        house.ask("GET", "/health")
        time.sleep(0.5)
        asked = link.info("commandstats")
        assert "cmdstat_hgetall" not in asked
        assert "cmdstat_xpending" not in asked
        scrape(house.port)
        assert link.info("commandstats")["cmdstat_hgetall"]["calls"] >= 1


def test_the_text_passes_prometheus_own_check(measured: StartHouse) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    house = measured()
    house.chat(stream=True)
    assert lint(promtool, fetch(house.port)) == ""


def test_metrics_are_told_while_redis_is_away(
    measured: StartHouse, own_redis: EmbeddedRedis
) -> None:
    house = measured(url=own_redis.url)
    assert house.chat().status == 200
    own_redis.kill()
    start = time.monotonic()
    found = scrape(house.port)
    assert time.monotonic() - start < 2
    assert found.total("sluice_redis_up") == 0
    assert "sluice_redis_up" in found.names
    assert "sluice_workers" not in found.names
    assert found.total("sluice_http_requests_total", status="200") == 1
    own_redis.start()

    def back() -> bool:
        mended = scrape(house.port)
        return mended.total("sluice_redis_up") == mended.total("sluice_redis_reconnects_total") == 1

    eventually(back, 15)


def test_this_machine_reads_them_and_no_page_of_another_site(measured: StartHouse) -> None:
    house = measured(standin=False)
    for headers in ({"Origin": "http://evil.example"}, {"X-Forwarded-For": "192.0.2.1"}):
        assert house.ask("GET", "/metrics", None, headers).status == 403
    assert house.ask("GET", "/metrics").status == 200
    assert house.ask("POST", "/metrics").status == 405


def test_with_tenants_an_operator_reads_them(measured: StartHouse) -> None:
    token = "sk-sluice-of-an-operator"
    house = measured(f'{TENANTS}\nadmin: {{tokens: ["{hashed(token)}"]}}\n', standin=False)
    assert house.ask("GET", "/metrics").status == 401
    shown = {"Authorization": f"Bearer {token}"}
    assert house.ask("GET", "/metrics", None, shown).status == 200


def test_whoever_reaches_the_other_metrics_reads_these(measured: StartHouse) -> None:
    config = f"{TENANTS}\ntelemetry: {{metrics_host: 0.0.0.0, metrics_port: 9464}}\n"
    house = measured(config, standin=False)
    assert "sluice_redis_up" in Scrape(house.ask("GET", "/metrics").body.decode()).names


def test_port_0_switches_them_off(start_house: StartHouse) -> None:
    house = start_house(standin=False)
    answer = house.ask("GET", "/metrics")
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert "metrics_port" in str(answer.error["message"])
