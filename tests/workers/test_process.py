"""A worker process built as it is, run on the test's own loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from pipeline import event as events
from pipeline.embedded.redis_server import free_port
from pipeline.errors import StartError
from pipeline.names import Names
from pipeline.streams.liveness import consumer_name
from tests.providers.simulated_process import SimulatedProcess
from tests.streams import rig
from tests.streams.rig import Client
from tests.workers.bench import settings_for
from workers.call import call
from workers.gate import gate
from workers.process import HopFunctions, WorkerProcess
from workers.respond import respond
from workers.route import route

pytestmark = pytest.mark.anyio

NAMES = Names("sluice")
FUNCTIONS: HopFunctions = {"route": route, "gate": gate, "call": call, "respond": respond}


def prepared(directory: Path, provider: SimulatedProcess, redis_url: str) -> WorkerProcess:
    settings = settings_for(
        directory,
        provider.url,
        redis={"url": redis_url},
        workers={"liveness_s": 0.6, "scan_s": 0.1, "grace_s": 5},
    )
    return WorkerProcess(settings, FUNCTIONS)


@asynccontextmanager
async def running(process: WorkerProcess) -> AsyncIterator[WorkerProcess]:
    await process.start()
    try:
        yield process
    finally:
        await process.stop_reading()
        await process.drain()


def ask(client: Client, request_id: str, model: str = "plain", **more: object) -> None:
    """Write a request as a direct producer does."""
    form = {"request_id": request_id, "model": model, "prompt": "hi", **more}
    client.xadd(NAMES.requests["default"], {"event": msgspec.json.encode(form)})


def done(client: Client) -> dict[str, str]:
    ended = [events.decode(fields[b"event"]) for _, fields in client.xrange(NAMES.done)]
    return {event.id: event.status for event in ended}


async def test_a_producers_requests_are_answered_and_called_back(
    tmp_path: Path, provider: SimulatedProcess, redis_url: str, client: Client
) -> None:
    async with running(prepared(tmp_path, provider, redis_url)):
        ask(client, "good", callback_queue="back", metadata={"n": 1})
        ask(client, "spared", "spare", callback_queue="back")
        ask(client, "failed", "broken", callback_queue="back")
        await rig.until(lambda: client.xlen("back") == 3)
    results = [msgspec.json.decode(fields[b"event"]) for _, fields in client.xrange("back")]
    told = {result["request_id"]: result for result in results}
    assert {name: result["status"] for name, result in told.items()} == {
        "good": "success",
        "spared": "success",
        "failed": "error",
    }
    assert told["good"]["metadata"] == {"n": 1}
    assert told["good"]["content"]
    assert told["failed"]["error_code"] == "provider_exhausted"
    assert client.keys("sluice:limits:lease*") == []


async def test_what_a_lost_reply_had_brought_is_run_after_all(
    tmp_path: Path, provider: SimulatedProcess, redis_url: str, client: Client
) -> None:
    process = prepared(tmp_path, provider, redis_url)
    async with running(process):
        payload = events.encode(rig.make_event("lost", model="plain", body=msgspec.Raw(b"{}")))
        with client.pipeline(transaction=True) as pipe:
            pipe.xadd(NAMES.hop("respond"), {"event": payload})
            # As when a transition took it along and its reply never came: only its connection
            # breaks, and no reader notices anything.
            pipe.xreadgroup("respond", process._consumer, {NAMES.hop("respond"): ">"})
            pipe.execute()
        [mine] = [
            row
            for row in client.client_list()
            if row["name"] == f"sluice-worker-{process._consumer}"
        ]
        client.client_kill_filter(_id=mine["id"])
        await rig.until(lambda: done(client) == {"lost": "completed"}, timeout_s=3)


async def test_what_a_dead_worker_held_is_taken_over_in_time(
    tmp_path: Path, provider: SimulatedProcess, redis_url: str, client: Client
) -> None:
    ask(client, "orphan")
    client.xgroup_create(NAMES.requests["default"], "route", "0")
    client.xreadgroup("route", "dead", {NAMES.requests["default"]: ">"})
    client.sadd(NAMES.workers, "dead")
    async with running(prepared(tmp_path, provider, redis_url)):
        await rig.until(lambda: done(client) == {"orphan": "completed"})


async def test_a_worker_tells_what_it_runs_and_withdraws_at_its_end(
    tmp_path: Path, provider: SimulatedProcess, redis_url: str, client: Client
) -> None:
    process = prepared(tmp_path, provider, redis_url)
    key = NAMES.worker(process._consumer)
    async with running(process):
        ask(client, "r1", "long")
        await rig.until(
            lambda: msgspec.json.decode(client.get(key) or b"{}").get("running") == {"call": 1}
        )
        client.hset(NAMES.record("r1"), "cancel", "1")
        ask(client, "r2")
        await rig.until(lambda: "r2" in done(client))
        process._settings = msgspec.structs.replace(
            process._settings,
            workers=msgspec.structs.replace(process._settings.workers, grace_s=0.1),
        )
    assert not client.exists(key)
    # What was not finished within the grace is left to others.
    assert client.xpending(NAMES.hop("call"), "call")["pending"] == 1


async def test_a_lapse_makes_it_look_what_others_have_claimed(
    tmp_path: Path, provider: SimulatedProcess, redis_url: str, client: Client
) -> None:
    process = prepared(tmp_path, provider, redis_url)
    async with running(process):
        ask(client, "r1", "long", stream=True)
        await rig.until(lambda: process._engine.holdings.held["call"])
        [entry] = process._engine.holdings.of("call")
        client.xclaim(NAMES.hop("call"), "call", "other", 0, [entry])
        client.set(NAMES.worker("other"), "{}")
        client.delete(NAMES.worker(process._consumer))
        await rig.until(lambda: len(process._engine.holdings) == 0)
    assert client.xpending(NAMES.hop("call"), "call")["consumers"] == [
        {"name": b"other", "pending": 1}
    ]


async def test_a_redis_that_is_not_there_is_one_clear_line(
    tmp_path: Path, provider: SimulatedProcess
) -> None:
    process = prepared(tmp_path, provider, f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(StartError, match="Redis cannot be reached"):
        await process.start()
    await process._upstream.close()


def test_no_two_starts_share_a_name() -> None:
    names = {consumer_name() for _ in range(100)}
    assert len(names) == 100
