"""The faults: each strikes the ground once, and ends by itself unless `Ground.recover` ends it."""

import json
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import redis

from pipeline.flow import HOPS, ROUTE
from pipeline.names import LANES
from tests.crash.chaos.ground import LADDER, Ground
from tests.house_of_sluice import kill_family, signal_family
from tests.waiting import eventually

Fault = Callable[[Ground], None]

#: Longer than a worker's sign of life lasts, in seconds.
_FROZEN_S = 1.6

#: Longer than our connections wait for Redis, in seconds.
_LONG_FROZEN_S = 10.0

_HOP_STREAMS = [(hop.name, hop.name) for hop in HOPS if hop.name != ROUTE]
_READ = [*((f"requests:{lane}", ROUTE) for lane in LANES), *_HOP_STREAMS, ("done", "callback")]


def _pass(seconds: float) -> None:
    ended = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= ended)


def kill_worker(ground: Ground) -> None:
    """Kill a worker, and whatever it was moving, sweeping or claiming."""
    ground.kill_worker()


def kill_all_workers(ground: Ground) -> None:
    """Kill all workers at once: nobody is left to move or claim."""
    for _ in range(len(ground.workers)):
        ground.kill_worker()


def kill_gateway(ground: Ground) -> None:
    """Kill the gateway with all who wait at it."""
    assert ground.gateway
    kill_family(ground.gateway)
    ground.respawn_gateway()


def stop_worker(ground: Ground) -> None:
    """Stop a worker until it counts as dead and others have had the time to take over; go on."""
    worker = ground.chance.choice(ground.workers)
    signal_family(worker, signal.SIGSTOP)
    try:
        # A disk that stalls holds Redis up for as long, and with it this question.
        eventually(lambda: not ground.shows_life(worker), 40.0, "the lapse of a sign of life")
        _pass(0.5)
    finally:
        signal_family(worker, signal.SIGCONT)


def restart_redis(ground: Ground) -> None:
    """Kill Redis and start it again."""
    ground.house.redis.kill()
    _pass(ground.chance.uniform(0, 0.4))
    ground.house.redis.start()


def _freeze(ground: Ground, seconds: float) -> None:
    ground.signal_redis(signal.SIGSTOP)
    try:
        _pass(seconds)
    finally:
        ground.signal_redis(signal.SIGCONT)


def freeze_redis(ground: Ground) -> None:
    """Freeze Redis for longer than signs of life last."""
    _freeze(ground, _FROZEN_S)


def freeze_redis_long(ground: Ground) -> None:
    """Freeze Redis for longer than anybody waits for it."""
    _freeze(ground, _LONG_FROZEN_S)


def fill_memory(ground: Ground) -> None:
    """Put Redis over its memory limit for a while."""
    client = ground.house.client
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) // 2)
    _pass(ground.chance.uniform(0.5, 1.5))
    client.config_set("maxmemory", 0)


def cut_redis(ground: Ground) -> None:
    """Cut connections to Redis, or throw away replies on them: all, or one part's."""
    assert ground.to_redis
    parts = ["", "sluice-worker-", "sluice-gateway-", "sluice-route-", "inbox"]
    whose = ground.chance.choice(parts)
    act = ground.chance.choice([ground.to_redis.cut, ground.to_redis.rob])
    act(whose)


def stall_redis(ground: Ground) -> None:
    """Let connections to Redis stand open and silent for longer than signs of life last."""
    assert ground.to_redis
    ground.to_redis.stall()
    _pass(_FROZEN_S)
    ground.to_redis.cut()
    ground.to_redis.go_on()


def cut_provider(ground: Ground) -> None:
    """Cut the connections to the provider in mid-call."""
    assert ground.to_provider
    ground.to_provider.cut()


def destroy_group(ground: Ground) -> None:
    """Destroy a consumer group with all that it has pending."""
    stream, group = ground.chance.choice(_READ)
    with suppress(redis.ResponseError):
        ground.house.client.xgroup_destroy(ground.house.names.hop(stream), group)


def trim_hop(ground: Ground) -> None:
    """Trim the stream of a hop, or a rung, to nothing."""
    rungs = [(f"rung:{seconds}", "") for seconds in LADDER]
    _trim(ground, *ground.chance.choice([*_HOP_STREAMS, *rungs]))


def trim_done(ground: Ground) -> None:
    """Trim `done` to nothing."""
    _trim(ground, "done", "callback")


def _trim(ground: Ground, stream: str, group: str) -> None:
    key = ground.house.names.hop(stream)
    with ground.house.client.pipeline(transaction=True) as pipe:
        pipe.xrange(key)
        pipe.xtrim(key, maxlen=0, approximate=False)
        gone, _ = pipe.execute(raise_on_error=False)
    ids = {str(json.loads(fields["event"])["id"]) for _, fields in gone}
    ground.trimmed[stream] = ground.trimmed.get(stream, set()) | ids


#: All faults by name.
KINDS: Mapping[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_worker, kill_all_workers, kill_gateway, stop_worker, restart_redis, freeze_redis,
        freeze_redis_long, fill_memory, cut_redis, stall_redis, cut_provider, destroy_group,
        trim_hop, trim_done,
    )
}  # fmt: skip
