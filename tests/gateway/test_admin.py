"""Dead letters and the ladder over HTTP, with real workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import House
from tests.gateway.test_cancel import later, state, until
from tests.gateway.test_plain import finished
from tests.gateway.test_through_workers import all_hops
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_BAD = "sim/x:error=400"

_CONFIG = """
gateway: {{default_model: fast}}
simulate: {{port: {port}}}
workers: {{scan_s: 0.2, liveness_s: 1}}
retry: {{quick: 0}}
providers: {{sim: {{kind: simulated, base_url: "http://127.0.0.1:{port}/v1", any_model: true}}}}
models:
  fast: {{deployments: [{{provider: sim, model: fast}}]}}
  away: {{deployments: [{{provider: sim, model: "away:error=503"}}]}}
  gone: {{deployments: [{{provider: sim, model: "gone:error=500"}}]}}
"""


@pytest.fixture(scope="module")
def running(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with all_hops(redis_binary, tmp_path_factory.mktemp("admin"), _CONFIG) as house:
        yield house


@pytest.fixture
def house(running: House) -> Iterator[House]:
    """Give the house with nobody dead and nobody on the ladder."""
    yield running
    assert asked(running, "POST", "/admin/dead/purge", all=True)["after"] is None
    for climber in asked(running, "GET", "/admin/ladder")["data"]:
        assert running.ask("DELETE", f"/v1/requests/{climber['id']}").status == 200


def asked(house: House, method: str, path: str, **body: object) -> Any:
    """Ask an operator's question that is answered."""
    answer = house.ask(method, path, body or None)
    assert answer.status == 200, answer
    return answer.json


def die(house: House, *models: str) -> list[str]:
    """Have requests fail for good, one after the other; gives their ids."""
    ids = []
    for model in models:
        ids.append(later(house, model))
        assert finished(house, ids[-1])["status"] == "failed"
    return ids


def climb(house: House, *models: str) -> list[str]:
    """Have requests on the first rung, one after the other; gives their ids."""
    ids = []
    for model in models:
        ids.append(later(house, model))
        until(house, ids[-1], "retrying", "ladder")
    return ids


def test_letters_are_listed_by_filter_and_page_by_page(house: House) -> None:
    first, second, third = die(house, _BAD, _BAD, "sim/y:error=404")
    page = asked(house, "GET", "/admin/dead?limit=2")
    assert ([one["id"] for one in page["data"]], page["total"]) == ([first, second], 3)
    assert (page["data"][0]["cause"], page["data"][0]["error"]["status"]) == ("bad_request", 400)
    rest = asked(house, "GET", f"/admin/dead?after={page['after']}")
    assert ([one["id"] for one in rest["data"]], rest["after"]) == ([third], None)
    found = asked(house, "GET", "/admin/dead?model=sim/y*&cause=*&since=1h")
    assert [one["id"] for one in found["data"]] == [third]
    assert asked(house, "GET", "/admin/dead?until=1h")["data"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after=x", "since=soon"])
def test_what_cannot_be_read_is_refused(house: House, query: str) -> None:
    answer = house.ask("GET", f"/admin/dead?{query}")
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")


def test_a_letter_is_shown_with_its_journal_and_body(house: House) -> None:
    (request_id,) = die(house, _BAD)
    shown = asked(house, "GET", f"/admin/dead/{request_id}")
    assert [line["hop"] for line in shown["letter"]["journal"]] == ["route", "gate", "call"]
    assert shown["body"]["messages"] == [{"role": "user", "content": "Hi"}]
    by_entry = asked(house, "GET", f"/admin/dead/{shown['letter']['letter']}")
    assert by_entry == shown
    answer = house.ask("GET", "/admin/dead/nobody")
    assert (answer.status, answer.error["code"]) == (404, "request_not_found")


def test_a_letter_is_replayed_with_another_model_under_its_own_id(house: House) -> None:
    (request_id,) = die(house, _BAD)
    path = f"/admin/dead/{request_id}/replay"
    unknown = house.ask("POST", path, {"to_model": "nowhere"})
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    told = asked(house, "POST", path, to_model="fast")
    assert (told["state"], told["replayed_as"]) == ("replayed", request_id)
    assert finished(house, request_id)["status"] == "completed"
    assert house.ask("POST", path).status == 404


def test_a_letter_is_edited_where_it_is_and_deleted(house: House) -> None:
    (request_id,) = die(house, _BAD)
    edited = asked(house, "PATCH", f"/admin/dead/{request_id}", set={"model": "fast", "top_p": 0.5})
    assert (edited["model"], edited["edits"][0]["changed"]) == ("fast", ["model", "top_p"])
    body = asked(house, "GET", f"/admin/dead/{edited['letter']}")["body"]
    assert (body["model"], body["top_p"]) == ("fast", 0.5)
    whole = {"model": "fast", "messages": [{"role": "user", "content": "Bye"}]}
    asked(house, "PATCH", f"/admin/dead/{request_id}", body=whole)
    assert asked(house, "GET", f"/admin/dead/{request_id}")["body"]["messages"] == whole["messages"]
    for wrong in ({}, {"set": {"tenant": "x"}}, {"nothing": 1}, {"body": 1}):
        assert house.ask("PATCH", f"/admin/dead/{request_id}", wrong).status == 400
    assert asked(house, "DELETE", f"/admin/dead/{request_id}")["purged"] == 1
    assert house.ask("DELETE", f"/admin/dead/{request_id}").status == 404


def test_many_are_replayed_by_a_filter_and_those_that_die_again_are_not_met_again(
    house: House,
) -> None:
    ids = die(house, _BAD, _BAD, _BAD, "sim/y:error=404")
    would = asked(house, "POST", "/admin/dead/replay", model="sim/x*", dry_run=True)
    assert ([one["id"] for one in would["data"]], would["results"]) == (ids[:3], [])
    assert asked(house, "GET", "/admin/dead")["total"] == 4
    first = asked(house, "POST", "/admin/dead/replay", model="sim/x*", limit=2)
    assert [one["id"] for one in first["results"]] == ids[:2]
    for request_id in ids[:2]:
        assert finished(house, request_id)["status"] == "failed"
    second = asked(
        house, "POST", "/admin/dead/replay", model="sim/x*", limit=2, after=first["after"]
    )
    assert [one["id"] for one in second["results"]] == [ids[2]]
    assert second["after"] is None
    finished(house, ids[2])

    named = asked(
        house, "POST", "/admin/dead/replay", ids=[ids[0], "nobody"], set={"model": "fast"}, rate=50
    )
    assert (named["matched"], named["missing"]) == (1, ["nobody"])
    assert finished(house, ids[0])["status"] == "completed"


def test_many_are_purged_by_a_filter(house: House) -> None:
    ids = die(house, _BAD, "sim/y:error=404")
    assert asked(house, "POST", "/admin/dead/purge", model="sim/y*", dry_run=True)["purged"] == 0
    assert asked(house, "POST", "/admin/dead/purge", model="sim/y*")["purged"] == 1
    assert [one["id"] for one in asked(house, "GET", "/admin/dead")["data"]] == ids[:1]


@pytest.mark.parametrize(
    "body", [None, {}, {"ids": ["a"], "all": True}, {"rate": 0.01, "all": True}, {"modle": "m"}, []]
)
def test_what_leaves_in_the_dark_who_is_meant_is_refused(house: House, body: object) -> None:
    for path in ("/admin/dead/replay", "/admin/dead/purge", "/admin/ladder/promote"):
        answer = house.ask("POST", path, body)
        assert (answer.status, answer.error["code"]) == (400, "invalid_request")


def test_the_ladder_is_listed_and_promoted(house: House) -> None:
    first, second, gone = climb(house, "away", "away", "gone")
    page = asked(house, "GET", "/admin/ladder?limit=2")
    assert [one["id"] for one in page["data"]] == [first, second]
    assert (page["rungs"][0]["rung"], page["rungs"][0]["count"]) == (60, 3)
    rest = asked(house, "GET", f"/admin/ladder?after={page['after']}")
    assert [one["id"] for one in rest["data"]] == [gone]
    assert asked(house, "GET", "/admin/ladder?rung=600")["data"] == []

    would = asked(house, "POST", "/admin/ladder/promote", model="away", dry_run=True)
    assert ([one["id"] for one in would["data"]], would["promoted"]) == ([first, second], 0)
    told = asked(house, "POST", "/admin/ladder/promote", ids=[gone, "nobody"])
    assert (told["matched"], told["promoted"]) == (2, 1)
    until_rung(house, gone, 600)
    told = asked(house, "POST", "/admin/ladder/promote", all=True, limit=1)
    until_rung(house, first, 600)
    told = asked(house, "POST", "/admin/ladder/promote", all=True, after=told["after"])
    # Of those two the one on the second rung had been there before the first question, and goes;
    # the one that has climbed since stays.
    assert (told["promoted"], told["after"]) == (2, None)
    until_rung(house, second, 600)
    until_rung(house, gone, 3600)
    assert state(house, first)["rung"] == 600


def until_rung(house: House, request_id: str, rung: int) -> None:
    """Wait until a request is on a rung."""
    eventually(lambda: state(house, request_id).get("rung") == rung, 10, f"{request_id} on {rung}")
