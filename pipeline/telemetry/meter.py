"""Counts what hops have done, by each passage; it is told of all of a request's four.

It reads the journal's lines and writes into tallies: a few µs a request, and nothing else.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.current import Configuration
from pipeline.errors import UNLETTERED
from pipeline.event import Event, Facts, Line, Usage
from pipeline.flow import CALL, GATE
from pipeline.ladder import leg_lines
from pipeline.names import SCOPES
from pipeline.outcome import Climb, Die, Finish, Forward, Outcome, Wait
from pipeline.passage import Passage
from pipeline.telemetry import metrics
from pipeline.telemetry.labels import Deployed, Labels
from pipeline.telemetry.tallies import Buckets, Family, Histogram, Tally

_VERBS: Final[Mapping[type[Outcome], str]] = {
    Forward: "forward", Wait: "wait", Climb: "climb", Finish: "finish", Die: "die",
}  # fmt: skip

#: The limit that stands behind a refusal which names none.
_LIMITS: Final[Mapping[str, str]] = {
    "full": "queue", "unreachable": "deadline", "dead": "keys", "down": "breaker",
    "heavy": "size",
}  # fmt: skip
#: Causes and codes of requests for which time ran out.
_LATE: Final = frozenset({"deadline", "deadline_unreachable"})

_ADMITTED: Final = ("admitted", "")

_NOTHING: Final = Usage()


class Meter:
    """The tallies of one worker process."""

    def __init__(self) -> None:
        self._requests = Tally(metrics.REQUESTS)
        self._failures = Tally(metrics.REQUEST_FAILURES)
        self._misses = Tally(metrics.DEADLINE_MISSES)
        self._durations = Histogram(metrics.REQUEST_DURATION)
        self._first_chunks = Histogram(metrics.REQUEST_FIRST_CHUNK)
        self._hop_durations = Histogram(metrics.HOP_DURATION)
        self._hop_waits = Histogram(metrics.HOP_WAIT)
        self._admissions = Tally(metrics.ADMISSIONS)
        self._gate_waits = Histogram(metrics.GATE_WAIT)
        self._climbs = Tally(metrics.CLIMBS)
        self._dead = Tally(metrics.DEAD)
        self._calls = _Calls()
        self._hops: dict[str, _Hop] = {}

    def go_by(self, configuration: Configuration) -> None:
        """Label what is told from now on by another configuration; call it once before that."""
        self._labels = Labels(configuration)

    def passed(self, passage: Passage) -> None:
        """Count a passage."""
        event, outcome = passage.event, passage.outcome
        journal = event.journal
        line = journal[-1]
        hop, kind = line.hop, type(outcome)
        series = self._hops.get(hop) or self._new_hop(hop)
        series.ends[kind] += 1
        series.duration.observe(line.end - line.start)
        if len(journal) == 1:
            series.wait.observe(line.start - event.created)
        elif hop == GATE and _was_held(journal[-2]):
            self._left(journal, event, outcome)
        else:
            series.wait.observe(line.start - journal[-2].end)
        if hop == GATE:
            self._gate(line.facts, outcome)
        elif hop == CALL and "call_ms" in line.facts:
            self._call(passage, line)
        if kind is Finish or kind is Die:
            self._end(event, line)
        elif isinstance(outcome, Climb):
            self._climbs.values[str(outcome.rung), outcome.failure.cause] += 1

    def families(self) -> Iterator[Family]:
        """Give everything that has been counted."""
        for tally in vars(self).values():
            if isinstance(tally, Tally | Histogram):
                yield tally.family()
        yield self._transitions().family()
        yield from self._calls.families()

    def _transitions(self) -> Tally:
        tally = Tally(metrics.TRANSITIONS)
        for name, hop in dict(self._hops).items():
            for kind, times in dict(hop.ends).items():
                tally.values[name, _VERBS[kind]] = times
        return tally

    def _new_hop(self, hop: str) -> "_Hop":
        made = self._hops[hop] = _Hop(self._hop_durations.of(hop), self._hop_waits.of(hop))
        return made

    def _gate(self, facts: Facts, outcome: Outcome) -> None:
        if "deployment" in facts:
            self._admissions.values[_ADMITTED] += 1
        elif "refused" in facts:
            self._admissions.values["refused", _refusing(str(facts["refused"]), outcome)] += 1
        elif "waits_for" in facts:
            self._admissions.values["waited", _kind(str(facts["waits_for"]))] += 1

    def _left(self, journal: tuple[Line, ...], event: Event, outcome: Outcome) -> None:
        """Count how long an event was in the waiting room that has left it."""
        since = None if isinstance(outcome, Wait) else _waits_since(journal)
        if since is not None:
            model = self._labels.model(event.model)
            self._gate_waits.of(model).observe(journal[-1].start - since)

    def _call(self, passage: Passage, line: Line) -> None:
        facts, event = line.facts, passage.event
        labels, calls = self._labels, self._calls
        deployed = labels.deployment(str(facts["deployment"]))
        calls.count(passage, deployed, facts)
        if "cost" in facts:
            series = deployed.name, labels.tenant(event.tenant)
            calls.cost.values[series] += float(facts["cost"])
        if "fallback" in facts:
            calls.fallbacks.values[labels.model(event.model),] += 1
        if "first_delta_ms" in facts and not _had_begun(passage.before):
            first_s = line.start + float(facts["first_delta_ms"]) / 1000
            self._first_chunks.of(labels.model(event.model)).observe(first_s - event.created)

    def _end(self, event: Event, line: Line) -> None:
        model, failure = self._labels.model(event.model), event.failure
        tenant = self._labels.tenant(event.tenant)
        self._requests.values[event.status, model, tenant, event.operation] += 1
        self._durations.of(event.status, model).observe(line.end - event.created)
        if failure is None or event.status == "completed":
            return
        if event.status == "failed":
            self._failures.values[failure.cause, model] += 1
        if failure.cause in _LATE or failure.code in _LATE:
            self._misses.values[model,] += 1
        if failure.cause not in UNLETTERED:
            self._dead.values[failure.cause,] += 1


class _Hop:
    """What is counted of one hop."""

    __slots__ = ("duration", "ends", "wait")

    def __init__(self, duration: Buckets, wait: Buckets) -> None:
        self.duration = duration
        self.wait = wait
        #: How often it ended in which way.
        self.ends: defaultdict[type[Outcome], int] = defaultdict(int)


class _Calls:
    """What is counted of provider calls."""

    def __init__(self) -> None:
        self._calls = Tally(metrics.CALLS)
        self._durations = {
            "chat": Histogram(metrics.INFERENCE_DURATION),
            "embeddings": Histogram(metrics.EMBEDDINGS_DURATION),
        }
        self._first_chunks = Histogram(metrics.INFERENCE_FIRST_CHUNK)
        self._input = Tally(metrics.INPUT_TOKENS)
        self._output = Tally(metrics.OUTPUT_TOKENS)
        self._cache_read = Tally(metrics.CACHE_READ_TOKENS)
        self._cache_write = Tally(metrics.CACHE_WRITE_TOKENS)
        self._reasoning = Tally(metrics.REASONING_TOKENS)
        self._retries = Tally(metrics.RETRIES)
        self._cooldowns = Tally(metrics.COOLDOWNS)
        self.cost = Tally(metrics.COST)
        self.fallbacks = Tally(metrics.FALLBACKS)

    def families(self) -> Iterator[Family]:
        """Give everything that has been counted."""
        for tally in vars(self).values():
            if isinstance(tally, Tally | Histogram):
                yield tally.family()
        yield from (tally.family() for tally in self._durations.values())

    def count(self, passage: Passage, deployed: Deployed, facts: Facts) -> None:
        """Count a call: how it ended, how long it took and what it used."""
        event, cause = passage.event, str(facts.get("cause", ""))
        self._calls.values[deployed.name, cause or "answered"] += 1
        gen_ai = (event.operation, deployed.provider, deployed.model)
        duration = self._durations[event.operation].of(*gen_ai, cause)
        duration.observe(float(facts["call_ms"]) / 1000)
        if "first_delta_ms" in facts:
            first_s = float(facts["first_delta_ms"]) / 1000
            self._first_chunks.of(*gen_ai).observe(first_s)
        usage, before = event.usage, passage.before.usage
        if usage is not None:
            self._use(gen_ai, usage if before is None else _own_part(usage, before, facts))
        if event.attempts > 1 and _has_called(passage.before):
            self._retries.values[deployed.name,] += 1
        if "rest_s" in facts or cause == "credentials":
            self._cooldowns.values[deployed.name, cause] += 1

    def _use(self, gen_ai: tuple[str, str, str], used: Usage) -> None:
        self._input.values[gen_ai] += used.prompt_tokens
        self._output.values[gen_ai] += used.completion_tokens
        if used.cached_tokens:
            self._cache_read.values[gen_ai] += used.cached_tokens
        if used.cache_write_tokens:
            self._cache_write.values[gen_ai] += used.cache_write_tokens
        if used.reasoning_tokens:
            self._reasoning.values[gen_ai] += used.reasoning_tokens


def _was_held(line: Line) -> bool:
    """Tell whether what followed a line was a wait for capacity, or on a rung."""
    return "waits_for" in line.facts or "rung" in line.facts


def _waits_since(journal: tuple[Line, ...]) -> float | None:
    """Tell since when an event was in the waiting room that has left it with its last line."""
    since = None
    for line in journal[-2::-1]:
        if line.hop != GATE or "waits_for" not in line.facts:
            break
        since = line.end
    return since


def _kind(scope: str) -> str:
    """Tell whose limit is waited for, without its name: a tenant's, a user's …, or a provider's."""
    return SCOPES.get(scope.partition(":")[0], "capacity")


def _refusing(why: str, outcome: Outcome) -> str:
    named = outcome.failure.metadata.get("dimension") if isinstance(outcome, Die) else None
    return str(named or _LIMITS.get(why, why))


def _own_part(usage: Usage, before: Usage, facts: Facts) -> Usage:
    """Tell what a call itself used: the usage of one that goes on with an answer counts it all."""
    if "continued" not in facts and "cause" not in facts:
        return usage
    counts = {
        name: max(0, getattr(usage, name) - getattr(before, name))
        for name in Usage.__struct_fields__
        if name != "cost"
    }
    return Usage(**counts) if any(counts.values()) else _NOTHING


def _has_called(event: Event) -> bool:
    """Tell whether a provider was called before in an event's leg."""
    return any("call_ms" in line.facts for line in leg_lines(event))


def _had_begun(event: Event) -> bool:
    """Tell whether a delta had gone out before."""
    return event.attempts > 0 and any("first_delta_ms" in line.facts for line in event.journal)
