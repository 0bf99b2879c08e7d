"""What LiteLLM's provider prefixes are with us: kinds, public addresses, default variables."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pipeline.settings.differences import KNOWN, Like
from pipeline.settings.models import BASE_URLS, Kind


class Upstream(msgspec.Struct, frozen=True):
    """Who is meant by a prefix."""

    kind: Kind
    #: Where LiteLLM finds its key unless the file has one.
    key_variable: str = ""
    #: The public address of what speaks OpenAI's form and is no kind of its own.
    base_url: str = ""
    #: Where LiteLLM finds its address, of those that have no public one.
    base_variable: str = ""
    #: Of those whose differences from OpenAI's form are known.
    like: Like | None = None


def _like(like: Like, key_variable: str) -> Upstream:
    return Upstream("compatible", key_variable, KNOWN[like].base_url, like=like)


#: https://docs.litellm.ai/docs/providers
UPSTREAMS: Final[Mapping[str, Upstream]] = {
    "openai": Upstream("openai", "OPENAI_API_KEY"),
    "azure": Upstream("azure", "AZURE_API_KEY", base_variable="AZURE_API_BASE"),
    "anthropic": Upstream("anthropic", "ANTHROPIC_API_KEY"),
    "gemini": Upstream("gemini", "GEMINI_API_KEY"),
    "openrouter": Upstream("openrouter", "OPENROUTER_API_KEY"),
    "ollama": Upstream("ollama"),
    "ollama_chat": Upstream("ollama"),
    "hosted_vllm": Upstream("vllm", base_variable="HOSTED_VLLM_API_BASE"),
    "groq": _like("groq", "GROQ_API_KEY"),
    "mistral": _like("mistral", "MISTRAL_API_KEY"),
    "codestral": Upstream(
        "compatible", "CODESTRAL_API_KEY", "https://codestral.mistral.ai/v1", like="mistral"
    ),
    "cohere": _like("cohere", "COHERE_API_KEY"),
    "cohere_chat": _like("cohere", "COHERE_API_KEY"),
    "deepseek": _like("deepseek", "DEEPSEEK_API_KEY"),
    "xai": _like("xai", "XAI_API_KEY"),
    "perplexity": _like("perplexity", "PERPLEXITYAI_API_KEY"),
    "together_ai": _like("together", "TOGETHERAI_API_KEY"),
    "fireworks_ai": _like("fireworks", "FIREWORKS_AI_API_KEY"),
    "deepinfra": Upstream("compatible", "DEEPINFRA_API_KEY", "https://api.deepinfra.com/v1/openai"),
    "cerebras": Upstream("compatible", "CEREBRAS_API_KEY", "https://api.cerebras.ai/v1"),
    "sambanova": Upstream("compatible", "SAMBANOVA_API_KEY", "https://api.sambanova.ai/v1"),
    "nvidia_nim": Upstream(
        "compatible", "NVIDIA_NIM_API_KEY", "https://integrate.api.nvidia.com/v1"
    ),
    "moonshot": Upstream("compatible", "MOONSHOT_API_KEY", "https://api.moonshot.ai/v1"),
    "volcengine": Upstream(
        "compatible", "VOLCENGINE_API_KEY", "https://ark.cn-beijing.volces.com/api/v3"
    ),
    "lm_studio": Upstream("compatible", base_variable="LM_STUDIO_API_BASE"),
    "litellm_proxy": Upstream(
        "compatible", "LITELLM_PROXY_API_KEY", base_variable="LITELLM_PROXY_API_BASE"
    ),
    "xinference": Upstream("compatible", base_variable="XINFERENCE_API_BASE"),
    "llamafile": Upstream("compatible", base_variable="LLAMAFILE_API_BASE"),
    "custom_openai": Upstream("compatible", base_variable="CUSTOM_OPENAI_API_BASE"),
    "openai_like": Upstream("compatible", base_variable="OPENAI_LIKE_API_BASE"),
}

_COMPATIBLE: Final = (
    "if it has an address in OpenAI's form, add a provider of kind compatible with that base_url"
)
#: Prefixes that people use much and that nothing of ours speaks, with what to do.
_FOREIGN: Final[Mapping[str, tuple[str, str]]] = {
    "bedrock": (
        "its requests are signed with AWS credentials, which Sluice does not do",
        "use the maker's own API (as kind anthropic), or Bedrock's address in OpenAI's form with "
        "a Bedrock key, as kind compatible",
    ),
    "vertex_ai": (
        "it wants Google service accounts, which Sluice does not take",
        "use kind gemini with an API key",
    ),
    "os.environ": ("its provider cannot be told from a variable", "write the model's name"),
    "sagemaker": ("its requests are signed with AWS credentials", _COMPATIBLE),
    "text-completion-openai": ("it serves /completions alone", "use a chat model"),
    "vllm": ("it runs the model inside LiteLLM", "run `vllm serve` and use kind vllm"),
}

#: How LiteLLM's own table reads names without a prefix.
_BARE: Final = (
    (re.compile(r"(?:ft:)?(?:gpt-|chatgpt-|o\d|text-embedding-).*"), "openai"),
    (re.compile(r"claude-.*"), "anthropic"),
    (re.compile(r"gemini-.*"), "vertex_ai"),
)
#: What a base may end in that we append ourselves.
_TAILS: Final[Mapping[Kind, re.Pattern[str]]] = {
    "anthropic": re.compile(r"/v1(?:/messages)?$"),
    "gemini": re.compile(r"/v1(?:beta)?(?:/models)?$"),
    "azure": re.compile(r"/openai(?:/.*)?$"),
}
#: Azure's reasoning models are marked in LiteLLM's names, and nowhere else.
_AZURE_MARKS: Final = re.compile(r"^(?:o_series|gpt5_series)/")


def split(model: str, provider: str = "") -> tuple[str, str]:
    """Tell the prefix and the model's own name; an empty prefix: nobody knows whose it is."""
    prefix, slash, rest = model.partition("/")
    if provider:
        prefix, rest = provider, rest if slash and prefix == provider else model
    elif not slash or (prefix not in UPSTREAMS and prefix not in _FOREIGN):
        return (bare(model), model) if not slash else (prefix, rest)
    return prefix, _AZURE_MARKS.sub("", rest) if prefix == "azure" else rest


def bare(model: str) -> str:
    """Tell whose a name without prefix is, or nothing."""
    return next((prefix for form, prefix in _BARE if form.fullmatch(model)), "")


def foreign(prefix: str) -> tuple[str, str]:
    """Say why a prefix has no counterpart, and what to do instead."""
    if not prefix:
        return (
            "its name does not tell the provider",
            "write it with one of LiteLLM's prefixes, as in openai/NAME",
        )
    why, instead = _FOREIGN.get(prefix, ("nothing with us speaks to it", _COMPATIBLE))
    return f"{prefix}: {why}", instead


def kind_at(upstream: Upstream, base_url: str) -> Kind:
    """Tell the kind at an address: what is not OpenAI's own only speaks its form."""
    if upstream.kind != "openai" or base_url in ("", BASE_URLS["openai"]):
        return upstream.kind
    return "openai" if urlsplit(base_url).hostname == "api.openai.com" else "compatible"


def as_base_url(kind: Kind, address: str) -> str:
    """Write an address as our `base_url`: without the parts of the path that we append."""
    plain = address.rstrip("/")
    if kind in _TAILS:
        return _TAILS[kind].sub("", plain)
    if kind == "ollama" and not plain.endswith("/v1"):
        return f"{plain}/v1"
    return plain
