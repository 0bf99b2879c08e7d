"""The catalog: candidates in order, unique deployments, any model of a provider, and misses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog import Catalog
from pipeline.errors import ModelNotFound
from pipeline.event import Candidate
from pipeline.settings.load import (
    DeploymentSettings,
    ModelSettings,
    ProviderSettings,
    Settings,
    load,
)
from tests.streams.rig import make_event

Make = Callable[[str], Catalog]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def _make(text: str) -> Catalog:
        path = tmp_path / "sluice.yaml"
        path.write_text(text)
        return Catalog(load(path, environ={}))

    return _make


def ids(catalog: Catalog, model: str) -> list[str]:
    return [candidate.deployment for candidate in catalog.candidates(model)]


ONE_MODEL = "providers: {p: %s}\nmodels: {fast: {deployments: [{provider: p, model: m}]}}"


def test_candidates_are_the_models_own_and_then_its_fallbacks_breadth_first(make: Make) -> None:
    catalog = make("""
providers: {p: {kind: vllm}, q: {kind: ollama}}
models:
  fast: {deployments: [{provider: p, model: a}, {provider: q, model: b}], fallbacks: [x, y]}
  x: {deployments: [{provider: p, model: x}], fallbacks: [z]}
  y: {deployments: [{provider: p, model: y}, {provider: p, model: a}], fallbacks: [z]}
  z: {deployments: [{provider: p, model: z}]}
  alias: {fallbacks: [z]}
""")
    assert ids(catalog, "fast") == ["p/a", "q/b", "p/x", "p/y", "p/z"]
    assert ids(catalog, "y") == ["p/y", "p/a", "p/z"]
    assert ids(catalog, "alias") == ["p/z"]


def test_what_is_listed_alike_is_one_deployment_and_what_differs_has_a_number(make: Make) -> None:
    catalog = make("""
providers: {p: {kind: vllm}}
models:
  fast: {deployments: [{provider: p, model: m}, {provider: p, model: m}]}
  slow: {deployments: [{provider: p, model: m, limits: {concurrency: 2}}], fallbacks: [fast]}
""")
    assert ids(catalog, "fast") == ["p/m"]
    assert ids(catalog, "slow") == ["p/m#2", "p/m"]
    assert catalog.deployment("p/m#2").model == "m"
    assert catalog.deployment("p/m#2").limits.concurrency == 2


names = st.sampled_from("abcde")
graphs = st.dictionaries(
    names, st.tuples(st.lists(names, max_size=3), st.lists(names, max_size=3)), min_size=1
)


@given(graphs)
def test_no_plan_repeats_a_deployment_or_misses_one(
    graph: dict[str, tuple[list[str], list[str]]],
) -> None:
    settings = Settings(
        providers={"p": ProviderSettings(kind="vllm")},
        models={
            name: ModelSettings(
                deployments=tuple(DeploymentSettings(provider="p", model=one) for one in own),
                fallbacks=tuple(one for one in others if one in graph),
            )
            for name, (own, others) in graph.items()
        },
    )
    catalog = Catalog(settings)
    for name in graph:
        reached, waiting = {name}, [name]
        while waiting:
            new = set(settings.models[waiting.pop()].fallbacks) - reached
            reached |= new
            waiting += new
        plan = ids(catalog, name)
        assert len(plan) == len(set(plan))
        assert set(plan) == {f"p/{one}" for model in reached for one in graph[model][0]}


def test_only_the_order_strategy_ranks_a_models_own_deployments(make: Make) -> None:
    catalog = make("""
providers: {p: {kind: vllm}}
models:
  quality:
    strategy: least_busy
    deployments: [{provider: p, model: a}, {provider: p, model: b}]
    fallbacks: [fast]
  fast: {deployments: [{provider: p, model: c}, {provider: p, model: d}, {provider: p, model: a}]}
""")
    ranks = [(one.deployment, one.rank) for one in catalog.candidates("quality")]
    assert ranks == [("p/a", 0), ("p/b", 0), ("p/c", 1), ("p/d", 2)]
    assert [one.rank for one in catalog.candidates("fast")] == [0, 1, 2]


def test_keys_have_public_names_that_tell_nothing_of_them(make: Make) -> None:
    catalog = make(ONE_MODEL % "{kind: openai, keys: [sk-one, sk-two]}")
    first, second = catalog.key_ids("p")
    assert first != second
    assert all(name.startswith("p:") and len(name) == 10 for name in (first, second))
    key = catalog.key("p", second)
    assert key is not None
    assert key.reveal() == "sk-two"
    assert catalog.key("p", "p:00000000") is None


def test_a_provider_without_keys_is_called_without(make: Make) -> None:
    catalog = make(ONE_MODEL % "{kind: vllm}")
    assert catalog.key_ids("p") == ("p:",)
    assert catalog.key("p", "p:") is None


def test_a_provider_may_serve_any_model_name(make: Make) -> None:
    catalog = make(ONE_MODEL % "{kind: vllm, any_model: true, limits: {concurrency: 4}}")
    model = "p/sim:ttft_ms=200,tps=50/x"
    assert catalog.candidates(model) == (Candidate(deployment=model),)
    assert catalog.deployment(model).model == "sim:ttft_ms=200,tps=50/x"
    assert catalog.deployment(model).provider == "p"
    assert model in catalog


def test_any_model_of_a_provider_keeps_the_limits_it_is_listed_with(make: Make) -> None:
    text = ONE_MODEL.replace("model: m", "model: m, limits: {concurrency: 2}")
    catalog = make(text % "{kind: vllm, any_model: true}")
    assert catalog.candidates("p/m") == catalog.candidates("fast")


@pytest.mark.parametrize("model", ["", "/", "p/", "p/ ", "q/m", "m", "p", "p/" + "m" * 300])
def test_what_is_no_model_is_not_found(make: Make, model: str) -> None:
    catalog = make(ONE_MODEL % "{kind: vllm, any_model: true}")
    assert model not in catalog
    with pytest.raises(ModelNotFound) as caught:
        catalog.candidates(model)
    assert caught.value.param == "model"
    assert len(caught.value.message) < 300
    with pytest.raises(ModelNotFound):
        catalog.deployment(model)


def test_a_provider_serves_only_what_is_listed_unless_it_says_so(make: Make) -> None:
    catalog = make(ONE_MODEL % "{kind: vllm}")
    assert "p/m" not in catalog
    assert catalog.deployment("p/m").model == "m"
    with pytest.raises(ModelNotFound):
        catalog.candidates("p/other")


def test_a_miss_names_what_there_is_and_what_may_have_been_meant(make: Make) -> None:
    with pytest.raises(ModelNotFound) as caught:
        make(ONE_MODEL % "{kind: vllm, any_model: true}").candidates("fsat")
    assert caught.value.message == (
        "The model `fsat` does not exist. Did you mean `fast`? Models here: `fast`, `p/…`."
    )
    with pytest.raises(ModelNotFound, match="`nobody`"):
        make(ONE_MODEL % "{kind: vllm}").provider("nobody")


def test_names_that_clients_choose_fill_no_memory(make: Make) -> None:
    catalog = make(ONE_MODEL % "{kind: vllm, any_model: true}")
    for number in range(3000):
        catalog.candidates(f"p/{number}")
    assert len(catalog._remembered) == 1024
    assert ids(catalog, "p/0") == ["p/0"]


def test_the_cards_list_models_and_what_is_known_of_any_model_providers(make: Make) -> None:
    cards = make(ONE_MODEL % "{kind: vllm}").cards()
    assert [(card.id, card.owned_by, card.object) for card in cards] == [("fast", "p", "model")]
    assert isinstance(cards[0].created, int)
    cards = Catalog(load(environ={"OPENAI_API_KEY": "a", "OLLAMA_HOST": "h"})).cards()
    assert [card.id for card in cards] == [
        "fast",
        "quality",
        "openai/gpt-4o-mini",
        "ollama/qwen3:8b",
        "openai/gpt-4o",
    ]


def test_the_version_follows_what_decides_where_requests_go() -> None:
    def version(**environ: str) -> str:
        return Catalog(load(environ=environ)).version

    assert version() == version()
    assert version(SLUICE_PORT="1") == version()
    assert version(OPENAI_API_KEY="a") != version(OPENAI_API_KEY="b")
    assert version(SLUICE_SIMULATE__PORT="1") != version()


ALIASED = """
gateway: {default_model: quick}
providers: {p: {kind: vllm}, q: {kind: ollama}}
models:
  fast:
    aliases: [quick, gpt-4o-mini]
    strategy: weighted
    ladder: [7]
    sticky: user
    deployments: [{provider: p, model: a, weight: 3}, {provider: q, model: b}]
    fallbacks: [slowly]
    context_fallbacks: [long]
  slow: {aliases: [slowly], deployments: [{provider: p, model: a, weight: 2}]}
  long:
    strategy: latency
    deployments: [{provider: p, model: l}, {provider: q, model: l}]
    fallbacks: [slow]
    context_fallbacks: [longest, fast]
  longest: {deployments: [{provider: q, model: ll}], context_fallbacks: [long]}
"""


@pytest.mark.parametrize("name", ["quick", "gpt-4o-mini", "fast"])
def test_an_alias_stands_for_its_model_everywhere(make: Make, name: str) -> None:
    catalog = make(ALIASED)
    assert catalog.canonical(name) == "fast"
    assert name in catalog
    assert catalog.candidates(name) is catalog.candidates("fast")
    assert catalog.special(name, "context") is catalog.special("fast", "context")
    assert catalog.ladder(name).rungs == (7,)
    assert catalog.model(name).sticky == "user"
    assert catalog.model("nobody").sticky == "prompt_cache_key"


def test_the_cards_list_aliases_with_their_models_owner(make: Make) -> None:
    owners = {card.id: card.owned_by for card in make(ALIASED).cards()}
    assert [*owners] == ["fast", "slow", "long", "longest", "quick", "gpt-4o-mini", "slowly"]
    assert owners["quick"] == owners["fast"] == "p"
    with pytest.raises(ModelNotFound, match="Did you mean `quick`"):
        make(ALIASED).candidates("quik")


def test_a_plan_tells_how_each_rank_is_chosen_from(make: Make) -> None:
    catalog = make(ALIASED)
    assert catalog.candidates("fast") == (
        Candidate(deployment="p/a", rank=0, strategy="weighted", weight=3),
        Candidate(deployment="q/b", rank=0, strategy="weighted"),
    )
    # Neither the weight nor the strategy of another model, and yet the same deployment.
    assert catalog.candidates("slow") == (Candidate(deployment="p/a"),)


def test_special_plans_follow_their_own_kind_and_never_come_back(make: Make) -> None:
    catalog = make(ALIASED)
    assert catalog.special("fast", "context") == (
        Candidate(deployment="p/l", strategy="latency"),
        Candidate(deployment="q/l", strategy="latency"),
        Candidate(deployment="q/ll", rank=1),
        Candidate(deployment="p/a", rank=2),
    )
    assert ids_of(catalog.special("longest", "context"))[:2] == ["p/l", "q/l"]
    assert catalog.special("fast", "policy") == ()
    assert catalog.special("nobody", "context") == ()


def ids_of(plan: tuple[Candidate, ...]) -> list[str]:
    return [candidate.deployment for candidate in plan]


def test_what_is_said_once_of_a_model_at_a_provider_holds_wherever_it_is_listed(
    make: Make,
) -> None:
    catalog = make("""
gateway: {default_model: a}
providers: {p: {kind: vllm}}
models:
  a: {deployments: [{provider: p, model: m, weight: 2, tools: false}]}
  b: {deployments: [{provider: p, model: m, weight: 5, context_tokens: 9, price: {prompt: 1}}]}
  c: {deployments: [{provider: p, model: m, limits: {rpm: 1}}]}
""")
    assert [one.id for one in catalog.deployments()] == ["p/m", "p/m#2"]
    for one in catalog.deployments():
        assert (one.tools, one.context_tokens, one.vision) == (False, 9, None)
        assert one.price is not None
    assert ids(catalog, "a") == ids(catalog, "b") == ["p/m"]


def test_a_special_plan_leaves_out_who_cannot_serve_the_request(make: Make) -> None:
    catalog = make("""
gateway: {default_model: a}
providers: {p: {kind: vllm}}
models:
  a: {deployments: [{provider: p, model: m}], policy_fallbacks: [b]}
  b: {deployments: [{provider: p, model: blind, vision: false}, {provider: p, model: able}]}
""")
    event = make_event(model="a", needs=("vision",))
    fit = catalog.special_fit(event, "policy")
    assert ids_of(fit.plan) == ["p/able"]
    assert fit.left_out == "p/blind: no vision"
    assert catalog.special_fit(event, "context").plan == ()
