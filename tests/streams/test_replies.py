"""Writing replies: numbers, generations, coalescing, and who is shut out."""

import pytest

from pipeline.outcome import Finish
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Argument, Link
from pipeline.streams.replies import Replies, ReplyWriter
from pipeline.streams.scripts import FLUSH
from tests.streams import rig
from tests.streams.rig import NAMES, Client, make_event

pytestmark = pytest.mark.anyio


@pytest.fixture
async def replies(link: Link) -> Replies:
    """Write replies of request r1, which is accepted and heard of by one inbox."""
    await link.call("XADD", NAMES.inbox("g"), "*", "hello", "1")
    await Ingress(link, NAMES).accept(make_event(), rig.BODY, inbox="g")
    return Replies(link, NAMES)


def reply_of(client: Client, request_id: str = "r1") -> list[tuple[str, bytes]]:
    rows = client.xrange(NAMES.reply(request_id))
    return [(entry.decode(), fields[b"event"]) for entry, fields in rows]


def inbox_of(client: Client) -> list[bytes]:
    rows = client.xrange(NAMES.inbox("g"))
    return [value for _, fields in rows for name, value in fields.items() if name == b"r1"]


async def write(writer: ReplyWriter, *lines: bytes) -> None:
    """Write each line in a flush of its own."""
    for line in lines:
        writer.write([line])
        await writer.flushed()


async def test_entries_are_numbered_by_turn_generation_and_place(
    replies: Replies, client: Client
) -> None:
    await write(replies.open("r1", 1_001_001), b"a", b"b")
    assert reply_of(client) == [("1001001001-1", b"a"), ("1001001001-2", b"b")]
    assert inbox_of(client) == [b"1001001001-1\na", b"1001001001-2\nb"]


async def test_the_turn_in_its_session_comes_before_the_generation(
    replies: Replies, link: Link, client: Client
) -> None:
    client.rpush(NAMES.session("s"), "earlier")
    await Ingress(link, NAMES).accept(make_event("r2", session="s"), rig.BODY)
    await write(replies.open("r2", 1), b"a")
    assert reply_of(client, "r2") == [("2000000001-1", b"a")]


async def test_the_first_goes_out_at_once_and_what_comes_meanwhile_as_one(
    replies: Replies, client: Client
) -> None:
    writer = replies.open("r1", 1)
    writer.write([b"a"])
    await rig.until(lambda: writer.place == 1)
    writer.write([b"b", b"c"])
    writer.write([b"d"])
    await writer.flushed()
    assert [lines for _, lines in reply_of(client)] == [b"a", b"b\nc\nd"]
    assert writer.place == 2


async def test_nothing_to_write_makes_no_entry(replies: Replies, client: Client) -> None:
    writer = replies.open("r1", 1)
    writer.write([])
    await writer.flushed()
    assert reply_of(client) == []
    assert writer.place == 0


async def test_many_replies_share_one_call_of_the_script(link: Link, client: Client) -> None:
    ingress, replies = Ingress(link, NAMES), Replies(link, NAMES)
    writers = [replies.open(f"r{n}", 1) for n in range(100)]
    for writer in writers:
        await ingress.accept(make_event(writer.request_id), rig.BODY)
    client.config_resetstat()
    for writer in writers:
        writer.write([b"a"])
    for writer in writers:
        await writer.flushed()
    stats = client.info("commandstats")
    assert stats.get("cmdstat_evalsha", {"calls": 0})["calls"] <= 2
    assert (replies.flushes, replies.deltas) == (1, 100)
    assert all(reply_of(client, w.request_id) == [("1000000001-1", b"a")] for w in writers)


async def test_a_newer_generation_shuts_out_the_late_writes_of_the_older(
    replies: Replies, client: Client
) -> None:
    old, new = replies.open("r1", 1), replies.open("r1", 2)
    await write(old, b"a")
    await write(new, b"b")
    await write(old, b"late")
    assert old.refused
    assert not old.cancelled
    assert not new.refused
    assert [lines for _, lines in reply_of(client)] == [b"a", b"b"]
    assert inbox_of(client) == [b"1000000001-1\na", b"1000000002-1\nb"]


async def test_a_refused_writer_takes_nothing_more(replies: Replies, client: Client) -> None:
    old = replies.open("r1", 1)
    await write(replies.open("r1", 2), b"b")
    await write(old, b"late", b"later")
    assert old.pending == []
    assert len(reply_of(client)) == 1


async def test_a_flush_that_is_repeated_writes_nothing_twice(
    replies: Replies, link: Link, client: Client
) -> None:
    args: list[Argument] = [NAMES.prefix, "r1", "000000001", 1, b"a"]
    assert await link.run(FLUSH, [NAMES.prefix], args) == [1]
    before = client.dump(NAMES.reply("r1")), client.dump(NAMES.inbox("g"))
    assert await link.run(FLUSH, [NAMES.prefix], args) == [1]
    assert (client.dump(NAMES.reply("r1")), client.dump(NAMES.inbox("g"))) == before


async def test_a_repeated_flush_of_what_a_newer_generation_superseded_is_refused(
    replies: Replies, link: Link
) -> None:
    args: list[Argument] = [NAMES.prefix, "r1", "000000001", 1, b"a"]
    assert await link.run(FLUSH, [NAMES.prefix], args) == [1]
    await write(replies.open("r1", 2), b"b")
    assert await link.run(FLUSH, [NAMES.prefix], args) == [0]


async def test_after_the_end_nothing_is_written(
    replies: Replies, link: Link, client: Client
) -> None:
    writer = replies.open("r1", 5)
    await write(writer, b"a")
    async with rig.desk(link, client) as here:
        run = here.deliver("respond", make_event(generation=5, deltas=1))
        await here.carry((run, Finish(run.event)))
    await write(writer, b"late")
    assert writer.refused
    assert [lines for _, lines in reply_of(client)][:-1] == [b"a"]


async def test_of_a_request_that_redis_does_not_know_nothing_is_written(
    replies: Replies, client: Client
) -> None:
    writer = replies.open("unknown", 1)
    await write(writer, b"a")
    assert writer.refused
    assert not client.exists(NAMES.reply("unknown"))


async def test_a_cancelled_request_tells_its_writer(replies: Replies, client: Client) -> None:
    writer = replies.open("r1", 1)
    await write(writer, b"a")
    client.hset(NAMES.record("r1"), "cancel", "1")
    await write(writer, b"b")
    assert writer.refused
    assert writer.cancelled
    assert len(reply_of(client)) == 1


async def test_a_full_redis_still_takes_deltas(replies: Replies, client: Client) -> None:
    client.config_set("maxmemory", 1)
    try:
        await write(replies.open("r1", 1), b"a")
    finally:
        client.config_set("maxmemory", 0)
    assert len(reply_of(client)) == 1


async def test_writes_go_on_after_the_connection_was_cut(replies: Replies, client: Client) -> None:
    writer = replies.open("r1", 1)
    await write(writer, b"a")
    client.client_kill_filter(_type="normal", skipme=True)
    await write(writer, b"b")
    assert [lines for _, lines in reply_of(client)] == [b"a", b"b"]


async def test_a_lost_script_is_sent_again(replies: Replies, client: Client) -> None:
    client.script_flush()
    await write(replies.open("r1", 1), b"a")
    assert len(reply_of(client)) == 1


async def test_a_head_goes_out_beside_the_first_lines_alone(
    replies: Replies, client: Client
) -> None:
    writer = replies.open("r1", 1)
    writer.head = b'{"attempts":1}'
    await write(writer, b"a\nb", b"c")
    (_, first), (_, second) = client.xrange(NAMES.reply("r1"))
    assert first == {b"event": b"a b", b"head": b'{"attempts":1}'}
    assert second == {b"event": b"c"}
    assert inbox_of(client) == [b'1000000001-1\n#{"attempts":1}\na b', b"1000000001-2\nc"]


async def test_a_flush_with_a_head_that_is_asked_again_is_written_once(
    replies: Replies, link: Link, client: Client
) -> None:
    args: list[Argument] = [NAMES.prefix, "r1", "000000001", 1, b"#{}\na"]
    for _ in range(2):
        assert await link.run(FLUSH, [NAMES.prefix], args) == [1]
    assert reply_of(client) == [("1000000001-1", b"a")]
