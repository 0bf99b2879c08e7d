"""What `sluice limits` foretells is what admission then says."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.event import Event, Lease
from pipeline.limits.runner import REGISTER
from pipeline.limits.tickets import Refusal, Settlement, Verdict, Waiting
from pipeline.limits.trial import trial, verdict
from pipeline.limits.view import LOOK, argument, keys, our_scopes, read
from pipeline.settings.load import Settings
from tests.limits.rooms import DONE, Gate, Gates, advance, configured
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

_DEAD: Final = Settlement(ending="failed", dead="credentials")


def foretold(client: Client, settings: Settings, event: Event, *, unpublished: bool) -> Verdict:
    tried = trial(settings, Catalog(settings), event, unpublished=unpublished)
    room = tried.room
    client.eval(REGISTER.text, 1, NAMES.limits, room.name, room.packed, *room.upstreams)
    return verdict(tried, read(client.eval(LOOK.text, 2, *keys(NAMES), tried.packed)))


def tenants(**limits: object) -> dict[str, object]:
    return {"tenants": {"t": {"limits": limits}}}


def refusing(**limits: object) -> dict[str, object]:
    deployments = [{"provider": "p", "model": "a"}]
    return {
        "models": {"m": {"deployments": deployments, "on_limit": "refuse"}},
        **tenants(**limits),
    }


async def take(gate: Gate) -> None:
    await gate.take("a", tenant="t")


async def take_and_wait(gate: Gate) -> None:
    await gate.take("a", tenant="t")
    await gate.wait("b", tenant="t")


async def lose_the_key(gate: Gate) -> None:
    await gate.end(await gate.take("a", tenant="t"), _DEAD)


async def nothing(_: Gate) -> None:
    return


class Case(msgspec.Struct, frozen=True):
    """What was before a request, how it asks, and what is to be said."""

    sections: dict[str, object]
    before: Callable[[Gate], Coroutine[None, None, None]]
    changes: dict[str, Any]
    kind: type[object]
    why: str = ""


CASES: Final = [
    Case({}, nothing, {}, Lease),
    Case({"limits": {"concurrency": 2}}, take, {}, Lease),
    Case({"limits": {"concurrency": 1}}, take, {}, Waiting),
    Case({"limits": {"concurrency": 1}}, take_and_wait, {}, Waiting),
    Case({"limits": {"concurrency": 1}}, take_and_wait, {"priority": 5}, Waiting),
    Case({"limits": {"rpm": 6}}, take, {}, Waiting),
    Case({"limits": {"rpm": 6}}, take, {"timeout_s": 3.0}, Refusal, "unreachable"),
    Case({"limits": {"tpm": 15}}, nothing, {}, Refusal, "heavy"),
    Case({"limits": {}}, lose_the_key, {}, Refusal, "dead"),
    Case(
        {"limits": {"concurrency": 1}, "gate": {"max_queue_size": 1}},
        take_and_wait,
        {},
        Refusal,
        "full",
    ),
    Case(tenants(rpm=2), take, {}, Lease),
    Case(tenants(rpm=1), take, {}, Waiting),
    Case(tenants(rpm=1), take_and_wait, {}, Waiting),
    Case(tenants(concurrency=1), take, {}, Waiting),
    Case(tenants(window={"requests": 1, "seconds": 600}), take, {}, Waiting),
    Case(tenants(rpm=1), take, {"timeout_s": 30.0}, Refusal, "limited"),
    Case(tenants(tpm=30), take, {}, Waiting),
    Case(tenants(tpm=15), nothing, {}, Refusal, "heavy"),
    Case(tenants(rpd=0), nothing, {}, Refusal, "no_access"),
    Case(refusing(rpm=1), take, {}, Refusal, "limited"),
    Case(refusing(rpd=1), take, {}, Refusal, "limited"),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("unpublished", [False, True])
async def test_a_trial_foretells_what_admission_says(
    redis_url: str,
    client: Client,
    tmp_path: Path,
    case: Case,
    unpublished: bool,
) -> None:
    settings = configured(tmp_path, **case.sections)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await case.before(gate)
        asked = {"tenant": "t", **case.changes}
        if timeout_s := asked.pop("timeout_s", 0):
            asked["deadline"] = clock.now() + timeout_s
        event = gate.ask("tried", **asked)
        told = foretold(client, settings, event, unpublished=unpublished)
        said = await gate.admission.admit(event)
        assert isinstance(told, case.kind)
        assert getattr(told, "why", "") == case.why
        assert type(told) is type(said)
        if isinstance(told, Waiting) and isinstance(said, Waiting):
            assert (told.scope, told.place) == (said.scope, said.place)
            assert told.eta_s == pytest.approx(said.eta_s, abs=1)
        elif isinstance(told, Refusal) and isinstance(said, Refusal):
            assert told.reset_s == pytest.approx(said.reset_s, abs=1)
            assert (told.scope, told.limit) == (said.scope, said.limit)
            assert (told.dimension, told.window_s) == (said.dimension, said.window_s)
        else:
            assert told == said


async def test_a_trial_of_another_configuration_leaves_the_published_one(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, **tenants(rpm=2))
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("a", tenant="t")
        tight = configured(tmp_path, **tenants(rpm=1))
        event = gate.ask("tried", tenant="t")
        assert isinstance(foretold(client, tight, event, unpublished=True), Waiting)
        assert isinstance(foretold(client, tight, event, unpublished=False), Lease)
        assert isinstance(await gate.admission.admit(event), Lease)


async def test_looking_leaves_the_tokens_of_a_window_counted_right(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, **tenants(tpm=30))
    look = argument(our_scopes(settings))
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="t"), DONE)
        advance(client, 61)
        (seen,) = read(client.eval(LOOK.text, 2, *keys(NAMES), look)).scopes
        assert seen.minute_tokens == 0
        await gate.take("b", tenant="t")


async def test_a_sweep_finds_those_that_only_a_limit_of_ours_holds(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, **tenants(rpm=1))
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="t"), DONE)
        await gate.wait("b", tenant="t")
    async with Gates(redis_url, client, settings) as others:
        advance(client, 61)
        await others.first.admission.sweep()
        assert client.hlen(NAMES.parked) == 0
