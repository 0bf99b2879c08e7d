"""In what a provider differs from OpenAI's form: a table of those that are known.

A provider of kind `compatible` names the one that it is like, or sets field by field; the other
kinds have theirs here and set nothing. Where two are alike in doubt, the safer one stands: a
field that is refused can be answered by another deployment, a field that is lost cannot.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pipeline.settings.fields import HeaderName, Section
from pipeline.settings.file import Tree

FieldName = Annotated[
    str, Meta(pattern=r"[A-Za-z0-9_.-]{1,64}", description="a field's name in the request")
]
UrlPath = Annotated[
    str, Meta(pattern=r"/[^\s?#]{0,200}", description="a path that begins with a slash")
]
KeyPrefix = Annotated[
    str, Meta(pattern=r"[ -~]{0,32}", description="up to 32 printable ASCII characters")
]

#: How a provider goes on from an answer's beginning: not at all; from an assistant's message
#: that comes last; from one that also has `prefix: true`; as vLLM does by two fields.
Prefix = Literal["none", "last_message", "prefix", "continue_final_message"]
Like = Literal[
    "cohere",
    "deepseek",
    "fireworks",
    "groq",
    "mistral",
    "ollama",
    "perplexity",
    "together",
    "vllm",
    "xai",
]


class Differences(Section, frozen=True, kw_only=True):
    """What to change in a request, and what not to expect of an answer."""

    #: A provider that is known, whose differences hold where none is set here.
    like: Like | None = None
    #: Below the base URL.
    chat_path: UrlPath = "/chat/completions"
    embeddings_path: UrlPath = "/embeddings"
    key_header: HeaderName = "authorization"
    #: Before the key, with its space.
    key_prefix: KeyPrefix = "Bearer "
    #: Fields by OpenAI's name, and what they are called there.
    rename: Mapping[FieldName, FieldName] = {}
    #: Fields that it does not understand: a request that sets one is a 400.
    refuse: tuple[FieldName, ...] = ()
    #: Fields that are left out of a request without a word.
    drop: tuple[FieldName, ...] = ()
    #: Whether a stream may be asked for its usage (`stream_options.include_usage`).
    include_usage: bool = True
    #: Whether embeddings can be had as base64; else they are asked for as numbers, and packed here.
    base64: bool = True
    prefix: Prefix = "none"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that is known."""

    #: Where it is to be found, unless it is said; empty: anywhere.
    base_url: str = ""
    #: In the file's form, so that what is set beside them wins field by field.
    differs: Tree = {}


_OLDER_NAME: Final[Tree] = {"max_completion_tokens": "max_tokens"}
#: Hints that change no answer.
_HINTS: Final = ["metadata", "safety_identifier", "service_tier", "store", "user"]

KNOWN: Final[Mapping[str, Known]] = {
    # https://docs.cohere.com/docs/compatibility-api
    "cohere": Known(
        base_url="https://api.cohere.ai/compatibility/v1",
        differs={
            "rename": _OLDER_NAME,
            "refuse": [
                "audio", "logit_bias", "modalities", "n", "parallel_tool_calls", "top_logprobs",
            ],
            "drop": [*_HINTS, "prediction"],
            "base64": False,
        },
    ),
    # https://api-docs.deepseek.com/api/create-chat-completion lists what it reads. It goes on
    # from a prefix at https://api.deepseek.com/beta alone:
    # https://api-docs.deepseek.com/guides/chat_prefix_completion
    "deepseek": Known(
        base_url="https://api.deepseek.com",
        differs={"rename": _OLDER_NAME, "refuse": ["logit_bias", "n"]},
    ),
    # https://docs.fireworks.ai/tools-sdks/openai-compatibility: usage comes in any last chunk
    "fireworks": Known(
        base_url="https://api.fireworks.ai/inference/v1",
        differs={"include_usage": False, "base64": False},
    ),
    # https://console.groq.com/docs/openai and /docs/prefilling
    "groq": Known(
        base_url="https://api.groq.com/openai/v1",
        differs={
            "refuse": ["logit_bias", "logprobs", "n", "top_logprobs"],
            "prefix": "last_message",
        },
    ),
    # https://docs.mistral.ai/api: what it does not know is a 422, and usage comes unasked.
    "mistral": Known(
        base_url="https://api.mistral.ai/v1",
        differs={
            "rename": {
                **_OLDER_NAME, "dimensions": "output_dimension", "seed": "random_seed",
            },
            "refuse": ["logit_bias", "logprobs", "top_logprobs"],
            "drop": _HINTS,
            "include_usage": False,
            "base64": False,
            "prefix": "prefix",
        },
    ),
    # https://docs.ollama.com/api/openai-compatibility: what is not ticked there is not read.
    "ollama": Known(
        differs={"rename": _OLDER_NAME, "refuse": ["logit_bias", "n", "tool_choice"]},
    ),
    # https://docs.perplexity.ai/api-reference/chat-completions-post: usage is in each chunk.
    "perplexity": Known(
        base_url="https://api.perplexity.ai",
        differs={
            "rename": _OLDER_NAME,
            "refuse": [
                "logit_bias", "logprobs", "n", "parallel_tool_calls", "stop", "tool_choice",
                "tools", "top_logprobs",
            ],
            "drop": _HINTS,
            "include_usage": False,
        },
    ),
    # https://docs.together.ai/reference/chat-completions-1 and /reference/embeddings-2
    "together": Known(
        base_url="https://api.together.ai/v1",
        differs={"rename": _OLDER_NAME, "base64": False},
    ),
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    "vllm": Known(differs={"prefix": "continue_final_message"}),
    # https://docs.x.ai/docs/api-reference#chat-completions
    "xai": Known(base_url="https://api.x.ai/v1"),
}  # fmt: skip

#: What kinds other than `compatible` differ in. Of Anthropic's models the newest refuse to go on
#: from a prefix, of OpenRouter's those whose providers cannot.
OF_KIND: Final[Mapping[str, Tree]] = {
    "anthropic": {"prefix": "last_message"},
    "gemini": {"prefix": "last_message"},
    "ollama": KNOWN["ollama"].differs,
    "openrouter": {"prefix": "last_message"},
    "simulated": {"prefix": "last_message"},
    "vllm": KNOWN["vllm"].differs,
}


def of_kind(kind: str) -> Differences:
    """Give the differences of a kind that sets none of its own."""
    return msgspec.convert(OF_KIND.get(kind, {}), Differences)


def completed(tree: Tree) -> Tree:
    """Write what is known of its kind, or of the one that it is like, into each provider."""
    providers = tree.get("providers")
    if not isinstance(providers, dict):
        return tree
    return {**tree, "providers": {name: _completed(one) for name, one in providers.items()}}


def _completed(provider: object) -> object:
    if not isinstance(provider, dict):
        return provider
    own = provider.get("differs") or {}
    if not isinstance(own, dict):
        return provider  # that is the fault, and is told
    kind = str(provider.get("kind"))
    known = KNOWN.get(str(own.get("like")))
    if kind != "compatible" or known is None:
        return {**provider, "differs": {**OF_KIND.get(kind, {}), **own}}
    base_url = provider.get("base_url") or known.base_url
    return {**provider, "base_url": base_url, "differs": {**known.differs, **own}}
