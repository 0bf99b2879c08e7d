"""The error tree: the class says the remedy and the HTTP status; nobody decides by text.

    SluiceError
    ├── Refused                 the client must change something, or come back later
    │   ├── BadRequest          400 invalid_request_error
    │   ├── BadToken            401 invalid_api_key
    │   ├── Forbidden           403 permission_denied
    │   ├── ModelNotFound       404 model_not_found
    │   ├── RequestNotFound     404 request_not_found
    │   ├── RouteNotFound       404 not_found · MethodNotAllowed 405
    │   ├── BodyTooLarge        413 body_too_large
    │   ├── QueueFull           503 queue_full
    │   ├── QueueTimeout        504 queue_timeout
    │   ├── Cancelled           499 cancelled
    │   ├── InProgress          409 idempotency_in_progress
    │   ├── Conflict            422 idempotency_conflict
    │   ├── NotReplicated       503 not_replicated
    │   └── RedisUnavailable    503 redis_unavailable
    ├── UpstreamError           a provider call failed; `cause` decides what follows
    └── StartError              a process cannot start: one line tells why and what to do
        └── SettingsError       the configuration is wrong, every fault with its path

A `Failure` is an error as it travels in events and stands in replies (OpenAI's form).
"""

from typing import Final, Literal

import msgspec

from pipeline.limits.seen import Limited, Seen

Cause = Literal[
    "malformed",  # the entry is no request at all
    "bad_request",  # the provider or we refuse the request as it is
    "model_not_found",
    "rate_limited",
    "overloaded",
    "timeout",
    "network",
    "credentials",  # the provider refuses the key
    "interrupted",  # the stream was cut after deltas had gone out
    "deadline",
    "limited",  # the gate refuses it: our limit, no room, no time
    "exhausted",  # every candidate failed
    "poison",  # delivered too often: it takes its workers down
    "cancelled",
    "bug",  # a hop raised what it should not
]

#: Causes that time mends: a request that nobody holds a connection open for climbs the ladder.
CLIMBING: Final[frozenset[Cause]] = frozenset({"rate_limited", "overloaded", "timeout", "network"})

#: Causes after which another candidate, or the same one later, may well succeed.
RETRYABLE: Final[frozenset[Cause]] = CLIMBING | {"credentials"}

#: Causes with which an event ends that nobody has to look after: no dead letter is left.
UNLETTERED: Final[frozenset[Cause]] = frozenset({"cancelled", "limited"})


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it travels: OpenAI's error fields, the HTTP status and the cause."""

    message: str
    type: str = "server_error"
    code: str | None = None
    param: str | None = None
    status: int = 500
    cause: Cause = "bug"
    #: The provider's hint, or ours, for coming back; 0: none.
    retry_after_s: float = 0.0
    #: Scope, limit, attempts …: what helps the reader.
    metadata: dict[str, object] = {}


class SluiceError(Exception):
    """Everything Sluice raises on purpose."""

    status = 500
    type = "server_error"
    code: str | None = "server_error"
    cause: Cause = "bug"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def failure(self) -> Failure:
        """Give the error in the form that travels."""
        return Failure(
            message=self.message,
            type=self.type,
            code=self.code,
            param=self.param,
            status=self.status,
            cause=self.cause,
            retry_after_s=self.retry_after_s,
        )


class Refused(SluiceError):
    """The request cannot be served as it is, or not now."""

    type = "invalid_request_error"
    cause: Cause = "bad_request"


class BadRequest(Refused):
    """The request is malformed: the message says what, where and what to do."""

    status, code = 400, "invalid_request"


class BadToken(Refused):
    """The bearer token is missing or unknown."""

    status, code = 401, "invalid_api_key"


class Forbidden(Refused):
    """Nobody may do that here as things are configured; the message says what to set."""

    status, code = 403, "permission_denied"


class ModelNotFound(Refused):
    """The catalog has no such model."""

    status, code = 404, "model_not_found"
    cause: Cause = "model_not_found"


class RequestNotFound(Refused):
    """No record of that id: never accepted, or past its retention."""

    status, code = 404, "request_not_found"


class RouteNotFound(Refused):
    """The gateway has no such path."""

    status, code = 404, "not_found"


class MethodNotAllowed(Refused):
    """The path is there, the method is not."""

    status, code = 405, "method_not_allowed"


class BodyTooLarge(Refused):
    """The body exceeds `gateway.max_body_bytes`."""

    status, code = 413, "body_too_large"


class QueueFull(Refused):
    """Redis is at its memory limit, or a queue at its cap: come back later."""

    status, code, type = 503, "queue_full", "server_error"
    cause: Cause = "overloaded"


class QueueTimeout(Refused):
    """The client's timeout came before an answer."""

    status, code, type = 504, "queue_timeout", "server_error"
    cause: Cause = "deadline"


class Cancelled(Refused):
    """Its client, or an operator, wants the answer no more."""

    status, code = 499, "cancelled"
    cause: Cause = "cancelled"

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        #: Whether a provider can have counted the request.
        self.sent = sent


class InProgress(Refused):
    """A request with the same idempotency key is under way: come back later."""

    status, code = 409, "idempotency_in_progress"


class Conflict(Refused):
    """The idempotency key was used for another request."""

    status, code = 422, "idempotency_conflict"


class NotReplicated(Refused):
    """Too few replicas of Redis know of the request in time; it was cancelled."""

    status, code, type = 503, "not_replicated", "server_error"
    cause: Cause = "network"


class RedisUnavailable(Refused):
    """Redis does not answer; nothing was accepted."""

    status, code, type = 503, "redis_unavailable", "server_error"
    cause: Cause = "network"


class UpstreamError(SluiceError):
    """A provider call failed; the failure it carries tells the cause and the hint."""

    def __init__(
        self,
        failure: Failure,
        *,
        seen: tuple[Seen, ...] = (),
        limited: Limited = "",
        sent: bool = True,
    ) -> None:
        super().__init__(failure.message, retry_after_s=failure.retry_after_s)
        self.carried = failure
        #: What the provider said of its limits beside.
        self.seen = seen
        #: Which of them the call ran into.
        self.limited = limited
        #: Whether the provider can have counted the request.
        self.sent = sent
        self.status = failure.status
        self.cause = failure.cause

    def failure(self) -> Failure:
        """Give the failure as the provider's translation classified it."""
        return self.carried


class StartError(SluiceError):
    """A process cannot start; the message is the one line that its user sees."""


class SettingsError(StartError):
    """The configuration is wrong: each fault names its path."""

    def __init__(self, faults: list[str], source: str) -> None:
        self.faults = faults
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{source} is not valid:\n{lines}")
