"""What the Python client raises: the tree of `pipeline.errors`, with the request's id.

SluiceError
├── RequestFailed                   what the pipeline says of a request; also, by its code,
│   ├── UserRateLimitExceededError      429 rate_limited
│   ├── SchedulerQueueFullError         503 queue_full             a QueueFull
│   ├── QueueTimeoutError               504 queue_timeout          a QueueTimeout
│   ├── RequestRefused                  400 invalid_request …      a BadRequest
│   ├── ModelUnknown                    404 model_not_found        a ModelNotFound
│   ├── RequestUnknown                  404 request_not_found      a RequestNotFound
│   ├── RequestCancelled                499 cancelled
│   ├── KeyInProgress                   409 idempotency_…          an InProgress
│   ├── KeyConflict                     422 idempotency_conflict   a Conflict
│   └── RedisAway                       503 redis_unavailable      a RedisUnavailable
├── UserIdHeaderMissingError        the client wants a user with each request; a BadRequest
└── ClientClosed                    the client is not open, or was closed while it waited
"""

from collections.abc import Mapping
from typing import Final

from pipeline import errors
from pipeline.errors import Failure, SluiceError


class RequestFailed(SluiceError):
    """A request that has failed, or was not accepted.

    `status`, `code`, `type`, `cause`, `param` and `retry_after_s` are the failure's; so is
    `metadata` (scope, limit, attempts …). A request that was not accepted may be asked for again
    with the same `request_id`: it is answered once.
    """

    def __init__(self, failure: Failure, request_id: str = "") -> None:
        super().__init__(failure.message, param=failure.param, retry_after_s=failure.retry_after_s)
        self.carried = failure
        self.request_id = request_id
        self.status = failure.status
        self.code = failure.code
        self.type = failure.type
        self.cause = failure.cause
        self.metadata = failure.metadata

    def failure(self) -> Failure:
        """Give the failure as it travelled."""
        return self.carried


class UserRateLimitExceededError(RequestFailed):
    """One of our limits on the tenant, user or token is used up; `retry_after_s` tells until when.

    A provider's limit never comes as this: the request waits for it.
    """


class SchedulerQueueFullError(RequestFailed, errors.QueueFull):
    """Too many requests wait already, or Redis is full: come back after `retry_after_s`."""


class QueueTimeoutError(RequestFailed, errors.QueueTimeout):
    """No answer within the timeout.

    Where only the waiting has ended, the request goes on, and `result(error.request_id)` asks
    for its answer; where its own `timeout_s` has passed, it has failed.
    """


class RequestRefused(RequestFailed, errors.BadRequest):
    """The request is wrong in itself; trying again as it is would not help."""


class ModelUnknown(RequestFailed, errors.ModelNotFound):
    """No such model is configured."""


class RequestUnknown(RequestFailed, errors.RequestNotFound):
    """No such request: it was never accepted, or is past its retention."""


class RequestCancelled(RequestFailed):
    """Its client, or an operator, cancelled it."""


class KeyInProgress(RequestFailed, errors.InProgress):
    """A request with the same idempotency key is under way."""


class KeyConflict(RequestFailed, errors.Conflict):
    """The idempotency key was used for another request."""


class RedisAway(RequestFailed, errors.RedisUnavailable):
    """Redis does not answer.

    A request may have been accepted all the same; asking again with its `request_id` is safe.
    """


class UserIdHeaderMissingError(errors.BadRequest):
    """A client made with `require_user` was asked without a user."""


class ClientClosed(SluiceError):
    """The client is not open, or was closed while somebody waited; accepted requests go on."""

    status, code, cause = 503, "client_closed", "interrupted"


_BY_CODE: Final[Mapping[str | None, type[RequestFailed]]] = {
    "rate_limited": UserRateLimitExceededError,
    "queue_full": SchedulerQueueFullError,
    "queue_timeout": QueueTimeoutError,
    "deadline_unreachable": QueueTimeoutError,
    "model_not_found": ModelUnknown,
    "request_not_found": RequestUnknown,
    "cancelled": RequestCancelled,
    "idempotency_in_progress": KeyInProgress,
    "idempotency_conflict": KeyConflict,
    "redis_unavailable": RedisAway,
}


def failed(failure: Failure, request_id: str) -> RequestFailed:
    """Make the error that stands for a failure: by its code, else by its cause."""
    kind = _BY_CODE.get(failure.code)
    if kind is None:
        kind = RequestRefused if failure.cause == "bad_request" else RequestFailed
    return kind(failure, request_id)


def unknown(request_id: str) -> RequestFailed:
    """Make the error for a request that Redis does not know."""
    text = f"No request has the id `{request_id}`, or it is past its retention."
    return failed(errors.RequestNotFound(text).failure(), request_id)
