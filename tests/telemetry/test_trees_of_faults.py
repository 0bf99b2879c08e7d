"""Traces of what goes wrong: restarts, replays, clients and workers that leave, lost collectors."""

import functools
import http.client
import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.cli.command import sluice
from tests.house_of_sluice import House, Section, kill_family
from tests.reckoning import Reckoning
from tests.telemetry.asking import CHAT, MESSAGES, ask
from tests.telemetry.collector import Collector
from tests.telemetry.conftest import BuildTraced, TracedHouse
from tests.telemetry.lint import faults, root_of, tree
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_SLOW: Final = "sim:ttft_ms=100,tps=20,tokens=12"
_UNTIRING: Final[Section] = {"sim": {"any_model": True, "breaker": {"failures": 0}}}


def _climbing(model: str, *rungs: int) -> Section:
    return {"deployments": [{"provider": "sim", "model": model}], "ladder": list(rungs)}


def _is_on_a_rung(house: House, request_id: str) -> bool:
    return house.client.hget(house.names.record(request_id), "rung") is not None


def test_a_leg_that_begins_after_a_restart_links_the_one_before(
    build_traced: BuildTraced, collector: Collector
) -> None:
    model = "climbs:error=503,error_first=1,tokens=3"
    house = build_traced(
        providers=_UNTIRING, models={"m": _climbing(model, 2)}, retry={"quick": 0}
    ).start()
    request_id = house.later("m")
    eventually(functools.partial(_is_on_a_rung, house, request_id), 10.0, "the climb")
    first = collector.until(request_id, "request", "process call", "POST /chat/async")
    for name, child in house.nursery.spawned.items():
        if not name.startswith("simulated"):
            child.end()
    house.await_worker(house.spawn_worker())
    before, after = collector.until(request_id, "request", "request leg 2", "process respond")
    assert before == first[0]
    assert faults(before) == faults(after) == []
    expected = f"""\
request leg 2 INTERNAL worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat {model} CLIENT worker
  process respond CONSUMER worker"""
    assert tree(after) == expected
    [link] = root_of(after).links
    assert (link.trace, link.span) == (root_of(before).trace, root_of(before).id)


def test_replays_are_traces_that_link_what_they_replay(
    build_traced: BuildTraced, collector: Collector
) -> None:
    model = "fails:error=500,error_first=1,tokens=3"
    house = build_traced(
        providers=_UNTIRING, models={"m": _climbing(model)}, retry={"quick": 0}
    ).start()
    request_id = house.later("m")
    Reckoning(house.client, house.names).await_end([request_id])
    [died] = collector.until(request_id, "request", "POST /chat/async")
    assert root_of(died).error == "provider_exhausted"
    environment = house.environment()
    assert sluice(house.directory, "dead", "replay", request_id, env=environment).returncode == 0
    # Nothing had been delivered, so that it keeps its id, and goes on with its legs.
    _, again = collector.until(request_id, "request", "request leg 2")
    assert faults(again) == []
    assert root_of(again).links[0].trace == root_of(died).trace
    options = ("replay", "--since", "1h", "--to-model", "fast", "--json")
    replayed = sluice(house.directory, *options, env=environment)
    assert json.loads(replayed.stdout)["replayed"] == 1

    def replay() -> list[str]:
        told = [span.attributes for span in collector.spans]
        return [
            str(one["sluice.request.id"])
            for one in told
            if one.get("sluice.replay_of") == request_id
        ]

    [new_id] = eventually(replay, 10.0, "the replay's root")
    [spans] = collector.until(new_id, "request", "process respond")
    assert faults(spans) == []
    assert root_of(spans).links[0].trace == root_of(again).trace
    assert root_of(spans).name == "request"


def test_a_client_that_goes_in_the_middle_of_its_stream_is_a_flag_and_no_error(
    build_traced: BuildTraced, collector: Collector
) -> None:
    house = build_traced().start()
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    body = {"model": f"sim/{_SLOW}", "messages": MESSAGES, "stream": True}
    link.request("POST", CHAT, json.dumps(body))
    answer = link.getresponse()
    request_id = answer.headers["x-request-id"]
    answer.read(20)
    answer.close()
    link.close()
    [spans] = collector.until(request_id, "deliver", "process respond", f"POST {CHAT}")
    assert faults(spans) == []
    # The call is drained: the root ends with it, and the delivery before.
    expected = f"""\
POST {CHAT} SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat {_SLOW} CLIENT worker
  deliver INTERNAL gateway
  process respond CONSUMER worker"""
    assert tree(spans) == expected
    by_name = {span.name: span for span in spans}
    assert by_name["deliver"].attributes["sluice.client_disconnected"] is True
    assert by_name["deliver"].end < by_name["process call"].end
    assert root_of(spans).attributes["sluice.outcome"] == "completed"


def test_a_killed_worker_shows_as_a_second_delivery(
    build_traced: BuildTraced, collector: Collector
) -> None:
    house = build_traced()
    house.start_simulated()
    gateway, doomed = house.spawn_gateway(), house.spawn_worker()
    house.await_gateway(gateway)
    house.await_worker(doomed)
    request_id = house.later("sim/sim:ttft_ms=700,tokens=3")
    eventually(lambda: house.upstream.number("active") == 1, 10.0, "the call")
    kill_family(doomed)
    house.await_worker(house.spawn_worker())
    [spans] = collector.until(request_id, "request", "process respond", "POST /chat/async")
    assert faults(spans) == []
    expected = """\
request INTERNAL worker
  POST /chat/async SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat sim:ttft_ms=700,tokens=3 CLIENT worker
  process respond CONSUMER worker"""
    assert tree(spans) == expected
    [call] = [span for span in spans if span.name == "process call"]
    assert call.attributes["sluice.delivery.count"] == 2
    # It waited at the call while its worker was dead.
    assert float(str(call.attributes["sluice.queue.wait_ms"])) > 300


def test_traces_go_over_http_too_with_prompts_only_where_that_is_wished(
    build_traced: BuildTraced, collector: Collector
) -> None:
    told: Section = {"capture_content": True, "content_bytes": 40}
    house = build_traced(collector.http_url, telemetry=told).start()
    for stream in (False, True):
        _, request_id, _ = ask(house, "sim/sim:tokens=40", stream=stream)
        [spans] = collector.until(request_id, "deliver", "process respond")
        assert faults(spans) == []
        [call] = [span for span in spans if span.kind == "CLIENT"]
        prompt = str(call.attributes["gen_ai.input.messages"])
        assert "the-marked-prompt"[:8] in prompt
        assert len(prompt) == 40
        assert str(call.attributes["gen_ai.output.messages"]).startswith("Simulated answer")


@pytest.mark.parametrize("sampling", [0, 0.0001])
def test_what_is_not_sampled_leaves_no_trace(
    build_traced: BuildTraced, collector: Collector, sampling: float
) -> None:
    house = build_traced(telemetry={"sampling": sampling}).start()
    asked = [ask(house) for _ in range(5)]
    kept = f"00-{'ef' * 16}-{'cd' * 8}-01"
    _, followed, _ = ask(house, traceparent=kept)
    collector.until(followed, "deliver", "process respond")
    assert all("x-trace-id" not in headers for _, _, headers in asked)
    assert all(collector.of(request_id) == [] for _, request_id, _ in asked)


@pytest.fixture
def silent_collector() -> Iterator[str]:
    """Give the address of a collector that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_a_lost_collector_costs_nothing_but_the_spans(
    build_traced: BuildTraced, silent_collector: str, free_port: int, kind: str
) -> None:
    url = silent_collector if kind == "silent" else f"http://127.0.0.1:{free_port}"
    house: TracedHouse = build_traced(url).start()
    for _ in range(20):
        assert ask(house)[0] == 200
    for name, child in house.nursery.spawned.items():
        if not name.startswith("simulated"):
            began = time.monotonic()
            child.process.send_signal(signal.SIGTERM)
            assert child.wait(20) == 0
            assert time.monotonic() - began < 6, name
