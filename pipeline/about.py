"""What a log line tells beside its words: fields, those of a request bound in one place.

A message is a constant text in the past tense; whatever differs from one time to the next is a
field. None of them holds a prompt, an answer, a key, or what a provider said.
"""

from collections.abc import Mapping
from typing import Final

from pipeline.event import Event

#: What a field may hold; None: it is left out.
Field = str | int | float | None
#: The form of `extra=`: the formatters look for fields under this one name.
Extra = Mapping[str, Mapping[str, Field]]
FIELDS: Final = "fields"

#: Redis quotes what it was given after these words.
_QUOTED: Final = ", with args beginning"


def noted(**told: Field) -> Extra:
    """Give fields for the `extra=` of a log call."""
    return {FIELDS: told}


def about(event: Event, hop: str = "", **more: Field) -> Extra:
    """Give the fields of a request, and of a hop where it is at one, for `extra=`.

    Ask first whether the level is on where requests in good order pass by.
    """
    trace = event.trace.id if event.trace else None
    return noted(
        request=event.id, tenant=event.tenant or None, hop=hop or None, trace=trace, **more
    )


def said(error: BaseException) -> str:
    """Give the words of an error of Redis's or the system's, without arguments that it quotes."""
    return str(error).partition(_QUOTED)[0]
