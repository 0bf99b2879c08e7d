"""Several keys of one provider: who is refused rests, or is dead, for all workers at once."""

import time
from collections.abc import Sequence
from typing import Final

import pytest

from tests.crowd import Crowd
from tests.house_of_sluice import House
from tests.journeys.conftest import BuildHouse
from tests.processes import Spawned
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_GOOD: Final = "sk-good-0000000000001"
_BAD: Final = ("sk-bad-00000000000002", "sk-bad-00000000000003")
#: The simulated provider answers 401 to keys that begin so.
_REFUSES: Final = "bad_key=sk-bad"


class _Keyed:
    """A house of two workers whose model `m` has a provider with several keys."""

    def __init__(
        self, build_house: BuildHouse, keys: Sequence[str], *, model: str = "m", probe_s: float = 60
    ) -> None:
        two = {"keys": keys, "limits_per": "key"}
        deployments = [{"provider": "two", "model": model}]
        if "quota" in model:
            deployments.append({"provider": "sim", "model": "second"})
        self.house = build_house(
            providers={"two": two},
            models={"m": {"deployments": deployments}},
            gate={"probe_s": probe_s},
        )

    def start(self, *options: str) -> Spawned:
        """Start all; give the provider."""
        house = self.house
        simulated = house.start_simulated(*options)
        gateway = house.spawn_gateway()
        workers = [house.spawn_worker() for _ in range(2)]
        house.await_gateway(gateway)
        for worker in workers:
            house.await_worker(worker)
        return simulated

    def heard(self, count: int) -> set[tuple[int, str]]:
        """Let so many clients ask at once; give their statuses and codes."""
        with Crowd(self.house.url, count, "m") as crowd:
            return {(one.status, one.code) for one in crowd.heard()}

    @property
    def dead(self) -> list[str]:
        """List the keys that are dead."""
        return [str(key) for key in self.house.client.hkeys(f"{self.house.names.limits}:dead")]

    @property
    def refused(self) -> int:
        """Count the calls that the provider refused."""
        number = self.house.upstream.number
        return number("total") - number("started")

    def keys_of(self, request_id: str) -> list[str]:
        """List the keys with which a request was called."""
        [event] = [
            one for one in Reckoning(self.house.client, self.house.names).ended()
            if one["id"] == request_id
        ]  # fmt: skip
        facts = [line.get("facts") for line in event["journal"] if line["hop"] == "gate"]
        return [str(one["key"]) for one in facts if isinstance(one, dict) and "key" in one]


def test_a_key_that_is_limited_rests_and_another_is_used_at_once(build_house: BuildHouse) -> None:
    hint_s = 2.0
    options = f"m:error=429,error_first=1,retry_after_ms={hint_s * 1000:.0f}"
    keyed = _Keyed(build_house, ["sk-a", "sk-b"], model=options)
    keyed.start()
    began = time.monotonic()
    first, second = _ask(keyed.house), None
    assert time.monotonic() - began < hint_s / 2
    limited, other = keyed.keys_of(first)
    assert limited != other
    # The other one is limited with its first call, too: the first is the next to be back.
    second = _ask(keyed.house)
    assert hint_s - 0.1 <= time.monotonic() - began < hint_s + 1
    assert keyed.keys_of(second) == [other, limited]


def _ask(house: House) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    status, told = house.ask("POST", "/v1/chat/completions", body)
    assert status == 200, told
    return Reckoning(house.client, house.names).ended()[-1]["id"]


def test_a_key_that_is_refused_is_dead_for_all_workers(build_house: BuildHouse) -> None:
    keyed = _Keyed(build_house, [_BAD[0], _GOOD])
    keyed.start(_REFUSES)
    assert keyed.heard(1) | keyed.heard(1) == {(200, "")}
    assert len(keyed.dead) == keyed.refused == 1
    assert keyed.dead[0].startswith("two:")
    assert "sk-" not in keyed.dead[0]
    assert keyed.heard(40) == {(200, "")}
    assert keyed.refused == 1


def test_a_spent_quota_kills_the_keys_and_another_deployment_answers(
    build_house: BuildHouse,
) -> None:
    keyed = _Keyed(build_house, [_GOOD, _BAD[0]], model="m:quota")
    keyed.start()
    assert keyed.heard(1) == {(200, "")}
    assert len(keyed.dead) == keyed.refused == 2
    assert keyed.heard(20) == {(200, "")}
    assert keyed.refused == 2


def test_when_all_keys_are_dead_that_is_told_and_a_probe_revives_them(
    build_house: BuildHouse,
) -> None:
    keyed = _Keyed(build_house, _BAD, probe_s=1.0)
    simulated = keyed.start(_REFUSES)
    assert keyed.heard(10) == {(502, "upstream_credentials_exhausted")}
    assert len(keyed.dead) == 2
    refused = keyed.refused
    assert keyed.heard(10) == {(502, "upstream_credentials_exhausted")}
    # At most one request goes out to try a key that has been dead for long.
    assert keyed.refused <= refused + 2
    simulated.end()
    keyed.house.start_simulated()
    eventually(lambda: keyed.heard(1) == {(200, "")}, 5.0, "a key that is tried again")
    eventually(lambda: keyed.heard(2) and not keyed.dead, 5.0, "both keys' life")
    assert keyed.heard(20) == {(200, "")}
