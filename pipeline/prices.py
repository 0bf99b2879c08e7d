"""What tokens cost: a deployment's price from the settings, else from the package genai-prices.

That package is imported when the first price is asked for that the settings do not tell, and
asks nobody over the network: its prices are those of its release. Importing it takes a worker
0.07 s of CPU and 13 MB, so a configuration that needs none of its prices never pays for it.
"""

import threading
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline import clock
from pipeline.event import Usage
from pipeline.settings import models
from pipeline.settings.models import BASE_URLS, Kind, ProviderSettings

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, TieredPrices

    from pipeline.catalog import Catalog, Deployment

#: Some prices hold at certain hours only: those of the package are looked up again so often.
_HOLDS_S: Final = 900

#: Providers as the package names them.
_IDS: Final[dict[Kind, str]] = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "gemini": "google",
    "openrouter": "openrouter",
}
#: Kinds that run on machines of one's own: they cost nothing unless priced.
_OWN: Final[frozenset[Kind]] = frozenset({"ollama", "vllm", "simulated"})

_MILLION: Final = 1_000_000


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars per million tokens."""

    prompt: float = 0.0
    completion: float = 0.0
    #: Of a prompt's tokens that the provider had cached.
    cached: float = 0.0
    #: Of those that it now has put into its cache.
    cache_write: float = 0.0


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """What all tokens of a request cost whose prompt has more tokens than `above`."""

    above: int
    rates: Rates


class Price(Rates, frozen=True, kw_only=True):
    """What a deployment costs."""

    #: Ascending. A prompt in a tier makes all of its request cost that.
    tiers: tuple[Tier, ...] = ()
    #: Whether it is known only that nobody bills for it: then no cost is told.
    own: bool = False


#: Of a machine of one's own.
OWN: Final = Price(own=True)


def price(provider: ProviderSettings, deployment: "Deployment") -> Price | None:
    """Give a deployment's price; none: nobody knows, which does not mean that it is free."""
    if deployment.price is not None:
        return _set(deployment.price)
    if provider.kind in _OWN:
        return OWN
    period = int(clock.now() // _HOLDS_S)
    return _listed(provider.kind, provider.base_url, deployment.model, period)


def cost_of(price: Price, usage: Usage) -> float:
    """Give the US dollars that a call cost.

    Tokens read from and written to a cache are among the prompt's. Reasoning tokens are among the
    answer's, except where a provider (xAI) counts them beside: then its total says so. A tier
    counts by the whole prompt.
    """
    rates: Rates = price
    for tier in price.tiers:
        if usage.prompt_tokens > tier.above:
            rates = tier.rates
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
    completion = usage.completion_tokens
    beside = usage.total_tokens - usage.prompt_tokens - completion
    if beside > 0 and beside == usage.reasoning_tokens:
        completion += beside
    cost = (
        (usage.prompt_tokens - cached - written) * rates.prompt
        + cached * rates.cached
        + written * rates.cache_write
        + completion * rates.completion
    )
    # A picodollar is finer than any price; more digits are those of binary fractions.
    return round(cost / _MILLION, 12)


def expected(price: Price, prompt_tokens: int, completion_tokens: int) -> float:
    """Give the US dollars that a request of so many tokens would cost, none of them cached."""
    return cost_of(price, Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens))


def prepare(catalog: "Catalog") -> None:
    """Look up in a thread what deployments cost, so that no call has to wait for the import."""
    unset = [
        (catalog.provider(one.provider), one) for one in catalog.deployments() if one.price is None
    ]
    listed = [(provider, one) for provider, one in unset if provider.kind not in _OWN]
    if listed:
        look_up = partial(_look_up, listed)
        threading.Thread(target=look_up, name="prices", daemon=True).start()


def _look_up(listed: "list[tuple[ProviderSettings, Deployment]]") -> None:
    for provider, deployment in listed:
        price(provider, deployment)


@lru_cache(maxsize=1024)
def _set(told: models.Price) -> Price:
    cached = told.prompt if told.cached is None else told.cached
    return Price(
        prompt=told.prompt, completion=told.completion, cached=cached, cache_write=told.prompt
    )


@lru_cache(maxsize=2048)
def _listed(kind: Kind, base_url: str, model: str, period: int) -> Price | None:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - see this file's head

    snapshot = get_snapshot()
    # Whose address it is tells more than the kind: many speak OpenAI's form.
    url = base_url if base_url != BASE_URLS.get(kind) else ""
    for provider_id, address in ((None, url), (_IDS.get(kind), None)):
        if not (provider_id or address):
            continue
        try:
            _, found = snapshot.find_provider_model(model, None, provider_id, address)
        except LookupError:
            continue
        asked_at = datetime.fromtimestamp(period * _HOLDS_S, UTC)
        return _from_list(found.get_prices(asked_at)) if found.prices else None
    return None


def _from_list(listed: "ModelPrice") -> Price | None:
    if listed.input_mtok is None or listed.requests_kcount is not None:
        # What is also billed by the request cannot be told by its tokens.
        return None
    starts = {
        tier.start
        for rate in (
            listed.input_mtok,
            listed.output_mtok,
            listed.cache_read_mtok,
            listed.cache_write_mtok,
        )
        if rate is not None and not isinstance(rate, Decimal)
        for tier in rate.tiers
    }
    tiers = (Tier(above=start, rates=_rates(listed, start + 1)) for start in sorted(starts))
    base = _rates(listed, 0)
    return Price(
        prompt=base.prompt,
        completion=base.completion,
        cached=base.cached,
        cache_write=base.cache_write,
        tiers=tuple(tiers),
    )


def _rates(listed: "ModelPrice", prompt_tokens: int) -> Rates:
    """Give the rates of prompts of so many tokens."""
    prompt = _rate(listed.input_mtok, prompt_tokens)
    cached, written = listed.cache_read_mtok, listed.cache_write_mtok
    return Rates(
        prompt=prompt,
        completion=_rate(listed.output_mtok, prompt_tokens),
        cached=prompt if cached is None else _rate(cached, prompt_tokens),
        cache_write=prompt if written is None else _rate(written, prompt_tokens),
    )


def _rate(rate: "Decimal | TieredPrices | None", prompt_tokens: int) -> float:
    if rate is None or isinstance(rate, Decimal):
        return float(rate or 0)
    reached = [tier.price for tier in rate.tiers if prompt_tokens > tier.start]
    return float(reached[-1] if reached else rate.base)
