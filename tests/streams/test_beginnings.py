"""Going on with an answer that was cut: what stands, who is shut out, and who is not."""

import pytest

from pipeline.streams.inbox import TURN
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Link
from pipeline.streams.replies import Beginning, Replies, ReplyWriter
from tests.streams import rig
from tests.streams.rig import NAMES, Client, make_event

pytestmark = pytest.mark.anyio

FIRST, SECOND, THIRD = 1_001_001, 1_002_001, 1_003_001


@pytest.fixture
async def replies(link: Link) -> Replies:
    """Write replies of request r1, which is accepted and heard of by one inbox."""
    await link.call("XADD", NAMES.inbox("g"), "*", "hello", "1")
    await Ingress(link, NAMES).accept(make_event(), rig.BODY, inbox="g")
    return Replies(link, NAMES)


def reply_of(client: Client) -> list[tuple[int, int, bytes]]:
    rows = []
    for entry, fields in client.xrange(NAMES.reply("r1")):
        generation, place = map(int, entry.split(b"-"))
        rows.append((generation % TURN, place, fields[b"event"]))
    return rows


async def write(writer: ReplyWriter, *lines: bytes) -> None:
    """Write each line in a flush of its own."""
    for line in lines:
        writer.write([line])
        await writer.flushed()


async def begun(replies: Replies, number: int = FIRST) -> ReplyWriter:
    """Write the beginning of an answer."""
    writer = replies.open("r1", number)
    writer.head = b"{}"
    await write(writer, b"a", b"b")
    return writer


async def gone_on(replies: Replies, number: int) -> ReplyWriter:
    beginning = await replies.beginning("r1", number)
    assert beginning
    return replies.go_on("r1", number, beginning)


async def test_what_stands_is_read_without_its_head(replies: Replies) -> None:
    await begun(replies)
    assert await replies.beginning("r1", SECOND) == Beginning(
        generation=FIRST, place=2, entries=[b"a", b"b"]
    )


async def test_of_several_generations_the_latest_stands(replies: Replies) -> None:
    await begun(replies)
    await write(replies.open("r1", SECOND), b"c")
    found = await replies.beginning("r1", THIRD)
    assert found == Beginning(generation=SECOND, place=1, entries=[b"c"])


async def test_where_nothing_stands_there_is_no_beginning(replies: Replies) -> None:
    assert await replies.beginning("r1", SECOND) is None
    assert await replies.beginning("nobody", SECOND) is None


async def test_readers_hear_of_one_answer(replies: Replies, client: Client) -> None:
    await begun(replies)
    await write(await gone_on(replies, SECOND), b"c", b"d")
    await write(await gone_on(replies, THIRD), b"e")
    texts = [b"a", b"b", b"c", b"d", b"e"]
    assert reply_of(client) == [(FIRST, at, text) for at, text in enumerate(texts, 1)]
    heard = [value for _, fields in client.xrange(NAMES.inbox("g")) for value in fields.values()]
    assert heard[-1] == b"1001001001-5\ne"


@pytest.mark.parametrize("wrote", [False, True])
async def test_whoever_was_cut_writes_no_more(
    replies: Replies, client: Client, *, wrote: bool
) -> None:
    cut = await begun(replies)
    going_on = await gone_on(replies, SECOND)
    if wrote:
        await write(going_on, b"c")
    await write(cut, b"late")
    assert cut.refused
    if not wrote:
        await write(going_on, b"c")
    assert [text for _, _, text in reply_of(client)] == [b"a", b"b", b"c"]
    assert not going_on.refused


async def test_a_call_that_comes_too_late_goes_on_with_nothing(
    replies: Replies, client: Client
) -> None:
    await begun(replies)
    late, latest = await gone_on(replies, SECOND), await gone_on(replies, THIRD)
    await write(late, b"late")
    assert late.refused
    assert await replies.beginning("r1", SECOND) is None
    anew = replies.open("r1", SECOND)
    await write(anew, b"late, too")
    assert anew.refused
    await write(latest, b"c")
    assert [text for _, _, text in reply_of(client)] == [b"a", b"b", b"c"]


async def test_a_later_call_may_begin_anew(replies: Replies, client: Client) -> None:
    await begun(replies)
    await write(await gone_on(replies, SECOND), b"c")
    await write(replies.open("r1", THIRD), b"anew")
    assert reply_of(client)[-1] == (THIRD, 1, b"anew")


async def test_the_call_that_was_cut_may_read_what_it_left(replies: Replies) -> None:
    await begun(replies)
    assert await replies.beginning("r1", FIRST)
    assert await replies.beginning("r1", SECOND)


async def test_nothing_stands_of_what_has_ended_or_is_cancelled(
    replies: Replies, client: Client
) -> None:
    await begun(replies)
    client.hset(NAMES.record("r1"), "cancel", "client")
    assert await replies.beginning("r1", SECOND) is None
    client.hdel(NAMES.record("r1"), "cancel")
    client.hset(NAMES.record("r1"), "status", "completed")
    assert await replies.beginning("r1", SECOND) is None


async def test_a_full_redis_still_tells_what_stands(replies: Replies, client: Client) -> None:
    await begun(replies)
    client.config_set("maxmemory", 1)
    try:
        await write(await gone_on(replies, SECOND), b"c")
    finally:
        client.config_set("maxmemory", 0)
    assert len(reply_of(client)) == 3
