"""The shared connection: batches, scripts, and what is told when it is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis.exceptions

from pipeline.embedded.redis_server import EmbeddedRedis, free_port
from pipeline.streams.link import Link, LinkError
from pipeline.streams.scripts import WAKE
from tests.streams import rig
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio


async def test_replies_come_to_who_asked(link: Link) -> None:
    asked = [link.call("ECHO", f"{n}") for n in range(2_000)]
    assert await asyncio.gather(*asked) == [b"%d" % n for n in range(2_000)]


async def test_commands_of_one_turn_go_out_in_one_write(link: Link) -> None:
    traffic = link.traffic
    commands, writes = traffic.commands, traffic.writes
    await asyncio.gather(*(link.call("ECHO", f"{n}") for n in range(50)))
    assert (traffic.commands - commands, traffic.writes - writes) == (50, 1)
    assert traffic.reconnects == 0


async def test_an_error_is_told_to_who_caused_it_alone(link: Link, client: Client) -> None:
    client.set("text", "x")
    before, wrong, after = link.call("PING"), link.call("LPUSH", "text", "1"), link.call("PING")
    with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
        await wrong
    assert (await before, await after) == (b"PONG", b"PONG")


async def test_who_has_stopped_waiting_disturbs_nobody(link: Link) -> None:
    gone, stays = link.call("ECHO", "gone"), link.call("ECHO", "stays")
    gone.cancel()
    assert await stays == b"stays"


async def test_a_script_that_redis_forgot_is_sent_again(link: Link, client: Client) -> None:
    for _ in range(2):
        assert await link.run(WAKE, ["t:parked"], ["t", "1.0"]) == 0
        client.script_flush()


async def test_a_cut_connection_is_told_and_made_again(link: Link, client: Client) -> None:
    await link.call("SET", "a", "1")
    client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(LinkError):
        await link.call("INCR", "a")
    await asyncio.wait_for(link.up(), 2)
    assert client.get("a") == b"1"
    assert link.traffic.reconnects == 1
    assert await link.call("INCR", "a") == 2


async def test_each_connection_made_is_told(redis_url: str, client: Client) -> None:
    made: list[int] = []

    async def note() -> None:
        made.append(1)

    link = Link(redis_url, name="t", on_connect=note)
    await link.open()
    await rig.until(lambda: len(made) == 1)
    client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(LinkError):
        await link.call("PING")
    await rig.until(lambda: len(made) == 2)
    await link.close()


async def test_while_redis_is_away_nobody_has_to_wait_for_the_no(
    own_redis: EmbeddedRedis,
) -> None:
    async with rig.linked(own_redis.url) as link:
        own_redis.stop()
        for _ in range(3):
            with pytest.raises(LinkError):
                await asyncio.wait_for(link.call("PING"), 1)
        own_redis.start()
        await asyncio.wait_for(link.up(), 5)
        assert await link.call("PING") == b"PONG"


async def test_an_address_where_nobody_listens_fails_at_the_start() -> None:
    link = Link(f"redis://127.0.0.1:{free_port()}/0", name="t")
    with pytest.raises(LinkError):
        await link.open()
    await link.close()


@asynccontextmanager
async def deaf_server(answers: int) -> AsyncIterator[str]:
    """Serve a Redis that gives so many answers and then keeps silent with the line open."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(answers):
            await reader.read(4096)
            writer.write(b"+OK\r\n")
        await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        done.set()
        server.close()
        await server.wait_closed()


async def test_a_redis_that_keeps_silent_is_given_up() -> None:
    async with deaf_server(answers=1) as url:
        link = Link(url, name="t", timeout_s=0.2)
        await link.open()
        with pytest.raises(LinkError):
            await asyncio.wait_for(link.call("PING"), 2)
        await link.close()


async def test_closing_tells_who_still_waits(redis_url: str) -> None:
    link = Link(redis_url, name="t")
    await link.open()
    blocked = link.call("BLPOP", "nothing", "5")
    await asyncio.sleep(0.05)
    queued = link.call("PING")
    await link.close()
    for asked in (blocked, queued, link.call("PING")):
        with pytest.raises(LinkError):
            await asyncio.wait_for(asked, 1)


async def test_closing_tells_also_who_asked_in_the_same_turn(redis_url: str) -> None:
    link = Link(redis_url, name="t")
    await link.open()
    await link.call("PING")
    asked = link.call("PING")
    await link.close()
    with pytest.raises(LinkError):
        await asyncio.wait_for(asked, 1)
