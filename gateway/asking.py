"""Reading what a client asks: of its JSON body only what we need, and the headers that are ours.

The body itself stays as it came; what we do not know is the provider's to judge.
"""

import math
import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from gateway.exchange import Exchange
from pipeline import tracing
from pipeline.errors import BadRequest
from pipeline.names import MAX_PRIORITY, MIN_PRIORITY
from pipeline.needs import Asks
from pipeline.preferences import ModelPreferences
from pipeline.tracing import NOBODY, Caller

T = TypeVar("T", bound=msgspec.Struct)

#: Places in the priority classes that OpenAI's tiers of service stand for.
TIERS: Final[Mapping[str, int]] = {"priority": 1, "fast": 1, "flex": -1}

SESSION_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: A body with more opening brackets than this is checked for its depth.
_UNSUSPICIOUS: Final = 300
#: Levels a body may still be put into by those who read it after us.
_ROOM: Final = 200

_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")


class StreamOptions(msgspec.Struct, frozen=True):
    """OpenAI's options of a stream."""

    include_usage: bool | None = None


class Asked(Asks, frozen=True, kw_only=True):
    """What we read of any body."""

    priority: int | None = None
    service_tier: str | None = None
    user: str | None = None
    #: What OpenAI has in place of `user`.
    safety_identifier: str | None = None
    model_preferences: ModelPreferences | None = None
    #: The request of whose companion this is a call.
    follows: str | None = None


class ChatBody(Asked, frozen=True, kw_only=True):
    """What we read of a chat completion's body."""

    model: str
    messages: msgspec.Raw
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class EmbeddingsBody(Asked, frozen=True, kw_only=True):
    """What we read of an embeddings request's body."""

    model: str
    input: msgspec.Raw


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a request ask for."""

    priority: int | None = None
    timeout_s: float | None = None
    #: The trace context that it belongs to.
    caller: Caller = NOBODY
    follows: str = ""


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Read a body, of which the whole must be valid JSON in UTF-8.

    Raises `BadRequest` that names the place.
    """
    try:
        # The decoder does not look into the text of fields that we do not read.
        body.decode()
        if body.count(b"[") + body.count(b"{") > _UNSUSPICIOUS:
            msgspec.json.decode(b"[" * _ROOM + body + b"]" * _ROOM, type=msgspec.Raw)
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8 (byte {error.start}).") from None
    except RecursionError:
        raise BadRequest("The body's JSON is nested too deep.") from None
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from None


def _misfit(text: str) -> BadRequest:
    missing = _MISSING.match(text)
    if missing:
        return BadRequest(f"Missing required parameter: '{missing[1]}'.", param=missing[1])
    place = _PATH.search(text)
    if not place:
        return BadRequest(f"The body is not what this route takes: {text}.")
    param = place[1]
    return BadRequest(f"Invalid '{param}': {text[: place.start()]}.", param=param)


def wishes(exchange: Exchange) -> Wishes:
    """Read the headers that are for us. Raises `BadRequest` where one cannot be obeyed."""
    priority = exchange.header(b"x-sluice-priority")
    timeout = exchange.header(b"x-request-timeout")
    return Wishes(
        priority=_priority_header(priority) if priority else None,
        timeout_s=_timeout_header(timeout) if timeout else None,
        caller=caller_of(exchange),
        follows=exchange.header(b"x-sluice-follows"),
    )


def caller_of(exchange: Exchange) -> Caller:
    """Read the trace context that a request belongs to."""
    if b"traceparent" not in exchange.headers:
        return NOBODY
    return tracing.caller_of(exchange.header(b"traceparent"), exchange.header(b"tracestate"))


def priority_of(asked: int | None, wished: int | None, tier: str | None, usual: int) -> int:
    """Settle a priority: the header's, the body's, the service tier's, or the usual one.

    Raises `BadRequest` when what is asked for does not exist.
    """
    for given in (wished, asked):
        if given is not None:
            if not MIN_PRIORITY <= given <= MAX_PRIORITY:
                raise _bad_priority(str(given))
            return given
    return TIERS.get(tier or "", usual)


def messages_checked(messages: msgspec.Raw) -> None:
    """Refuse messages that are no list, or an empty one. Raises `BadRequest`."""
    text = bytes(memoryview(messages))
    if not text.startswith(b"[") or not text[1:-1].strip():
        raise BadRequest("'messages' must be a list with at least one message.", param="messages")


def session_checked(session_id: str) -> str:
    """Give a session id back if it is one. Raises `BadRequest`."""
    if not SESSION_ID.fullmatch(session_id):
        raise BadRequest("'session_id' must match [A-Za-z0-9._:-]{1,128}.", param="session_id")
    return session_id


def _priority_header(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _bad_priority(text[:20]) from None


def _bad_priority(given: str) -> BadRequest:
    return BadRequest(
        f"The priority is {given}; it is a whole number from {MIN_PRIORITY} to {MAX_PRIORITY}.",
        param="priority",
    )


def _timeout_header(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    # Not `<= 0`, which NaN passes.
    if not 0 < seconds < math.inf:
        raise BadRequest("X-Request-Timeout must be a number of seconds above 0.")
    return seconds
