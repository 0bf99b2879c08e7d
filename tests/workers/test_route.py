"""The route: who cannot serve a request is left out, and by what requests stick together."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import event as events
from pipeline.catalog import Catalog
from pipeline.outcome import Die, Forward
from pipeline.settings.load import load
from tests.streams.rig import make_event
from workers.route import route

pytestmark = pytest.mark.anyio

Make = Callable[[str], Catalog]

SEVERAL = """
models:
  several:
    aliases: [gpt-4]
    strategy: weighted
    deployments:
      - {provider: p, model: blind, vision: false, context_tokens: 128000, weight: 2}
      - {provider: p, model: plain, tools: false, vision: true, context_tokens: 8000}
      - {provider: p, model: able, vision: true, tools: true, context_tokens: 32000}
      - {provider: p, model: unknown}
  blind: {deployments: [{provider: p, model: blind}]}
  vectors: {deployments: [{provider: q, model: v, vector_size: 768}]}
  mixed:
    deployments: [{provider: q, model: v}, {provider: p, model: unknown}]
"""


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def _make(text: str) -> Catalog:
        path = tmp_path / "sluice.yaml"
        path.write_text("providers: {p: {kind: vllm, any_model: true}, q: {kind: ollama}}\n"
                        f"gateway: {{default_model: p/x}}\n{text}")  # fmt: skip
        return Catalog(load(path, environ={}))

    return _make


async def routed(catalog: Catalog, **changes: object) -> Forward:
    outcome = await route(make_event("r1", **changes), catalog=catalog)
    assert isinstance(outcome, Forward)
    return outcome


async def planned(catalog: Catalog, **changes: object) -> list[str]:
    event = (await routed(catalog, **{"model": "several", **changes})).event
    return [candidate.deployment.removeprefix("p/") for candidate in event.plan]


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, ["blind", "plain", "able", "unknown"]),
        ({"needs": ("vision",)}, ["plain", "able", "unknown"]),
        ({"needs": ("tools",)}, ["blind", "able", "unknown"]),
        ({"needs": ("vision", "tools")}, ["able", "unknown"]),
        ({"needs": ("tools", "vision")}, ["able", "unknown"]),
        ({"prompt_tokens": 12_000}, ["blind", "plain", "able", "unknown"]),
        ({"prompt_tokens": 12_001}, ["blind", "able", "unknown"]),
        ({"prompt_tokens": 6_000, "output_tokens": 4_001}, ["blind", "able", "unknown"]),
        ({"prompt_tokens": 10**9}, ["unknown"]),
    ],
)
async def test_who_cannot_serve_a_request_is_left_out(
    make: Make, changes: dict[str, object], left: list[str]
) -> None:
    assert await planned(make(SEVERAL), **changes) == left


async def test_the_journal_tells_who_was_left_out_and_why(make: Make) -> None:
    outcome = await routed(make(SEVERAL), model="several", needs=("vision",), prompt_tokens=20_000)
    assert outcome.facts == {
        "candidates": 2,
        "first": "p/able",
        "left_out": "p/blind: no vision; p/plain: a context of 8000 tokens",
    }


async def test_what_is_told_of_many_is_bounded(make: Make) -> None:
    listed = ", ".join(f"{{provider: p, model: blind-{n}, vision: false}}" for n in range(100))
    catalog = make(f"models: {{m: {{deployments: [{listed}, {{provider: p, model: able}}]}}}}")
    told = (await routed(catalog, needs=("vision",))).facts["left_out"]
    assert isinstance(told, str)
    assert len(told) < 550
    assert told.startswith("p/blind-0: no vision; p/blind-1: no vision; ")
    shown = told.count("no vision")
    assert told.endswith(f"; and {100 - shown} more")


async def test_an_estimate_alone_leaves_the_largest(make: Make) -> None:
    catalog = make("""
models:
  m:
    deployments:
      - {provider: p, model: small, context_tokens: 4000}
      - {provider: p, model: large, context_tokens: 8000}
      - {provider: q, model: large, context_tokens: 8000}
      - {provider: q, model: huge, context_tokens: 90000, vision: false}
""")
    huge = await routed(catalog, prompt_tokens=10**9)
    assert [one.deployment for one in huge.event.plan] == ["q/huge"]
    outcome = await routed(catalog, prompt_tokens=10**9, needs=("vision",))
    assert [one.deployment for one in outcome.event.plan] == ["p/large", "q/large"]


async def test_embeddings_and_chats_are_kept_apart_where_vector_sizes_tell(make: Make) -> None:
    catalog = make(SEVERAL)
    vectors = await routed(catalog, model="mixed", operation="embeddings")
    assert [one.deployment for one in vectors.event.plan] == ["q/v"]
    chat = await routed(catalog, model="mixed")
    assert [one.deployment for one in chat.event.plan] == ["p/unknown"]
    # Nothing is known of these.
    assert await planned(catalog, model="p/any", operation="embeddings") == ["any"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "blind", "needs": ("vision",)},
            "No deployment of `blind` serves chat completions with images (p/blind: no vision). "
            "Models here that do: `several`, `mixed`.",
        ),
        (
            {"model": "vectors"},
            "No deployment of `vectors` serves chat completions (q/v: makes embeddings). "
            "Models here that do: `several`, `blind`, `mixed`.",
        ),
    ],
)
async def test_a_request_that_nothing_can_serve_is_refused(
    make: Make, changes: dict[str, object], message: str
) -> None:
    outcome = await route(make_event("r1", **changes), catalog=make(SEVERAL))
    assert isinstance(outcome, Die)
    failure = outcome.failure
    assert (failure.status, failure.cause, failure.param) == (400, "bad_request", "model")
    assert failure.message == message


async def test_an_alias_becomes_the_models_own_name(make: Make) -> None:
    outcome = await routed(make(SEVERAL), model="gpt-4")
    assert outcome.event.model == "several"
    assert outcome.facts["alias"] == "gpt-4"
    again = await routed(make(SEVERAL), model=outcome.event.model)
    assert again.event.plan == outcome.event.plan
    assert "alias" not in again.facts


async def test_the_plan_of_requests_of_one_kind_is_one_and_goes_through_the_wire(
    make: Make,
) -> None:
    catalog = make(SEVERAL)
    first = await routed(catalog, model="several", needs=("vision",))
    second = await routed(catalog, model="gpt-4", needs=("vision",), prompt_tokens=100)
    assert first.event.plan is second.event.plan
    read = events.decode(events.encode(first.event))
    assert read.plan == first.event.plan
    assert {one.strategy for one in read.plan} == {"weighted"}


@pytest.mark.parametrize("setting", ["off", "prompt_cache_key", "user"])
async def test_requests_stick_together_by_what_the_model_says(make: Make, setting: str) -> None:
    listed = "deployments: [{provider: p, model: m}]"
    catalog = make(f"models: {{m: {{sticky: '{setting}', {listed}}}}}")

    async def sticky(**changes: object) -> str:
        return (await routed(catalog, **changes)).event.sticky

    keyed, by_user = await sticky(sticky="0a0a0a0a", user="u"), await sticky(user="u")
    assert keyed == ("" if setting == "off" else "0a0a0a0a")
    assert (len(by_user) == 8) == (setting == "user")
    if setting == "user":
        assert await sticky(user="u") == by_user
        assert await sticky(user="v") != by_user
        assert await sticky(user="u", tenant="t") != by_user
        assert await sticky() == ""
    assert await sticky(sticky="0a0a0a0a", user="u", operation="embeddings") == ""


async def test_routing_twice_gives_the_same(make: Make) -> None:
    catalog = make(SEVERAL)
    event = make_event(model="several", needs=("vision",), sticky="0a0a0a0a", user="u")
    first = await route(event, catalog=catalog)
    assert await route(first.event, catalog=catalog) == first
