"""A span as we tell of one, before it is written in anybody's wire form."""

from collections.abc import Mapping
from typing import Literal

import msgspec

Kind = Literal["internal", "server", "client", "consumer"]
Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value]


class Moment(msgspec.Struct, frozen=True):
    """Something that happened within a span, and when, in Unix seconds."""

    name: str
    at: float


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span; times are Unix seconds, ids are hex."""

    name: str
    kind: Kind
    id: str
    #: Empty: it has none.
    parent: str = ""
    #: Whether the parent is another program's.
    is_remote: bool = False
    start: float
    end: float
    attributes: Attributes = {}
    #: What kind of error it ended with; empty: none.
    error: str = ""
    moments: tuple[Moment, ...] = ()
    #: A root of another trace that this one goes on from, as a `traceparent`; empty: none.
    link: str = ""


class Spans(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one trace."""

    trace_id: str
    #: A caller's `tracestate`.
    state: str = ""
    spans: list[Span]
