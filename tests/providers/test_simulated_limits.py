"""The simulated provider's limits: exact, per key, told in OpenAI's headers."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.simulated_process import SimulatedProcess
from workers.providers.simulated.errors import RefusalError
from workers.providers.simulated.faults import Behaviour
from workers.providers.simulated.limits import MAX_ACCOUNTS, Account, Accounts, Meter, go_duration


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess() as process:
        yield process


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), max_size=200),
)
def test_a_meter_never_admits_more_than_its_bucket_and_what_flowed_in(
    limit: int, arrivals: list[tuple[float, int]]
) -> None:
    meter = Meter(b"tokens", limit)
    now, admitted = 1000.0, 0
    for pause_s, cost in arrivals:
        now += pause_s
        if not meter.wait_s(cost, now):
            meter.take(cost, now)
            admitted += cost
        assert admitted <= limit + (now - 1000.0) * limit / 60 + 1e-3


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_call_fits_after_the_wait_that_was_told_and_not_before(limit: int, cost: int) -> None:
    meter = Meter(b"tokens", limit)
    meter.take(limit, 50.0)
    wait_s = meter.wait_s(cost, 50.0)
    if cost > limit:
        assert wait_s == float("inf")
        return
    assert meter.wait_s(cost, 50.0 + wait_s + 0.001) == 0
    assert meter.wait_s(cost, 50.0 + wait_s * 0.99) > 0


def test_a_refused_call_takes_neither_request_nor_tokens() -> None:
    account = Account(Behaviour(rpm=2, tpm=100, concurrency=5))
    account.admit(90, 0.0)
    with pytest.raises(RefusalError):
        account.admit(50, 0.0)
    account.admit(10, 0.0)
    assert dict(account.headers(0.0))[b"x-ratelimit-remaining-tokens"] == b"0"
    assert dict(account.headers(0.0))[b"x-ratelimit-reset-tokens"] == b"1m0s"


def test_a_request_above_the_limit_is_told_that_waiting_is_vain() -> None:
    with pytest.raises(RefusalError, match="too large") as refused:
        Account(Behaviour(tpm=10)).admit(11, 0.0)
    assert (refused.value.status, refused.value.headers) == (429, [])


def test_accounts_that_owe_nothing_are_forgotten() -> None:
    accounts = Accounts()
    behaviour = Behaviour(rpm=60)
    for number in range(MAX_ACCOUNTS + 1):
        account = accounts.find(str(number), behaviour, 0.0)
        assert account is not None
    busy = accounts.find("busy", behaviour, 0.0)
    assert busy is not None
    busy.admit(1, 0.0)
    assert len(accounts._accounts) < 10
    assert accounts.find("busy", behaviour, 0.5) is busy


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0s"), (0.012, "12ms"), (1, "1s"), (1.5, "1.5s"), (8.64, "8.64s"), (59.9995, "1m0s")),
        *((90.5, "1m30.5s"), (360, "6m0s"), (3600, "1h0m0s"), (86_400.001, "24h0m0.001s")),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_requests_per_minute_are_enforced_exactly_for_each_key(
    simulated: SimulatedProcess,
) -> None:
    def ask(number: int) -> httpx.Response:
        return simulated.ask("sim:rpm=7", key=f"rpm-{number % 2}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))
    assert sum(answer.status_code == 200 for answer in answers) == 14
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "requests"
    assert 0 < int(refused.headers["retry-after-ms"]) <= 60_000 / 7 + 1
    assert 1 <= int(refused.headers["retry-after"]) <= 9
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_every_answer_tells_limits_what_remains_and_when_it_is_full(
    simulated: SimulatedProcess,
) -> None:
    model = "sim:rpm=60,tpm=6000,tokens=95"
    first = simulated.ask(model, key="told", text="x" * 20).headers
    assert first["x-ratelimit-limit-requests"] == "60"
    assert first["x-ratelimit-remaining-requests"] == "59"
    assert re.fullmatch(r"1s|\d+ms", first["x-ratelimit-reset-requests"])
    assert first["x-ratelimit-limit-tokens"] == "6000"
    assert 5900 <= int(first["x-ratelimit-remaining-tokens"]) < 6000
    assert re.fullmatch(r"1s|\d+ms", first["x-ratelimit-reset-tokens"])
    with simulated.stream(model) as streamed:
        assert streamed.headers["x-ratelimit-limit-tokens"] == "6000"
    failed = simulated.ask("sim:rpm=60,tpm=6000,error=500", key="told")
    assert failed.headers["x-ratelimit-limit-requests"] == "60"


def test_a_call_is_admitted_after_exactly_the_time_it_was_told(
    simulated: SimulatedProcess,
) -> None:
    loop_of_calls = (simulated.ask("sim:rpm=400", key="again") for _ in range(600))
    refused = next(answer for answer in loop_of_calls if answer.status_code == 429)
    wait_ms = int(refused.headers["retry-after-ms"])
    assert 1 <= wait_ms <= 150
    simulated.ask(f"sim:ttft_ms={wait_ms},tokens=1", key="other")
    assert simulated.ask("sim:rpm=400", key="again").status_code == 200


def test_calls_at_once_are_limited_and_places_come_back(simulated: SimulatedProcess) -> None:
    model = "sim:concurrency=3,ttft_ms=900"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: simulated.ask(model, key="many"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
    assert simulated.ask(model, key="many").status_code == 200


def test_a_simulated_failure_gives_its_place_back(simulated: SimulatedProcess) -> None:
    for _ in range(3):
        assert simulated.ask("sim:concurrency=1,error=500", key="fail").status_code == 500
    assert simulated.ask("sim:concurrency=1", key="fail").status_code == 200


def test_embeddings_draw_on_the_token_limit(simulated: SimulatedProcess) -> None:
    body = {"model": "sim:tpm=10", "input": "x" * 32}
    statuses = [simulated.http.post("/v1/embeddings", json=body).status_code for _ in range(2)]
    assert statuses == [200, 429]
