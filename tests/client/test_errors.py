"""The client's errors: a failure becomes the class that its code names, with the request's id."""

import pytest

from pipeline import client_errors, errors
from pipeline.client_errors import RequestFailed, failed
from pipeline.errors import Failure, SluiceError


@pytest.mark.parametrize(
    ("failure", "kind", "ours"),
    [
        ({"code": "rate_limited", "status": 429}, "UserRateLimitExceededError", SluiceError),
        ({"code": "queue_full", "status": 503}, "SchedulerQueueFullError", errors.QueueFull),
        ({"code": "queue_timeout", "status": 504}, "QueueTimeoutError", errors.QueueTimeout),
        ({"code": "deadline_unreachable", "status": 429}, "QueueTimeoutError", errors.QueueTimeout),
        ({"code": "model_not_found", "status": 404}, "ModelUnknown", errors.ModelNotFound),
        ({"code": "cancelled", "status": 499}, "RequestCancelled", SluiceError),
        ({"code": "idempotency_conflict", "status": 422}, "KeyConflict", errors.Conflict),
        ({"code": "odd", "status": 400, "cause": "bad_request"}, "RequestRefused", errors.Refused),
        ({"code": "provider_exhausted", "status": 503}, "RequestFailed", SluiceError),
    ],
)
def test_the_code_names_the_class(
    failure: dict[str, object], kind: str, ours: type[SluiceError]
) -> None:
    carried = Failure(message="No.", **failure)  # type: ignore[arg-type]
    error = failed(carried, "job-1")
    assert type(error) is getattr(client_errors, kind)
    assert isinstance(error, ours)
    assert (error.status, error.code, error.request_id) == (carried.status, carried.code, "job-1")
    assert error.failure() is carried


def test_an_error_has_all_that_the_failure_tells() -> None:
    carried = Failure(message="Wait.", retry_after_s=2.5, param="model", metadata={"limit": 3})
    error = failed(carried, "job-1")
    assert type(error) is RequestFailed
    assert str(error) == error.message == "Wait."
    assert (error.retry_after_s, error.param, error.metadata) == (2.5, "model", {"limit": 3})
