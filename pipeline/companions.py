"""Companions as the catalog knows them: their names, their deployments, and what they may take."""

from typing import Final

import msgspec

from pipeline.catalog import Catalog
from pipeline.errors import BadRequest, ModelNotFound, Refused
from pipeline.event import Companion, Event
from pipeline.preferences import place_of

#: The gate has a room for each plan with its companions: numbers that differ little are one.
_CALLS: Final = 0.1


def named(one: Companion, catalog: Catalog) -> str:
    """Give the name by which a companion is asked for: its own, or that of the usual model.

    Raises `BadRequest` where there is no usual one, and `ModelNotFound`.
    """
    name = one.model or catalog.usual(one.operation)
    if not name:
        raise BadRequest(
            f"The request needs an embedding model: name one by '{place_of(one)}', or set "
            "gateway.default_embedding_model.",
            param=place_of(one),
        )
    if name not in catalog:
        try:
            catalog.candidates(name)
        except ModelNotFound as error:
            raise ModelNotFound(error.message, param=place_of(one)) from None
    return name


def planned(event: Event, catalog: Catalog) -> tuple[Companion, ...]:
    """Give an event's companions with their deployments, and the tokens that they may take.

    Their calls work on its text, and together take about as many tokens of it as it has itself.
    Raises `BadRequest` and `ModelNotFound`, which name the field.
    """
    return tuple(_planned(one, event, catalog) for one in event.also)


def _planned(one: Companion, event: Event, catalog: Catalog) -> Companion:
    asked = Event(
        id=event.id,
        operation=one.operation,
        model=catalog.canonical(named(one, catalog)),
        body_bytes=0,
        created=event.created,
    )
    try:
        plan = catalog.fit(asked).plan
    except Refused as error:
        error.param = place_of(one)
        raise
    tokens = 1 << (event.prompt_tokens.bit_length() - 1) if event.prompt_tokens else 0
    calls = max(_CALLS, round(one.calls, 1))
    return msgspec.structs.replace(one, model=asked.model, calls=calls, tokens=tokens, plan=plan)
