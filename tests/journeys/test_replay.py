"""Past requests asked again: to another model, in the shadow, cut in the middle, or by a group."""

import json
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.cli.command import SLUICE, sluice
from tests.house_of_sluice import House, requests
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Reckoning, entries, events
from tests.waiting import eventually

pytestmark = pytest.mark.journey


def _told(house: House, *arguments: str) -> Any:
    """Give what the command tells as JSON."""
    done = sluice(house.directory, *arguments, "--json", env=house.environment())
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def _replays_of(house: House) -> dict[str, list[str]]:
    """List the new ids of each request that was replayed."""
    found: dict[str, list[str]] = {}
    for _, fields in entries(house.client, house.names.requests["low"]):
        event = json.loads(fields["event"])
        found.setdefault(event["replay_of"], []).append(event["id"])
    return found


def _turns(house: House) -> dict[str, object]:
    """List the requests of each session."""
    keys = house.client.scan_iter("sluice:session:*")
    return {key: house.client.lrange(key, 0, -1) for key in keys}


def _ask_in_every_way(house: House, count: int) -> list[str]:
    """Have requests answered over HTTP and by XADD, small ones and large ones; give their ids."""
    large = "x" * 6000
    later = [house.later(), house.later(message=large)]
    body = {"model": "fast", "messages": [{"role": "user", "content": large}]}
    assert house.ask("POST", "/v1/chat/completions", body)[0] == 200
    told = requests(count, callback_queue="answers", metadata={"mine": 1})
    house.xadd([*told, {"request_id": "wide", "prompt": large, "model": "fast"}])
    return [*later, *(f"r{number}" for number in range(count)), "wide"]


def test_the_past_is_asked_of_another_model_and_nobody_hears_of_it(
    build_house: BuildHouse,
) -> None:
    house = build_house(
        models={"better": {"deployments": [{"provider": "sim", "model": "b:tokens=7"}]}}
    )
    house.start(workers=2)
    began = time.time()
    ids = _ask_in_every_way(house, 20)
    reckoning = Reckoning(house.client, house.names)
    reckoning.await_end(ids)
    eventually(lambda: len(house.answers("answers")) == 20, what="the producers' callbacks")
    turns = _turns(house)
    told = _told(house, "replay", "--since", str(began), "--to-model", "better", "--shadow")
    assert (told["matched"], told["replayed"], told["without_body"]) == (24, 24, 0)
    eventually(lambda: house.client.xlen(house.names.shadow) == 24, what="the shadows' results")
    shadows = house.answers(house.names.shadow)
    assert {shadow["status"] for shadow in shadows} == {"success"}
    assert {dict(shadow["usage"])["completion_tokens"] for shadow in shadows} == {7}  # type: ignore[call-overload]
    olds = {str(shadow["replay_of"]) for shadow in shadows}
    assert olds > set(ids)
    assert olds == _replays_of(house).keys()
    sizes = {str(s["replay_of"]): dict(s["usage"])["prompt_tokens"] for s in shadows}  # type: ignore[call-overload]
    assert {old for old, size in sizes.items() if size > 1000} >= {ids[1], "wide"}
    # Nobody who asked the first time hears of it.
    assert len(house.answers("answers")) == 20
    assert _turns(house) == turns
    news = [new for (new,) in _replays_of(house).values()]
    reckoning.check([*olds, *news])


def _await_replayed(house: House, count: int) -> None:
    eventually(lambda: house.client.xlen(house.names.requests["low"]) >= count, what="replays")


def test_a_replay_killed_in_the_middle_and_resumed_doubles_nothing(
    build_house: BuildHouse,
) -> None:
    house = build_house()
    house.start()
    began = time.time()
    ids = [f"r{number}" for number in range(300)]
    house.xadd(requests(300, callback_queue="answers"))
    reckoning = Reckoning(house.client, house.names)
    reckoning.await_end(ids)
    asked = ("replay", "--since", str(began), "--rate", "150")
    child = house.nursery.spawn([*SLUICE, *asked], house.environment(), "replay")
    for wanted in (60, 150):
        _await_replayed(house, wanted)
        child.process.send_signal(signal.SIGKILL)
        child.wait()
        assert house.client.xlen(house.names.requests["low"]) < 300
        name = child.output.split()[1]
        resumed = ("replay", "--resume", name, "--rate", "150")
        child = house.nursery.spawn([*SLUICE, *resumed, "--json"], house.environment(), "resumed")
    assert child.wait() == 0
    told = json.loads(child.output.splitlines()[-1])
    assert (told["matched"], told["replayed"], told["repeated"]) == (300, 300, 0)
    found = _replays_of(house)
    assert {old: len(news) for old, news in found.items()} == dict.fromkeys(ids, 1)
    reckoning.check([*ids, *(new for (new,) in found.values())])
    eventually(lambda: house.client.xlen("answers") == 600, what="all callbacks")
    links = Counter(str(answer.get("replay_of", "")) for answer in house.answers("answers"))
    assert links == Counter({"": 300, **dict.fromkeys(ids, 1)})


def test_a_users_group_on_done_is_reset_and_reads_again(house: House, reckoning: Reckoning) -> None:
    house.xadd(requests(10, name="before"))
    reckoning.await_end([f"before{number}" for number in range(10)])
    began = time.time()
    house.xadd(requests(10, name="after"))
    ids = [f"after{number}" for number in range(10)]
    reckoning.await_end(ids)
    done = house.names.done
    assert _told(house, "groups", "create", "done", "ledger", "--from", "end")["unread"] == 0
    try:
        for place, expected in ((str(began), ids), ("start", None)):
            told = _told(house, "groups", "reset", "ledger", "--to", place)
            got: Any = house.client.xreadgroup("ledger", "me", {done: ">"}, noack=True)
            read = [json.loads(fields["event"])["id"] for _, fields in got[0][1]]
            everything = [event["id"] for event in events(house.client, done)]
            assert sorted(read) == sorted(expected or everything)
            assert told["unread"] == len(read)
    finally:
        told = _told(house, "groups", "release", "ledger", "--yes")
    assert told["unread"] == 0
