"""What an error tells clients about coming back."""

import pytest

from gateway.errors import error_body, retry_headers
from pipeline.errors import Failure


@pytest.mark.parametrize(
    ("failure", "should", "after"),
    [
        (Failure(message="", status=400, cause="bad_request"), b"false", None),
        (Failure(message="", status=404, cause="model_not_found"), b"false", None),
        (Failure(message="", status=429, retry_after_s=0.2), b"true", (b"1", b"1000")),
        (Failure(message="", status=429, retry_after_s=59.3), b"true", (b"60", b"59300")),
        (Failure(message="", status=429, retry_after_s=61), b"false", (b"61", b"61000")),
        (Failure(message="", status=429, type="insufficient_quota"), b"false", (b"1", b"1000")),
        (Failure(message="", status=503, cause="overloaded"), b"true", (b"1", b"1000")),
        (Failure(message="", status=500, cause="poison"), b"false", (b"1", b"1000")),
        (
            Failure(message="", status=502, code="upstream_credentials_exhausted"),
            b"false",
            (b"1", b"1000"),
        ),
    ],
)
def test_clients_are_told_whether_and_when_to_come_back(
    failure: Failure, should: bytes, after: tuple[bytes, bytes] | None
) -> None:
    headers = dict(retry_headers(failure))
    assert headers[b"x-should-retry"] == should
    waits = (headers[b"retry-after"], headers[b"retry-after-ms"]) if after else None
    assert waits == after
    assert after or b"retry-after" not in headers


def test_an_errors_facts_stand_in_its_metadata() -> None:
    failure = Failure(message="m", code="c", retry_after_s=1.5, metadata={"attempts": 2})
    body = error_body(failure, "id")
    assert (body.message, body.type, body.param, body.code) == ("m", "server_error", None, "c")
    assert body.metadata == {"attempts": 2, "request_id": "id", "retry_after_ms": 1500}
