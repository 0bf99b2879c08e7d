"""Prices: where they come from, and what usage costs by them."""

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import prices
from pipeline.catalog import Deployment
from pipeline.event import Usage
from pipeline.prices import OWN, Price, Rates, Tier, cost_of, expected
from pipeline.settings import models
from pipeline.settings.models import BASE_URLS, Kind, ProviderSettings

PRICE = Price(prompt=2.5, completion=10, cached=1.25, cache_write=3)


def found(
    kind: Kind, model: str, base_url: str = "", *, told: models.Price | None = None
) -> Price | None:
    provider = ProviderSettings(kind=kind, base_url=base_url or BASE_URLS.get(kind, ""))
    deployment = Deployment(id=f"p/{model}", provider="p", model=model, price=told)
    return prices.price(provider, deployment)


def test_the_settings_price_wins_and_caches_cost_like_prompts_unless_told() -> None:
    told = models.Price(prompt=1.0, completion=2.0)
    assert found("openai", "gpt-4o", told=told) == Price(
        prompt=1, completion=2, cached=1, cache_write=1
    )
    told = models.Price(prompt=1.0, cached=0.25)
    priced = found("ollama", "qwen3:8b", told=told)
    assert priced is not None
    assert (priced.cached, priced.own) == (0.25, False)


@pytest.mark.parametrize(
    ("kind", "model", "base_url"),
    [
        ("openai", "gpt-4o", ""),
        ("openai", "gpt-4o", "http://127.0.0.1:1/v1"),
        ("azure", "gpt-4o", "https://mine.openai.azure.com"),
        ("compatible", "gpt-4o", "https://api.openai.com/v1"),
    ],
)
def test_a_model_costs_the_same_by_whatever_way_it_is_known(
    kind: Kind, model: str, base_url: str
) -> None:
    assert found(kind, model, base_url) == found("openai", "gpt-4o")


@pytest.mark.parametrize(
    ("kind", "model", "base_url"),
    [
        ("anthropic", "claude-sonnet-4-20250514", ""),
        ("gemini", "gemini-2.5-flash", ""),
        ("openrouter", "google/gemini-2.5-flash", ""),
        ("compatible", "deepseek-chat", "https://api.deepseek.com"),
    ],
)
def test_every_kind_of_provider_has_prices(kind: Kind, model: str, base_url: str) -> None:
    priced = found(kind, model, base_url)
    assert priced is not None
    assert 0 < priced.cached < priced.prompt < priced.completion
    assert not priced.own


def test_embeddings_cost_their_prompt_alone() -> None:
    priced = found("openai", "text-embedding-3-small")
    assert priced is not None
    assert priced.prompt > 0
    assert priced.completion == 0


@pytest.mark.parametrize(
    ("kind", "model"), [("openai", "nobody-knows-me"), ("compatible", "gpt-4o")]
)
def test_what_is_unknown_is_not_free(kind: Kind, model: str) -> None:
    assert found(kind, model, "http://10.0.0.1/v1") is None


@pytest.mark.parametrize("kind", ["ollama", "vllm", "simulated"])
def test_machines_of_ones_own_cost_nothing(kind: Kind) -> None:
    priced = found(kind, "qwen3:8b")
    assert priced is OWN
    assert expected(priced, 10_000, 10_000) == 0


def test_long_prompts_reach_the_tier_with_all_of_their_tokens() -> None:
    priced = found("gemini", "gemini-2.5-pro")
    assert priced is not None
    (tier,) = priced.tiers
    short = Usage(prompt_tokens=tier.above, completion_tokens=10)
    long = Usage(prompt_tokens=tier.above + 1, completion_tokens=10)
    assert cost_of(priced, short) == pytest.approx(
        (tier.above * priced.prompt + 10 * priced.completion) / 1e6
    )
    assert cost_of(priced, long) == pytest.approx(
        ((tier.above + 1) * tier.rates.prompt + 10 * tier.rates.completion) / 1e6
    )


def test_the_highest_tier_that_is_reached_counts() -> None:
    tiers = tuple(Tier(above=at, rates=Rates(prompt=at)) for at in (10, 20, 30))
    tiered = Price(prompt=1, tiers=tiers)
    paid = [round(cost_of(tiered, Usage(prompt_tokens=n)) * 1e6 / n) for n in (10, 11, 21, 31)]
    assert paid == [1, 10, 20, 30]


def test_cached_and_written_tokens_are_among_the_prompts() -> None:
    usage = Usage(prompt_tokens=1000, cached_tokens=600, cache_write_tokens=100)
    assert cost_of(PRICE, usage) == pytest.approx((300 * 2.5 + 600 * 1.25 + 100 * 3) / 1e6)


def test_reasoning_is_among_the_answers_tokens_unless_the_total_says_otherwise() -> None:
    among = Usage(prompt_tokens=10, completion_tokens=50, total_tokens=60, reasoning_tokens=40)
    beside = msgspec.structs.replace(among, completion_tokens=10)
    assert cost_of(PRICE, among) == cost_of(PRICE, beside) == pytest.approx(525 / 1e6)
    odd = msgspec.structs.replace(among, total_tokens=75)
    assert cost_of(PRICE, odd) == cost_of(PRICE, among)


@given(
    usage=st.builds(
        Usage,
        prompt_tokens=st.integers(0, 10**6),
        completion_tokens=st.integers(0, 10**6),
        total_tokens=st.integers(0, 3 * 10**6),
        cached_tokens=st.integers(0, 10**6),
        cache_write_tokens=st.integers(0, 10**6),
        reasoning_tokens=st.integers(0, 10**6),
    )
)
def test_a_cost_is_never_below_nothing_or_above_the_dearest_rate(usage: Usage) -> None:
    tokens = usage.prompt_tokens + usage.completion_tokens + usage.reasoning_tokens
    assert 0 <= cost_of(PRICE, usage) <= 10 * tokens / 1e6


def test_the_list_is_imported_only_when_it_is_asked() -> None:
    script = (
        "import sys; from tests.test_prices import found; from pipeline.settings import models\n"
        "found('ollama', 'q'); found('openai', 'gpt-4o', told=models.Price(prompt=1.0))\n"
        "assert 'genai_prices' not in sys.modules, 'too soon'\n"
        "found('openai', 'gpt-4o')\n"
        "assert 'genai_prices' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_prices_are_looked_up_ahead_in_a_thread_where_the_list_is_needed() -> None:
    script = (
        "import sys, threading\n"
        "from pipeline import prices; from pipeline.catalog import Catalog\n"
        "from pipeline.settings.load import load\n"
        "def threads(**env): prices.prepare(Catalog(load(environ=env)))\n"
        "threads()\n"
        "assert threading.active_count() == 1\n"
        "threads(OPENAI_API_KEY='k')\n"
        "[one.join(30) for one in threading.enumerate() if one.name == 'prices']\n"
        "assert 'genai_prices' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
