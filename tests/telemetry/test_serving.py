"""Metrics over HTTP: from a thread, on a given socket, and many processes' at one place."""

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from pipeline.errors import StartError
from pipeline.settings.children import with_metrics
from pipeline.settings.schema import TelemetrySettings
from pipeline.telemetry import listening, metrics
from pipeline.telemetry.exposition import Exposition, written
from pipeline.telemetry.merging import Merged
from pipeline.telemetry.serving import MetricsServer
from pipeline.telemetry.tallies import Family, Tally, single
from tests.telemetry.scrape import Scrape, fetch, scrape


@contextmanager
def served(*families: Family) -> Iterator[int]:
    """Serve families like a process of ours; gives the port."""
    listener = listening.listen("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    server = MetricsServer(listener, Exposition(lambda: families).answer)
    server.start()
    try:
        yield port
    finally:
        server.close()


def calls(deployment: str, count: float) -> Family:
    tally = Tally(metrics.CALLS)
    tally.values[deployment, "answered"] = count
    return tally.family()


def test_a_process_tells_its_own_metrics_and_those_of_the_process() -> None:
    with served(calls("sim/fast", 3)) as port:
        found = scrape(port)
    assert found.total("sluice_calls_total", deployment="sim/fast") == 3
    assert found.total("process_open_fds") > 0
    assert "python_info" in found.names


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics?x=1", 200), ("POST", "/metrics", 501)],
)
def test_it_serves_get_metrics_and_nothing_else(method: str, path: str, status: int) -> None:
    with served() as port:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        link.request(method, path)
        assert link.getresponse().status == status
        link.close()


def test_who_says_nothing_does_not_keep_others_out_for_long() -> None:
    with served() as port, socket.create_connection(("127.0.0.1", port)):
        assert "process_open_fds" in scrape(port).names


def test_a_server_ends_with_its_thread_and_leaves_the_port() -> None:
    before = threading.active_count()
    with served() as port:
        fetch(port)
    assert threading.active_count() == before
    listening.listen("127.0.0.1", port).close()


def test_parts_are_merged_with_each_family_told_once() -> None:
    with ExitStack() as parts:
        one = parts.enter_context(served(calls("sim/a", 1), single(metrics.DEAD_LETTERS, 4)))
        two = parts.enter_context(served(calls("sim/a", 2), calls_dead(5)))
        places = {"worker-1": ("127.0.0.1", one), "worker-2": ("127.0.0.1", two)}
        found = Scrape(Merged(places).answer().decode())
    assert found.total("sluice_calls_total", part="worker-1") == 1
    assert found.total("sluice_calls_total", part="worker-2") == 2
    assert found.text.count("# TYPE sluice_calls_total counter") == 1
    assert found.total("sluice_dead_letters_kept", part="worker-1") == 4
    assert found.total("sluice_dead_letters_total", part="worker-2") == 5
    assert {
        ("sluice_dead_letters_kept", "gauge"),
        ("sluice_dead_letters", "counter"),
    } <= found.kinds
    assert found.total("sluice_part_up") == 2
    assert all("part" in sample.labels for sample in found.samples)


def calls_dead(count: float) -> Family:
    tally = Tally(metrics.DEAD)
    tally.values["bug",] = count
    return tally.family()


@contextmanager
def silent() -> Iterator[int]:
    """Listen and never answer, as a process that was stopped does."""
    with listening.listen("127.0.0.1", 0) as listener:
        yield listener.getsockname()[1]


@contextmanager
def absent() -> Iterator[int]:
    """Give a port behind which nobody is."""
    with listening.listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
    yield port


def broken() -> bytes:
    raise ValueError("no metrics today")


@contextmanager
def failing() -> Iterator[int]:
    """Fail at every scrape."""
    listener = listening.listen("127.0.0.1", 0)
    server = MetricsServer(listener, broken)
    server.start()
    yield listener.getsockname()[1]
    server.close()


@pytest.mark.parametrize("lost", [silent, absent, failing])
def test_a_part_that_does_not_answer_is_left_out_and_told(
    lost: Callable[[], AbstractContextManager[int]],
) -> None:
    with served(calls("sim/a", 1)) as well, lost() as gone:
        places = {"worker": ("127.0.0.1", gone), "gateway": ("127.0.0.1", well)}
        found = Scrape(Merged(places).answer().decode())
    assert found.total("sluice_part_up", part="worker") == 0
    assert found.total("sluice_part_up", part="gateway") == 1
    assert found.values("sluice_calls_total", "part") == {"gateway"}


def test_a_taken_port_is_named_with_its_setting() -> None:
    with listening.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"port {port} on 127\.0\.0\.1.*metrics_port \+ 2"):
            listening.listen("127.0.0.1", port, 2)


def test_a_port_beyond_all_ports_is_named_too() -> None:
    with pytest.raises(StartError, match="port 65536 on"):
        listening.listen("127.0.0.1", 65536, 1)


def test_a_socket_is_handed_down_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening.listen("127.0.0.1", 0) as handed:
        port = handed.getsockname()[1]
        # As a child has it: the same socket under a number of its own.
        environment = with_metrics({}, os.dup(handed.fileno()))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    taken = listening.handed_down()
    assert taken is not None
    with taken:
        assert taken.getsockname()[1] == port


def test_what_was_not_handed_down_is_no_socket(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert listening.handed_down() is None
    monkeypatch.setenv("SLUICE_METRICS_FD", "987")
    assert listening.handed_down() is None
    assert "Metrics socket was not handed down" in caplog.text


def test_only_the_environment_lets_a_lone_process_take_a_port(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    telemetry = TelemetrySettings(metrics_port=free_port)
    monkeypatch.delenv("SLUICE_TELEMETRY__METRICS_PORT")
    assert listening.own(telemetry) is None
    monkeypatch.setenv("SLUICE_TELEMETRY__METRICS_PORT", str(free_port))
    listener = listening.own(telemetry)
    assert listener is not None
    with listener:
        assert listener.getsockname() == ("127.0.0.1", free_port)
    assert listening.own(TelemetrySettings(metrics_port=0)) is None


def test_nothing_is_written_of_no_families() -> None:
    assert written([]) == b""
