"""Options that a running simulated provider takes for all calls to come."""

from collections.abc import Iterator

import httpx
import pytest

from tests.providers.simulated_process import SimulatedProcess


@pytest.fixture(scope="module")
def process() -> Iterator[SimulatedProcess]:
    with SimulatedProcess("tokens=5") as started:
        yield started


@pytest.fixture
def simulated(process: SimulatedProcess) -> Iterator[SimulatedProcess]:
    """Give the process, and back what it was started with."""
    yield process
    assert behave(process, b"{}").status_code == 200


def behave(simulated: SimulatedProcess, body: bytes) -> httpx.Response:
    return simulated.http.put("/behaviour", content=body)


def tokens(answer: httpx.Response) -> int:
    counted: int = answer.json()["usage"]["completion_tokens"]
    return counted


def test_options_hold_for_all_calls_to_come(simulated: SimulatedProcess) -> None:
    assert tokens(simulated.ask()) == 5
    told = behave(simulated, b'{"error": 503, "retry_after_ms": 1500}')
    assert (told.status_code, told.json()["error"], told.json()["tokens"]) == (200, 503, 5)
    assert simulated.http.get("/behaviour").json() == told.json()
    refused = simulated.ask()
    assert (refused.status_code, refused.headers["retry-after-ms"]) == (503, "1500")
    messages = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    other = simulated.http.post("/v1/messages", json=messages, headers=headers)
    assert other.status_code == 503


def test_what_a_call_asks_itself_wins(simulated: SimulatedProcess) -> None:
    behave(simulated, b'{"tokens": 7}')
    assert tokens(simulated.ask()) == 7
    assert tokens(simulated.ask("sim:tokens=2")) == 2
    assert tokens(simulated.ask_with("X-Simulate", "tokens=3", "fast")) == 3


def test_each_put_begins_from_the_options_of_the_start(simulated: SimulatedProcess) -> None:
    behave(simulated, b'{"tokens": 7, "error": 500}')
    assert behave(simulated, b'{"ttft_ms": 1}').json()["error"] is None
    assert tokens(simulated.ask()) == 5
    behave(simulated, b'{"error_rate": 1}')
    assert simulated.ask().status_code == 500
    behave(simulated, b"{}")
    assert simulated.ask().status_code == 200


@pytest.mark.parametrize(
    ("body", "said", "param"),
    [
        (b"", "not valid JSON", None),
        (b'{"error": ', "not valid JSON", None),
        (b'{"error": "\xff"}', "not valid JSON", None),
        (b"[" * 100_000, "", None),
        (b"[503]", "an object of plain values", "simulate"),
        (b'{"error": {"status": 503}}', "an object of plain values", "simulate"),
        (b'{"fail": 503}', "'fail'", "fail"),
        (b'{"error": 200}', "from 400 to 599", "error"),
        (b'{"tokens": 99999, "delta_bytes": 65536}', "must not exceed", "tokens"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    simulated: SimulatedProcess, body: bytes, said: str, param: str | None
) -> None:
    behave(simulated, b'{"tokens": 6}')
    refused = behave(simulated, body)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"]) == (400, "invalid_request_error")
    assert said in error["message"]
    assert error["param"] == param or not said
    assert tokens(simulated.ask()) == 6


def test_other_methods_are_unknown(simulated: SimulatedProcess) -> None:
    for method in ("POST", "DELETE", "PATCH"):
        refused = simulated.http.request(method, "/behaviour", content=b"{}")
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "unknown_url"
