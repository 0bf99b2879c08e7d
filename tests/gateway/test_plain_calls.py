"""`/complete` and `/embeddings`: what they take and give, by a stand-in for the workers."""

import msgspec
import pytest

from tests.gateway.conftest import House

MESSAGES = [{"role": "user", "content": "Hi"}]


def body_of(house: House, path: str, sent: dict[str, object]) -> dict[str, object]:
    """Give the body that a provider would get."""
    answer = house.ask("POST", path, {**sent, "model": "sim/body"})
    assert answer.status == 200, answer.body
    return msgspec.json.decode(str(answer.json["content"]), type=dict[str, object])


def test_complete_gives_the_text_of_the_usual_model(house: House) -> None:
    answer = house.ask("POST", "/complete", {"messages": MESSAGES})
    assert answer.status == 200
    assert answer.json == {
        "id": answer.headers["x-request-id"],
        "content": "Hello, world!",
        "model": "standin",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "finish_reason": "stop",
    }


def test_complete_keeps_from_the_provider_what_is_not_its(house: House) -> None:
    sent = {
        "messages": MESSAGES,
        "tenant_id": "t-1",
        "metadata": {"a": 1},
        "priority": 2,
        "temperature": 0.5,
    }
    assert body_of(house, "/complete", sent) == {
        "messages": MESSAGES, "model": "sim/body", "temperature": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": MESSAGES, "stream": True}, "stream"),
        ({"messages": MESSAGES, "tenant_id": "t" * 1000}, "tenant_id"),
        ({"messages": MESSAGES, "tenant_id": 7}, "tenant_id"),
        ({"messages": MESSAGES, "model": 7}, "model"),
    ],
)
def test_complete_names_what_it_refuses(house: House, sent: object, param: str) -> None:
    answer = house.ask("POST", "/complete", sent)
    assert answer.status == 400
    assert answer.error["param"] == param


def test_complete_fails_as_the_other_routes_do(house: House) -> None:
    answer = house.ask("POST", "/complete", {"messages": MESSAGES, "model": "nobody"})
    assert answer.status == 404
    assert answer.error["code"] == "model_not_found"
    assert house.ask("GET", "/complete").status == 405


def test_complete_can_be_answered_later(house: House) -> None:
    sent = {"messages": MESSAGES, "model": "sim/silent"}
    answer = house.ask("POST", "/complete", sent, {"Prefer": "respond-async"})
    assert answer.status == 202
    assert str(answer.json["url"]).startswith("/v1/requests/")


def test_plain_embeddings_have_a_usual_model_and_need_an_input(house: House) -> None:
    answer = house.ask("POST", "/embeddings", {"input": ["a", "b"]})
    assert answer.status == 200
    answer = house.ask("POST", "/embeddings", {"model": "fast"})
    assert answer.status == 400
    assert answer.error["param"] == "input"
