"""A house with a provider of every kind, all of them one simulated provider's forms."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice

from pipeline.settings.secret import token_hash
from tests.house_of_sluice import House, Section

TOKEN: Final = "slu-forms-0123456789abcdef"
POOR: Final = "slu-poor-0123456789abcdef"


#: Fields of a request: mypy cannot tell which of the client's forty each one is.
Asked = dict[str, Any]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of provider, and what can be asked of it."""

    name: str
    #: Of the provider's settings.
    settings: Mapping[str, object]
    #: Below the simulated provider's address.
    path: str = "/v1"
    model: str = "m-1"
    vectors: str = "v-1"
    #: Fields that it cannot be asked for.
    cannot: frozenset[str] = frozenset()
    #: Whether fields that we do not know go through.
    passes: bool = True
    #: Whether a stream can be asked for its usage.
    counts: bool = True
    #: What asks for a thought that is told; none: nothing does.
    thinks: Mapping[str, object] = {}

    def __str__(self) -> str:
        return self.name

    def chat(self, options: str = "") -> str:
        """Name a model that answers as the options say."""
        return f"{self.name}/{self.model}{':' if options else ''}{options}"

    @property
    def embeddings(self) -> str:
        return f"{self.name}/{self.vectors}"


_GOOGLE: Final = {"google": {"thinking_config": {"include_thoughts": True}}}

KINDS: Final = (
    Kind(name="openai", settings={"kind": "openai"}),
    Kind(name="azure", settings={"kind": "azure"}, path=""),
    Kind(name="azure-dated", settings={"kind": "azure", "api_version": "2024-10-21"}, path=""),
    Kind(
        name="anthropic",
        settings={"kind": "anthropic"},
        path="",
        model="claude-sonnet-5-5",
        cannot=frozenset({"n", "embeddings"}),
        passes=False,
        thinks={"reasoning_effort": "low"},
    ),
    Kind(
        name="gemini",
        settings={"kind": "gemini"},
        path="",
        model="gemini-3-pro",
        vectors="gemini-embedding-001",
        cannot=frozenset({"token ids"}),
        passes=False,
        thinks={"extra_body": _GOOGLE},
    ),
    Kind(name="openrouter", settings={"kind": "openrouter"}),
    Kind(name="ollama", settings={"kind": "ollama"}, cannot=frozenset({"n", "tool_choice"})),
    Kind(name="vllm", settings={"kind": "vllm"}),
    Kind(name="compatible", settings={"kind": "compatible"}),
    Kind(
        name="mistral",
        settings={"kind": "compatible", "differs": {"like": "mistral"}},
        # Its own comes unasked, which the simulated provider does not know.
        counts=False,
    ),
    Kind(name="simulated", settings={"kind": "simulated"}),
)


def sections(house: House) -> dict[str, Section]:
    """Configure the house; each kind has a second provider, whose key may come to rest."""
    root = f"http://127.0.0.1:{house.simulated_port}"
    providers: dict[str, object] = {}
    for kind in KINDS:
        settings = {**kind.settings, "base_url": root + kind.path, "any_model": True}
        providers[kind.name] = {**settings, "keys": ["sk-test-forms"]}
        providers[f"{kind.name}-limited"] = {**settings, "keys": ["sk-test-limited"]}

    def served_by(*names: str, **more: object) -> Section:
        pairs = (name.split("/") for name in names)
        return {"deployments": [{"provider": p, "model": m} for p, m in pairs], **more}

    models = {
        "any-form": served_by("anthropic/claude-sonnet-5-5", "openai/m-1"),
        "no-form": served_by("anthropic/claude-sonnet-5-5", "ollama/m-1"),
        "frank": served_by("vllm/frank:tokens=3"),
        **{
            f"prim-{name}": served_by(f"{name}/prim:withheld", policy_fallbacks=["frank"])
            for name in ("openai", "anthropic", "gemini")
        },
        "prim": served_by("openai/prim:withheld"),
    }
    tenants = {
        "forms": {"tokens": [_hash(TOKEN)]},
        "poor": {"tokens": [_hash(POOR)], "limits": {"rpm": 1}},
    }
    models["strict"] = served_by("openai/m-1", on_limit="refuse")
    return {"providers": providers, "models": models, "tenants": tenants}


def completion_tokens(usage: CompletionUsage | None) -> int:
    """Give the answer's tokens, which have to have been counted."""
    assert usage is not None
    return usage.completion_tokens


def end_of(stream: openai.Stream[ChatCompletionChunk]) -> Choice:
    """Give the choice of the chunk that tells why the answer ended."""
    [last] = [chunk.choices[0] for chunk in stream if chunk.choices[0].finish_reason]
    return last


def _hash(token: str) -> str:
    return token_hash(token.encode()).reveal()
