"""W3C trace context: what a caller brings, whether a request is traced, and by which ids.

All ids are derived: whoever computes one anew gets the same, so that what is emitted twice is
identical. What is not sampled has no trace, and costs nothing on its way.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from pipeline import clock
from pipeline.event import Event, Trace

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
#: The specification asks for at least 512 characters to be passed on.
_TRACESTATE: Final = re.compile(r"[ -~]{1,512}")
_SAMPLED: Final = 1


class Caller(msgspec.Struct, frozen=True):
    """The trace context that came with a request."""

    traceparent: str = ""
    tracestate: str = ""


NOBODY: Final = Caller()


def caller_of(traceparent: str, tracestate: str = "") -> Caller:
    """Read a caller's headers or fields; what is no trace context counts as none."""
    found = _TRACEPARENT.match(traceparent)
    if not found or found[1] == "ff" or found[2] == _NO_TRACE or found[3] == _NO_SPAN:
        return NOBODY
    if found[1] == "00" and found.end() != len(traceparent):
        return NOBODY
    return Caller(
        f"00-{found[2]}-{found[3]}-{found[4]}",
        tracestate if _TRACESTATE.fullmatch(tracestate) else "",
    )


def trace_id_of(traceparent: str) -> str:
    """Give the trace's id of a `traceparent`, in hex."""
    return traceparent[3:35]


def span_id_of(traceparent: str) -> str:
    """Give the span's id of a `traceparent`, in hex."""
    return traceparent[36:52]


def is_sampled(traceparent: str) -> bool:
    """Tell whether the caller of a `traceparent` traces, too."""
    return bool(traceparent) and bool(int(traceparent[53:55], 16) & _SAMPLED)


class Sampler(msgspec.Struct, frozen=True, kw_only=True):
    """Decides once for each request whether it is traced."""

    #: Share of the requests whose caller has decided nothing.
    share: float
    #: Whether a caller's decision stands.
    parent_based: bool = True

    def takes(self, traceparent: str) -> bool:
        """Decide about a request, by the context that it follows (empty: none)."""
        if traceparent and self.parent_based:
            return is_sampled(traceparent)
        return self.share >= 1 or (self.share > 0 and clock.chance.random() < self.share)


#: For a process that traces nothing.
NEVER: Final = Sampler(share=0, parent_based=False)


def begin(caller: Caller, key: str, *, served: bool = False) -> Trace:
    """Begin the trace of a request; `key` is unique to the request and leg.

    It goes on with its caller's trace, where it has one.
    """
    trace_id = (
        trace_id_of(caller.traceparent) if caller.traceparent else derived(f"{key}/trace", 16)
    )
    return Trace(
        root=f"00-{trace_id}-{derived(f'{key}/root', 8)}-01",
        parent=span_id_of(caller.traceparent) if caller.traceparent else "",
        state=caller.tracestate,
        served=served,
    )


def decided(event: Event, sampler: Sampler) -> Event:
    """Decide whether an event is traced about which nobody has decided yet.

    A replay is traced where the request was that it replays.
    """
    event = msgspec.structs.replace(event, undecided=False)
    if not sampler.takes(event.traceparent or event.linked):
        return event
    trace = begin(Caller(event.traceparent, event.tracestate), _key_of(event))
    return msgspec.structs.replace(event, trace=trace, traceparent="", tracestate="")


def on_next_leg(event: Event) -> Event:
    """Give an event that has begun a leg the trace of that leg, which links the one before."""
    if event.trace is None:
        return event
    trace = begin(Caller("", event.trace.state), _key_of(event))
    return msgspec.structs.replace(event, trace=trace, linked=event.trace.root)


def context_of(event: Event) -> Mapping[str, str]:
    """Give the context that others are told of an event: its root's, or its caller's."""
    if event.trace:
        return headers(event.trace.root, event.trace.state)
    return headers(event.traceparent, event.tracestate)


def _key_of(event: Event) -> str:
    # Direct producers may give an id again, once its request has been forgotten.
    return f"{event.id}/{event.leg}/{event.created:.6f}"


def derived(key: str, size: int) -> str:
    """Derive an id of so many bytes, in hex."""
    return blake2b(key.encode(), digest_size=size).hexdigest()


def child_id(root: str, *path: object) -> str:
    """Derive the id of a span below a root, in hex."""
    return derived(f"{root}/{path}", 8)


def traceparent(root: str, span_id: str) -> str:
    """Give the context of a span in the trace of a root."""
    return f"{root[:36]}{span_id}{root[52:]}"


def headers(traceparent: str, tracestate: str = "") -> Mapping[str, str]:
    """Give the context as the headers, or fields, by which it is told."""
    if not traceparent:
        return {}
    told = {"traceparent": traceparent}
    return {**told, "tracestate": tracestate} if tracestate else told
