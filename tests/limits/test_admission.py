"""Leases: on the first candidate with capacity, once for each ticket, given back once."""

import asyncio

import msgspec
import pytest

from pipeline.event import Lease
from pipeline.limits.admission import LEASE_S, Admission, Refusal
from pipeline.streams.link import Link
from tests.limits.rooms import advance, ask, leased, leases, one, waiting
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio


@pytest.fixture
def admission(link: Link) -> Admission:
    """Admit as one process."""
    return Admission(link, NAMES)


async def test_a_deployment_without_limits_costs_no_question(
    admission: Admission, client: Client
) -> None:
    lease = await admission.admit(ask("r1", one(concurrency=0)))
    assert lease == Lease(deployment="p/a")
    assert client.keys("*") == []


async def test_the_first_candidate_with_capacity_is_taken(admission: Admission) -> None:
    plan = (one("p/a", 1), one("p/b", 2), one("p/c", 0))
    got = [await admission.admit(ask(f"r{n}", *plan)) for n in range(5)]
    names = [lease.deployment for lease in got if isinstance(lease, Lease)]
    assert names == ["p/a", "p/b", "p/b", "p/c", "p/c"]


async def test_who_failed_at_a_candidate_is_not_sent_there_again(admission: Admission) -> None:
    tried = ask("r1", one("p/a"), one("p/b"), tried=("p/a",))
    assert await admission.admit(tried) == Lease(deployment="p/b")


async def test_asking_again_gives_the_same_lease(admission: Admission, client: Client) -> None:
    event = ask("r1", one(concurrency=5, keys=3))
    first = await admission.admit(event)
    assert [await admission.admit(event) for _ in range(3)] == [first] * 3
    assert leases(client) == ["1.r1"]


async def test_another_leg_is_another_ticket(admission: Admission, client: Client) -> None:
    for leg in (1, 2):
        await admission.admit(ask("r1", one(concurrency=5), leg=leg))
    assert sorted(leases(client)) == ["1.r1", "2.r1"]


async def test_keys_go_round(admission: Admission) -> None:
    got = [await admission.admit(ask(f"r{n}", one(concurrency=9, keys=3))) for n in range(7)]
    assert [lease.key for lease in got if isinstance(lease, Lease)] == [0, 1, 2, 0, 1, 2, 0]


async def test_keys_go_round_also_without_a_limit(admission: Admission) -> None:
    got = [await admission.admit(ask(f"r{n}", one(concurrency=0, keys=2))) for n in range(4)]
    assert [lease.key for lease in got if isinstance(lease, Lease)] == [0, 1, 0, 1]


async def test_a_lease_that_is_given_back_is_free_for_others(
    admission: Admission, client: Client
) -> None:
    event = ask("r1")
    lease = await admission.admit(event)
    assert isinstance(lease, Lease)
    for _ in range(3):
        await admission.settle(leased(event, lease))
    assert leases(client) == []
    assert not client.exists(f"{NAMES.limits}:leases")
    assert isinstance(await admission.admit(ask("r2")), Lease)


async def test_giving_back_twice_does_not_take_from_others(admission: Admission) -> None:
    first, second = ask("r1"), ask("r2")
    lease = await admission.admit(first)
    assert isinstance(lease, Lease)
    await admission.settle(leased(first, lease))
    await admission.admit(second)
    await admission.settle(leased(first, lease))
    assert isinstance(await admission.admit(ask("r3")), Refusal)


async def test_a_lease_that_nobody_renews_runs_out(admission: Admission, client: Client) -> None:
    await admission.admit(ask("r1"))
    advance(client, LEASE_S - 1)
    assert isinstance(await admission.admit(ask("r2")), Refusal)
    advance(client, 2)
    assert isinstance(await admission.admit(ask("r2")), Lease)
    assert leases(client) == ["1.r2"]


async def test_a_renewed_lease_is_kept(admission: Admission, client: Client) -> None:
    event = ask("r1")
    lease = await admission.admit(event)
    assert isinstance(lease, Lease)
    for _ in range(3):
        advance(client, LEASE_S - 1)
        await admission.renew([leased(event, lease)])
    assert isinstance(await admission.admit(ask("r2")), Refusal)
    assert await admission.admit(event) == lease


async def test_whoever_collects_a_lease_late_has_it_whole(
    admission: Admission, client: Client
) -> None:
    await admission.admit(ask("r1"))
    advance(client, LEASE_S + 1)
    assert isinstance(await admission.admit(ask("r1")), Lease)
    assert isinstance(await admission.admit(ask("r2")), Refusal)
    assert waiting(client) == ["1.r2"]


async def test_a_lease_that_is_being_given_back_is_not_renewed(
    admission: Admission, client: Client
) -> None:
    event = ask("r1")
    lease = await admission.admit(event)
    assert isinstance(lease, Lease)
    held = leased(event, lease)
    settling = asyncio.create_task(admission.settle(held))
    await asyncio.sleep(0)
    await admission.renew([held])
    await settling
    assert leases(client) == []


async def test_the_late_end_of_a_call_that_was_run_again_gives_nothing_back(
    admission: Admission, client: Client
) -> None:
    event = ask("r1")
    lease = await admission.admit(event)
    assert isinstance(lease, Lease)
    first = leased(event, lease)
    again = msgspec.structs.replace(first, delivery=2)
    await admission.renew([again])
    for run, left in ((first, ["1.r1"]), (again, [])):
        await admission.settle(msgspec.structs.replace(run, generation=run.next_generation))
        assert leases(client) == left


async def test_an_uncounted_lease_costs_nothing_to_give_back(
    admission: Admission, client: Client
) -> None:
    event = ask("r1", one(concurrency=0))
    lease = await admission.admit(event)
    assert isinstance(lease, Lease)
    await admission.settle(leased(event, lease))
    await admission.renew([leased(event, lease)])
    assert client.keys("*") == []


async def test_admission_goes_on_after_the_connection_was_cut(
    admission: Admission, client: Client
) -> None:
    await admission.admit(ask("r1", one(concurrency=2)))
    client.client_kill_filter(_type="normal", skipme=True)
    assert isinstance(await admission.admit(ask("r2", one(concurrency=2))), Lease)
    assert sorted(leases(client)) == ["1.r1", "1.r2"]
