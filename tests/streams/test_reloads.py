"""A version in Redis, and what a process makes of it."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pipeline.about import FIELDS
from pipeline.current import Current
from pipeline.settings.load import Settings, load
from pipeline.streams.link import Link
from pipeline.streams.reloads import Published, Reloads, Taken
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

_PROVIDER = {"kind": "simulated", "base_url": "http://127.0.0.1:1/v1"}
_MODEL = {"deployments": [{"provider": "p", "model": "a"}]}


class Machine:
    """A file, and a process that reads it."""

    def __init__(self, link: Link, folder: Path, name: str) -> None:
        self.file = folder / f"{name}.yaml"
        self.name = name
        self.write()
        self.current = Current(self._load(), self._load)
        self.reloads = Reloads(link, NAMES, name, self.current)

    def _load(self) -> Settings:
        return load(self.file, environ={})

    def write(self, **sections: object) -> None:
        tree = {"providers": {"p": _PROVIDER}, "models": {"fast": _MODEL}, **sections}
        self.file.write_text(json.dumps(tree))

    @property
    def version(self) -> str:
        return self.current.now.version


@pytest.fixture
def machine(link: Link, tmp_path: Path) -> Callable[[str], Machine]:
    return lambda name: Machine(link, tmp_path, name)


def published(client: Client) -> bytes:
    value = client.get(NAMES.config)
    assert isinstance(value, bytes)
    return value


def taken(client: Client, reload: str, name: str) -> Taken | None:
    fact = client.hget(NAMES.taken(reload), name)
    return msgspec.json.decode(fact, type=Taken) if fact else None


async def test_who_starts_publishes_only_what_is_news(
    machine: Callable[[str], Machine], client: Client
) -> None:
    one, two, other = machine("one"), machine("two"), machine("other")
    await one.reloads.publish()
    value = published(client)
    assert Published.read(value).version == one.version
    await two.reloads.publish()
    assert published(client) == value
    other.write(retry={"quick": 7})
    await other.current.reload()
    await other.reloads.publish()
    assert Published.read(published(client)).version == other.version != one.version


async def test_a_process_that_takes_a_version_over_answers(
    machine: Callable[[str], Machine], client: Client
) -> None:
    one = machine("one")
    await one.reloads.publish()
    one.write(retry={"quick": 7}, workers={"calls": 3})
    value = Published.new("anything")
    await one.reloads.notice(value.written().encode())
    await rig.until(lambda: taken(client, value.reload, "one"))
    assert taken(client, value.reload, "one") == Taken(
        version=one.version, restart=("workers.calls",)
    )
    assert one.current.settings.retry.quick == 7
    assert 0 < client.ttl(NAMES.taken(value.reload)) <= 600


async def test_of_several_reloads_each_is_answered_and_the_last_file_holds(
    machine: Callable[[str], Machine], client: Client
) -> None:
    one = machine("one")
    await one.reloads.publish()
    values = [Published.new("anything") for _ in range(4)]
    for number, value in enumerate(values):
        one.write(retry={"quick": number + 3})
        await one.reloads.notice(value.written().encode())
    await rig.until(lambda: all(taken(client, value.reload, "one") for value in values))
    assert one.current.settings.retry.quick == 6


async def test_faults_are_answered_and_the_old_one_holds(
    machine: Callable[[str], Machine], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    one = machine("one")
    await one.reloads.publish()
    before, value = one.version, Published.new("anything")
    one.write(retry={"quick": -1}, gate={"aging_s": -1})
    await one.reloads.notice(value.written().encode())
    await rig.until(lambda: taken(client, value.reload, "one"))
    told = taken(client, value.reload, "one")
    assert told
    assert (told.version, len(told.faults)) == (before, 2)
    logged = [getattr(record, FIELDS)["reason"] for record in caplog.records]
    for fault in told.faults:
        assert fault in logged[0]


async def test_what_redis_forgot_is_published_again(
    machine: Callable[[str], Machine], client: Client
) -> None:
    one = machine("one")
    await one.reloads.publish()
    value = published(client)
    client.flushall()
    await one.reloads.notice(None)
    assert published(client) == value
    await one.reloads.notice(value)
    assert client.keys(f"{NAMES.config}:*") == []
