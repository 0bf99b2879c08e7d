"""Accepting what may come more than once: whose key it is, and what that one's state says."""

import asyncio
from typing import Final

import msgspec
import pytest

from pipeline import clock
from pipeline.errors import Conflict, InProgress, QueueFull, SluiceError
from pipeline.event import Event
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Link
from pipeline.streams.once import Accepted, Once, digest
from tests.streams import rig
from tests.streams.rig import BODY, NAMES, Client, ids, make_event
from tests.wire import Wire

pytestmark = pytest.mark.anyio

KEYED: Final = Once(key="k", fingerprint="f")
SHARED: Final = KEYED.shared
KEY: Final = NAMES.idempotency("k")


def dedupe(**changes: object) -> Once:
    once = Once(key="k", fingerprint="-", on_duplicate="join", dedupe_s=60)
    return msgspec.structs.replace(once, **changes)


def fresh(request_id: str, **changes: object) -> Event:
    return make_event(request_id, created=clock.now(), **changes)


@pytest.fixture
def ingress(link: Link) -> Ingress:
    """Give the door under test."""
    return Ingress(link, NAMES)


async def end(client: Client, request_id: str, status: str) -> None:
    """Write the end of a request into its record."""
    client.hset(NAMES.record(request_id), "status", status)


async def refused(ingress: Ingress, event: Event, once: Once) -> SluiceError:
    """Accept what is to be refused; give the refusal."""
    with pytest.raises(SluiceError) as raised:
        await ingress.accept(event, BODY, once=once)
    return raised.value


async def test_the_first_with_a_key_is_accepted_and_holds_it(
    ingress: Ingress, client: Client
) -> None:
    accepted = await ingress.accept(make_event("a"), BODY, once=KEYED)
    assert accepted.id == "a"
    assert client.hgetall(KEY) == {b"id": b"a", b"fingerprint": b"f"}
    assert client.hget(NAMES.record("a"), "idempotency") == b"k"
    assert client.ttl(KEY) == -1, "what is under way keeps its key for as long as it takes"


async def test_while_it_is_under_way_another_is_told_to_come_back(
    ingress: Ingress, client: Client
) -> None:
    await ingress.accept(fresh("a"), BODY, once=KEYED)
    error = await refused(ingress, fresh("b"), KEYED)
    assert isinstance(error, InProgress)
    assert 1 <= error.retry_after_s <= 2
    assert ids(client, "requests:default") == ["a"]
    assert not client.exists(NAMES.record("b"))


async def test_the_pause_grows_with_the_age_of_what_is_under_way(ingress: Ingress) -> None:
    await ingress.accept(make_event("a", created=clock.now() - 10), BODY, once=KEYED)
    assert (await refused(ingress, fresh("b"), KEYED)).retry_after_s == pytest.approx(10, abs=1)
    other = Once(key="other", fingerprint="f")
    await ingress.accept(make_event("old", created=clock.now() - 1000), BODY, once=other)
    assert (await refused(ingress, fresh("b"), other)).retry_after_s == 30


async def test_who_wants_to_be_attached_is_told_whom_to(ingress: Ingress, client: Client) -> None:
    await ingress.accept(make_event("a"), BODY, once=KEYED)
    assert await ingress.accept(make_event("b"), BODY, once=SHARED) == Accepted(id="a")
    assert ids(client, "requests:default") == ["a"]


async def test_nobody_is_attached_to_what_is_being_cancelled(
    ingress: Ingress, client: Client
) -> None:
    await ingress.accept(make_event("a"), BODY, once=KEYED)
    client.hset(NAMES.record("a"), "cancel", "client_gone")
    assert isinstance(await refused(ingress, make_event("b"), SHARED), InProgress)
    client.hset(NAMES.record("a"), "status", "cancelled")
    assert (await ingress.accept(make_event("b"), BODY, once=SHARED)).id == "b"


async def test_the_answer_of_a_completed_one_is_given_again(
    ingress: Ingress, client: Client
) -> None:
    await ingress.accept(make_event("a"), BODY, once=KEYED)
    await end(client, "a", "completed")
    again = await ingress.accept(make_event("b"), BODY, once=KEYED)
    assert again == Accepted(id="a", replayed=True)


@pytest.mark.parametrize("status", ["queued", "running", "completed"])
async def test_another_fingerprint_is_a_conflict(
    ingress: Ingress, client: Client, status: str
) -> None:
    await ingress.accept(make_event("a"), BODY, once=KEYED)
    await end(client, "a", status)
    other = Once(key="k", fingerprint="g", on_duplicate="attach")
    assert isinstance(await refused(ingress, make_event("b"), other), Conflict)


@pytest.mark.parametrize("status", ["failed", "cancelled", "gone"])
@pytest.mark.parametrize("fingerprint", ["f", "g"])
async def test_the_key_of_what_was_not_answered_is_free(
    ingress: Ingress, client: Client, status: str, fingerprint: str
) -> None:
    await ingress.accept(make_event("a"), BODY, once=KEYED)
    client.expire(KEY, 100)
    if status == "gone":
        client.delete(NAMES.record("a"))
    else:
        await end(client, "a", status)
    once = Once(key="k", fingerprint=fingerprint)
    assert (await ingress.accept(make_event("b"), BODY, once=once)).id == "b"
    assert client.hgetall(KEY) == {b"id": b"b", b"fingerprint": fingerprint.encode()}
    assert client.ttl(KEY) == -1, "the earlier holder's time to live must not count"


async def test_of_many_at_once_one_is_accepted(ingress: Ingress, client: Client) -> None:
    asked = (ingress.accept(make_event(f"r{n}"), BODY, once=SHARED) for n in range(50))
    answers = await asyncio.gather(*asked)
    assert {answer.id for answer in answers} == {"r0"}
    assert ids(client, "requests:default") == ["r0"]


async def test_its_own_repetition_after_a_lost_reply_finds_it_accepted(
    redis_url: str, client: Client
) -> None:
    with Wire(int(redis_url.rpartition(":")[2].partition("/")[0])) as wire:
        async with rig.linked(wire.url) as link:
            ingress = Ingress(link, NAMES)
            await ingress.accept(make_event("warm"), BODY)
            wire.rob()
            accepted = await ingress.accept(make_event("a"), BODY, once=KEYED)
    assert wire.thefts == 1
    assert accepted.entry
    assert ids(client, "requests:default") == ["warm", "a"]


async def test_a_full_redis_gives_nobody_the_key(ingress: Ingress, client: Client) -> None:
    client.config_set("maxmemory", 1)
    try:
        assert isinstance(await refused(ingress, make_event("a"), KEYED), QueueFull)
    finally:
        client.config_set("maxmemory", 0)
    assert client.keys("*") == []


async def test_without_a_key_nothing_more_is_asked_of_redis(
    ingress: Ingress, client: Client
) -> None:
    await ingress.accept(make_event("warm"), BODY)
    client.config_resetstat()
    await ingress.accept(make_event("a"), BODY)
    calls = client.info("commandstats")
    asked = {name.removeprefix("cmdstat_") for name in calls} - {"config|resetstat", "config"}
    assert asked == {"evalsha", "hget", "xadd", "hset"}


async def test_equal_requests_count_as_one_for_a_while(ingress: Ingress, client: Client) -> None:
    now = clock.now()
    await ingress.accept(fresh("a"), BODY, once=dedupe())
    assert await ingress.accept(fresh("b"), BODY, once=dedupe()) == Accepted(id="a")
    await end(client, "a", "completed")
    again = await ingress.accept(make_event("c", created=now + 59), BODY, once=dedupe())
    assert again == Accepted(id="a", replayed=True)
    assert (await ingress.accept(make_event("d", created=now + 62), BODY, once=dedupe())).id == "d"
    assert not client.hexists(NAMES.record("a"), "idempotency")


async def test_what_is_under_way_counts_for_longer(ingress: Ingress, client: Client) -> None:
    now = clock.now()
    await ingress.accept(fresh("a", deadline=now + 300), BODY, once=dedupe())
    assert 298 <= client.ttl(KEY) <= 301, "until it must have ended"
    late = make_event("b", created=now + 200)
    assert await ingress.accept(late, BODY, once=dedupe()) == Accepted(id="a")


async def test_the_key_of_equal_requests_lapses(ingress: Ingress, client: Client) -> None:
    await ingress.accept(fresh("a"), BODY, once=dedupe())
    assert 58 <= client.ttl(KEY) <= 60


async def test_a_first_attempt_only_registers(ingress: Ingress) -> None:
    first = dedupe(on_duplicate="renew")
    assert (await ingress.accept(fresh("a"), BODY, once=first)).id == "a"
    assert (await ingress.accept(fresh("b"), BODY, once=first)).id == "b"
    assert await ingress.accept(fresh("c"), BODY, once=dedupe()) == Accepted(id="b")


async def test_without_a_key_of_its_own_nobody_is_refused(ingress: Ingress, client: Client) -> None:
    await ingress.accept(fresh("a"), BODY, once=dedupe())
    client.hset(NAMES.record("a"), "cancel", "client_gone")
    assert (await ingress.accept(fresh("b"), BODY, once=dedupe())).id == "b"


def test_a_hash_tells_where_its_parts_end() -> None:
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert len(digest(b"a")) == 32
