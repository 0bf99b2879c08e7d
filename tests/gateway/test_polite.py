"""Who has waited in vain is answered politely where the model wants that; the request goes on."""

import openai
import pytest

from tests.gateway.conftest import House, StartHouse, chat_body
from tests.gateway.test_plain import frames

TEXT = "Sorry, nobody can answer now."
CONFIG = f"""
gateway: {{default_model: kind}}
providers: {{sim: {{kind: simulated}}}}
models:
  kind: {{polite: "{TEXT}", deployments: [{{provider: sim, model: never}}]}}
  never: {{polite: "{TEXT}", deployments: [{{provider: sim, model: never}}]}}
  slow: {{polite: "{TEXT}", deployments: [{{provider: sim, model: slow}}]}}
  overloaded: {{polite: "{TEXT}", deployments: [{{provider: sim, model: overloaded}}]}}
"""
SOON = {"X-Request-Timeout": "0.3"}


@pytest.fixture
def polite(start_house: StartHouse) -> House:
    """Start a gateway with polite models."""
    return start_house(CONFIG)


def test_official_clients_read_a_polite_answer_as_any_other(polite: House) -> None:
    with openai.OpenAI(base_url=f"{polite.url}/v1", api_key="none", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="never", messages=[{"role": "user", "content": "?"}], extra_headers=SOON
        )
        assert raw.headers["x-sluice-polite"] == "true"
        whole = raw.parse()
        assert whole.choices[0].message.content == TEXT
        assert (whole.choices[0].finish_reason, whole.model) == ("stop", "never")
        told = whole.to_dict()["sluice"]
        assert isinstance(told, dict)
        assert told["polite"] is True
        stream = client.chat.completions.create(
            model="never",
            messages=[{"role": "user", "content": "?"}],
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=SOON,
        )
        chunks = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 0


def test_the_plain_chat_and_complete_answer_politely_too(polite: House) -> None:
    answer = polite.ask("POST", "/chat", {"message": "?", "model": "never"}, SOON)
    assert (answer.status, answer.headers["x-sluice-polite"]) == (200, "true")
    told = frames(answer.body)
    assert [frame["type"] for frame in told] == ["chunk", "complete"]
    assert told[0]["content"] == TEXT
    text = polite.ask(
        "POST", "/chat", {"message": "?", "model": "never"}, {**SOON, "Accept": "text/plain"}
    )
    assert text.body.decode() == TEXT
    body = {"messages": [{"role": "user", "content": "?"}], "model": "never"}
    completed = polite.ask("POST", "/complete", body, SOON)
    assert completed.json["content"] == TEXT
    assert "sluice" in completed.json


def test_the_request_goes_on_and_is_not_said_to_have_ended(polite: House) -> None:
    answer = polite.ask("POST", "/v1/chat/completions", chat_body("never"), SOON)
    shown = polite.ask("GET", f"/v1/requests/{answer.headers['x-request-id']}").json
    assert shown["status"] not in ("completed", "failed")


def test_other_errors_and_streams_seen_in_part_end_as_they_do(polite: House) -> None:
    answer = polite.ask("POST", "/v1/chat/completions", chat_body("overloaded"))
    assert answer.status == 503
    begun = polite.ask("POST", "/v1/chat/completions", chat_body("slow", stream=True), SOON)
    assert b"queue_timeout" in begun.body
    assert TEXT.encode() not in begun.body
    embeddings = polite.ask("POST", "/v1/embeddings", {"model": "never", "input": "?"}, SOON)
    assert embeddings.status == 504
