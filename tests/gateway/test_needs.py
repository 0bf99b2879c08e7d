"""What the ways in tell of a request: its needs, what it sticks by, and its model's own name."""

from hashlib import sha256

import msgspec
import redis

from tests.gateway.conftest import House, StartHouse, chat_body
from tests.waiting import eventually

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}

ALIASED = """
gateway: {default_model: quick}
providers: {sim: {kind: simulated, any_model: true}}
models: {fast: {aliases: [quick], deployments: [{provider: sim, model: echo}]}}
tenants: {t: {tokens: ["sha256:%s"], models: ["quick"]}}
"""


def told(house: House, model: str = "sim/tell", **fields: object) -> dict[str, object]:
    """Give the event, or the body, that the stand-in got of a chat completion."""
    answer = house.chat(model, **fields)
    assert answer.status == 200, answer.body
    whole = msgspec.json.decode(answer.body)
    return msgspec.json.decode(whole["choices"][0]["message"]["content"], type=dict[str, object])


def told_plainly(house: House, **fields: object) -> dict[str, object]:
    """Give the event of a request of the plain form."""
    answer = house.ask("POST", "/chat/async", {"model": "sim/tell", **fields})
    assert answer.status == 202, answer.body

    def content() -> object:
        state = house.ask("GET", answer.headers["location"]).json
        return msgspec.convert(state.get("result") or {}, dict[str, object]).get("content")

    event = eventually(content, what="the stand-in's answer")
    return msgspec.json.decode(str(event), type=dict[str, object])


def test_a_chat_tells_its_needs_and_a_plain_one_nothing(house: House) -> None:
    event = told(house)
    assert not event.keys() & {"needs", "sticky"}
    event = told(house, tools=[TOOL], prompt_cache_key="talk 7")
    assert event["needs"] == ["tools"]
    assert msgspec.convert(event["sticky"], str).isalnum()
    messages = [{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}]
    assert told(house, messages=messages)["needs"] == ["vision"]


def test_what_requests_stick_by_still_goes_to_the_provider_and_the_event_hides_it(
    house: House,
) -> None:
    event = told(house, prompt_cache_key="a-very-telling-key")
    body = told(house, "sim/body", prompt_cache_key="a-very-telling-key")
    assert body["prompt_cache_key"] == "a-very-telling-key"
    assert "telling" not in msgspec.convert(event["sticky"], str)
    assert event["sticky"] == told(house, prompt_cache_key="a-very-telling-key")["sticky"]


def test_the_plain_chat_tells_its_needs_too(house: House) -> None:
    assert "needs" not in told_plainly(house, message="Hi")
    event = told_plainly(
        house, message="Hi", parameters={"tools": [TOOL]}, prompt_cache_key="talk 7"
    )
    assert event["needs"] == ["tools"]
    assert event["sticky"] == told(house, prompt_cache_key="talk 7")["sticky"]
    messages = [{"role": "user", "content": [IMAGE]}]
    assert told_plainly(house, messages=messages)["needs"] == ["vision"]


def test_an_alias_is_listed_and_asked_for_like_a_model(start_house: StartHouse) -> None:
    house = start_house(ALIASED % sha256(b"secret").hexdigest())
    headers = {"Authorization": "Bearer secret"}
    # The tenant's patterns are for the names that clients use: it may not ask for `fast`.
    listed = msgspec.convert(
        house.ask("GET", "/v1/models", headers=headers).json["data"], list[dict[str, object]]
    )
    assert [(card["id"], card["owned_by"]) for card in listed] == [("quick", "sim")]
    body = chat_body("fast")
    assert house.ask("POST", "/v1/chat/completions", body, headers).status == 404
    answer = house.ask("POST", "/v1/chat/completions", chat_body("quick"), headers)
    assert answer.status == 200
    request_id = answer.headers["x-request-id"]
    shown = house.ask("GET", f"/v1/requests/{request_id}", headers=headers).json
    assert shown["model"] == "fast"


def test_the_events_of_a_request_tell_the_decision(house: House, client: redis.Redis) -> None:
    client.delete("sluice:request:made")
    record = {
        "status": "completed",
        "model": "m",
        "1": '{"hop":"route","facts":{"candidates":2,"first":"p/a","left_out":"p/b: no vision"}}',
        "2": '{"hop":"gate","facts":{"waits_for":"capacity"}}',
        "3": '{"hop":"gate","facts":{"deployment":"p/a","chosen_by":"latency","scores":"p/a 3"}}',
        "4": '{"hop":"call","facts":{"deployment":"p/a","config":"abc"}}',
    }
    for name, value in record.items():
        client.hset("sluice:request:made", name, value)
    told = house.ask("GET", "/v1/requests/made/events").json
    assert told["decision"] == {
        "candidates": 2,
        "first": "p/a",
        "left_out": ["p/b: no vision"],
        "chosen": [
            {"deployment": "p/a", "config": "abc", "chosen_by": "latency", "scores": "p/a 3"}
        ],
    }
    client.hdel("sluice:request:made", "1", "2", "3", "4")
    assert house.ask("GET", "/v1/requests/made/events").json["decision"] is None
