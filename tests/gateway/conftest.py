"""A gateway process with a stand-in for the workers, and a plain client for its bytes."""

import http.client
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
import redis

from pipeline.embedded import redis_server as embedded
from tests.processes import Nursery, Spawn, Spawned

CONFIG = """
gateway: {default_model: sim/echo}
providers: {sim: {kind: simulated, any_model: true}}
models: {fast: {deployments: [{provider: sim, model: echo}]}}
"""


class Answer(msgspec.Struct):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])

    @property
    def error(self) -> dict[str, object]:
        return msgspec.convert(self.json["error"], dict[str, object])


class House:
    """A running gateway and its address."""

    def __init__(self, process: Spawned, port: int, redis_url: str) -> None:
        self.process = process
        self.port = port
        self.redis_url = redis_url
        self.url = f"http://127.0.0.1:{port}"

    @contextmanager
    def open(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and give the answer while it comes."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        payload = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        try:
            link.request(method, path, payload, dict(headers or {}))
            answer = link.getresponse()
            with answer:
                yield answer
        finally:
            link.close()

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and read the whole answer."""
        with self.open(method, path, body, headers) as answer:
            lower = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, lower, answer.read())

    def go(self, user: str) -> None:
        """Tell the stand-in to go on with the requests of a user."""
        with redis.Redis.from_url(self.redis_url, protocol=2) as link:
            link.set(f"go:{user}", 1)

    def chat(self, model: str = "sim/echo", **fields: object) -> Answer:
        """Ask for a chat completion."""
        return self.ask("POST", "/v1/chat/completions", chat_body(model, **fields))


def chat_body(model: str = "sim/echo", **fields: object) -> dict[str, object]:
    """Write the body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}


class StartHouse(Protocol):
    """Starts a gateway, with its configuration, its pace and its Redis."""

    def __call__(
        self, config: str = CONFIG, *, pace: str = "{}", url: str = "", standin: bool = True
    ) -> House: ...


def starter(spawn: Spawn, directory: Path, redis_url: str) -> StartHouse:
    """Make what starts gateways."""

    def start(
        config: str = CONFIG, *, pace: str = "{}", url: str = "", standin: bool = True
    ) -> House:
        port, where = embedded.free_port(), url or redis_url
        file = directory / f"sluice-{port}.yaml"
        file.write_text(config)
        environment = {
            "SLUICE_CONFIG": str(file),
            "SLUICE_REDIS_URL": where,
            "SLUICE_PORT": str(port),
        }
        if standin:
            spawn([sys.executable, "-m", "tests.gateway.standin", where], name="standin", warm=True)
        sight = "standin" if standin else "real"
        module = [sys.executable, "-m", "tests.gateway.gateway_process", pace, sight]
        process = spawn(module, environment, name="gateway", warm=True)
        process.await_output("Gateway listens on")
        return House(process, port, where)

    return start


@pytest.fixture
def start_house(spawn: Spawn, tmp_path: Path, redis_url: str) -> StartHouse:
    """Start gateways of one test, on a Redis that was emptied."""
    return starter(spawn, tmp_path, redis_url)


@pytest.fixture(scope="session")
def house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give the gateway that tests share, with a stand-in for the workers and a Redis of its own."""
    directory = tmp_path_factory.mktemp("house")
    options = {"appendonly": "no"}
    with embedded.EmbeddedRedis(directory, options=options, binary=redis_binary) as server:
        nursery = Nursery(directory)
        try:
            yield starter(nursery.spawn, directory, server.url)()
        finally:
            nursery.end()


@pytest.fixture
def client(house: House) -> Iterator[redis.Redis]:
    """Look into the shared gateway's Redis."""
    with redis.Redis.from_url(house.redis_url, protocol=2, decode_responses=True) as link:
        yield link
