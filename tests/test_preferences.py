"""Model preferences: what they make of a request, what they refuse, what route makes of them."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pipeline.catalog import Catalog
from pipeline.errors import BadRequest
from pipeline.event import Companion, Operation
from pipeline.outcome import Die, Forward
from pipeline.preferences import ModelPreferences, preferred
from pipeline.settings.load import load
from tests.streams.rig import make_event
from workers.route import route

Make = Callable[[str], Catalog]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def _make(gateway: str = "default_model: talk, default_embedding_model: embed") -> Catalog:
        path = tmp_path / "sluice.yaml"
        path.write_text(f"""
gateway: {{{gateway}}}
providers: {{p: {{kind: vllm}}}}
models:
  talk: {{aliases: [chatty], deployments: [{{provider: p, model: talk}}]}}
  embed: {{deployments: [{{provider: p, model: e, vector_size: 8}}]}}
""")
        return Catalog(load(path, environ={}))

    return _make


@pytest.mark.parametrize("operation", ["chat", "embeddings"])
def test_without_preferences_a_request_is_for_itself_alone(operation: Operation) -> None:
    for preferences in (None, ModelPreferences()):
        found = preferred(preferences, operation)
        assert (found.model, found.calls, found.also) == ("", 1.0, ())


def test_a_chat_takes_its_own_model_and_the_embeddings_that_it_requires() -> None:
    preferences = ModelPreferences(
        specific_llm_model="talk",
        specific_embedding_model="embed",
        num_llm_calls_per_req=1.5,
        num_emb_calls_per_req=3,
    )
    found = preferred(preferences, "chat")
    assert (found.model, found.calls, found.also) == ("talk", 1.5, ())
    both = msgspec.structs.replace(preferences, require_embedding_model=True)
    companion = Companion(model="embed", operation="embeddings", calls=3)
    assert preferred(both, "chat").also == (companion,)


def test_embeddings_take_theirs_and_the_chat_that_they_require() -> None:
    preferences = ModelPreferences(
        specific_embedding_model="embed", require_llm_model=True, num_emb_calls_per_req=2
    )
    found = preferred(preferences, "embeddings")
    assert (found.model, found.calls, found.also) == ("embed", 2, (Companion(model=""),))


@pytest.mark.parametrize(
    ("operation", "field", "message"),
    [
        ("chat", "require_llm_model", "this is a chat completion"),
        ("embeddings", "require_embedding_model", "this is a request for embeddings"),
    ],
)
def test_a_request_that_does_not_want_its_own_kind_is_refused(
    operation: Operation, field: str, message: str
) -> None:
    preferences = msgspec.convert({field: False}, ModelPreferences)
    with pytest.raises(BadRequest, match=message) as refused:
        preferred(preferences, operation)
    assert refused.value.param == f"model_preferences.{field}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"specific_model": "talk"},
        {"num_llm_calls_per_req": 0},
        {"num_emb_calls_per_req": -1},
        {"num_emb_calls_per_req": 1001},
        {"num_emb_calls_per_req": float("nan")},
        {"specific_llm_model": ""},
        {"require_llm_model": "yes"},
    ],
)
def test_preferences_are_read_strictly(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, ModelPreferences)


@pytest.mark.anyio
async def test_route_plans_companions_and_tells_of_them(make: Make) -> None:
    also = (Companion(model="", operation="embeddings", calls=2.04),)
    event = make_event(model="talk", also=also, prompt_tokens=100, follows="r0")
    outcome = await route(
        event, catalog=make("default_model: talk, default_embedding_model: embed")
    )
    assert isinstance(outcome, Forward)
    (companion,) = outcome.event.also
    assert (companion.model, companion.calls, companion.tokens) == ("embed", 2.0, 64)
    assert [one.deployment for one in companion.plan] == ["p/e"]
    assert outcome.facts["also"] == "embed: 2 calls, first p/e"
    assert outcome.facts["follows"] == "r0"
    again = await route(outcome.event, catalog=make("default_model: talk"))
    assert isinstance(again, Forward)
    assert again.event.also == outcome.event.also


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("companion", "status", "message"),
    [
        (Companion(model="none", operation="embeddings"), 404, "The model `none` does not exist."),
        (Companion(model="", operation="embeddings"), 400, "gateway.default_embedding_model"),
        (Companion(model="embed"), 400, "serves chat completions"),
    ],
)
async def test_a_companion_that_cannot_be_had_ends_the_request(
    make: Make, companion: Companion, status: int, message: str
) -> None:
    event = make_event(model="talk", also=(companion,))
    outcome = await route(event, catalog=make("default_model: talk"))
    assert isinstance(outcome, Die)
    assert outcome.failure.status == status
    assert message in outcome.failure.message
    kind = "llm" if companion.operation == "chat" else "embedding"
    assert outcome.failure.param == f"model_preferences.specific_{kind}_model"


def test_the_usual_models_have_to_be_there(make: Make) -> None:
    with pytest.raises(Exception, match=r"gateway\.default_embedding_model: no model is named"):
        make("default_model: talk, default_embedding_model: nobody")
