"""Calls under way hear that they were cancelled, also where the first look for it failed."""

import asyncio

import pytest

from pipeline.errors import Cancelled
from pipeline.event import Line, written
from pipeline.streams.cancels import Cancels
from pipeline.streams.link import Link, LinkError
from tests.streams import rig
from tests.streams.rig import NAMES, Client, make_event

pytestmark = pytest.mark.anyio


async def call(cancels: Cancels, request_id: str = "r1") -> str:
    try:
        with cancels.guard(make_event(request_id)):
            await asyncio.sleep(30)
    except Cancelled as cancelled:
        return cancelled.message
    return "answered"


async def under_way(cancels: Cancels, request_id: str = "r1") -> asyncio.Task[str]:
    task = asyncio.create_task(call(cancels, request_id))
    await asyncio.sleep(0)
    return task


def cancelled(client: Client, request_id: str = "r1") -> None:
    client.hset(NAMES.record(request_id), "cancel", "operator")


async def test_only_the_cancelled_call_ends(link: Link, client: Client) -> None:
    cancels = Cancels(link, NAMES)
    one, other = await under_way(cancels), await under_way(cancels, "r2")
    cancelled(client)
    await cancels.notice(b"1")
    assert "cancelled during its call" in await asyncio.wait_for(one, 3)
    assert not other.done()
    other.cancel()
    # Who is ended for another reason was not cancelled by anybody.
    with pytest.raises(asyncio.CancelledError):
        await other


async def test_a_notice_that_says_nothing_new_asks_nothing(redis_url: str, client: Client) -> None:
    async with rig.linked(redis_url) as link:
        cancels = Cancels(link, NAMES)
        await cancels.notice(b"1")
        task = await under_way(cancels)
        cancelled(client)
        await link.close()
        await cancels.notice(b"1")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_look_that_failed_is_made_again(redis_url: str, client: Client) -> None:
    lost = Link(redis_url, name="lost")
    cancels = Cancels(lost, NAMES)
    task = await under_way(cancels)
    cancelled(client)
    with pytest.raises(LinkError):
        await cancels.notice(b"1")
    await lost.open()
    try:
        await cancels.notice(b"1")
        assert "cancelled" in await asyncio.wait_for(task, 3)
    finally:
        await lost.close()


@pytest.mark.parametrize("ended_s_ago", [3600, -3600])
async def test_what_was_forwarded_before_the_last_cancel_is_looked_at(
    link: Link, client: Client, ended_s_ago: float
) -> None:
    cancels = Cancels(link, NAMES)
    seconds, _ = client.time()
    end = seconds - ended_s_ago
    event = written(make_event("r1"), Line(hop="gate", start=end, end=end))
    cancelled(client)
    if ended_s_ago > 0:
        with pytest.raises(Cancelled):
            await cancels.check(event)
    else:
        await cancels.check(event)
