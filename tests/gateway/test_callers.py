"""Tenants: who may enter, what they may ask for and see."""

import hashlib

import msgspec
import pytest

from tests.gateway.conftest import CONFIG as OPEN
from tests.gateway.conftest import House, StartHouse, chat_body
from tests.gateway.test_openai_wire import told
from tests.gateway.test_plain import finished, frames

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


def test_an_event_says_by_which_token_it_came(guarded: House) -> None:
    answer = guarded.ask("POST", "/v1/chat/completions", chat_body("sim/tell"), bearer("acme"))
    assert f'\\"token\\":\\"{hashed(TOKENS["acme"])[7:15]}\\"'.encode() in answer.body


def test_without_tenants_an_event_has_neither_tenant_nor_token(house: House) -> None:
    event = told(house, chat_body("sim/tell"), Authorization="Bearer anything")
    assert "tenant" not in event
    assert "token" not in event


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ({}, "Zoë in the header"),
        ({"user": ""}, "Zoë in the header"),
        ({"user": "u"}, "u"),
        ({"user": "u", "safety_identifier": "s"}, "s"),
    ],
)
def test_the_user_is_the_bodys_or_else_the_headers(
    house: House, fields: dict[str, str], user: str
) -> None:
    header = "Zoë in the header".encode().decode("latin-1")
    event = told(house, chat_body("sim/tell", **fields), x_sluice_user=header)
    assert event["user"] == user
    assert "in the header" not in str(event).replace(user, "")


def test_the_header_that_names_the_user_can_be_another(start_house: StartHouse) -> None:
    house = start_house(OPEN.replace("{default", "{user_header: X-Who, default"))
    assert told(house, chat_body("sim/tell"), X_Who="bob")["user"] == "bob"
    assert "user" not in told(house, chat_body("sim/tell"), X_Sluice_User="bob")


def test_a_users_name_has_its_bounds(house: House) -> None:
    path, header = "/v1/chat/completions", "x-sluice-user"
    assert house.ask("POST", path, chat_body(user="u" * 256)).status == 200
    for param in ("user", "safety_identifier"):
        refused = house.ask("POST", path, chat_body(**{param: "u" * 257}))
        assert (refused.status, refused.error["param"]) == (400, param)
        assert "256 at most" in str(refused.error["message"])
    sent: object
    for where, sent in (
        (path, chat_body()),
        ("/v1/embeddings", {"model": "sim/echo", "input": "x"}),
        ("/chat", {"message": "Hi"}),
    ):
        refused = house.ask("POST", where, sent, {header: "u" * 257})
        assert (refused.status, header in str(refused.error["message"])) == (400, True)
    assert house.ask("POST", path, chat_body(), {header: "\xff"}).status == 400


def test_an_event_says_how_many_tokens_it_may_need(house: House) -> None:
    event = told(house, chat_body("sim/tell", max_tokens=9, n=2))
    assert (event["output_tokens"], event["prompt_tokens"]) == (18, 16)
    sent = {"message": "four" * 100, "model": "sim/tell", "parameters": {"max_tokens": 5}}
    task_id = house.ask("POST", "/chat/async", sent).json["task_id"]
    result = msgspec.convert(finished(house, task_id)["result"], dict[str, object])
    event = msgspec.json.decode(str(result["content"]), type=dict[str, object])
    assert event["output_tokens"] == 5
    assert 100 <= msgspec.convert(event["prompt_tokens"], int) <= 120


def test_nobody_can_take_a_session_from_its_tenant(guarded: House) -> None:
    own = {"message": "Hi", "session_id": "mine", "model": "fast"}
    for tenant in ("acme", "globex"):
        assert guarded.ask("POST", "/chat", own, bearer(tenant)).status == 200
    body = guarded.ask("GET", "/stream/mine", None, bearer("acme")).body
    shown = [frame for frame in frames(body) if frame["type"] == "chunk"]
    assert len({frame["task_id"] for frame in shown}) == 1
    assert "".join(str(frame["content"]) for frame in shown) == "Hello, world!"
