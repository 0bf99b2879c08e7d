"""What travels: the event of one request, with its plan, its lease and its journal.

An event never changes; a hop returns a changed copy. As JSON it is the documented, versioned
public form (`v: 1`) of the streams `gate`, `call`, `respond`, `done` and `dead`. Bodies larger
than `INLINE_BYTES` stay behind under the request's own key; the event only says how large.
"""

from typing import Final, Literal

import msgspec

from pipeline.errors import Failure
from pipeline.names import Lane, lane_of

#: A body up to this many bytes travels inside its event; a larger one is stored once. Four
#: copies of 4 KiB through Redis cost about as much CPU as storing and fetching it separately.
INLINE_BYTES: Final = 4096

Facts = dict[str, str | int | float | bool]
Operation = Literal["chat", "embeddings"]
#: What a deployment has to be able to do for a request.
Need = Literal["vision", "tools"]
Status = Literal["queued", "waiting", "running", "retrying", "completed", "failed", "cancelled"]
ENDED: Final[frozenset[str]] = frozenset({"completed", "failed", "cancelled"})

NO_BODY: Final = msgspec.Raw(b"")
#: As many calls as requests usually are; JSON leaves out this very object alone.
ONE_CALL: Final = 1.0
#: The hop whose lines tell of provider calls.
_CALL: Final = "call"


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One hop's line in the journal; times are Unix seconds on Redis's clock.

    The wait before a hop is the time since the end of the line before, or since `created`.
    """

    hop: str
    start: float
    end: float
    #: How often the entry had been delivered: 1 unless a worker died with it.
    delivery: int = 1
    #: The entry's id, where the request is traced.
    entry: str = ""
    facts: Facts = {}


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens counted by the provider."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    #: Of the prompt's tokens, those that the provider had cached.
    cached_tokens: int = 0
    #: Of the prompt's tokens, those that the provider now has put into its cache.
    cache_write_tokens: int = 0
    #: Of the answer's tokens, those that nobody sees.
    reasoning_tokens: int = 0
    #: US dollars for these tokens, as the provider or our prices say; none: unknown.
    cost: float | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A deployment that may serve the request, in the order in which it is to be tried."""

    #: `provider/model`, unique in the catalog.
    deployment: str
    #: Lower ranks go first; candidates of one rank are equals, of which the strategy chooses.
    rank: int = 0
    #: How to choose within the rank, as the settings name it; empty: the least busy.
    strategy: str = ""
    #: For the strategy `weighted`.
    weight: int = 1


class Companion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A further model that a request's work needs, called in requests of their own that follow."""

    model: str
    operation: Operation = "chat"
    #: How many calls there will be, in the mean, and their tokens altogether.
    calls: float = ONE_CALL
    tokens: int = 0
    plan: tuple[Candidate, ...] = ()


class Lease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A time-bound hold on a deployment's capacity, for one event and leg."""

    deployment: str
    #: The provider key's public name, `provider:` and the first 8 hex digits of its hash; empty:
    #: the provider has none.
    key: str = ""


class Trace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The trace of one leg of a request that is traced."""

    #: The context of the leg's root span, in the form of a `traceparent`.
    root: str
    #: The span outside that the root is a child of, in hex; empty: it has none.
    parent: str = ""
    #: A caller's `tracestate`, passed on as it came.
    state: str = ""
    #: Whether the root is the gateway's to emit, once it has answered.
    served: bool = False

    @property
    def id(self) -> str:
        """The trace's id, in hex."""
        return self.root[3:35]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="v", tag=1):
    """One request on its way through the hops."""

    id: str
    operation: Operation = "chat"
    #: The model as the client named it; of an alias route makes the model's own name.
    model: str
    #: The client's body as it came, or empty where it was stored under the request's key.
    body: msgspec.Raw = NO_BODY
    body_bytes: int
    #: Whether the client asked for a stream of deltas.
    stream: bool = False
    #: Whether the client asked for usage in the stream's last delta.
    include_usage: bool = False
    priority: int = 0
    created: float
    #: Whether a program wrote it to a request stream itself.
    direct: bool = False
    #: Whether it may climb the ladder: nobody holds a connection open for its whole answer.
    patient: bool = False
    #: Point in time after which nobody waits for the answer; 0: never.
    deadline: float = 0.0
    tenant: str = ""
    user: str = ""
    #: Which of the tenant's tokens it came with: the first 8 hex digits of its hash.
    token: str = ""
    #: Estimate of the prompt's tokens; the provider counts them when it answers.
    prompt_tokens: int = 0
    #: Most tokens that the answer may have, as the client said; 0: it did not.
    output_tokens: int = 0
    session: str = ""
    #: What the requests have in common that are to go to one deployment, hashed; empty: nothing.
    sticky: str = ""
    #: What its deployment has to be able to do.
    needs: tuple[Need, ...] = ()
    #: As how many calls it counts in a provider's requests per minute.
    calls: float = ONE_CALL
    #: It goes when these have capacity too.
    also: tuple[Companion, ...] = ()
    #: The request of which this one is a companion's call: what it takes is paid already.
    follows: str = ""
    #: Callback stream that is to hear the result.
    reply_to: str = ""
    #: Echoed in the callback.
    metadata: msgspec.Raw = NO_BODY
    #: A caller's trace context (W3C), until it is decided whether the request is traced, and where
    #: it is not.
    traceparent: str = ""
    tracestate: str = ""
    #: Whether nobody has decided yet if it is traced.
    undecided: bool = False
    #: That of the leg; none: it is not traced.
    trace: Trace | None = None
    #: The root, as a `traceparent`, of the leg before or of the request of which this is a replay.
    linked: str = ""
    #: Legs are journeys between two rungs of the ladder; the first is 1.
    leg: int = 1
    #: The rungs that it has waited on, by their seconds.
    climbed: tuple[int, ...] = ()
    #: How many rungs of its ladder are left out, as a producer's `retry_count` says.
    rungs_skipped: int = 0
    #: The entry by which it was put in, as `lane:entry id`: there the body of a small request
    #: is to be found after its end.
    entry: str = ""
    #: The request of which this one is a replay.
    replay_of: str = ""
    #: Its result goes to the side stream of shadows alone, never to a client.
    shadow: bool = False
    plan: tuple[Candidate, ...] = ()
    #: Deployments that have failed in this leg.
    tried: tuple[str, ...] = ()
    lease: Lease | None = None
    #: Provider calls begun, over all legs.
    attempts: int = 0
    #: How often its entry has been delivered; told by the engine on reading, never written.
    delivery: int = 1
    #: Whether it has been cancelled on its way; told by the engine on reading, never written.
    cancelled: bool = False
    #: Entries that the latest generation of the reply holds, its closing not counted.
    deltas: int = 0
    #: Which of the reply's generations counts.
    generation: int = 0
    usage: Usage | None = None
    #: US dollars of all its calls, as far as prices are known.
    cost: float = 0.0
    finish_reason: str = ""
    failure: Failure | None = None
    status: Status = "queued"
    journal: tuple[Line, ...] = ()

    @property
    def lane(self) -> Lane:
        """The request stream it came by."""
        return lane_of(self.priority)

    @property
    def next_generation(self) -> int:
        """Number the generation of the reply that a call now begins; later ones are greater."""
        return self.leg * 1_000_000 + (self.attempts + 1) * 1_000 + self.delivery

    @property
    def has_body(self) -> bool:
        """Whether the body travels with the event."""
        return self.body is not NO_BODY and len(memoryview(self.body)) > 0


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the headers of an answer tell of its way; as the head of a stream, of the way so far."""

    #: That of the latest call.
    deployment: str = ""
    #: The model that the upstream says it used.
    model: str = ""
    #: Provider calls begun.
    attempts: int = 0
    #: Those of them that were begun at deployments of other models than the named one.
    fallbacks: int = 0
    #: Waited for capacity, on the ladder and before retries.
    queue_ms: float = 0.0
    #: Spent in provider calls; in a stream's head, up to the first token.
    provider_ms: float = 0.0
    #: US dollars of all calls; none: unknown.
    cost: float | None = None
    #: Whether the answer stands for an error.
    polite: bool = False


class Closing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last entry of a reply: how the request ended."""

    status: Status
    #: The generation that counts, and how many entries of deltas it has.
    generation: int = 0
    deltas: int = 0
    finish_reason: str = ""
    usage: Usage | None = None
    failure: Failure | None = None
    #: None: no provider was called, and nothing was waited for.
    summary: Summary | None = None
    #: When the request ended, in Unix seconds, and on which leg; where it is traced.
    ended: float = 0.0
    leg: int = 0


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider call as an error tells of it."""

    deployment: str
    cause: str = ""
    #: The HTTP status with which it would have ended the request; 0: it was answered.
    status: int = 0
    error: str = ""
    call_ms: float = 0.0
    leg: int = 1


def attempts(event: Event, *latest: Facts) -> list[Attempt]:
    """List an event's calls by its journal, and those of which only the facts are there yet."""
    listed: list[Attempt] = []
    leg = 1
    facts_of_all = [line.facts for line in event.journal if line.hop == _CALL]
    for facts in (*facts_of_all, *latest):
        if "call_ms" in facts:
            listed.append(
                Attempt(
                    deployment=str(facts.get("deployment", "")),
                    cause=str(facts.get("cause", "")),
                    status=int(facts.get("status", 0)) if "cause" in facts else 0,
                    error=str(facts.get("error", "")),
                    call_ms=float(facts["call_ms"]),
                    leg=leg,
                )
            )
        leg += "rung" in facts
    return listed


_decoder = msgspec.json.Decoder(Event)
encode = msgspec.json.Encoder().encode


def decode(payload: bytes) -> Event:
    """Read an event back from its JSON.

    Raises `msgspec.DecodeError` or `msgspec.ValidationError` when it is none.
    """
    return _decoder.decode(payload)


def written(event: Event, line: Line, **changes: object) -> Event:
    """Copy an event with one more line in its journal and other fields changed."""
    return msgspec.structs.replace(event, journal=(*event.journal, line), **changes)
