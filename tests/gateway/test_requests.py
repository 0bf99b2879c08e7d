"""Requests by their id: state, journal, and replies that are resumed as chunks."""

import msgspec
import pytest
import redis

from tests.gateway.conftest import House
from tests.gateway.test_plain import finished
from tests.gateway.test_sessions import ids


def test_a_request_tells_its_state_and_where_it_is(house: House) -> None:
    request_id = house.chat().headers["x-request-id"]
    finished(house, request_id)
    told = house.ask("GET", f"/v1/requests/{request_id}").json
    assert (told["id"], told["object"], told["status"]) == (
        request_id,
        "sluice.request",
        "completed",
    )
    assert (told["at"], told["priority"], told["operation"]) == ("completed", 0, "chat")
    result = msgspec.convert(told["result"], dict[str, object])
    assert result["content"] == "Hello, world!"
    assert msgspec.convert(result["response"], dict[str, object])["object"] == "chat.completion"


def test_the_journal_has_a_line_for_each_hop_in_order(house: House) -> None:
    request_id = house.chat().headers["x-request-id"]
    finished(house, request_id)
    told = house.ask("GET", f"/v1/requests/{request_id}/events").json
    lines = msgspec.convert(told["data"], list[dict[str, object]])
    assert [line["hop"] for line in lines] == ["route", "gate"]
    assert lines[0]["facts"] == {"candidates": 1}
    assert told["at"] == "completed"


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({}, "route"),
        ({"1": '{"hop":"route"}'}, "gate"),
        ({"1": '{"hop":"route"}', "2": '{"hop":"gate"}', "status": "running"}, "call"),
        ({"1": '{"hop":"route"}', "2": '{"hop":"gate"}', "status": "waiting"}, "waiting room"),
        ({"9": '{"hop":"gate"}', "10": '{"hop":"call"}', "status": "running"}, "respond"),
        ({"1": '{"hop":"call"}', "status": "retrying"}, "gate"),
        ({"1": '{"hop":"call"}', "status": "retrying", "rung": "60"}, "ladder"),
        ({"1": '{"hop":"call"}', "status": "failed"}, "failed"),
    ],
)
def test_a_request_is_where_its_last_line_and_status_say(
    house: House, client: redis.Redis, fields: dict[str, str], at: str
) -> None:
    client.delete("sluice:request:made")
    for name, value in {"status": "queued", "model": "m", **fields}.items():
        client.hset("sluice:request:made", name, value)
    assert house.ask("GET", "/v1/requests/made/events").json["at"] == at


def test_what_a_request_has_been_through_is_told_where_there_is_something_to_tell(
    house: House, client: redis.Redis
) -> None:
    told = house.ask("GET", f"/v1/requests/{house.chat().headers['x-request-id']}").json
    silent = {"rung", "retry_at", "last_failure", "leg", "replay_of", "replayed_as", "cancelling"}
    assert not silent & told.keys()
    client.delete("sluice:request:made")
    call = '{"hop":"call","start":1,"end":2,"facts":{"cause":"timeout","status":504,"call_ms":9}}'
    record = {
        "status": "retrying", "model": "m", "rung": "60", "due": "1000.5", "leg": "3",
        "replay_of": "old", "replayed_as": "new", "cancel": "client", "1": call, "2": call,
    }  # fmt: skip
    for name, value in record.items():
        client.hset("sluice:request:made", name, value)
    told = house.ask("GET", "/chat/made").json
    assert {name: told[name] for name in silent} == {
        "rung": 60,
        "retry_at": "1970-01-01T00:16:40.500Z",
        "last_failure": {"cause": "timeout", "status": 504, "message": "", "deployment": ""},
        "leg": 3,
        "replay_of": "old",
        "replayed_as": "new",
        "cancelling": True,
    }
    assert (told["attempts"], told["eta_s"], told["at"]) == (2, 0, "ladder")


def test_an_openai_stream_can_be_resumed_by_its_request_id(house: House) -> None:
    original = house.chat(stream=True)
    request_id = original.headers["x-request-id"]
    again = house.ask("GET", f"/v1/requests/{request_id}/stream")
    without_ids = b"".join(
        line for line in again.body.splitlines(keepends=True) if not line.startswith(b"id: ")
    )
    assert without_ids == original.body
    for place, after in enumerate(ids(again.body), 1):
        rest = house.ask("GET", f"/v1/requests/{request_id}/stream?after={after}")
        assert ids(rest.body) == ids(again.body)[place:]


def test_chunks_that_share_an_entry_are_resumed_one_by_one(house: House) -> None:
    request_id = house.chat("sim/joined", stream=True).headers["x-request-id"]
    whole = house.ask("GET", f"/v1/requests/{request_id}/stream").body
    assert ids(whole) == [
        "1000000001-1.1", "1000000001-1.2", "1000000001-1.3", "1000000001-1", "1999999999-0",
    ]  # fmt: skip
    frames = whole.split(b"\n\n")
    for place, after in enumerate(ids(whole)[:-1], 1):
        rest = house.ask("GET", f"/v1/requests/{request_id}/stream?after={after}").body
        assert rest.split(b"\n\n") == frames[place:]


def test_a_reply_that_was_read_to_its_end_has_nothing_more(house: House) -> None:
    request_id = house.chat(stream=True).headers["x-request-id"]
    answer = house.ask("GET", f"/v1/requests/{request_id}/stream?after=1999999999-0")
    assert answer.status == 204


def test_unknown_requests_are_not_found(house: House) -> None:
    for path in ("", "/events", "/stream"):
        answer = house.ask("GET", f"/v1/requests/unknown{path}")
        assert (answer.status, answer.error["code"]) == (404, "request_not_found")
