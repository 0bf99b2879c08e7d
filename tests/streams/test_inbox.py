"""Reading replies: what an inbox brings, and how a reader gets what it did not bring."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.names import Names
from pipeline.outcome import Finish
from pipeline.streams import inbox as inboxes
from pipeline.streams.inbox import Frame, Inbox, Watch
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Link
from pipeline.streams.replies import Replies, ReplyWriter
from tests.streams import rig
from tests.streams.rig import NAMES, Client, make_event

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let signs of life be given, and silence be noticed, within a test's time."""
    monkeypatch.setattr(inboxes, "BLOCK_S", 0.1)
    monkeypatch.setattr(inboxes, "SILENCE_S", 0.2)


class Post:
    """An open inbox, and the other side: who accepts, writes and ends requests."""

    def __init__(self, url: str, link: Link, names: Names) -> None:
        self.inbox = Inbox(url, link, names, "g")
        self.ingress = Ingress(link, names)
        self.replies = Replies(link, names)
        self.link = link

    async def ask(self, request_id: str = "r1", inbox: str = "g") -> Watch:
        """Accept a request and watch it."""
        watch = self.inbox.watch(request_id)
        await self.ingress.accept(make_event(request_id), rig.BODY, inbox=inbox)
        return watch

    async def write(self, writer: ReplyWriter, *lines: bytes) -> None:
        """Write each line in an entry of its own."""
        for line in lines:
            writer.write([line])
            await writer.flushed()

    async def write_unheard(self, writer: ReplyWriter, *lines: bytes) -> None:
        """Write while the inbox does not stand in the record: as when it was trimmed."""
        record = NAMES.record(writer.request_id)
        listed = await self.link.call("HGET", record, "inboxes")
        await self.link.call("HSET", record, "inboxes", "")
        await self.write(writer, *lines)
        await self.link.call("HSET", record, "inboxes", listed)

    async def end(self, client: Client, writer: ReplyWriter, response: bytes = b"") -> None:
        """Let the request end."""
        event = make_event(writer.request_id, generation=writer.generation, deltas=writer.place)
        if response:
            client.hset(NAMES.record(writer.request_id), "response", response)
        async with rig.desk(self.link, client) as here:
            run = here.deliver("respond", event)
            await here.carry((run, Finish(run.event)))


@asynccontextmanager
async def opened(url: str, link: Link) -> AsyncIterator[Post]:
    post = Post(url, link, NAMES)
    await post.inbox.open()
    try:
        yield post
    finally:
        await post.inbox.close()


@pytest.fixture
async def post(redis_url: str, link: Link) -> AsyncIterator[Post]:
    """Open an inbox."""
    async with opened(redis_url, link) as here:
        yield here


async def hear(watch: Watch, *, until: str = "closing") -> list[Frame]:
    """Hear frames up to the first of a kind."""
    frames: list[Frame] = []
    async with asyncio.timeout(5):
        while not frames or frames[-1].kind != until:
            frames.append(await watch.next())
    return frames


def texts(frames: list[Frame]) -> list[bytes]:
    return [frame.lines if frame.kind == "delta" else frame.kind.encode() for frame in frames]


async def test_frames_come_in_order_and_end_with_the_closing(post: Post, client: Client) -> None:
    watch = await post.ask()
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"a", b"b")
    await post.end(client, writer, b'{"whole":1}')
    frames = await hear(watch)
    assert texts(frames) == [b"a", b"b", b"closing"]
    assert [frame.entry for frame in frames] == ["1000000001-1", "1000000001-2", "1999999999-0"]
    assert frames[-1].response == b""
    assert watch.pop_ready() is None


async def test_the_whole_response_comes_with_the_closing_to_who_asked(
    post: Post, client: Client
) -> None:
    watch = await post.ask(inbox="g+")
    await post.end(client, post.replies.open("r1", 1), b'{"whole":1}')
    [closing] = await hear(watch)
    assert closing.response == b'{"whole":1}'


async def test_each_watch_hears_of_its_own_request_alone(post: Post, client: Client) -> None:
    watches = [await post.ask(f"r{n}") for n in range(5)]
    for watch in watches:
        writer = post.replies.open(watch.request_id, 1)
        await post.write(writer, watch.request_id.encode())
        await post.end(client, writer)
    for watch in watches:
        assert texts(await hear(watch)) == [watch.request_id.encode(), b"closing"]


async def test_two_watches_of_one_request_hear_the_same(post: Post, client: Client) -> None:
    first = await post.ask()
    second = post.inbox.watch("r1")
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"a")
    await post.end(client, writer)
    assert await hear(first) == await hear(second)


async def test_a_gap_is_filled_from_the_reply(post: Post, client: Client) -> None:
    watch = await post.ask()
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"a")
    await post.write_unheard(writer, b"b", b"c")
    await post.write(writer, b"d")
    await post.end(client, writer)
    assert texts(await hear(watch)) == [b"a", b"b", b"c", b"d", b"closing"]


async def test_an_end_after_a_gap_waits_for_what_is_missing(post: Post, client: Client) -> None:
    watch = await post.ask()
    writer = post.replies.open("r1", 1)
    await post.write_unheard(writer, b"a", b"b")
    await post.end(client, writer)
    assert texts(await hear(watch)) == [b"a", b"b", b"closing"]


async def test_a_new_generation_begins_the_reply_anew(post: Post, client: Client) -> None:
    watch = await post.ask()
    await post.write(post.replies.open("r1", 1), b"old")
    again = post.replies.open("r1", 2)
    await post.write(again, b"new", b"newer")
    await post.end(client, again)
    assert texts(await hear(watch)) == [b"old", b"restart", b"new", b"newer", b"closing"]


async def test_nobody_notices_a_generation_of_which_nothing_was_heard(
    post: Post, client: Client
) -> None:
    watch = await post.ask()
    again = post.replies.open("r1", 2)
    await post.write(again, b"new")
    await post.end(client, again)
    assert texts(await hear(watch)) == [b"new", b"closing"]


async def test_a_late_watch_gets_the_past_and_then_the_rest(post: Post, client: Client) -> None:
    await post.ingress.accept(make_event(), rig.BODY)
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"a", b"b")
    watch = post.inbox.watch("r1")
    record = await watch.resume()
    assert record is not None
    assert record["status"] == b"queued"
    await post.write(writer, b"c")
    await post.end(client, writer)
    assert texts(await hear(watch)) == [b"a", b"b", b"c", b"closing"]


async def test_a_watch_resumes_behind_the_place_it_names(post: Post, client: Client) -> None:
    await post.ingress.accept(make_event(), rig.BODY)
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"a", b"b", b"c")
    await post.end(client, writer, b'{"whole":1}')
    watch = post.inbox.watch("r1", after="1000000001-2")
    await watch.resume()
    frames = await hear(watch)
    assert texts(frames) == [b"c", b"closing"]
    assert frames[-1].response == b'{"whole":1}'


async def test_a_reader_stands_in_the_record_once(post: Post, client: Client) -> None:
    for request_id, inbox in (("r1", "g"), ("r2", "g+"), ("r3", "other")):
        watch = await post.ask(request_id, inbox)
        await watch.resume()
        await watch.resume()
    listed = [client.hget(NAMES.record(name), "inboxes") for name in ("r1", "r2", "r3")]
    assert listed == [b"g", b"g+", b"other g"]


async def test_a_request_that_redis_does_not_know_is_lost(post: Post) -> None:
    watch = post.inbox.watch("unknown")
    assert await watch.resume() is None
    assert texts(await hear(watch, until="lost")) == [b"lost"]


@pytest.mark.parametrize("gone", [[1], [2], [3], [4], [2, 3], [1, 2, 3, 4]])
async def test_what_is_gone_from_the_reply_itself_does_not_hold_up_the_end(
    post: Post, client: Client, gone: list[int]
) -> None:
    await post.ingress.accept(make_event(), rig.BODY)
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"1", b"2", b"3", b"4")
    await post.end(client, writer)
    client.xdel(NAMES.reply("r1"), *(f"1000000001-{place}" for place in gone))
    watch = post.inbox.watch("r1")
    async with asyncio.timeout(2):
        await watch.resume()
    left = [b"%d" % place for place in range(1, 5) if place not in gone]
    assert texts(await hear(watch)) == [*left, b"closing"]


async def test_a_closed_watch_hears_nothing_more(post: Post) -> None:
    watch = await post.ask()
    other = post.inbox.watch("r1")
    watch.close()
    assert post.inbox.watching == 1
    await post.write(post.replies.open("r1", 1), b"a")
    await hear(other, until="delta")
    assert watch.pop_ready() is None
    other.close()
    assert post.inbox.watching == 0


async def test_an_inbox_that_expired_is_made_anew_and_nothing_is_missed(
    post: Post, client: Client
) -> None:
    watch = await post.ask()
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"a")
    client.delete(NAMES.inbox("g"))
    await post.write(writer, b"b")
    await post.end(client, writer)
    assert texts(await hear(watch)) == [b"a", b"b", b"closing"]
    await rig.until(lambda: client.exists(NAMES.inbox("g")))


async def test_whoever_waits_in_silence_asks_whether_it_is_over(post: Post, client: Client) -> None:
    watch = await post.ask(inbox="")
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"a")
    await post.end(client, writer)
    assert texts(await hear(watch)) == [b"a", b"closing"]


async def test_an_emptied_redis_tells_the_waiting_that_all_is_lost(
    post: Post, client: Client
) -> None:
    watch = await post.ask()
    client.flushall()
    assert texts(await hear(watch, until="lost")) == [b"lost"]


async def test_a_cut_connection_costs_nothing(post: Post, client: Client) -> None:
    watch = await post.ask()
    writer = post.replies.open("r1", 1)
    await post.write(writer, b"a")
    client.client_kill_filter(_type="normal", skipme=True)
    await post.write(writer, b"b")
    await post.write(writer, b"c")
    await post.end(client, writer)
    assert texts(await hear(watch)) == [b"a", b"b", b"c", b"closing"]


async def test_a_restarted_redis_costs_nothing(own_redis: EmbeddedRedis) -> None:
    async with rig.linked(own_redis.url) as link, opened(own_redis.url, link) as post:
        watch = await post.ask()
        writer = post.replies.open("r1", 1)
        await post.write(writer, b"a")
        await asyncio.to_thread(own_redis.stop)
        await asyncio.to_thread(own_redis.start)
        await post.write(writer, b"b")
        with rig.connect(own_redis.url) as client:
            await post.end(client, writer)
        assert texts(await hear(watch)) == [b"a", b"b", b"closing"]


async def test_a_gateway_is_listed_while_it_lives(
    redis_url: str, link: Link, client: Client
) -> None:
    async with opened(redis_url, link):
        assert client.zrange(NAMES.gateways, 0, -1) == [b"g"]
        assert 0 < client.ttl(NAMES.inbox("g")) <= inboxes.INBOX_TTL_S
    assert not client.exists(NAMES.gateways)
    assert not client.exists(NAMES.inbox("g"))


async def test_a_head_comes_with_the_first_frame_also_to_who_missed_it(
    post: Post, client: Client
) -> None:
    watch = await post.ask()
    writer = post.replies.open("r1", 1)
    writer.head = b"{}"
    await post.write(writer, b"a", b"b")
    late = post.inbox.watch("r1")
    await late.resume()
    for reader in (watch, late):
        first, second = await reader.next(), await reader.next()
        assert (first.lines, first.head) == (b"a", b"{}")
        assert (second.lines, second.head) == (b"b", b"")
    await post.end(client, writer)
