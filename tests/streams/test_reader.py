"""Reading a group: never beyond the room there is, and on through whatever Redis answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from pipeline.streams.link import LinkError, Reply
from pipeline.streams.reader import GroupReader, Reading
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

GATE = NAMES.hop("gate")


class Desk:
    """Takes in what a reader reads, as far as there is room."""

    def __init__(self, room: int = 10) -> None:
        self.free = room
        self.entries: list[bytes] = []
        self.asked_for_groups = 0
        self.recovered = 0
        self._changed = asyncio.Event()

    def take(self, reply: Reply) -> int:
        taken = [fields[1] for _, rows in reply for _, fields in rows]
        self.entries += taken
        self.free -= len(taken)
        return len(taken)

    def make_room(self, room: int) -> None:
        self.free += room
        self._changed.set()

    async def wait_for_room(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def recover(self) -> None:
        self.recovered += 1

    async def make_groups(self) -> None:
        """Fail as while the other connection is still down."""
        self.asked_for_groups += 1
        raise LinkError("not yet")

    def reading(self) -> Reading:
        return Reading(
            group="gate",
            consumer="me",
            streams=[GATE],
            room=lambda: self.free,
            wait_for_room=self.wait_for_room,
            take=self.take,
            recover=self.recover,
            make_groups=self.make_groups,
        )


@asynccontextmanager
async def reads(url: str, reading: Reading) -> AsyncIterator[None]:
    reader = GroupReader(url, reading)
    await reader.start()
    try:
        yield
    finally:
        await reader.stop()


def fill(client: Client, count: int) -> None:
    for n in range(count):
        client.xadd(GATE, {"event": n})


async def test_no_more_is_read_than_there_is_room_for(redis_url: str, client: Client) -> None:
    rig.make_group(client, "gate", "gate")
    fill(client, 10)
    here = Desk(room=3)
    async with reads(redis_url, here.reading()):
        await rig.until(lambda: here.entries)
        await asyncio.sleep(0.05)
        assert here.entries == [b"0", b"1", b"2"]
        assert client.xpending(GATE, "gate")["pending"] == 3
        here.make_room(4)
        await rig.until(lambda: len(here.entries) == 7)


async def test_a_group_that_is_gone_is_asked_for_until_it_is_there(
    redis_url: str, client: Client
) -> None:
    here = Desk()
    async with reads(redis_url, here.reading()):
        await rig.until(lambda: here.asked_for_groups > 1)
        rig.make_group(client, "gate", "gate")
        fill(client, 1)
        await rig.until(lambda: here.entries == [b"0"])


async def test_a_redis_that_refuses_is_not_asked_without_a_pause(redis_url: str) -> None:
    here = Desk()
    async with reads(redis_url, here.reading()):
        await asyncio.sleep(0.35)
    assert 1 <= here.asked_for_groups <= 5


async def test_a_lost_connection_is_recovered_from(redis_url: str, client: Client) -> None:
    rig.make_group(client, "gate", "gate")
    here = Desk()
    async with reads(redis_url, here.reading()):
        await rig.until(lambda: any(row["cmd"] == "xreadgroup" for row in client.client_list()))
        client.client_kill_filter(_type="normal", skipme=True)
        await rig.until(lambda: here.recovered == 1)
        fill(client, 2)
        await rig.until(lambda: here.entries == [b"0", b"1"])


async def test_while_slots_are_scarce_entries_are_taken_by_rank_first(
    redis_url: str, client: Client
) -> None:
    rig.make_group(client, "gate", "gate")
    here = Desk(room=5)
    asked: list[int] = []

    async def take_ranked(room: int) -> int:
        asked.append(room)
        if len(asked) > 1:
            return 0
        here.free -= 1
        return 1

    async with reads(redis_url, msgspec.structs.replace(here.reading(), take_ranked=take_ranked)):
        await rig.until(lambda: asked == [5, 4])
        fill(client, 1)
        await rig.until(lambda: here.entries == [b"0"])
