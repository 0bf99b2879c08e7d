"""The view: places and their outlook, what limits leave, rooms, and why a request would wait."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.catalog import Catalog
from pipeline.event import Event
from pipeline.limits import view
from pipeline.limits.plans import Plans
from pipeline.limits.quota import Quota
from pipeline.limits.tickets import candidates, question
from pipeline.limits.view import Place, Sight, Stop, View
from pipeline.settings.load import Settings
from pipeline.streams.link import Link
from tests.limits.rooms import FAILED, Gates, advance, configured, tickets, use, wall
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

HIGH, LOW = 10, -10
WINDOW_TOKENS = 14


@pytest.fixture
def seen(link: Link) -> View:
    """Look from outside."""
    return View(link, NAMES)


async def positions(seen: View, *request_ids: str) -> list[int | None]:
    places = [await seen.place(f"1.{request_id}") for request_id in request_ids]
    return [place.position if place else None for place in places]


async def test_a_place_counts_who_goes_before(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first")
        await gate.wait("a", "b")
        await gate.wait("low", priority=LOW)
        await gate.wait("high", priority=HIGH)
        names = ("first", "high", "a", "b", "low", "nobody")
        assert await positions(seen, *names) == [None, 1, 2, 3, 4, None]
        await gate.serve(holder, 2)
        assert await positions(seen, *names) == [None, None, None, 1, 2, None]


@pytest.mark.parametrize("weights", [(1, 1), (1, 3)], ids=["equal", "one to three"])
async def test_a_place_counts_other_tenants_by_their_weight(
    redis_url: str, client: Client, seen: View, tmp_path: Path, weights: tuple[int, int]
) -> None:
    tenants = {name: {"weight": w} for name, w in zip(("many", "few"), weights, strict=True)}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first", tenant="other")
        await gate.wait(*(f"many{n}" for n in range(30)), tenant="many")
        await gate.wait(*(f"few{n}" for n in range(5)), tenant="few")
        told = await positions(seen, *(f"few{n}" for n in range(5)))
        order = await gate.serve(holder, 30)
    for n, position in enumerate(told):
        assert position is not None
        assert abs(position - 1 - order.index(f"few{n}")) <= 1


async def test_a_place_counts_no_more_of_a_tenant_than_wait(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={"many": {}, "one": {}})
    async with Gates(redis_url, client, settings) as gates:
        await gates.first.take("first", tenant="other")
        await gates.first.wait("one", tenant="one")
        await gates.first.wait(*(f"many{n}" for n in range(9)), tenant="many")
        assert await positions(seen, "many0", "many8") in ([1, 10], [2, 10])


async def test_an_outlook_comes_from_the_pace_of_the_room(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first")
        await gate.wait(*(f"w{n}" for n in range(40)))
        assert await seen.place("1.w20") == Place(position=21)
        await gate.serve(holder, 20, service_s=2)
        place = await seen.place("1.w29")
        assert place
        assert place.position == 10
        assert place.eta_s == pytest.approx(20, rel=0.2)


async def test_an_outlook_comes_from_the_refill_where_that_is_known(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 2, "burst": 1})
    async with Gates(redis_url, client, settings) as gates:
        await gates.first.take("first")
        await gates.first.queue("a")
        place = await seen.place("1.a")
        assert place
        assert place.eta_s is not None
        assert 25 < place.eta_s <= 30


async def test_a_place_among_those_held_by_our_limit(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    tenants = {"acme": {"limits": {"rpm": 1}}, "busy": {"limits": {"concurrency": 1}}}
    async with Gates(redis_url, client, configured(tmp_path, tenants=tenants)) as gates:
        gate = gates.first
        for tenant in tenants:
            await gate.take(f"{tenant}-first", tenant=tenant)
            await gate.wait(f"{tenant}-a", f"{tenant}-b", tenant=tenant)
        assert await positions(seen, "acme-a", "acme-b") == [1, 2]
        first = await seen.place_of(gate.ask("acme-a", tenant="acme"))
        assert first
        assert first.eta_s is not None
        assert 55 < first.eta_s <= 60.01
        assert await seen.place("1.busy-a") == Place(position=1)


async def test_quotas_tell_what_each_limit_leaves(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    acme = {
        "limits": {"rpm": 5, "tpm": 100, "rpd": 50, "tpd": 1000, "concurrency": 4},
        "users": {"default": {"window": {"requests": 3, "seconds": 90}}},
    }
    settings = configured(tmp_path, tenants={"acme": acme})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="acme", user="bob"))
        advance(client, 20)
        await gate.take("b", tenant="acme", user="bob")
        found = await seen.quotas(gate.ask("c", tenant="acme", user="bob"))
    left = {(q.scope, q.dimension): (q.limit, q.remaining, q.window_s) for q in found}
    assert left == {
        ("tenant", "rpm"): (5, 3, 60),
        ("tenant", "tpm"): (100, 60, 60),
        ("tenant", "rpd"): (50, 48, 86_400),
        ("tenant", "tpd"): (1000, 960, 86_400),
        ("tenant", "concurrency"): (4, 3, 0),
        ("user", "window"): (3, 1, 90),
    }
    assert {q.name for q in found if q.scope == "user"} == {"acme/bob"}
    by_dimension: dict[str, Quota] = {q.dimension: q for q in found}
    assert 55 < by_dimension["rpm"].reset_s <= 60
    assert 0 < by_dimension["rpd"].reset_s <= 86_400


async def test_quotas_slide_with_the_minute(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"rpm": 5, "tpm": 100}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        for name in ("a", "b"):
            await gate.end(await gate.take(name, tenant="acme"))
            advance(client, 31)
        event = gate.ask("c", tenant="acme")
        assert [q.remaining for q in await seen.quotas(event)] == [4, 80]
        advance(client, 31)
        assert [q.remaining for q in await seen.quotas(event)] == [5, 100]


async def test_who_has_no_limits_has_no_quotas(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, tenants={"acme": {}})) as gates:
        await gates.first.take("a", tenant="acme", user="bob")
        assert await seen.quotas(gates.first.ask("b", tenant="acme", user="bob")) == ()


async def test_looking_takes_nothing_and_gives_nothing_back(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"tpm": 60, "rpm": 3}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        for name in ("a", "b", "c"):
            await gate.end(await gate.take(name, tenant="acme"))
        await gate.queue("d", tenant="acme")
        event = gate.ask("e", tenant="acme")
        before = use(client, "t:acme"), tickets(client)
        for _ in range(3):
            await seen.quotas(event)
            await look(seen, settings, event)
        assert (use(client, "t:acme"), tickets(client)) == before
        await gate.admission.leave(gate.ask("d", tenant="acme"))
        advance(client, 61)
        for _ in range(2):
            # This drops what has left its minute: it has to leave the sum as well.
            await seen.quotas(event)
        assert use(client, "t:acme")[WINDOW_TOKENS] == 0
        for name in ("f", "g", "h"):
            await gate.take(name, tenant="acme")


async def look(seen: View, settings: Settings, event: Event, **changes: object) -> Sight:
    """Have explained what would stop an event."""
    room = Plans(settings, Catalog(settings)).room(candidates(event))
    asked = question(event, room, weight=1, is_known=True, refuses=False)
    return await seen.look(view.argument(question=asked, rooms=True))


async def test_a_look_explains_which_of_our_limits_stops_a_request(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    acme: Mapping[str, object] = {"limits": {"rpm": 2, "tpm": 1000}, "users": {"bob": {"rpm": 9}}}
    settings = configured(tmp_path, tenants={"acme": acme})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        event = gate.ask("e", tenant="acme", user="bob")
        await gate.take("a", tenant="acme", user="bob")
        assert [stop.ms for stop in (await look(seen, settings, event)).own] == [0, 0]
        await gate.take("b", tenant="acme", user="bob")
        tenant, user = (await look(seen, settings, event)).own
        assert user == Stop("u:acme:bob", 0, "", 0, 0)
        assert (tenant.scope, tenant.dimension, tenant.limit) == ("t:acme", "rpm", 2)
        assert 55_000 < tenant.ms <= 60_001


async def test_a_look_explains_which_candidate_would_take_a_request(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    deployments = [
        {"provider": "p", "model": "a", "limits": {"concurrency": 1}},
        {"provider": "p", "model": "b", "limits": {"rpm": 2, "burst": 1}},
        {"provider": "p", "model": "c"},
    ]
    settings = configured(tmp_path, models={"m": {"deployments": deployments}})
    async with Gates(redis_url, client, settings) as gates:
        event = gates.first.ask("e")
        for name in ("x", "y"):
            await gates.first.take(name)
        full, slow, free = (await look(seen, settings, event)).candidates
    assert (full.deployment, full.ms, full.why) == ("p/a", -1, "concurrency")
    assert (slow.deployment, slow.why) == ("p/b", "rpm")
    assert 25_000 < slow.ms <= 30_000
    assert (free.deployment, free.ms, free.tokens) == ("p/c", 0, 20)


async def test_a_look_lists_the_rooms_in_which_somebody_waits(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        assert (await seen.look(view.argument(rooms=True))).rooms == ()
        holder = await gate.take("first")
        await gate.wait("high", priority=HIGH)
        advance(client, 30)
        await gate.wait("a", "b")
        await gate.wait("low", priority=LOW)
        [room] = (await seen.look(view.argument(rooms=True))).rooms
        assert (room.deployments, room.waiting) == (("p/a",), (1, 2, 1))
        assert 29_000 < room.oldest_ms < 40_000
        await gate.end(holder, FAILED)
        [room] = (await seen.look(view.argument(rooms=True))).rooms
        assert room.waiting == (0, 2, 1)
        assert room.oldest_ms < 10_000


async def test_the_time_of_a_look_is_redis_own(
    redis_url: str, client: Client, seen: View, tmp_path: Path
) -> None:
    advance(client, 5000)
    async with Gates(redis_url, client, configured(tmp_path)):
        sight = await seen.look(view.argument())
    assert sight.wall / 1000 == pytest.approx(wall(client), abs=5)
