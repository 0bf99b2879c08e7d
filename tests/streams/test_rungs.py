"""The rungs in view: how they stand by the ladder's own clock, who waits there, who is promoted."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from pipeline.errors import BadRequest, Failure
from pipeline.event import Event
from pipeline.outcome import Climb
from pipeline.streams.link import Link
from pipeline.streams.rungs import LOOK, LOOKS, ClimberFilter, Rungs
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

ALL = ClimberFilter()
_FAILURE = Failure(message="Come later", status=503, cause="overloaded")


async def climb(link: Link, client: Client, rung: int, *climbing: Event) -> None:
    """Have events climb onto a rung, in their order."""
    async with rig.desk(link, client) as desk:
        runs = [desk.deliver("call", event) for event in climbing]
        for run in runs:
            up = msgspec.structs.replace(
                run.event, leg=2, climbed=(rung,), attempts=3, failure=_FAILURE
            )
            await desk.carry((run, Climb(up, _FAILURE, rung)))


def numbered(*ids: str, **changes: object) -> list[Event]:
    return [rig.make_event(request_id, **changes) for request_id in ids]


async def ids(rungs: Rungs, wanted: ClimberFilter = ALL, limit: int = 100) -> list[str]:
    return [climber.id for climber in (await rungs.scan(wanted, limit=limit)).climbers]


def foreign(client: Client, rung: int, *payloads: bytes) -> None:
    """Write to a rung what is no event of ours."""
    for payload in payloads:
        client.xadd(NAMES.rung(rung), {"event": payload, "due": "1000"})


async def test_the_rungs_stand_as_they_are(link: Link, client: Client) -> None:
    rungs = Rungs(link, NAMES)
    assert (await rungs.stand()).rungs == []
    await climb(link, client, 600, *numbered("a", "b"))
    await climb(link, client, 60, *numbered("c"))
    first, second = (await rungs.stand()).rungs
    assert (first.rung, first.count, second.rung, second.count) == (60, 1, 600, 2)
    assert 59 < first.next_due_s <= 60
    assert first.oldest_s == pytest.approx(60 - first.next_due_s, abs=0.002)


async def test_looking_writes_nothing(link: Link, client: Client) -> None:
    await climb(link, client, 60, *numbered("a"))
    before = {key: client.dump(key) for key in client.scan_iter()}
    await Rungs(link, NAMES, (1, 60)).stand()
    await ids(Rungs(link, NAMES, (1, 60)))
    assert {key: client.dump(key) for key in client.scan_iter()} == before


async def test_a_rung_of_which_the_note_was_lost_is_seen_where_it_is_configured(
    link: Link, client: Client
) -> None:
    await climb(link, client, 60, *numbered("a"))
    client.delete(NAMES.rungs)
    assert await ids(Rungs(link, NAMES)) == []
    assert await ids(Rungs(link, NAMES, (60,))) == ["a"]


async def test_a_clock_that_was_set_back_moves_no_due_time(link: Link, client: Client) -> None:
    client.set(NAMES.clock, 3600)
    await climb(link, client, 60, *numbered("a"))
    client.set(NAMES.clock, 0)
    rungs = Rungs(link, NAMES)
    (rung,) = (await rungs.stand()).rungs
    assert 59 < rung.next_due_s <= 60
    (climber,) = (await rungs.scan(ALL)).climbers
    seconds, _ = client.time()
    assert climber.due == pytest.approx(seconds + 60, abs=2)


async def test_an_overdue_rung_says_so(link: Link, client: Client) -> None:
    await climb(link, client, 60, *numbered("a"))
    client.set(NAMES.clock, 100)
    (rung,) = (await Rungs(link, NAMES).stand()).rungs
    assert rung.next_due_s == 0
    assert rung.oldest_s == pytest.approx(100, abs=1)


async def test_events_are_told_with_what_failed(link: Link, client: Client) -> None:
    await climb(link, client, 60, *numbered("a", tenant="acme", user="bob", priority=3))
    (climber,) = (await Rungs(link, NAMES).scan(ALL)).climbers
    assert (climber.id, climber.rung, climber.cause, climber.error) == (
        "a",
        60,
        "overloaded",
        "Come later",
    )
    assert (climber.tenant, climber.user, climber.priority) == ("acme", "bob", 3)
    assert (climber.attempts, climber.leg, climber.climbed) == (3, 2, (60,))


async def test_pages_go_on_over_the_rungs(link: Link, client: Client) -> None:
    await climb(link, client, 600, *numbered("d", "e"))
    await climb(link, client, 60, *numbered("a", "b", "c"))
    rungs, found, after = Rungs(link, NAMES), [], ""
    for _ in range(10):
        page = await rungs.scan(ALL, after=after, limit=2)
        found.append([climber.id for climber in page.climbers])
        after = page.after
        if not after:
            break
    assert [one for page in found for one in page] == ["a", "b", "c", "d", "e"]
    assert all(len(page) <= 2 for page in found)


async def test_a_page_whose_rung_has_emptied_goes_on_with_the_next(
    link: Link, client: Client
) -> None:
    await climb(link, client, 60, *numbered("a", "b"))
    await climb(link, client, 600, *numbered("c"))
    rungs = Rungs(link, NAMES)
    page = await rungs.scan(ALL, limit=1)
    await rungs.promote(["a", "b"])
    assert [one.id for one in (await rungs.scan(ALL, after=page.after)).climbers] == ["c"]


async def test_a_look_at_a_long_rung_is_bounded(link: Link, client: Client) -> None:
    with client.pipeline(transaction=False) as pipe:
        for _ in range(LOOK * LOOKS + 1):
            pipe.xadd(NAMES.rung(60), {"event": b"{}", "due": "1"})
        pipe.execute()
    await climb(link, client, 60, *numbered("last"))
    rungs, wanted = Rungs(link, NAMES), ClimberFilter(model="m")
    page = await rungs.scan(wanted)
    assert (page.climbers, page.after != "") == ([], True)
    assert [one.id for one in (await rungs.scan(wanted, after=page.after)).climbers] == ["last"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ClimberFilter(model="m"), ["a", "b"]),
        (ClimberFilter(model="[m]"), ["a", "b"]),
        (ClimberFilter(tenant="acme"), ["b"]),
        (ClimberFilter(cause="over*"), ["a", "b", "c"]),
        (ClimberFilter(cause="timeout"), []),
        (ClimberFilter(rung=600), ["c"]),
        (ClimberFilter(since=5), ["c"]),
        (ClimberFilter(before=1), []),
        (ClimberFilter(before=2**40), ["a", "b", "c"]),
    ],
)
async def test_only_those_that_are_meant_are_found(
    link: Link, client: Client, wanted: ClimberFilter, found: Sequence[str]
) -> None:
    await climb(link, client, 60, *numbered("a"), *numbered("b", tenant="acme"))
    await climb(link, client, 600, *numbered("c", model="n", created=6.0))
    assert await ids(Rungs(link, NAMES), wanted) == found


@pytest.mark.parametrize("place", ["x", "60", "60:", "60:1", "a:1-0", "60:1-0 "])
async def test_what_is_no_place_is_refused(link: Link, place: str) -> None:
    with pytest.raises(BadRequest):
        await Rungs(link, NAMES).scan(ALL, after=place)


async def test_what_is_no_event_of_ours_is_told_and_stays(link: Link, client: Client) -> None:
    foreign(client, 60, b"{}", b"\xff", b"[" * 10_000)
    rungs = Rungs(link, NAMES, (60,))
    found = (await rungs.scan(ALL)).climbers
    assert [one.cause for one in found] == ["unreadable"] * 3
    assert await rungs.promote([one.id for one in found]) == 0
    assert client.xlen(NAMES.rung(60)) == 3


async def test_who_is_promoted_is_at_the_gate_once(link: Link, client: Client) -> None:
    await climb(link, client, 60, *numbered("a", "b"))
    rungs = Rungs(link, NAMES)
    both = await asyncio.gather(rungs.promote(["a", "x"]), Rungs(link, NAMES).promote(["a"]))
    assert sorted(both) == [0, 1]
    assert rig.ids(client, "gate") == ["a"]
    assert client.hmget(NAMES.record("a"), "rung", "rung_entry", "due") == [None] * 3
    assert await ids(rungs) == ["b"]


async def test_many_are_promoted_in_batches(link: Link, client: Client) -> None:
    many = [f"m{number}" for number in range(150)]
    await climb(link, client, 60, *numbered(*many))
    rungs = Rungs(link, NAMES)
    assert not await rungs.gate_is_full()
    assert await rungs.promote(many) == 150
    assert rig.ids(client, "gate") == many
    assert await rungs.gate_is_full()
