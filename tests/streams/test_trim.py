"""Trimming: by age and by size, exactly, and never past what a group has still to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline import event as events
from pipeline.streams import keeper
from pipeline.streams.link import Link
from pipeline.streams.scripts import TIDY, TRIM
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

NO_LIMIT = 10**9


def fill(client: Client, times: list[int], stream: str = NAMES.done) -> None:
    """Write an entry for each time in ms, ascending; r{n} is the n-th."""
    with client.pipeline(transaction=False) as pipe:
        for n, ms in enumerate(times):
            payload = events.encode(rig.make_event(f"r{n}"))
            pipe.xadd(stream, {"event": payload, "id": f"r{n}"}, f"{ms}-{n + 1}")
        pipe.execute()


def left(client: Client, stream: str = NAMES.done) -> list[str]:
    return [fields[b"id"].decode() for _, fields in client.xrange(stream)]


async def trim(
    link: Link, *, oldest_ms: int = 1, most: int = NO_LIMIT, slice_: int = 500, drop: bool = False
) -> tuple[int, str]:
    trimmed, holder = await link.run(
        TRIM, [NAMES.done], [NAMES.prefix, f"{oldest_ms}-0", most, slice_, int(drop)]
    )
    return trimmed, holder.decode()


async def test_what_is_older_than_the_age_goes(link: Link, client: Client) -> None:
    fill(client, [10, 20, 30, 40])
    assert await trim(link, oldest_ms=30) == (2, "")
    assert left(client) == ["r2", "r3"]


async def test_what_is_more_than_the_size_goes(link: Link, client: Client) -> None:
    fill(client, [10, 20, 30, 40])
    assert await trim(link, most=1) == (3, "")
    assert left(client) == ["r3"]


async def test_trimming_is_exact_within_a_node_of_the_stream(link: Link, client: Client) -> None:
    fill(client, list(range(1, 251)))
    assert await trim(link, most=137) == (113, "")
    assert client.xlen(NAMES.done) == 137


async def test_a_slice_is_trimmed_at_a_time(link: Link, client: Client) -> None:
    fill(client, list(range(1, 21)))
    assert [await trim(link, most=5, slice_=8) for _ in range(3)] == [(8, ""), (7, ""), (0, "")]
    assert client.xlen(NAMES.done) == 5


async def test_what_a_group_has_not_read_stays_and_the_group_is_named(
    link: Link, client: Client
) -> None:
    fill(client, [10, 20, 30, 40])
    client.xgroup_create(NAMES.done, "slow", "0")
    client.xgroup_create(NAMES.done, "quick", "$")
    assert await trim(link, most=0) == (0, "slow")
    client.xreadgroup("slow", "c", {NAMES.done: ">"}, count=2, noack=True)
    assert await trim(link, most=0) == (2, "slow")
    assert left(client) == ["r2", "r3"]
    client.xreadgroup("slow", "c", {NAMES.done: ">"}, noack=True)
    assert await trim(link, most=0) == (2, "")


async def test_what_is_pending_stays(link: Link, client: Client) -> None:
    fill(client, [10, 20, 30, 40])
    client.xgroup_create(NAMES.done, "busy", "0")
    client.xreadgroup("busy", "c", {NAMES.done: ">"})
    client.xack(NAMES.done, "busy", "10-1", "30-3")
    assert await trim(link, most=0) == (1, "busy")
    assert left(client) == ["r1", "r2", "r3"]


async def test_a_group_that_holds_nothing_back_is_not_named(link: Link, client: Client) -> None:
    fill(client, [10, 20, 30, 40])
    client.xgroup_create(NAMES.done, "slow", "20-2")
    assert await trim(link, oldest_ms=30) == (2, "")


async def test_the_holder_can_be_asked_for_without_trimming(link: Link, client: Client) -> None:
    fill(client, [10, 20, 30])
    client.xgroup_create(NAMES.done, "slow", "10-1")
    assert await trim(link, most=0, slice_=0) == (0, "slow")
    assert client.xlen(NAMES.done) == 3


async def test_the_records_of_what_is_one_too_many_go_with_it(link: Link, client: Client) -> None:
    fill(client, [10, 20, 30, 40])
    for n in range(4):
        client.hset(NAMES.record(f"r{n}"), "status", "completed")
        client.xadd(NAMES.reply(f"r{n}"), {"event": "x"})
        client.set(NAMES.body(f"r{n}"), "x")
    await trim(link, oldest_ms=20, most=1, drop=True)
    kept = [[bool(client.exists(make(f"r{n}"))) for n in range(4)]
            for make in (NAMES.record, NAMES.reply, NAMES.body)]  # fmt: skip
    # What goes by age has its own time to live.
    assert kept == [[True, False, False, True]] * 3


async def test_the_record_of_what_is_under_way_again_stays(link: Link, client: Client) -> None:
    fill(client, [10, 20, 30])
    for n, status in enumerate(["queued", "failed", "retrying"]):
        client.hset(NAMES.record(f"r{n}"), "status", status)
        client.xadd(NAMES.reply(f"r{n}"), {"event": "x"})
        client.set(NAMES.body(f"r{n}"), "x")
    assert await trim(link, most=0, drop=True) == (3, "")
    kept = [[bool(client.exists(make(f"r{n}"))) for n in range(3)]
            for make in (NAMES.record, NAMES.reply, NAMES.body)]  # fmt: skip
    assert kept == [[True, False, True]] * 3


async def test_the_body_of_a_dead_letter_stays(link: Link, client: Client) -> None:
    event = rig.make_event("r0", status="failed", body=events.NO_BODY)
    client.xadd(NAMES.done, {"event": events.encode(event), "id": "r0"})
    client.hset(NAMES.record("r0"), "status", "failed")
    client.set(NAMES.body("r0"), "x", ex=100)
    assert await trim(link, most=0, drop=True) == (1, "")
    assert not client.exists(NAMES.record("r0"))
    assert client.ttl(NAMES.body("r0")) > 0


async def test_an_absent_stream_is_left_absent(link: Link, client: Client) -> None:
    assert await trim(link, most=0) == (0, "")
    assert client.keys("*") == []


async def test_every_kept_stream_is_trimmed_by_its_own_age(link: Link, client: Client) -> None:
    now_ms = int(clock.now() * 1000)
    ages_s = [500, 50, 5]
    streams = [*NAMES.requests.values(), NAMES.done, NAMES.dead]
    for stream in streams:
        fill(client, [now_ms - 1000 * age for age in ages_s], stream)
    limits = keeper.Limits(events_s=10, dead_s=100, max_entries=NO_LIMIT)
    await keeper.trim(link, NAMES, limits)
    assert [left(client, stream) for stream in streams] == [["r2"]] * 4 + [["r1", "r2"]]


async def test_any_number_of_entries_is_trimmed_slice_by_slice(link: Link, client: Client) -> None:
    fill(client, [int(clock.now() * 1000)] * 2601)
    limits = keeper.Limits(events_s=1000, dead_s=1, max_entries=100)
    await keeper.trim(link, NAMES, limits)
    assert client.xlen(NAMES.done) == 100


groups = st.lists(st.tuples(st.integers(0, 12), st.sets(st.integers(0, 11))), max_size=3)


@rig.law(60)
@given(
    count=st.integers(0, 12),
    oldest=st.integers(1, 14),
    most=st.integers(0, 14),
    slice_=st.integers(1, 14),
    groups=groups,
)
async def test_exactly_what_the_model_allows_is_trimmed(
    link: Link,
    client: Client,
    count: int,
    oldest: int,
    most: int,
    slice_: int,
    groups: list[tuple[int, set[int]]],
) -> None:
    client.flushdb()
    fill(client, list(range(1, count + 1)))
    needed = [count]
    for number, (read, open_) in enumerate(groups if count else []):
        client.xgroup_create(NAMES.done, f"g{number}", "0")
        delivered = min(read, count)
        if delivered:
            client.xreadgroup(f"g{number}", "c", {NAMES.done: ">"}, count=delivered)
        done = [f"{n + 1}-{n + 1}" for n in range(delivered) if n not in open_]
        if done:
            client.xack(NAMES.done, f"g{number}", *done)
        needed.append(min([delivered, *(n for n in open_ if n < delivered)]))
    unwanted = max(min(oldest - 1, count), count - most)
    trimmed, holder = await trim(link, oldest_ms=oldest, most=most, slice_=slice_)
    expected = min(unwanted, *needed, slice_)
    assert trimmed == expected
    assert left(client) == [f"r{n}" for n in range(expected, count)]
    assert bool(holder) == (min(needed) < unwanted)
    if holder:
        assert needed[int(holder[1:]) + 1] == min(needed)


async def test_a_hops_stream_keeps_what_is_pending_or_unread_and_nothing_else(
    link: Link, client: Client
) -> None:
    call = NAMES.hop("call")
    client.xgroup_create(call, "call", "0", mkstream=True)
    fill(client, [10, 20, 30, 40], call)
    client.xreadgroup("call", "someone", {call: ">"}, count=3)
    client.xack(call, "call", "10-1", "30-3")
    assert await link.run(TIDY, [NAMES.prefix], [NAMES.prefix, "gate", "call"]) == 1
    # Those behind one that is pending are kept until that has ended.
    assert left(client, call) == ["r1", "r2", "r3"]
    client.xack(call, "call", "20-2")
    assert await link.run(TIDY, [NAMES.prefix], [NAMES.prefix, "gate", "call"]) == 2
    assert left(client, call) == ["r3"]
    assert client.xreadgroup("call", "someone", {call: ">"})[0][1][0][0] == b"40-4"
