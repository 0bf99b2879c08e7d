"""Each option of the simulated provider, seen from a plain HTTP client."""

import json
import random
import time
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.simulated_process import CLIENT_ID, SimulatedProcess
from tests.waiting import eventually
from workers.providers.simulated.faults import Behaviour
from workers.providers.simulated.pace import Pace


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess("ttft_ms=0", seed=7) as process:
        yield process


def contents(frames: list[str]) -> list[str]:
    assert frames[-1] == "[DONE]"
    deltas = [json.loads(frame)["choices"][0]["delta"] for frame in frames[1:-2]]
    return [delta["content"] for delta in deltas]


def arrivals(simulated: SimulatedProcess, model: str) -> list[float]:
    """Return after how many seconds each content delta came."""
    began = time.monotonic()
    with simulated.stream(model) as response:
        lines = [
            time.monotonic() - began for line in response.iter_lines() if '"content":"' in line
        ]
    return lines[1:]


def test_a_stream_has_the_form_of_openai(simulated: SimulatedProcess) -> None:
    with simulated.stream("fast") as response:
        text = response.read().decode()
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert int(response.headers["openai-processing-ms"]) < 1000
    assert response.headers["x-request-id"].startswith("req_")
    assert all(frame.startswith("data: ") for frame in text[:-2].split("\n\n"))
    assert text.endswith("data: [DONE]\n\n")


def test_tokens_come_at_their_time_without_drift(simulated: SimulatedProcess) -> None:
    times = arrivals(simulated, "sim:ttft_ms=100,tps=100,tokens=41")
    assert len(times) == 41
    assert times[0] >= 0.099
    assert 0.498 <= times[-1] < 3


@given(st.floats(0.1, 1e6), st.floats(0, 1e4), st.floats(0, 1), st.integers(0, 500), st.randoms())
def test_delays_never_add_up(
    tps: float, ttft_ms: float, jitter: float, token: int, chance: random.Random
) -> None:
    behaviour = Behaviour(tps=tps, ttft_ms=ttft_ms, jitter=jitter)
    due_s = Pace(behaviour, 501, chance.random).due(token)
    stray_s = jitter / 2 * (ttft_ms / 1000 + 1 / tps)
    assert due_s == pytest.approx(ttft_ms / 1000 + token / tps, abs=stray_s + 1e-9)


def test_jitter_moves_tokens_but_not_the_end(simulated: SimulatedProcess) -> None:
    times = arrivals(simulated, "sim:tps=100,tokens=31,jitter=1")
    assert times == sorted(times)
    assert 0.29 <= times[-1] < 3


def test_a_whole_answer_takes_as_long_as_its_stream(simulated: SimulatedProcess) -> None:
    began = time.monotonic()
    simulated.ask("sim:ttft_ms=50,tps=100,tokens=11")
    assert 0.149 <= time.monotonic() - began < 3


@pytest.mark.parametrize("at", [0, 3])
def test_a_stall_hangs_before_its_token(simulated: SimulatedProcess, at: int) -> None:
    times = arrivals(simulated, f"sim:tokens=6,stall_at={at},stall_ms=400")
    assert len(times) == 6
    assert all(seen < 0.39 for seen in times[:at])
    assert all(seen >= 0.399 for seen in times[at:])


def test_deltas_have_the_bytes_asked_for(simulated: SimulatedProcess) -> None:
    found = contents(
        simulated.frames(
            "sim:delta_bytes=20,tokens=30", messages=[{"role": "user", "content": "été"}]
        )
    )
    assert [len(content.encode()) for content in found] == [20] * 30


@pytest.mark.parametrize("tokens", [0, 1, 2, 1000])
def test_an_answer_has_exactly_the_tokens_asked_for(
    simulated: SimulatedProcess, tokens: int
) -> None:
    assert len(contents(simulated.frames(f"sim:tokens={tokens}"))) == tokens
    whole = simulated.ask(f"sim:tokens={tokens}").json()
    assert whole["usage"]["completion_tokens"] == tokens
    assert whole["choices"][0]["message"]["content"] == "".join(
        contents(simulated.frames(f"sim:tokens={tokens}"))
    )


def test_an_empty_answer_has_no_content(simulated: SimulatedProcess) -> None:
    assert contents(simulated.frames("sim:empty")) == []
    assert simulated.ask("sim:empty").json()["choices"][0]["message"]["content"] == ""


@pytest.mark.parametrize("pace", ["", ",tps=200"])
@pytest.mark.parametrize("at", [0, 3, 99])
def test_a_cut_closes_the_socket_after_its_token(
    simulated: SimulatedProcess, at: int, pace: str
) -> None:
    seen: list[str] = []
    with (
        simulated.stream(f"sim:tokens=5,cut_at={at}{pace}") as response,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        seen.extend(line for line in response.iter_lines() if line)
    assert len(seen) == 1 + min(at, 5)
    with pytest.raises(httpx.RemoteProtocolError):
        simulated.ask("sim:cut_at=3")


@pytest.mark.parametrize("pace", ["", ",tps=200"])
@pytest.mark.parametrize("at", [0, 2, 99])
def test_garbage_comes_at_its_token_and_the_stream_goes_on(
    simulated: SimulatedProcess, at: int, pace: str
) -> None:
    frames = simulated.frames(f"sim:tokens=4,garbage={at}{pace}")
    with pytest.raises(json.JSONDecodeError):
        json.loads(frames.pop(1 + min(at, 3)))
    assert len(contents(frames)) == 4
    with pytest.raises(json.JSONDecodeError):
        simulated.ask("sim:garbage=1").json()


@pytest.mark.parametrize("at", [0, 2, 99])
def test_an_error_frame_ends_the_stream(simulated: SimulatedProcess, at: int) -> None:
    frames = simulated.frames(f"sim:tokens=4,error_at={at}")
    assert len(frames) == 1 + min(at, 4) + 1
    assert json.loads(frames[-1])["error"]["code"] == "server_error"
    assert simulated.ask("sim:error_at=1").status_code == 500


def test_a_hanging_call_ends_with_its_client(simulated: SimulatedProcess) -> None:
    simulated.http.delete("/calls")
    with pytest.raises(httpx.ReadTimeout):
        simulated.http.post(
            "/v1/chat/completions",
            json={"model": "sim:hang", "messages": [{"role": "user", "content": "x"}]},
            timeout=0.2,
        )
    await_counts(simulated, aborted=1, active=0)


@pytest.mark.parametrize("model", ["sim:tps=5,tokens=1000", "sim:tokens=9,stall_at=2,stall_ms=9e6"])
def test_a_client_that_goes_away_ends_its_stream(simulated: SimulatedProcess, model: str) -> None:
    simulated.http.delete("/calls")
    with simulated.stream(model) as response:
        lines = response.iter_lines()
        next(lines)
        assert simulated.counts()["active"] == 1
    await_counts(simulated, aborted=1, active=0, started=1, finished=0)


def await_counts(simulated: SimulatedProcess, **expected: int) -> None:
    eventually(lambda: expected.items() <= simulated.counts().items(), what=f"counts {expected}")


def test_the_first_calls_of_a_request_fail_then_succeed(simulated: SimulatedProcess) -> None:
    model = "sim:error_first=2,error=503,retry_after_ms=1500"
    for client_id in ("one", "two"):
        answers = [simulated.ask_with(CLIENT_ID, client_id, model) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [503, 503, 200, 200]
        assert answers[0].headers["retry-after-ms"] == "1500"
        assert answers[0].headers["retry-after"] == "2"
    assert [simulated.ask(model).status_code for _ in range(3)] == [503, 503, 200]


def test_a_rate_of_errors_holds_on_the_whole(simulated: SimulatedProcess) -> None:
    statuses = [simulated.ask("sim:error=502,error_rate=0.3").status_code for _ in range(300)]
    assert set(statuses) == {200, 502}
    assert 50 < statuses.count(502) < 130


def test_calls_are_counted_by_client_request_id(simulated: SimulatedProcess) -> None:
    simulated.http.delete("/calls")
    for client_id in ("a", "b", "a"):
        simulated.ask_with(CLIENT_ID, client_id, "fast")
    simulated.ask_with(CLIENT_ID, "c", "sim:error=500")
    counts = simulated.http.get("/calls").json()
    assert counts["ids"] == {"a": 2, "b": 1, "c": 1}
    assert (counts["total"], counts["started"], counts["finished"]) == (4, 3, 3)
    assert (counts["active"], counts["peak"]) == (0, 1)


def test_the_name_wins_over_the_body_and_the_body_over_the_header(
    simulated: SimulatedProcess,
) -> None:
    def tokens(model: str, header: str, **more: object) -> int:
        answer = simulated.ask_with("X-Simulate", header, model, **more)
        count: int = answer.json()["usage"]["completion_tokens"]
        return count

    assert tokens("fast", "") == 32
    assert tokens("fast", "tokens=2") == 2
    assert tokens("fast", "tokens=2", simulate={"tokens": 3}) == 3
    assert tokens("sim:tokens=4", "tokens=2", simulate={"tokens": 3}) == 4


@pytest.mark.parametrize(
    ("model", "header", "more"),
    [
        ("x:tps=fast", "", {}),
        ("fast", "tps=fast", {}),
        ("fast", "", {"simulate": {"tps": "fast"}}),
    ],
)
def test_a_bad_option_is_a_400_that_names_it(
    simulated: SimulatedProcess, model: str, header: str, more: dict[str, object]
) -> None:
    answer = simulated.ask_with("X-Simulate", header, model, **more)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "tps"
    assert error["message"].count("'fast'") == 1
    assert "a number from 0 to 1000000" in error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"\xff\xfe", None),
        (b'{"model":"\xff"}', None),
        (b"[" * 100_000, None),
        (b"", None),
        (b"[]", None),
        (b'{"messages":[]}', "messages"),
        (b'{"model":1}', "model"),
        (b'{"model":"m","messages":[{"role":"user","content":3}]}', "messages[0].content"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0}', "max_tokens"),
    ],
)
def test_a_malformed_request_is_a_400(
    simulated: SimulatedProcess, body: bytes, param: str | None
) -> None:
    answer = simulated.http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param


def test_other_paths_and_methods_are_refused_in_openais_form(simulated: SimulatedProcess) -> None:
    assert simulated.http.get("/health").json() == {"status": "ok"}
    unknown = simulated.http.post("/v1/chat")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")
    assert simulated.http.get("/v1/chat/completions").status_code == 405
