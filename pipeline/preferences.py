"""Preferences: which models a request's work needs beside its own, and how often it calls each.

Its own is called once at the gate; the other becomes a companion, whose calls follow in requests of
their own. Route finds the deployments of both.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pipeline.errors import BadRequest
from pipeline.event import ONE_CALL, Companion, Event, Operation

#: Where each model is named, for errors.
FIELD: Final = "model_preferences"

_ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
_Calls = Annotated[float, Meta(gt=0, le=1000)]


class ModelPreferences(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request says of the models that its work needs."""

    #: Count where such a model is required; absent: the request's `model`, or the usual one.
    specific_llm_model: _ModelName | None = None
    specific_embedding_model: _ModelName | None = None
    #: Absent: what the request itself is for, and nothing else.
    require_llm_model: bool | None = None
    require_embedding_model: bool | None = None
    #: Calls of each in the mean; those of the request's own kind count in its provider's rate.
    num_llm_calls_per_req: _Calls = 1.0
    num_emb_calls_per_req: _Calls = 1.0


class Preferred(msgspec.Struct, frozen=True):
    """What the preferences make of a request."""

    #: Its own model; empty: it is named elsewhere.
    model: str
    calls: float
    also: tuple[Companion, ...]


def preferred(preferences: ModelPreferences | None, operation: Operation) -> Preferred:
    """Read the preferences of a request of a kind. Raises `BadRequest`."""
    if preferences is None:
        return _NOTHING
    llm, embedding = _llm(preferences), _embedding(preferences)
    (own, required), (other, also) = (llm, embedding) if operation == "chat" else (embedding, llm)
    if required is False:
        kind = "a chat completion" if operation == "chat" else "a request for embeddings"
        name = "require_llm_model" if operation == "chat" else "require_embedding_model"
        raise BadRequest(
            f"'{FIELD}.{name}' is false, but this is {kind}; leave it out.", param=f"{FIELD}.{name}"
        )
    return Preferred(own.model, own.calls, (other,) if also else ())


def preferring(event: Event, preferences: ModelPreferences | None) -> Event:
    """Give an event the models and calls that are preferred. Raises `BadRequest`."""
    if preferences is None:
        return event
    found = preferred(preferences, event.operation)
    return msgspec.structs.replace(
        event, model=found.model or event.model, calls=found.calls, also=found.also
    )


def place_of(companion: Companion) -> str:
    """Name the field in which a companion is named."""
    kind = "llm" if companion.operation == "chat" else "embedding"
    return f"{FIELD}.specific_{kind}_model"


def told(also: tuple[Companion, ...]) -> str:
    """Tell of companions in a line of the journal; empty: there are none."""
    return "; ".join(map(_told, also))


def _told(one: Companion) -> str:
    often = f"{one.calls:g} calls" if one.calls != 1 else "1 call"
    first = f", first {one.plan[0].deployment}" if one.plan else ""
    return f"{one.model}: {often}{first}"


def _llm(preferences: ModelPreferences) -> tuple[Companion, bool | None]:
    companion = Companion(
        model=preferences.specific_llm_model or "",
        calls=_calls(preferences.num_llm_calls_per_req),
    )
    return companion, preferences.require_llm_model


def _embedding(preferences: ModelPreferences) -> tuple[Companion, bool | None]:
    companion = Companion(
        model=preferences.specific_embedding_model or "",
        operation="embeddings",
        calls=_calls(preferences.num_emb_calls_per_req),
    )
    return companion, preferences.require_embedding_model


def _calls(number: float) -> float:
    return ONE_CALL if number == ONE_CALL else number


_NOTHING: Final = Preferred("", ONE_CALL, ())
