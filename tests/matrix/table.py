"""The fault matrix as data: each fault, and what is expected of it in each way to be served.

The README's table is made of these rows, too (`told.py`).
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

#: One key; two keys, of which both are served alike; one key and a model to fall back on.
Way = Literal["one key", "many keys", "fallback"]
WAYS: Final[tuple[Way, ...]] = ("one key", "many keys", "fallback")

#: What becomes of a request that nobody holds a connection open for.
Patient = Literal["climbs", "waits", "fails", "answered"]


class Cell(NamedTuple):
    """What is seen of one request."""

    #: Calls of the deployment at fault.
    calls: int
    #: What the official client makes of it.
    sees: str
    #: What rests, is dead or counts against the deployment afterwards.
    rests: str = ""


Cells = tuple[Cell, Cell, Cell]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, how it is made, and a cell for each way."""

    fault: str
    #: Options of the simulated provider; empty: `script` of the broken one makes it.
    options: str = ""
    script: str = ""
    whole: Cells
    #: None: a stream fares as a whole answer does.
    stream: Cells | None = None
    patient: Patient
    #: Timeouts of the provider in seconds, by phase.
    timeouts: Mapping[str, float] = {}
    limits_per: Literal["key", "account"] = "key"
    #: The list in which the model names what it falls back on.
    fallbacks: Literal["fallbacks", "context_fallbacks", "policy_fallbacks"] = "fallbacks"
    #: Whether the README has a line for it.
    is_told: bool = True

    @property
    def has_hint(self) -> bool:
        """Whether the provider says when to come back."""
        return "retry_after_ms" in self.options

    def cells(self, *, stream: bool) -> Cells:
        """Give the cells of one form of answers."""
        return self.stream or self.whole if stream else self.whole


ANSWER: Final = "answer"
#: Of the model that it falls back on, called once.
SPARED: Final = "answer of the fallback"
#: A completion that ended well with nothing in it.
NOTHING: Final = "empty answer"
EXHAUSTED: Final = "InternalServerError 503 provider_exhausted"
NO_KEYS: Final = "InternalServerError 502 upstream_credentials_exhausted"
TOO_LATE: Final = "RateLimitError 429 deadline_unreachable"
CUT: Final = "deltas, then APIError stream_interrupted"

#: Time may mend it: asked again twice, or once where there is another deployment.
AGAIN: Final[Cells] = (
    Cell(3, EXHAUSTED, "3 failures"),
    Cell(3, EXHAUSTED, "3 failures"),
    Cell(2, SPARED, "2 failures"),
)
#: It has too much to do: asked again only where there is no other deployment.
AWAY: Final[Cells] = (
    Cell(3, EXHAUSTED, "3 failures"),
    Cell(3, EXHAUSTED, "3 failures"),
    Cell(1, SPARED, "1 failure"),
)
#: A cold deployment: asked again once, where there is no other.
ONCE_MORE: Final[Cells] = (
    Cell(2, EXHAUSTED, "2 failures"),
    Cell(2, EXHAUSTED, "2 failures"),
    Cell(1, SPARED, "1 failure"),
)
#: The key is refused: the other one is asked, then the other deployment.
DEAD: Final[Cells] = (
    Cell(1, NO_KEYS, "1 key dead"), Cell(2, NO_KEYS, "2 keys dead"), Cell(1, SPARED, "1 key dead"),
)  # fmt: skip
#: Deltas have gone out: no other answer can follow them.
ENDED: Final[Cells] = (
    Cell(1, CUT, "1 failure"), Cell(1, CUT, "1 failure"), Cell(1, CUT, "1 failure"),
)  # fmt: skip
#: Nothing is wrong with it in this form.
FINE: Final[Cells] = (Cell(1, ANSWER), Cell(1, ANSWER), Cell(1, ANSWER))


def refused(sees: str) -> Cells:
    """Give the cells of a request that is refused for what it is."""
    return (Cell(1, sees), Cell(1, sees), Cell(1, sees))


def elsewhere(sees: str) -> Cells:
    """Give the cells of a request that only another deployment may serve."""
    return (Cell(1, sees), Cell(1, sees), Cell(1, SPARED))


def limited(rest_s: int) -> Cells:
    """Give the cells of a provider that wants to be left alone for longer than clients wait."""
    return (
        Cell(1, TOO_LATE, f"1 key rests {rest_s} s"),
        Cell(2, TOO_LATE, f"2 keys rest {rest_s} s"),
        Cell(1, SPARED, f"1 key rests {rest_s} s"),
    )


def _row(
    fault: str, options: str, whole: Cells, patient: Patient = "climbs", **more: object
) -> Row:
    if options.startswith("@"):
        made = Row(fault=fault, script=options[1:], whole=whole, patient=patient)
    else:
        made = Row(fault=fault, options=options, whole=whole, patient=patient)
    return msgspec.structs.replace(made, **more)


_STATUSES: Final = (
    _row("400", "error=400", refused("BadRequestError 400 None"), "fails"),
    _row("400 for a prompt that is too long", "@too_long",
         elsewhere("BadRequestError 400 context_length_exceeded"), "fails",
         fallbacks="context_fallbacks"),
    _row("400 `content_filter`", "@filtered",
         elsewhere("BadRequestError 400 content_filter"), "fails", fallbacks="policy_fallbacks"),
    _row("401", "error=401", DEAD, "fails"),
    _row("401 of the first key", "error=401,error_first=1", (
        DEAD[0], Cell(2, ANSWER, "1 key dead"), DEAD[2],
    ), "fails", is_told=False),
    _row("402", "error=402", DEAD, "fails"),
    _row("403", "error=403", DEAD, "fails"),
    _row("403 of a moderation", "@moderated",
         elsewhere("PermissionDeniedError 403 content_policy_violation"), "fails",
         fallbacks="policy_fallbacks"),
    _row("404", "error=404", elsewhere("NotFoundError 404 model_not_found"), "fails"),
    _row("408", "error=408", AGAIN),
    _row("409", "error=409", AWAY),
    _row("413", "error=413", refused("APIStatusError 413 request_too_large"), "fails"),
    _row("422", "error=422", refused("UnprocessableEntityError 422 unprocessable"), "fails"),
    _row("425", "error=425", AWAY),
    _row("429", "error=429", limited(60)),
    _row("429 of the first key", "error=429,error_first=1", (
        limited(60)[0], Cell(2, ANSWER, "1 key rests 60 s"), limited(60)[2],
    ), is_told=False),
    _row("429 with a hint below the first rung", "error=429,retry_after_ms=50000", limited(50),
         "waits"),
    _row("429 with a longer hint", "error=429,retry_after_ms=90000", limited(90)),
    _row("429 of the account", "error=429", (
        Cell(1, TOO_LATE, "1 key rests 60 s"), Cell(1, TOO_LATE, "2 keys rest 60 s"),
        Cell(1, SPARED, "1 key rests 60 s"),
    ), limits_per="account"),
    _row("429 once with a short hint", "error=429,error_first=1,retry_after_ms=300", (
        Cell(2, ANSWER), Cell(2, ANSWER), Cell(1, SPARED),
    ), "answered", is_told=False),
    _row("429 each time with a short hint", "error=429,retry_after_ms=300", (
        Cell(5, EXHAUSTED), Cell(5, EXHAUSTED), Cell(1, SPARED),
    )),
    _row("429 `insufficient_quota`", "quota", DEAD, "fails"),
    _row("500", "error=500", AGAIN),
    _row("502", "error=502", AGAIN),
    _row("503", "error=503", AWAY),
    _row("503 with a hint", "error=503,retry_after_ms=50000", (
        Cell(1, EXHAUSTED, "1 failure, deployment rests 50 s"),
        Cell(1, EXHAUSTED, "1 failure, deployment rests 50 s"),
        Cell(1, SPARED, "1 failure, deployment rests 50 s"),
    )),
    _row("504", "error=504", AGAIN),
    _row("529", "error=529", AWAY),
)  # fmt: skip

_CONNECTIONS: Final = (
    _row("connection refused", "@nobody", AGAIN),
    _row("connect timeout", "@full", AGAIN, timeouts={"connect_s": 0.2}),
    _row("first byte timeout", "hang", AGAIN, timeouts={"first_byte_s": 0.2}),
    _row("idle timeout before the first delta", "@stalls", AGAIN, timeouts={"idle_s": 0.2}),
    _row("idle timeout after the first delta", "@stalls_late", AGAIN, "fails",
         timeouts={"idle_s": 0.2}, stream=ENDED),
    _row("total timeout before the first delta", "@trickles", AGAIN, timeouts={"total_s": 0.4}),
    _row("total timeout after the first delta", "@trickles_late", AGAIN, "fails",
         timeouts={"total_s": 2}, stream=ENDED),
    _row("reset before the head", "@resets", AGAIN),
    _row("closed before the head", "@closes", AGAIN),
    _row("reset after the head", "@resets_late", AGAIN),
    _row("cut before the first delta", "cut_at=0", AGAIN),
    _row("cut after the first delta", "cut_at=3", AGAIN, "fails", stream=ENDED),
)  # fmt: skip

_ANSWERS: Final = (
    _row("bad JSON before the first delta", "garbage=0", AGAIN),
    _row("bad JSON after the first delta", "garbage=3", AGAIN, "fails", stream=ENDED),
    _row("an HTML page", "@page", AGAIN),
    _row("JSON in place of a stream", "@no_stream", FINE, stream=AGAIN),
    _row("an empty completion", "@empty", ONCE_MORE),
    _row("an empty completion with a finish reason", "empty", refused(NOTHING), "answered"),
    _row("an error 503 inside a 200", "@error_503", AWAY),
    _row("an error 429 inside a 200", "@error_429", limited(60)),
    _row("an error 400 inside a 200", "@error_400", refused("BadRequestError 400 None"), "fails"),
    _row("an error frame before the first delta", "error_at=0", AGAIN),
    _row("an error frame after the first delta", "error_at=3", AGAIN, "fails", stream=ENDED),
)  # fmt: skip

ROWS: Final = (*_STATUSES, *_CONNECTIONS, *_ANSWERS)
