"""The configuration is replaced under an event: its call is not made, or ends as it began."""

from pathlib import Path

import msgspec
import pytest

from pipeline import event as events
from pipeline.catalog import Catalog
from pipeline.event import Event
from pipeline.outcome import Forward, Wait
from pipeline.settings.load import Settings
from tests.limits import rooms
from tests.limits.rooms import DONE, configured, deployment
from tests.providers.simulated_process import SimulatedProcess
from tests.streams import rig
from tests.streams.rig import NAMES, Client
from tests.workers.bench import Bench, settings_for
from workers.call import call
from workers.gate import gate

pytestmark = pytest.mark.anyio


def replace(here: Bench, settings: Settings) -> Bench:
    """Go by other settings from now on, as a worker does."""
    here.catalog = Catalog(settings)
    here.admission.replace(settings, here.catalog)
    here.means = msgspec.structs.replace(here.means, catalog=here.catalog, config="new")
    return here


def two(directory: Path, *keys: str) -> Settings:
    """Configure the models of the bench and a key of their provider."""
    return settings_for(
        directory,
        "http://127.0.0.1:1/v1",
        providers={"sim": rooms.provider(*keys), "p": rooms.provider()},
    )


async def returned(here: Bench, event: Event) -> Forward:
    """Begin a call that is not to be made."""
    outcome = await call(event, means=here.means)
    assert isinstance(outcome, Forward)
    assert (outcome.to, outcome.event.lease) == ("gate", None)
    assert outcome.facts == {"lease": "not served"}
    assert outcome.event.attempts == event.attempts
    return outcome


async def planned_anew(here: Bench, event: Event) -> list[str]:
    """Let the gate plan and admit an event; give the deployment and the key of its lease."""
    outcome = await gate(event, admission=here.admission, catalog=here.catalog)
    assert isinstance(outcome, Forward)
    assert outcome.event.lease
    return [outcome.event.lease.deployment, outcome.event.lease.key]


async def test_a_lease_on_a_deployment_that_was_taken_out_is_given_back(
    here: Bench, tmp_path: Path
) -> None:
    event = await here.accepted("plain")
    plain = {"plain": {"deployments": [deployment("z")]}}
    settings = configured(
        tmp_path,
        providers={"p": rooms.provider()},
        models=plain,
        gateway={"default_model": "plain"},
    )
    await replace(here, settings).admission.publish()
    outcome = await returned(here, event)
    assert (await planned_anew(here, outcome.event))[0] == "p/z"


async def test_a_lease_on_a_key_that_was_taken_out_is_given_back(
    here: Bench, tmp_path: Path
) -> None:
    event = await here.accepted("plain")
    await replace(here, two(tmp_path, "sk-new")).admission.publish()
    outcome = await returned(here, event)
    deployment_id, key = await planned_anew(here, outcome.event)
    assert deployment_id == "sim/one:tokens=3"
    assert key in here.catalog.key_ids("sim")


async def test_each_attempt_records_the_configuration(
    here: Bench, provider: SimulatedProcess, tmp_path: Path
) -> None:
    replace(here, settings_for(tmp_path, provider.url))
    outcome = await call(await here.accepted("plain"), means=here.means)
    assert isinstance(outcome, Forward)
    assert outcome.facts["config"] == "new"


async def test_who_waits_moves_to_the_room_of_the_new_configuration(
    here: Bench, client: Client, tmp_path: Path
) -> None:
    def limited(*keys: str) -> Settings:
        return configured(
            tmp_path,
            providers={"p": rooms.provider(*keys, limits={"concurrency": 1})},
            models={"m": {"deployments": [deployment("a")]}},
            gateway={"default_model": "m"},
        )

    await replace(here, limited("sk-old")).admission.publish()
    first = await here.leased(rig.make_event("first", model="m", plan=here.catalog.candidates("m")))
    waiting = rig.make_event("second", model="m", plan=here.catalog.candidates("m"))
    outcome = await gate(waiting, admission=here.admission, catalog=here.catalog)
    assert isinstance(outcome, Wait)
    client.hset(NAMES.parked, waiting.id, events.encode(outcome.event))
    replace(here, limited("sk-old"))
    assert await here.admission.move() == 0
    await replace(here, limited("sk-new")).admission.publish()
    assert await here.admission.move() == 1
    [moved] = rig.ids(client, "gate")
    assert moved == "second"
    outcome = await gate(waiting, admission=here.admission, catalog=here.catalog)
    assert isinstance(outcome, Wait)
    await here.admission.settle(first, DONE)
    assert (await planned_anew(here, waiting))[1] == here.catalog.key_ids("p")[0]


async def test_calls_under_way_are_renewed_though_their_deployment_was_taken_out(
    here: Bench, tmp_path: Path
) -> None:
    event = await here.accepted("plain")
    plain = {"plain": {"deployments": [deployment("z")]}}
    settings = configured(
        tmp_path,
        providers={"p": rooms.provider()},
        models=plain,
        gateway={"default_model": "plain"},
    )
    replace(here, settings)
    await here.admission.renew([event])
    assert await here.admission.resume(event)
