"""Accepting that waits for replicas: a real one, which is stopped and goes on."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.errors import NotReplicated
from pipeline.settings.schema import DurabilitySettings
from pipeline.streams.ingress import Ingress
from pipeline.streams.once import Once
from pipeline.streams.replicas import replicas_of
from pipeline.streams.scripts import ACCEPT
from tests.streams import rig
from tests.streams.rig import BODY, NAMES, Client, ids, make_event
from tests.waiting import eventually
from tests.wire import Wire

pytestmark = pytest.mark.anyio

#: For what is to be refused, and for what is to be confirmed however busy the machine is.
SHORT_MS, LONG_MS = 150, 5_000


@pytest.fixture(scope="module")
def pair(
    redis_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EmbeddedRedis, EmbeddedRedis]]:
    """Run a primary and a replica of it."""
    options = {"appendonly": "no"}
    first = EmbeddedRedis(tmp_path_factory.mktemp("first"), options=options, binary=redis_binary)
    second = EmbeddedRedis(tmp_path_factory.mktemp("second"), options=options, binary=redis_binary)
    with first as primary, second as replica:
        with rig.connect(primary.url) as client:
            client.config_set("repl-diskless-sync-delay", 0)
        with rig.connect(replica.url) as client:
            client.replicaof("127.0.0.1", primary.port)
            eventually(lambda: client.info("replication")["master_link_status"] == "up")
        with rig.connect(primary.url) as client:
            client.set("hello", 1)
            assert client.wait(1, 10_000) == 1
        yield primary, replica


@pytest.fixture
def client(pair: tuple[EmbeddedRedis, EmbeddedRedis]) -> Iterator[Client]:
    """Look at the primary, emptied."""
    with rig.connect(pair[0].url) as client:
        client.flushall()
        yield client


@pytest.fixture
def replica(pair: tuple[EmbeddedRedis, EmbeddedRedis]) -> Iterator[Client]:
    """Look at the replica."""
    with rig.connect(pair[1].url) as client:
        yield client


@contextmanager
def stopped(replica: Client) -> Iterator[None]:
    """Let a server stand still."""
    pid = replica.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def door(url: str, wait_ms: int, *, needed: int = 1, way: str = "") -> AsyncIterator[Ingress]:
    """Open a door that waits for replicas; its own link may lead another way."""
    durability = DurabilitySettings(wait_replicas=needed, wait_ms=wait_ms)
    async with rig.linked(url) as link:
        ingress = Ingress(link, NAMES, replicas_of(durability, way or url, "accept"))
        await ingress.open()
        try:
            yield ingress
        finally:
            await ingress.close()


async def test_what_is_accepted_is_on_the_replica(
    pair: tuple[EmbeddedRedis, EmbeddedRedis], client: Client, replica: Client
) -> None:
    async with door(pair[0].url, LONG_MS) as ingress:
        await ingress.accept(make_event(), BODY)
        assert ids(replica, "requests:default") == ["r1"]
        assert replica.hget(NAMES.record("r1"), "status") == b"queued"


async def test_a_crowd_shares_the_waits(
    pair: tuple[EmbeddedRedis, EmbeddedRedis], client: Client, replica: Client
) -> None:
    async with door(pair[0].url, LONG_MS) as ingress:
        await ingress.accept(make_event("warm"), BODY)
        client.config_resetstat()
        await asyncio.gather(*(ingress.accept(make_event(f"r{n}"), BODY) for n in range(200)))
        assert client.info("commandstats")["cmdstat_wait"]["calls"] <= 3


async def test_too_few_replicas_refuse_and_cancel_what_was_accepted(
    pair: tuple[EmbeddedRedis, EmbeddedRedis], client: Client, replica: Client
) -> None:
    async with door(pair[0].url, SHORT_MS) as ingress:
        with stopped(replica):
            began = time.monotonic()
            with pytest.raises(NotReplicated) as raised:
                await ingress.accept(make_event(), BODY, once=Once(key="k", fingerprint="f"))
            assert SHORT_MS / 1000 <= time.monotonic() - began < 2
        assert (raised.value.status, raised.value.code) == (503, "not_replicated")
        assert raised.value.message.startswith("0 of 1 replicas")
        assert raised.value.retry_after_s == 1
        assert client.hget(NAMES.record("r1"), "cancel") == b"not_replicated"
    async with door(pair[0].url, LONG_MS) as ingress:
        await ingress.accept(make_event("after"), BODY)


async def test_more_replicas_than_there_are_refuse(
    pair: tuple[EmbeddedRedis, EmbeddedRedis], client: Client
) -> None:
    async with door(pair[0].url, SHORT_MS, needed=2) as ingress:
        with pytest.raises(NotReplicated, match="1 of 2 replicas"):
            await ingress.accept(make_event(), BODY)


async def test_what_has_ended_meanwhile_is_answered_all_the_same(
    pair: tuple[EmbeddedRedis, EmbeddedRedis], client: Client, replica: Client
) -> None:
    async with door(pair[0].url, SHORT_MS) as ingress:
        with stopped(replica):
            asked = asyncio.create_task(ingress.accept(make_event(), BODY))
            await rig.until(lambda: client.exists(NAMES.record("r1")), "the record")
            client.hset(NAMES.record("r1"), "status", "completed")
            assert (await asked).entry


async def test_nothing_else_waits_behind_it(
    pair: tuple[EmbeddedRedis, EmbeddedRedis], client: Client, replica: Client
) -> None:
    durability = DurabilitySettings(wait_replicas=1, wait_ms=2000)
    async with rig.linked(pair[0].url) as link:
        ingress = Ingress(link, NAMES, replicas_of(durability, pair[0].url, "accept"))
        await ingress.open()
        with stopped(replica):
            asked = asyncio.create_task(ingress.accept(make_event(), BODY))
            await rig.until(lambda: client.exists(NAMES.record("r1")), "the record")
            async with asyncio.timeout(1):
                assert await link.call("PING") == b"PONG"
            assert not asked.done()
        await asked
        await ingress.close()


async def test_a_repetition_after_a_lost_reply_waits_for_what_was_written_before(
    pair: tuple[EmbeddedRedis, EmbeddedRedis], client: Client, replica: Client
) -> None:
    with Wire(pair[0].port) as wire:
        async with door(pair[0].url, SHORT_MS, way=wire.url) as ingress:
            client.script_load(ACCEPT.text)
            with stopped(replica):
                wire.rob()
                with pytest.raises(NotReplicated):
                    await ingress.accept(make_event(), BODY)
            assert wire.thefts == 1
            assert ids(client, "requests:default") == ["r1"]


async def test_without_replicas_asked_for_there_is_no_wait_and_no_link(
    pair: tuple[EmbeddedRedis, EmbeddedRedis], client: Client
) -> None:
    client.config_resetstat()
    async with door(pair[0].url, LONG_MS, needed=0) as ingress:
        await ingress.accept(make_event(), BODY)
        assert "accept" not in {row["name"] for row in client.client_list()}
    assert "cmdstat_wait" not in client.info("commandstats")
