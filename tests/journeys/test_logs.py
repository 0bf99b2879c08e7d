"""What real processes log: lines that a machine reads, and never what has to stay secret."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, cast

import httpx
import pytest

from pipeline.settings.secret import token_hash
from pipeline.telemetry.logs import is_line
from tests.house_of_sluice import House, Section
from tests.journeys.conftest import BuildHouse
from tests.processes import Spawned
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.journey

PROMPT: Final = "prompt-6f1d0c"
TOKEN: Final = "slu-token-9b3e7a-0123456789abcdef"
KEY: Final = "sk-key-52c8d4-0123456789abcdef"
PASSWORD: Final = "password-e07a55"
SECRETS: Final = (PROMPT, TOKEN, KEY, PASSWORD)

_TENANTS: Final[Section] = {"acme": {"tokens": [token_hash(TOKEN.encode()).reveal()]}}


class _Echo(BaseHTTPRequestHandler):
    """A provider that gives back what it was asked, and the key, wherever it can."""

    def do_POST(self) -> None:
        """Fail with the status that the model's name says; 200 is no completion."""
        asked = self.rfile.read(int(self.headers["content-length"])).decode()
        status = int(json.loads(asked)["model"])
        said = f"{PROMPT} {self.headers['authorization']} {asked}"
        error = {"message": said, "type": said, "code": PROMPT, "param": said}
        body = json.dumps({"error": error} if status != 200 else said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of the requests."""


@pytest.fixture
def echo() -> Iterator[str]:
    """Run the provider that echoes; give its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def lines(process: Spawned) -> list[dict[str, object]]:
    """Read a process's log; every line of its own is one object, but for those on stdout."""
    found = []
    for line in process.output.splitlines():
        assert is_line(line) or line.startswith("Gateway listens on "), line
        if is_line(line):
            found.append(cast("dict[str, object]", json.loads(line)))
    return found


def built(build_house: BuildHouse, level: str, address: str, collector: str = "") -> House:
    """Build a house that logs JSON, with a provider at that address and a rung to climb."""
    return build_house(
        telemetry={"logs": "json", "log_level": level, "otlp_endpoint": collector},
        tenants=_TENANTS,
        providers={
            "echo": {
                "kind": "openai", "base_url": address, "keys": [KEY], "any_model": True,
                "breaker": {"failures": 0},
            }
        },
        retry={"quick": 0},
        ladder=[1],
    )  # fmt: skip


def secret_url(house: House) -> str:
    """Give Redis's address with a user and a password that it asks for."""
    house.client.acl_setuser(
        "logger", enabled=True, passwords=[f"+{PASSWORD}"], keys="*", channels="*",
        categories=["+@all"],
    )  # fmt: skip
    return f"redis://logger:{PASSWORD}@127.0.0.1:{house.redis.port}/0"


def ask(house: House, model: str, path: str = "/v1/chat/completions") -> httpx.Response:
    """Ask with the prompt and the token."""
    plain = {"model": model, "message": PROMPT}
    chat = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    return httpx.post(
        house.url + path,
        json=plain if path == "/chat/async" else chat,
        headers={"authorization": f"Bearer {TOKEN}"},
        timeout=30,
    )


def test_no_line_holds_a_prompt_a_key_a_token_or_a_password(
    build_house: BuildHouse, echo: str
) -> None:
    house = built(build_house, "debug", echo)
    url = secret_url(house)
    gateway, crew = house.spawn_gateway(url), house.spawn_crew(url)
    house.await_gateway(gateway)
    eventually(lambda: "Parts became ready" in crew.output, 40)
    climbing = ask(house, "echo/503", "/chat/async").json()["task_id"]
    # The client is told what the provider said; the log is not.
    assert PROMPT in ask(house, "echo/400").text
    assert [ask(house, f"echo/{code}").status_code for code in (500, 200, 404)] == [503, 503, 404]
    assert ask(house, PROMPT).status_code == 404
    assert httpx.get(f"{house.url}/{PROMPT}?{TOKEN}").status_code == 404
    Reckoning(house.client, house.names).await_end([climbing], 15)
    # Its key is used no more after that.
    assert ask(house, "echo/401").status_code == 502
    for process in (crew, gateway):
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        for secret in SECRETS:
            assert secret not in process.output
    said = [line["event"] for line in lines(crew) if line.get("request") == climbing]
    assert said.count("Request climbed") == 1
    assert said[-1] == "Request dead-lettered"
    assert {"Request was refused", "Gateway stopped accepting"} <= {
        line["event"] for line in lines(gateway)
    }


def test_lines_of_a_request_name_it_its_tenant_its_hop_and_its_trace(
    build_house: BuildHouse, echo: str
) -> None:
    house = built(build_house, "debug", echo, collector="http://127.0.0.1:9")
    house.start_simulated()
    crew, gateway = house.spawn_crew(), house.spawn_gateway()
    house.await_gateway(gateway)
    house.await_worker(crew)
    answer = ask(house, "fast")
    assert answer.status_code == 200
    wanted = {"request": answer.headers["x-request-id"], "tenant": "acme"}

    def hops() -> list[object]:
        of_request = [line for line in lines(crew) if wanted.items() <= line.items()]
        return [line["hop"] for line in of_request]

    eventually(lambda: hops() == ["route", "gate", "call", "respond"], what="a line of each hop")
    traces = {line.get("trace") for line in lines(crew) if wanted.items() <= line.items()}
    assert [len(str(trace)) for trace in traces] == [32]
    assert {line["part"] for line in lines(crew)} == {"worker", "sluice"}


def test_a_killed_worker_is_told_of_by_its_name(build_house: BuildHouse, echo: str) -> None:
    house = built(build_house, "info", echo)
    crew = house.spawn_crew(processes=2)
    eventually(lambda: crew.output.count("Worker process is ready") == 2, 40)
    crew.process.send_signal(signal.SIGUSR2)
    eventually(lambda: crew.output.count("Worker process is ready") == 4, 40)
    crew.process.send_signal(signal.SIGTERM)
    assert crew.wait() == 0
    restarts = [line for line in lines(crew) if line["event"] == "Restart of a part began"]
    assert [line["child"] for line in restarts] == ["worker-1", "worker-2"]
    parts = [line["part"] for line in lines(crew) if line["event"] == "Worker stopped"]
    assert sorted(map(str, parts)) == ["worker-1", "worker-1", "worker-2", "worker-2"]


def test_a_level_of_warning_silences_what_goes_well(build_house: BuildHouse, echo: str) -> None:
    house = built(build_house, "warning", echo)
    house.start_simulated()
    crew, gateway = house.spawn_crew(), house.spawn_gateway()
    house.await_gateway(gateway)
    assert ask(house, "fast").status_code == 200
    assert ask(house, "echo/500").status_code == 503
    eventually(lambda: "Request dead-lettered" in crew.output, what="a warning")
    for process in (crew, gateway):
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert [line["event"] for line in lines(crew)] == ["Request dead-lettered"]
    assert lines(gateway) == []
