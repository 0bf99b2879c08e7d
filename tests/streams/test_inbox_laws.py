"""Whatever of a reply an inbox brings, in whatever order: the reader ends with all of it."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import event as events
from pipeline.event import Closing
from pipeline.streams.inbox import Frame, Inbox, Watch
from pipeline.streams.link import Link
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

Row = tuple[str, bytes]


def write_reply(client: Client, generations: list[int]) -> list[Row]:
    """Write a reply whose generations have so many deltas; give its entries."""
    rows = [
        (f"{1_000_000_000 + generation}-{place}", b"%d.%d" % (generation, place))
        for generation, deltas in enumerate(generations, 1)
        for place in range(1, deltas + 1)
    ]
    closing = Closing(status="completed", generation=len(generations), deltas=generations[-1])
    rows.append(("1999999999-0", events.encode(closing)))
    client.flushdb()
    client.hset(NAMES.record("r1"), mapping={"status": "completed", "inboxes": "g"})
    for entry, lines in rows:
        client.xadd(NAMES.reply("r1"), {"event": lines}, entry)
    return rows


def bring(inbox: Inbox, row: Row) -> None:
    """Let the inbox bring a frame."""
    entry, lines = row
    inbox._take([(b"1-1", [b"r1", entry.encode() + b"\n" + lines])])


async def frames_of(watch: Watch) -> list[Frame]:
    """Hear all; a watch that has heard nothing for long asks by itself, as here at last."""
    await asyncio.sleep(0)
    await watch.resume()
    frames: list[Frame] = []
    async with asyncio.timeout(2):
        while not frames or frames[-1].kind != "closing":
            frames.append(await watch.next())
    assert watch.pop_ready() is None
    return frames


generations = st.lists(st.integers(1, 4), min_size=1, max_size=3)


#: Which entries the inbox brings, by number, and whether the loop turns after each.
brought = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=25)


@rig.law(80)
@given(generations=generations, brought=brought)
async def test_a_reader_ends_with_the_whole_of_the_reply_in_order(
    redis_url: str,
    link: Link,
    client: Client,
    generations: list[int],
    brought: list[tuple[int, bool]],
) -> None:
    rows = write_reply(client, generations)
    inbox = Inbox(redis_url, link, NAMES, "g")
    watch = inbox.watch("r1")
    for number, turns in brought:
        bring(inbox, rows[number % len(rows)])
        if turns:
            await asyncio.sleep(0)
    frames = await frames_of(watch)
    heard = [(frame.entry, frame.lines) for frame in frames if frame.kind != "restart"]
    assert heard == sorted(set(heard), key=rows.index)
    last = [row for row in rows if generation_of(row) == len(generations)]
    assert heard[-len(last) - 1 :] == [*last, rows[-1]]
    check_restarts(frames)


@rig.law(60)
@given(deltas=st.integers(1, 6), lost=st.sets(st.integers(0, 5)), brought=brought)
async def test_what_the_reply_itself_has_lost_holds_nobody_up(
    redis_url: str,
    link: Link,
    client: Client,
    deltas: int,
    lost: set[int],
    brought: list[tuple[int, bool]],
) -> None:
    rows = write_reply(client, [deltas])
    gone = {row for number, row in enumerate(rows[:-1]) if number in lost}
    for entry, _ in gone:
        client.xdel(NAMES.reply("r1"), entry)
    inbox = Inbox(redis_url, link, NAMES, "g")
    watch = inbox.watch("r1")
    for number, _ in brought:
        bring(inbox, rows[number % len(rows)])
    heard = [(frame.entry, frame.lines) for frame in await frames_of(watch)]
    assert heard == [row for row in rows if row in heard]
    assert {row for row in rows if row not in gone} <= set(heard)


def generation_of(row: Row) -> int:
    return int(row[0].partition("-")[0]) % 1_000_000_000


def check_restarts(frames: list[Frame]) -> None:
    """A restart stands before each change of the generation, and nowhere else."""
    kinds = [(generation_of((f.entry, b"")), f.kind) for f in frames if f.kind != "closing"]
    for (before, _), (generation, kind) in pairwise(kinds):
        assert (kind == "restart") == (before != generation)
    assert not kinds or kinds[0][1] == "delta"
