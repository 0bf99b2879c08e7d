"""Model preferences and requests that follow others, as the ways in over HTTP take them."""

from hashlib import sha256

import msgspec
import pytest

from tests.gateway.conftest import Answer, House, StartHouse, chat_body
from tests.gateway.test_needs import told, told_plainly

BOTH = {"require_embedding_model": True, "specific_embedding_model": "sim/e"}

TENANTS = f"""
gateway: {{default_model: fast, default_embedding_model: vectors}}
providers: {{sim: {{kind: simulated, any_model: true}}}}
models:
  fast: {{deployments: [{{provider: sim, model: echo}}]}}
  vectors: {{deployments: [{{provider: sim, model: vectors}}]}}
tenants:
  t: {{tokens: ["sha256:{sha256(b"t").hexdigest()}"], models: ["fast"]}}
  u: {{tokens: ["sha256:{sha256(b"u").hexdigest()}"]}}
"""


def as_tenant(name: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}", **headers}


def test_a_chat_takes_its_preferences_along(house: House) -> None:
    event = told(house, model_preferences={**BOTH, "num_emb_calls_per_req": 3})
    assert event["also"] == [{"model": "sim/e", "operation": "embeddings", "calls": 3.0}]
    assert "calls" not in event
    named = {"specific_llm_model": "sim/tell", "num_llm_calls_per_req": 2.5}
    event = told(house, "sim/echo", model_preferences=named)
    assert (event["model"], event["calls"]) == ("sim/tell", 2.5)
    assert "also" not in told(house, model_preferences=None)


def test_the_plain_ways_in_take_them_too(house: House) -> None:
    event = told_plainly(house, message="Hi", model_preferences=BOTH)
    assert event["also"] == [{"model": "sim/e", "operation": "embeddings"}]
    body = {"messages": [{"role": "user", "content": "?"}], "model": "sim/tell"}
    answer = house.ask("POST", "/complete", {**body, "model_preferences": BOTH})
    event = msgspec.json.decode(str(answer.json["content"]), type=dict[str, object])
    assert event["also"] == [{"model": "sim/e", "operation": "embeddings"}]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings"])
def test_embeddings_take_a_chat_along(house: House, path: str) -> None:
    preferences = {
        "specific_embedding_model": "sim/tell", "require_llm_model": True,
        "specific_llm_model": "sim/echo", "num_llm_calls_per_req": 2,
    }  # fmt: skip
    body = {"model": "sim/echo", "input": "Hi", "model_preferences": preferences}
    answer = house.ask("POST", path, body)
    assert answer.status == 200
    whole = msgspec.json.decode(answer.body)
    event = msgspec.json.decode(whole["choices"][0]["message"]["content"])
    assert (event["model"], event["operation"]) == ("sim/tell", "embeddings")
    assert event["also"] == [{"model": "sim/echo", "calls": 2.0}]


@pytest.mark.parametrize(
    ("preferences", "status", "param"),
    [
        ({"num_llm_calls_per_req": 0}, 400, "model_preferences.num_llm_calls_per_req"),
        ({"specific_model": "x"}, 400, "model_preferences"),
        ("fast", 400, "model_preferences"),
        ({"require_llm_model": False}, 400, "model_preferences.require_llm_model"),
        ({"require_embedding_model": True}, 400, "model_preferences.specific_embedding_model"),
        (
            {"require_embedding_model": True, "specific_embedding_model": "none"},
            404,
            "model_preferences.specific_embedding_model",
        ),
        ({"specific_llm_model": "none"}, 404, "model"),
    ],
)
def test_what_cannot_be_preferred_is_refused_with_its_place(
    house: House, preferences: object, status: int, param: str
) -> None:
    answer = house.chat(model_preferences=preferences)
    assert answer.status == status
    assert answer.error["param"] == param


def test_a_companion_has_to_be_the_tenants_too(start_house: StartHouse) -> None:
    house = start_house(TENANTS)

    def chat(tenant: str, **preferences: object) -> Answer:
        body = chat_body("fast", model_preferences={"require_embedding_model": True, **preferences})
        return house.ask("POST", "/v1/chat/completions", body, as_tenant(tenant))

    assert chat("u").status == 200
    for refused in (chat("t"), chat("t", specific_embedding_model="vectors")):
        assert refused.status == 404
        assert refused.error["message"] == "The model `vectors` does not exist here."
        assert refused.error["param"] == "model_preferences.specific_embedding_model"


def test_only_an_own_request_can_be_followed(start_house: StartHouse) -> None:
    house = start_house(TENANTS)

    def chat(tenant: str, *, header: str = "", **fields: object) -> Answer:
        headers = as_tenant(tenant, **({"X-Sluice-Follows": header} if header else {}))
        return house.ask("POST", "/v1/chat/completions", chat_body("fast", **fields), headers)

    first = chat("t").headers["x-request-id"]
    assert chat("t", follows=first).status == 200
    assert chat("t", header=first).status == 200
    for answer in (
        chat("u", follows=first), chat("u", header=first, follows="x"), chat("t", follows="nobody"),
    ):  # fmt: skip
        assert answer.status == 404
        assert (answer.error["code"], answer.error["param"]) == ("request_not_found", "follows")
    assert chat("t", follows="no id!").status == 400


def test_a_follower_tells_whom_it_follows(house: House) -> None:
    first = house.chat().headers["x-request-id"]
    assert told(house, follows=first)["follows"] == first
    assert "follows" not in told(house)
