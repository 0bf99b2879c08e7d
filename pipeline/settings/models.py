"""The settings of providers and models: who is called, where, how, and under which names."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta

from pipeline.settings.differences import Differences
from pipeline.settings.fields import (
    ApiVersion,
    Count,
    HeaderName,
    HttpUrl,
    ModelName,
    Name,
    Pause,
    Seconds,
    Section,
    WholeSeconds,
)
from pipeline.settings.secret import ApiKey, HeaderText, ProxyUrl

Kind = Literal[
    "openai",
    "azure",
    "anthropic",
    "gemini",
    "openrouter",
    "ollama",
    "vllm",
    "compatible",
    "simulated",
]
#: Where a kind is to be found unless `base_url` says otherwise.
BASE_URLS: Final[Mapping[Kind, str]] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "openrouter": "https://openrouter.ai/api/v1",
    "ollama": "http://127.0.0.1:11434/v1",
    "vllm": "http://127.0.0.1:8000/v1",
}
#: Kinds whose quotas are the account's, not each key's.
_ACCOUNT_QUOTAS: Final[frozenset[Kind]] = frozenset({"openai", "azure", "anthropic", "gemini"})

Strategy = Literal["order", "weighted", "round_robin", "least_busy", "latency", "cost"]


class Limits(Section, frozen=True, kw_only=True):
    """What a provider allows us; absent: no limit."""

    rpm: Count | None = None
    #: Requests that may go at once; absent: a second's worth, at least 1.
    burst: Count | None = None
    tpm: Count | None = None
    rpd: Count | None = None
    tpd: Count | None = None
    concurrency: Count | None = None


class Price(Section, frozen=True, kw_only=True):
    """What a deployment costs, in US dollars per million tokens."""

    prompt: Annotated[float, Meta(ge=0)]
    completion: Annotated[float, Meta(ge=0)] = 0.0
    #: Of a prompt's tokens that the provider had cached; absent: as the others.
    cached: Annotated[float, Meta(ge=0)] | None = None


class BreakerSettings(Section, frozen=True, kw_only=True):
    """When a deployment that fails is cut off, and for how long."""

    #: So many failed calls in a row cut it off; 0: never.
    failures: Annotated[int, Meta(ge=0)] = 5
    #: Until one request tries it; each failure of such a one doubles it.
    open_s: Seconds = 5
    max_open_s: Seconds = 60


class Timeouts(Section, frozen=True, kw_only=True):
    """How long a provider call may take, in all its parts."""

    connect_s: Seconds = 5
    first_byte_s: Seconds = 120
    idle_s: Seconds = 60
    total_s: Seconds = 300


class ProviderSettings(Section, frozen=True, kw_only=True):
    """Who makes an API: its address, keys and what it allows."""

    kind: Kind
    #: Never empty once loaded, and without a slash at its end.
    base_url: HttpUrl = ""
    keys: tuple[ApiKey, ...] = ()
    limits: Limits = Limits()
    #: Whether `limits` hold for each key or over all; absent: as this kind counts.
    limits_per: Literal["key", "account"] | None = None
    cooldown_s: Pause = 60
    proxy: ProxyUrl | None = None
    #: Headers beyond the usual, such as OpenRouter's `HTTP-Referer` and `X-Title`.
    headers: Mapping[HeaderName, HeaderText] = {}
    #: Azure's: with one its requests take the deployments' form, without the v1 form.
    api_version: ApiVersion = ""
    #: In what a provider of kind `compatible` differs from OpenAI.
    differs: Differences = Differences()
    breaker: BreakerSettings = BreakerSettings()
    #: Between two looks at the health of a deployment that is cut off; 0: calls alone tell.
    health_s: Pause = 0
    timeout: Timeouts = Timeouts()
    #: Whether `provider/model` may be asked for with any model name.
    any_model: bool = False

    @property
    def shares_limits(self) -> bool:
        """Whether the limits hold over all keys."""
        if len(self.keys) <= 1:
            return True
        return (self.limits_per or ("key", "account")[self.kind in _ACCOUNT_QUOTAS]) == "account"


class DeploymentSettings(Section, frozen=True, kw_only=True):
    """A model at a provider."""

    provider: Name
    model: ModelName
    weight: Count = 1
    limits: Limits = Limits()
    #: Absent: as `genai-prices` has it, which may not know the model.
    price: Price | None = None
    #: Most tokens of prompt and answer together; absent: unknown, and not judged by.
    context_tokens: Count | None = None
    #: Whether it takes images, and tools; absent: unknown, and not judged by.
    vision: bool | None = None
    tools: bool | None = None
    #: Length of its embeddings; absent: unknown.
    vector_size: Count | None = None


#: What holds for a model at a provider, wherever it is listed.
FACTS: Final = ("price", "context_tokens", "vision", "tools", "vector_size")


class ModelSettings(Section, frozen=True, kw_only=True):
    """A model as clients name it."""

    #: Other names that clients may use for it.
    aliases: tuple[ModelName, ...] = ()
    strategy: Strategy = "order"
    deployments: tuple[DeploymentSettings, ...] = ()
    #: Other models of ours, tried in this order after the deployments.
    fallbacks: tuple[ModelName, ...] = ()
    #: Those tried instead where a prompt is too long for a deployment, or its content refused.
    context_fallbacks: tuple[ModelName, ...] = ()
    policy_fallbacks: tuple[ModelName, ...] = ()
    #: By what requests of one kind go to one deployment while it can take them.
    sticky: Literal["off", "prompt_cache_key", "user"] = "prompt_cache_key"
    #: What becomes of a stream that is cut after deltas had gone out: it ends with an error,
    #: begins anew, or another deployment goes on from the text so far.
    on_cut: Literal["error", "restart", "continue"] = "error"
    #: What is answered in place of an error when everything has failed; empty: the error.
    polite: str = ""
    on_limit: Literal["wait", "refuse"] = "wait"
    #: Seconds of each rung, ascending; absent: those of `ladder`.
    ladder: tuple[WholeSeconds, ...] | None = None
    #: By how much a rung may be shorter than the provider's hint.
    hint_tolerance_s: Pause = 0
