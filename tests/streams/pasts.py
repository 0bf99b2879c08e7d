"""Makes requests that have ended, as the flow leaves them behind, and replays them."""

import json
from typing import Any, Final

import msgspec

from pipeline import clock
from pipeline import event as events
from pipeline.event import Event
from pipeline.streams.past import replaying, replays
from pipeline.streams.past.replaying import Replay
from pipeline.streams.past.replays import Asked, Progress
from tests.streams import rig
from tests.streams.rig import NAMES, Client

LARGE: Final = b'{"model":"m","messages":[],"pad":"' + b"x" * events.INLINE_BYTES + b'"}'


def end(client: Client, event: Event) -> None:
    """Write an ended event to `done`."""
    ended = msgspec.structs.replace(event, body=events.NO_BODY)
    client.xadd(NAMES.done, {"event": events.encode(ended), "id": event.id})


def past(client: Client, request_id: str, body: bytes = rig.BODY, **changes: object) -> Event:
    """Make a request that was accepted, ran and ended; its record and its body are still there."""
    travels = len(body) <= events.INLINE_BYTES
    given = {"status": "completed", "created": clock.now(), "body_bytes": len(body), **changes}
    event = rig.make_event(request_id, **given)
    event = msgspec.structs.replace(event, body=msgspec.Raw(body) if travels else events.NO_BODY)
    entry = client.xadd(NAMES.requests["default"], {"event": events.encode(event)}).decode()
    if not travels:
        client.set(NAMES.body(request_id), body, ex=100)
    facts = {"status": event.status, "entry": f"default:{entry}"}
    client.hset(NAMES.record(request_id), mapping=facts)
    end(client, event)
    return event


def produced(client: Client, request_id: str, **fields: object) -> Event:
    """Make one that a producer wrote in its own form, with `entry` in its event."""
    written = {"request_id": request_id, "model": "m", "prompt": "hi", **fields}
    lane = NAMES.requests["default"]
    entry = client.xadd(lane, {"event": json.dumps(written)}).decode()
    event = rig.make_event(
        request_id, status="completed", created=clock.now(), direct=True, entry=f"default:{entry}"
    )
    end(client, event)
    return event


def replayed(client: Client, lane: str = "low") -> list[Event]:
    """Read what a replay has put into a lane."""
    rows = client.xrange(NAMES.hop(f"requests:{lane}"))
    return [events.decode(fields[b"event"]) for _, fields in rows]


def asked(**changes: object) -> Asked:
    """Ask for what was created within the hour."""
    whole = Asked(since=clock.now() - 3600, until=clock.now() + 1)
    return msgspec.structs.replace(whole, **changes)


def begun(client: Client, **changes: object) -> Replay:
    """Begin a replay."""
    return Replay(client, NAMES, replays.begin(client, NAMES, asked(**changes)), "m")


def run(client: Client, *, most: int = replaying.BATCH, **changes: Any) -> Progress:
    """Replay to the end."""
    replay = begun(client, **changes)
    while replay.step(most):
        pass
    return replay.progress
