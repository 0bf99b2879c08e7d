"""Every metric of ours: its name, what it tells, its labels and, of a histogram, its buckets.

Labels are bounded by the configuration: a client's raw model name, a user, a request or a key is
never one of them (`labels`). `gen_ai_…` are the OpenTelemetry GenAI conventions' names as
Prometheus writes them, with the conventions' buckets.
"""

from typing import Final, Literal

import msgspec


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric as it is declared."""

    #: The name as it is exposed; of a histogram, without `_bucket`, `_sum` and `_count`.
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    told: str
    labels: tuple[str, ...] = ()
    #: Upper bounds of the buckets, ascending, without the infinite one.
    bounds: tuple[float, ...] = ()


_declared: Final[dict[str, Metric]] = {}

#: Of what takes from a fraction of a millisecond to minutes, in seconds.
_QUICK: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
)  # fmt: skip
#: Of what may go on for a day: a request that climbs the ladder.
_LONG: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0,
    3600.0, 14_400.0, 86_400.0,
)  # fmt: skip
#: The conventions' own.
_CALL: Final = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip

_GEN_AI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


def declared() -> frozenset[str]:
    """Name all metrics as they are exposed; histograms without the suffixes of their samples."""
    return frozenset(_declared)


def _declare(metric: Metric) -> Metric:
    assert metric.name not in _declared, f"{metric.name} is declared twice"
    _declared[metric.name] = metric
    return metric


def _counter(name: str, told: str, *labels: str) -> Metric:
    return _declare(Metric(name=name, kind="counter", told=told, labels=labels))


def _gauge(name: str, told: str, *labels: str) -> Metric:
    return _declare(Metric(name=name, kind="gauge", told=told, labels=labels))


def _histogram(name: str, told: str, bounds: tuple[float, ...], *labels: str) -> Metric:
    return _declare(Metric(name=name, kind="histogram", told=told, labels=labels, bounds=bounds))


# What workers read off each hop that an event has passed.
REQUESTS: Final = _counter(
    "sluice_requests_total", "Requests that have ended", "outcome", "model", "tenant", "operation"
)
REQUEST_FAILURES: Final = _counter(
    "sluice_request_failures_total", "Requests that ended in failure", "cause", "model"
)
DEADLINE_MISSES: Final = _counter(
    "sluice_deadline_misses_total",
    "Requests that ended because their deadline passed or could not be met",
    "model",
)
REQUEST_DURATION: Final = _histogram(
    "sluice_request_duration_seconds", "From a request's creation to its end", _LONG,
    "outcome", "model",
)  # fmt: skip
REQUEST_FIRST_CHUNK: Final = _histogram(
    "sluice_request_time_to_first_chunk_seconds",
    "From a stream's creation to its first delta, queueing included",
    _LONG,
    "model",
)
HOP_DURATION: Final = _histogram(
    "sluice_hop_duration_seconds", "How long a hop took, up to its transition", _QUICK, "hop"
)
HOP_WAIT: Final = _histogram(
    "sluice_hop_wait_seconds",
    "How long an event lay in a hop's stream; waits in the waiting room and on rungs are left out",
    _QUICK,
    "hop",
)
TRANSITIONS: Final = _counter(
    "sluice_transitions_total", "Transitions that were written", "hop", "outcome"
)
TRANSITIONS_REFUSED: Final = _counter(
    "sluice_transitions_refused_total",
    "Outcomes that were dropped, as others had taken the entry over",
    "hop",
)
ADMISSIONS: Final = _counter(
    "sluice_admissions_total", "What the gate answered, and by which kind of limit",
    "result", "limit",
)  # fmt: skip
GATE_WAIT: Final = _histogram(
    "sluice_gate_wait_seconds",
    "How long a request was in the waiting room, of those that were",
    _LONG,
    "model",
)
INFERENCE_DURATION: Final = _histogram(
    "gen_ai_client_inference_duration_seconds", "GenAI client inference operation duration",
    _CALL, *_GEN_AI, "error_type",
)  # fmt: skip
EMBEDDINGS_DURATION: Final = _histogram(
    "gen_ai_client_embeddings_duration_seconds", "GenAI client embeddings operation duration",
    _CALL, *_GEN_AI, "error_type",
)  # fmt: skip
INFERENCE_FIRST_CHUNK: Final = _histogram(
    "gen_ai_client_inference_time_to_first_chunk_seconds",
    "From a call of a provider to the first chunk of its answer",
    _CALL,
    *_GEN_AI,
)
INPUT_TOKENS: Final = _counter(
    "gen_ai_client_inference_usage_input_tokens_total",
    "Input tokens that providers have counted, cached ones included",
    *_GEN_AI,
)
OUTPUT_TOKENS: Final = _counter(
    "gen_ai_client_inference_usage_output_tokens_total",
    "Output tokens that providers have counted, reasoning included",
    *_GEN_AI,
)
CACHE_READ_TOKENS: Final = _counter(
    "gen_ai_client_inference_usage_cache_read_input_tokens_total",
    "Input tokens that providers had cached",
    *_GEN_AI,
)
CACHE_WRITE_TOKENS: Final = _counter(
    "gen_ai_client_inference_usage_cache_write_input_tokens_total",
    "Input tokens that providers have put into their caches",
    *_GEN_AI,
)
REASONING_TOKENS: Final = _counter(
    "gen_ai_client_inference_usage_reasoning_output_tokens_total",
    "Output tokens that nobody sees",
    *_GEN_AI,
)
CALLS: Final = _counter(
    "sluice_calls_total", "Calls of providers: answered, or the cause of their failure",
    "deployment", "outcome",
)  # fmt: skip
COST: Final = _counter(
    "sluice_cost_dollars_total", "What calls have cost, as far as prices are known",
    "deployment", "tenant",
)  # fmt: skip
RETRIES: Final = _counter(
    "sluice_retries_total", "Calls after the first one of a request's leg", "deployment"
)
FALLBACKS: Final = _counter(
    "sluice_fallbacks_total", "Calls of other models than the one that was named", "model"
)
CLIMBS: Final = _counter("sluice_climbs_total", "Steps onto a rung", "rung", "cause")
DEAD: Final = _counter("sluice_dead_letters_total", "Dead letters that were written", "cause")
COOLDOWNS: Final = _counter(
    "sluice_cooldowns_total", "Times that a key, or all of a deployment, was left alone",
    "deployment", "cause",
)  # fmt: skip

# What workers count beside.
REPLY_FLUSHES: Final = _counter("sluice_reply_flushes_total", "Writes of deltas to replies")
REPLY_DELTAS: Final = _counter("sluice_reply_deltas_total", "Deltas written to replies")
RUNNING: Final = _gauge("sluice_worker_running", "Events under way in this process", "hop")

# Of workers and gateways.
REDIS_COMMANDS: Final = _counter(
    "sluice_redis_commands_total", "Commands sent over the connection that all of a process share"
)
REDIS_ROUND_TRIPS: Final = _counter(
    "sluice_redis_round_trips_total", "Writes to that connection, each with all commands of a turn"
)
REDIS_RECONNECTS: Final = _counter(
    "sluice_redis_reconnects_total", "Times that this connection was made again"
)

# Of gateways.
HTTP_REQUESTS: Final = _counter(
    "sluice_http_requests_total", "HTTP exchanges that have ended; status 0: nothing was answered",
    "route", "method", "status",
)  # fmt: skip
HTTP_DURATION: Final = _histogram(
    "sluice_http_request_duration_seconds", "From an exchange's head to its end", _QUICK, "route"
)
HTTP_FIRST_BYTE: Final = _histogram(
    "sluice_http_time_to_first_byte_seconds",
    "From an exchange's head to the beginning of its stream",
    _QUICK,
    "route",
)
HTTP_OPEN: Final = _gauge("sluice_http_open_requests", "HTTP exchanges under way")
HTTP_GONE: Final = _counter(
    "sluice_http_clients_gone_total", "Clients that hung up before their answer ended", "route"
)

# The state in Redis, which each gateway tells when it is asked.
REDIS_UP: Final = _gauge("sluice_redis_up", "Whether Redis answers this gateway in time")
REDIS_MEMORY: Final = _gauge("sluice_redis_memory_bytes", "Memory that Redis uses")
REDIS_MEMORY_LIMIT: Final = _gauge("sluice_redis_memory_limit_bytes", "Its maxmemory; 0: none")
STREAM_LENGTH: Final = _gauge("sluice_stream_length", "Entries of a stream", "stream")
GROUP_LAG: Final = _gauge(
    "sluice_group_lag", "Entries that a group has not read; 10000 stands for more, too",
    "stream", "group",
)  # fmt: skip
GROUP_PENDING: Final = _gauge(
    "sluice_group_pending", "Entries that a group has under way", "stream", "group"
)
GROUP_OLDEST: Final = _gauge(
    "sluice_group_oldest_pending_seconds", "Age of the oldest entry that a group has under way",
    "stream", "group",
)  # fmt: skip
GROUP_HELD_BACK: Final = _gauge(
    "sluice_group_held_back", "Whether a group alone keeps entries past the retention",
    "stream", "group",
)  # fmt: skip
WAITING: Final = _gauge(
    "sluice_waiting", "Requests that wait for capacity by lane; `held`: for limits of tenants",
    "lane",
)  # fmt: skip
WAITING_OLDEST: Final = _gauge("sluice_waiting_oldest_seconds", "How long the oldest of them waits")
RUNG_EVENTS: Final = _gauge("sluice_rung_events", "Events on a rung of the ladder", "rung")
DEAD_LETTERS: Final = _gauge("sluice_dead_letters_kept", "Dead letters that are kept")
LEASES: Final = _gauge("sluice_leases", "Calls under way", "deployment")
LEASES_LIMIT: Final = _gauge(
    "sluice_leases_limit", "Calls that a deployment takes at once, where it has a limit",
    "deployment",
)  # fmt: skip
KEYS: Final = _gauge("sluice_keys", "Keys of a provider: ok, resting, dead", "provider", "state")
CUT_OFF: Final = _gauge(
    "sluice_deployment_cut_off", "Whether a deployment is cut off, or on trial", "deployment"
)
WORKERS: Final = _gauge("sluice_workers", "Worker processes that live")
GATEWAYS: Final = _gauge("sluice_gateways", "Gateway processes that live")
EVENTS_REFUSED: Final = _counter(
    "sluice_events_refused_total", "Transitions refused, over all workers"
)
EVENTS_CLAIMED: Final = _counter("sluice_events_claimed_total", "Entries taken over from the dead")
EVENTS_LOST: Final = _counter("sluice_events_lost_total", "Entries that somebody else has deleted")
EVENTS_DUPLICATE: Final = _counter(
    "sluice_events_duplicate_total", "Requests that were there before under their id"
)

# Of tracing.
TRACES_EXPORTED: Final = _counter("sluice_traces_exported_total", "Spans that were exported")
TRACES_DROPPED: Final = _counter("sluice_traces_dropped_total", "Spans that were dropped")

# Of `sluice up`.
PART_UP: Final = _gauge("sluice_part_up", "Whether a part of `sluice up` tells its metrics", "part")
