"""Moving: who waits where nobody is served any more comes back to the gate, which finds a place."""

from collections.abc import Callable
from typing import Final

from pipeline.event import Event, decode
from pipeline.limits.runner import Runner
from pipeline.limits.tickets import ticket_of
from pipeline.streams.link import LinkError, Reply

#: Waiting events that are looked at in one go.
_COUNT: Final = 500


async def move(runner: Runner, has_moved: Callable[[Event], bool]) -> int:
    """Wake the waiting events whose room is another one now; tells how many."""
    cursor: Reply = b"0"
    moved = 0
    while True:
        try:
            cursor, flat = await runner.link.call(
                "HSCAN", runner.names.parked, cursor, "COUNT", _COUNT
            )
        except LinkError:
            await runner.link.up()
            continue
        waiting = sorted(map(decode, flat[1::2]), key=lambda event: event.created)
        tickets = [ticket_of(event).encode() for event in waiting if has_moved(event)]
        await runner.wake(tickets)
        moved += len(tickets)
        if cursor == b"0":
            return moved
