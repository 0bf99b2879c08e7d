"""The tree of each kind of journey, as a collector gets it over real OTLP."""

import json
from typing import Final

import pytest

from pipeline.client_sync import SyncClient
from tests.house_of_sluice import House
from tests.reckoning import entries
from tests.telemetry.asking import CHAT, MESSAGES, OUTSIDE, ask, named, whole
from tests.telemetry.collector import Collector
from tests.telemetry.lint import faults, root_of, tree
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_PLAIN: Final = f"""\
POST {CHAT} SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat fast CLIENT worker
  process respond CONSUMER worker
  deliver INTERNAL gateway"""


def test_a_plain_request(house: House, collector: Collector) -> None:
    status, request_id, headers = ask(house)
    spans = whole(collector, request_id, "deliver", "process respond")
    assert status == 200
    assert tree(spans) == _PLAIN
    assert {span.trace for span in spans} == {headers["x-trace-id"]}
    root, [call] = spans[0], named(spans, "chat fast")
    assert root.attributes["sluice.outcome"] == "completed"
    assert root.attributes["http.response.status_code"] == 200
    assert call.attributes["gen_ai.request.model"] == "fast"
    assert call.attributes["gen_ai.usage.output_tokens"] == 32
    assert call.attributes["server.port"] == house.simulated_port
    groups = [span.attributes.get("messaging.consumer.group.name") for span in spans]
    assert [group for group in groups if group] == ["route", "gate", "call", "respond"]
    assert all(span.attributes["messaging.message.id"] for span in spans if span.kind == "CONSUMER")


def test_a_stream_tells_two_first_tokens(house: House, collector: Collector) -> None:
    _, request_id, _ = ask(house, "sim/sim:ttft_ms=60,tps=100,tokens=8", stream=True)
    spans = whole(collector, request_id, "deliver", "process respond")
    # It is delivered from its first token on.
    expected = f"""\
POST {CHAT} SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat sim:ttft_ms=60,tps=100,tokens=8 CLIENT worker
  deliver INTERNAL gateway
  process respond CONSUMER worker"""
    assert tree(spans) == expected
    root, [delivery] = spans[0], named(spans, "deliver")
    [call] = [span for span in spans if span.kind == "CLIENT"]
    provider_ms = float(str(call.attributes["gen_ai.response.time_to_first_chunk"])) * 1000
    assert 55 < provider_ms < float(str(root.attributes["sluice.time_to_first_chunk_ms"]))
    assert call.moments == ("first_chunk",)
    assert call.attributes["gen_ai.request.stream"] is True
    assert int(str(delivery.attributes["sluice.sse.chunks"])) > 8


def test_a_429_and_then_success_leave_the_root_well(house: House, collector: Collector) -> None:
    status, request_id, _ = ask(house, "limited")
    spans = whole(collector, request_id, "deliver", "process respond")
    model = "limited:error=429,retry_after_ms=400,error_first=1,tokens=3"
    assert status == 200
    expected = f"""\
POST {CHAT} SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat {model} CLIENT worker !429
  process gate CONSUMER worker
    gate wait INTERNAL worker
  process call CONSUMER worker
    chat {model} CLIENT worker
  process respond CONSUMER worker
  deliver INTERNAL gateway"""
    assert tree(spans) == expected
    first, second = (span for span in spans if span.kind == "CLIENT")
    assert (first.attributes["error.type"], first.attributes["http.response.status_code"]) == (
        "429",
        429,
    )
    assert [span.attributes["sluice.attempt"] for span in (first, second)] == [1, 2]
    assert first.attributes["sluice.key.id"] == second.attributes["sluice.key.id"]
    assert named(spans, "process gate")[1].attributes["sluice.gate.outcome"] == "waited"


def test_a_fallback(house: House, collector: Collector) -> None:
    status, request_id, _ = ask(house, "shaky")
    spans = whole(collector, request_id, "deliver", "process respond")
    assert status == 200
    expected = f"""\
POST {CHAT} SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat first:error=503,retry_after_ms=5000 CLIENT worker !503
  process gate CONSUMER worker
  process call CONSUMER worker
    chat second:tokens=3 CLIENT worker
  process respond CONSUMER worker
  deliver INTERNAL gateway"""
    assert tree(spans) == expected


def test_a_failure_is_an_error_of_the_root_and_of_the_hop_that_it_ended(
    house: House, collector: Collector
) -> None:
    status, request_id, _ = ask(house, "broken")
    spans = whole(collector, request_id, "deliver", "process call")
    assert status == 503
    expected = f"""\
POST {CHAT} SERVER gateway !provider_exhausted
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker !provider_exhausted
    chat first:error=500 CLIENT worker !500
  deliver INTERNAL gateway"""
    assert tree(spans) == expected


def test_what_is_refused_at_the_door_is_a_server_span_alone(
    house: House, collector: Collector
) -> None:
    status, request_id, _ = ask(house, "no-such-model")
    spans = whole(collector, request_id, "deliver")
    assert status == 404
    assert tree(spans) == f"POST {CHAT} SERVER gateway\n  deliver INTERNAL gateway"


def test_a_wait_for_capacity_is_told_as_such(house: House, collector: Collector) -> None:
    ids = [house.later("narrow") for _ in range(2)]
    traces = [
        whole(collector, one, "request", "process respond", "POST /chat/async") for one in ids
    ]
    [waited] = [spans for spans in traces if named(spans, "gate wait")]
    [wait], [gate] = named(waited, "gate wait"), named(waited, "process gate")
    assert wait.parent == gate.id
    assert wait.end - wait.start > 50e6
    assert gate.attributes["sluice.gate.scope"] == "capacity"


def test_a_202_is_the_child_of_its_request(house: House, collector: Collector) -> None:
    request_id = house.later("sim/sim:ttft_ms=50,tokens=2")
    spans = whole(collector, request_id, "request", "POST /chat/async")
    expected = """\
request INTERNAL worker
  POST /chat/async SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat sim:ttft_ms=50,tokens=2 CLIENT worker
  process respond CONSUMER worker"""
    assert tree(spans) == expected


def test_each_leg_of_the_ladder_is_a_trace_that_links_the_one_before(
    house: House, collector: Collector
) -> None:
    request_id = house.later("climbs")
    first, second = collector.until(request_id, "request", "request leg 2", "POST /chat/async")
    assert faults(first) == faults(second) == []
    model = "climbs:error=503,error_first=1,tokens=3"
    expected = f"""\
request INTERNAL worker
  POST /chat/async SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat {model} CLIENT worker !503"""
    assert tree(first) == expected
    expected = f"""\
request leg 2 INTERNAL worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat {model} CLIENT worker
  process respond CONSUMER worker"""
    assert tree(second) == expected
    before, after = root_of(first), root_of(second)
    [link] = after.links
    assert (link.trace, link.span) == (before.trace, before.id)
    assert before.attributes["sluice.outcome"] == "climbed"
    assert before.attributes["sluice.next.trace_id"] == after.trace
    assert [root.attributes["sluice.leg"] for root in (before, after)] == [1, 2]
    assert named(second, f"chat {model}")[0].attributes["sluice.attempt"] == 2
    _, told = house.ask("GET", f"/v1/requests/{request_id}")
    assert told["trace_id"] == second[0].trace
    assert told["trace_url"] == f"http://127.0.0.1:16686/trace/{second[0].trace}"


def test_a_producers_own_trace_goes_on_through_us_and_out_again(
    house: House, collector: Collector
) -> None:
    asked = {"request_id": "mine", "model": "sim/sim:tokens=2", "messages": MESSAGES}
    event = json.dumps({**asked, "reply_to": "answers"})
    lane = house.names.requests["default"]
    entry = ("event", event, "traceparent", OUTSIDE, "tracestate", "vendor=1")
    house.client.execute_command("XADD", lane, "*", *entry)  # type: ignore[no-untyped-call]
    spans = whole(collector, "mine", "request", "process respond", outside=OUTSIDE[36:52])
    expected = """\
request INTERNAL worker
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat sim:tokens=2 CLIENT worker
  process respond CONSUMER worker"""
    assert tree(spans) == expected
    assert {span.trace for span in spans} == {OUTSIDE[3:35]}
    assert spans[0].parent == OUTSIDE[36:52]
    assert {span.state for span in spans} == {"vendor=1"}
    [(_, fields)] = eventually(lambda: entries(house.client, "answers"), 10.0, "the callback")
    assert fields["traceparent"] == f"00-{OUTSIDE[3:35]}-{spans[0].id}-01"
    assert fields["tracestate"] == "vendor=1"


def test_an_http_clients_trace_goes_on_through_us(house: House, collector: Collector) -> None:
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    _, request_id, headers = ask(house, traceparent=parent)
    spans = whole(collector, request_id, "deliver", "process respond", outside="cd" * 8)
    assert (spans[0].trace, spans[0].parent) == ("ab" * 16, "cd" * 8)
    assert headers["x-trace-id"] == "ab" * 16


def test_a_caller_that_does_not_trace_is_not_traced(house: House, collector: Collector) -> None:
    _, request_id, headers = ask(house, traceparent=OUTSIDE[:-1] + "0")
    _, after, _ = ask(house)
    whole(collector, after, "deliver", "process respond")
    assert collector.of(request_id) == []
    assert "x-trace-id" not in headers
    _, told = house.ask("GET", f"/v1/requests/{request_id}")
    assert told["trace_id"] is None


def test_every_process_says_what_it_is(house: House, collector: Collector) -> None:
    _, request_id, _ = ask(house)
    spans = whole(collector, request_id, "deliver", "process respond")
    resources = {span.part: span.resource for span in spans}
    assert {part: told["service.name"] for part, told in resources.items()} == {
        "gateway": "sluice-gateway", "worker": "sluice-worker"
    }  # fmt: skip
    assert resources["gateway"]["service.instance.id"] != resources["worker"]["service.instance.id"]


def test_no_span_holds_a_prompt_or_a_key(house: House, collector: Collector) -> None:
    _, request_id, _ = ask(house)
    whole(collector, request_id, "deliver", "process respond")
    told = repr(collector.received)
    assert "the-marked-prompt" not in told
    assert "the-marked-key" not in told


def test_a_stream_that_climbs_is_served_by_its_first_trace(
    house: House, collector: Collector
) -> None:
    status, request_id, headers = ask(house, "climbs", stream=True)
    first, second = collector.until(request_id, f"POST {CHAT}", "request leg 2", "deliver")
    assert status == 200
    assert faults(first) == faults(second) == []
    # The exchange lasts until its answer is delivered; the rest of the way is the next trace.
    model = "climbs:error=503,error_first=1,tokens=3"
    expected = f"""\
POST {CHAT} SERVER gateway
  process route CONSUMER worker
  process gate CONSUMER worker
  process call CONSUMER worker
    chat {model} CLIENT worker !503
  deliver INTERNAL gateway"""
    assert tree(first) == expected
    before, after = root_of(first), root_of(second)
    assert before.trace == headers["x-trace-id"]
    assert before.attributes["sluice.next.trace_id"] == after.trace
    assert after.links[0].span == before.id


def test_the_python_client_is_traced_by_the_workers(house: House, collector: Collector) -> None:
    parent = f"00-{'12' * 16}-{'34' * 8}-01"
    with SyncClient(house.redis.url) as client:
        request_id = client.submit(prompt="hi", model="fast", traceparent=parent)
        client.result(request_id)
        spans = whole(collector, request_id, "request", "process respond", outside="34" * 8)
    assert (spans[0].name, spans[0].parent) == ("request", "34" * 8)
    assert {span.trace for span in spans} == {"12" * 16}
    _, told = house.ask("GET", f"/v1/requests/{request_id}")
    assert told["trace_id"] == "12" * 16
