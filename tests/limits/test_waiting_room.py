"""The waiting room: who came first goes first, woken when there is capacity and never lost."""

import pytest

from pipeline import event as events
from pipeline.event import Event, Lease
from pipeline.limits.admission import LEASE_S, Admission, Refusal
from pipeline.outcome import Wait
from pipeline.streams.link import Link
from tests.limits.rooms import advance, ask, leased, leases, one, waiting, woken
from tests.streams import rig
from tests.streams.rig import NAMES, Client, desk

pytestmark = pytest.mark.anyio


@pytest.fixture
def admission(link: Link) -> Admission:
    """Admit as one process."""
    return Admission(link, NAMES)


async def take(admission: Admission, event: Event) -> Event:
    """Take a lease that has to be there."""
    lease = await admission.admit(event)
    assert isinstance(lease, Lease)
    return leased(event, lease)


async def wait(admission: Admission, client: Client, *request_ids: str, **changes: object) -> None:
    """Take a place in the room for each, and park it."""
    for request_id in request_ids:
        event = ask(request_id, **changes)
        assert isinstance(await admission.admit(event), Refusal)
        client.hset(NAMES.parked, request_id, events.encode(event))


async def test_who_waits_is_woken_in_the_order_of_coming(
    admission: Admission, client: Client
) -> None:
    holder = await take(admission, ask("first"))
    await wait(admission, client, "a", "b", "c")
    assert waiting(client) == ["1.a", "1.b", "1.c"]
    for expected in ("a", "b", "c"):
        await admission.settle(holder)
        assert woken(client)[-1] == expected
        holder = await take(admission, ask(expected))
    assert waiting(client) == []
    assert not client.exists(NAMES.parked)


async def test_a_woken_request_comes_back_to_the_gate_as_it_was(
    admission: Admission, client: Client
) -> None:
    holder = await take(admission, ask("first"))
    await wait(admission, client, "a")
    await admission.settle(holder)
    assert rig.last_event(client, "gate") == ask("a")


async def test_asking_again_does_not_lose_the_place(admission: Admission, client: Client) -> None:
    await take(admission, ask("first"))
    await wait(admission, client, "a", "b")
    await wait(admission, client, "a")
    assert waiting(client) == ["1.a", "1.b"]


async def test_nobody_overtakes_who_waits(admission: Admission, client: Client) -> None:
    await take(admission, ask("first"))
    await wait(admission, client, "a")
    advance(client, LEASE_S + 1)
    assert isinstance(await admission.admit(ask("late")), Refusal)
    await rig.until(lambda: woken(client) == ["a"])
    assert leases(client) == ["1.a"]
    assert waiting(client) == ["1.late"]


async def test_who_was_woken_before_it_was_parked_does_not_sleep_in(
    admission: Admission, link: Link, client: Client
) -> None:
    holder = await take(admission, ask("first"))
    assert isinstance(await admission.admit(ask("a")), Refusal)
    await admission.settle(holder)
    assert client.hget(NAMES.parked, "a") == b"woken"
    async with desk(link, client) as here:
        run = here.deliver("gate", ask("a"))
        await here.carry((run, Wait(run.event)))
    assert rig.ids(client, "gate") == ["a"]
    assert isinstance(await admission.admit(ask("a")), Lease)


async def test_capacity_of_the_dead_is_given_on_by_the_sweep(
    admission: Admission, client: Client
) -> None:
    await take(admission, ask("of the dead"))
    await wait(admission, client, "a")
    await admission.sweep()
    assert woken(client) == []
    advance(client, LEASE_S + 1)
    await admission.sweep()
    assert woken(client) == ["a"]


async def test_whose_deadline_comes_is_woken_to_be_told(
    admission: Admission, client: Client
) -> None:
    await take(admission, ask("first"))
    now = client.time()[0]
    await wait(admission, client, "soon", deadline=float(now + 10))
    await wait(admission, client, "later", deadline=float(now + 50))
    await wait(admission, client, "never")
    advance(client, 15)
    await admission.sweep()
    assert woken(client) == ["soon"]
    assert waiting(client) == ["1.later", "1.never"]


async def test_who_leaves_the_room_is_not_served(admission: Admission, client: Client) -> None:
    holder = await take(admission, ask("first"))
    await wait(admission, client, "a", "b")
    await admission.leave(ask("a"))
    await admission.settle(holder)
    assert woken(client) == ["b"]


async def test_who_leaves_with_a_lease_lets_the_next_one_in(
    admission: Admission, client: Client
) -> None:
    holder = await take(admission, ask("first"))
    await wait(admission, client, "a", "b")
    await admission.settle(holder)
    await admission.leave(ask("a"))
    assert woken(client) == ["a", "b"]
    assert leases(client) == ["1.b"]


async def test_as_many_are_woken_as_there_is_room_for(admission: Admission, client: Client) -> None:
    plan = one(concurrency=3)
    holders = [await take(admission, ask(f"h{n}", plan)) for n in range(3)]
    for name in ("a", "b", "c", "d"):
        event = ask(name, plan)
        assert isinstance(await admission.admit(event), Refusal)
        client.hset(NAMES.parked, name, events.encode(event))
    for holder in holders[:2]:
        await admission.settle(holder)
    assert woken(client) == ["a", "b"]


async def test_rooms_of_different_candidates_do_not_mix(
    admission: Admission, client: Client
) -> None:
    plan = (one("p/a"), one("p/b"))
    await take(admission, ask("on a", one("p/a")))
    on_b = await take(admission, ask("on b", one("p/b")))
    assert isinstance(await admission.admit(ask("either", *plan)), Refusal)
    assert isinstance(await admission.admit(ask("b only", *plan, tried=("p/a",))), Refusal)
    await admission.settle(on_b)
    rooms = waiting(client, "p/a p/b"), waiting(client, "p/b")
    assert sorted(map(len, rooms)) == [0, 1]
    granted = client.hgetall(f"{NAMES.limits}:leases")
    assert granted.get(b"1.b only", b"0 p/b") == b"0 p/b"


async def test_an_empty_room_leaves_nothing_behind(admission: Admission, client: Client) -> None:
    holder = await take(admission, ask("first"))
    await wait(admission, client, "a")
    await admission.settle(holder)
    await admission.settle(await take(admission, ask("a")))
    left = {key.decode() for key in client.keys(f"{NAMES.limits}*")}
    assert left <= {f"{NAMES.limits}:arrivals"}


async def test_a_wake_up_that_was_lost_is_mended(admission: Admission, client: Client) -> None:
    holder = await take(admission, ask("first"))
    await wait(admission, client, "a", "b")
    client.hset(NAMES.parked, "c", events.encode(ask("c")))
    # As when the worker dies after the grant and before the waking.
    await admission._run("settle", [f"1.{holder.id}", 0])
    assert woken(client) == []
    await admission.mend()
    assert sorted(woken(client)) == ["a", "c"]
    assert waiting(client) == ["1.b"]
    assert isinstance(await admission.admit(ask("a")), Lease)


async def test_marks_for_which_nobody_came_are_removed(
    admission: Admission, client: Client
) -> None:
    client.hset(NAMES.parked, "gone", "woken")
    await admission.mend()
    assert not client.exists(NAMES.parked)


async def test_mending_a_crowd_wakes_none_that_has_a_ticket(
    admission: Admission, client: Client
) -> None:
    await take(admission, ask("first"))
    await wait(admission, client, *(f"w{n}" for n in range(300)))
    await admission.mend()
    assert woken(client) == []
    assert len(waiting(client)) == 300
