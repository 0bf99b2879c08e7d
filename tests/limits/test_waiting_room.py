"""The waiting room: who came first goes first, a higher class before a lower, nobody is lost."""

from pathlib import Path

import pytest

from pipeline import event as events
from pipeline.outcome import Wait
from pipeline.streams.link import Link
from tests.limits.rooms import (
    AGAIN,
    FAILED,
    Gates,
    advance,
    configured,
    granted,
    in_state,
    tickets,
    woken,
)
from tests.streams import rig
from tests.streams.rig import NAMES, Client, desk

pytestmark = pytest.mark.anyio

#: A wake-up for which nobody comes is said again after this.
UNCLAIMED_S = 15

HIGH, LOW = 10, -10


async def test_who_waits_is_woken_in_the_order_of_coming(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings, 3) as gates:
        one, two, three = gates.gates
        holder = await one.take("first")
        places = [await gate.queue(name) for gate, name in ((two, "a"), (three, "b"), (one, "c"))]
        assert [waiting.place for waiting in places] == [1, 2, 3]
        assert await two.serve(holder, 3) == ["a", "b", "c"]
        assert woken(client) == ["a", "b", "c"]
    assert in_state(client, "waiting") == []
    assert not client.exists(NAMES.parked)


async def test_a_higher_class_goes_first(redis_url: str, client: Client, tmp_path: Path) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first")
        for name, priority in (("low", LOW), ("mid", 0), ("high", HIGH), ("low2", LOW)):
            await gate.queue(name, priority=priority)
        assert (await gate.queue("high2", priority=HIGH)).place == 2
        assert await gate.serve(holder, 5) == ["high", "high2", "mid", "low", "low2"]


async def test_a_higher_class_is_let_on_first_by_our_limits_too(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"concurrency": 1}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first", tenant="acme")
        for name, priority in (("low", LOW), ("mid", 0), ("high", HIGH)):
            await gate.queue(name, priority=priority, tenant="acme")
        assert await gate.serve(holder, 3) == ["high", "mid", "low"]


async def test_a_woken_request_comes_back_to_the_gate_as_it_was(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        holder = await gate.take("first")
        asked = gate.ask("a", user="bob", session="s")
        await gate.queue(asked)
        await gate.end(holder)
        assert rig.last_event(client, "gate") == asked


async def test_asking_again_does_not_lose_the_place(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        holder = await gate.take("first")
        for name in ("a", "b", "a"):
            await gate.queue(name)
        assert await gate.serve(holder, 2) == ["a", "b"]


async def test_nobody_overtakes_who_waits(redis_url: str, client: Client, tmp_path: Path) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        await gate.take("of the dead")
        await gate.queue("a")
        advance(client, 61)
        await gate.queue("late")
        assert granted(client) == ["a"]
        assert in_state(client, "waiting") == ["1.late"]


async def test_a_full_room_takes_no_more(redis_url: str, client: Client, tmp_path: Path) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1}, gate={"max_queue_size": 2})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first")
        await gate.queue("a")
        await gate.queue("b", priority=LOW)
        assert (await gate.refused("c", priority=HIGH)).why == "full"
        assert "1.c" not in tickets(client)
        await gate.end(holder)
        await gate.queue("c")


async def test_as_many_are_held_by_our_limit_as_a_room_holds(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(
        tmp_path, tenants={"acme": {"limits": {"rpm": 1}}}, gate={"max_queue_size": 2}
    )
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("first", tenant="acme")
        for name in ("a", "b"):
            await gate.queue(name, tenant="acme")
        assert (await gate.refused("c", tenant="acme")).why == "full"


async def test_who_leaves_the_room_is_not_served(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        holder = await gate.take("first")
        for name in ("a", "b"):
            await gate.queue(name)
        await gate.admission.leave(gate.ask("a"))
        await gate.end(holder)
        assert (woken(client), granted(client)) == (["b"], ["b"])


async def test_who_leaves_with_a_lease_lets_the_next_one_in(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        holder = await gate.take("first")
        for name in ("a", "b"):
            await gate.queue(name)
        await gate.end(holder)
        await gate.admission.leave(gate.ask("a"))
        assert (woken(client), granted(client)) == (["a", "b"], ["b"])


async def test_as_many_are_woken_as_there_is_room_for(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 3})) as gates:
        gate = gates.first
        holders = [await gate.take(f"h{n}") for n in range(3)]
        for name in ("a", "b", "c", "d"):
            await gate.queue(name)
        for holder in holders[:2]:
            await gate.end(holder)
        assert woken(client) == ["a", "b"]


async def test_rooms_of_different_candidates_do_not_mix(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    def on(*names: str) -> object:
        limits = {"concurrency": 1}
        return {"deployments": [{"provider": "p", "model": n, "limits": limits} for n in names]}

    settings = configured(tmp_path, models={"m": on("a"), "n": on("b"), "both": on("a", "b")})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("on a")
        on_b = await gate.take("on b", model="n")
        await gate.queue("wants a")
        await gate.queue("either", model="both")
        await gate.queue("wants b", model="n")
        await gate.end(on_b)
        assert woken(client) == ["either"]
        on_b = await gate.take("either", model="both")
        await gate.end(on_b)
        assert woken(client) == ["either", "wants b"]


async def test_who_asks_again_for_another_candidate_keeps_its_turn(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        first = await gate.take("first")
        await gate.queue("a")
        await gate.queue("b")
        await gate.end(first, AGAIN)
        holder = await gate.take("a")
        await gate.queue("first")
        await gate.end(holder)
        assert granted(client) == ["first"]


async def test_an_empty_room_leaves_nothing_behind(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    tenants = {"acme": {"limits": {"rpm": 3, "tpm": 60}}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first", tenant="acme")
        deadline = float(client.time()[0] + 100)
        for name in ("a", "b"):
            await gate.queue(name, tenant="acme", deadline=deadline)
        await gate.queue("c", tenant="acme", deadline=deadline)
        await gate.end(holder, FAILED)
        for name in ("a", "b", "c"):
            await gate.end(await gate.take(name, tenant="acme", deadline=deadline), FAILED)
    left = {key.decode().removeprefix(NAMES.limits) for key in client.keys(f"{NAMES.limits}*")}
    passing = {key for key in left if client.ttl(f"{NAMES.limits}{key}") > 0}
    assert left - passing == {":caps", ":order", ":time"}
    assert {key.split(":")[1] for key in passing} <= {"use", "plan", "served", "alarm"}


async def test_who_was_woken_before_it_was_parked_does_not_sleep_in(
    redis_url: str, client: Client, link: Link, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        holder = await gate.take("first")
        late = gate.ask("late")
        await gate.admission.admit(late)
        await gate.end(holder)
        assert client.hexists(NAMES.woken, "late")
        async with desk(link, client) as here:
            run = here.deliver("gate", late)
            await here.carry((run, Wait(run.event)))
        assert rig.ids(client, "gate") == ["late"]
        assert not client.exists(NAMES.parked, NAMES.woken)
        await gate.take(late)


async def test_a_wake_up_for_which_nobody_comes_is_said_again(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        holder = await gate.take("first")
        await gate.queue("a")
        await gate.queue("b")
        asked = client.hget(NAMES.parked, "a")
        await gate.end(holder)
        # Its worker died before it was woken.
        client.delete(NAMES.hop("gate"))
        client.hset(NAMES.parked, "a", asked)
        await gate.later(UNCLAIMED_S - 2)
        assert woken(client) == []
        await gate.later(3)
        assert sorted(woken(client)) == ["a", "b"]
        assert granted(client) == ["b"]


async def test_mending_wakes_who_is_parked_without_a_ticket(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        await gate.take("first")
        await gate.queue("a")
        for name in ("x", "y", "z"):
            client.hset(NAMES.parked, name, events.encode(gate.ask(name)))
        await gate.admission.mend()
        assert sorted(woken(client)) == ["x", "y", "z"]
        assert in_state(client, "waiting") == ["1.a"]


async def test_mending_a_crowd_wakes_none_that_has_a_ticket(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        await gate.take("first")
        await gate.wait(*(f"w{n}" for n in range(300)))
        for name in ("x", "y"):
            client.hset(NAMES.parked, name, events.encode(gate.ask(name)))
        await gate.admission.mend()
        assert sorted(woken(client)) == ["x", "y"]
        assert len(in_state(client, "waiting")) == 300


async def test_marks_for_which_nobody_came_are_removed(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    now = client.time()[0]
    client.hset(NAMES.woken, mapping={"old": str(now - 61), "new": str(now)})
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        await gates.first.admission.mend()
    assert client.hkeys(NAMES.woken) == [b"new"]


async def test_a_room_whose_tickets_were_lost_goes_on(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        holder = await gate.take("first")
        for name in ("a", "b", "c"):
            await gate.queue(name)
        client.hdel(f"{NAMES.limits}:tickets", "1.a", "1.b")
        await gate.end(holder)
        assert granted(client) == ["c"]
        await gate.admission.mend()
        assert sorted(woken(client)) == ["a", "b", "c"]
