"""The reckoning of a journey, and the report of what was struck, lost, repeated and why."""

from collections import Counter
from collections.abc import Collection, Mapping

import msgspec

from tests.crash.chaos.ground import Ground
from tests.crash.chaos.plan import Plan
from tests.crash.chaos.traffic import CALLBACKS, Traffic
from tests.reckoning import Ended, Reckoning

#: From the last fault on. The ladder alone takes 3 s; a lease of which the worker died that would
#: have given it back runs out after 60 s; a deployment that then fails its trial opens for 60 s.
_END_S = 150.0


class Report(msgspec.Struct, kw_only=True):
    """What a journey came to."""

    seed: int
    faults: Mapping[str, int]
    #: Requests whose clients know that they were accepted, and the others that were.
    accepted: int
    unknown: int
    ended: Mapping[str, int]
    #: Codes of those that failed.
    failed: Mapping[str, int]
    climbed: int
    heard: Mapping[str, int]
    #: Calls upstream, and those more than the journals tell of, by what explains them.
    calls: int
    repeated: Mapping[str, int] = {}
    lost: int
    #: Producers that were not called back; their results are in the records.
    uncalled: int
    counters: Mapping[str, str]

    def __str__(self) -> str:
        """Tell it in lines."""
        told = msgspec.structs.asdict(self)
        return "\n".join(f"  {name:9} {value}" for name, value in told.items())


class Ledger:
    """Reckons on one ground, after its traffic."""

    def __init__(self, ground: Ground, traffic: Traffic) -> None:
        self._ground = ground
        self._house = ground.house
        self._traffic = traffic
        self._reckoning = Reckoning(self._house.client, self._house.names)

    def records(self) -> set[str]:
        """List all requests that Redis knows."""
        skip = len(self._house.names.record(""))
        return {key[skip:] for key in self._house.client.scan_iter(self._house.names.record("*"))}

    def check(self, forgotten: Collection[str] = ()) -> None:
        """Check that each request ended exactly once, and that nothing is left over.

        Redis may have `forgotten` some.
        """
        ids = (self.records() | self._traffic.accepted.keys()) - {*forgotten}
        assert len(self._traffic.accepted) > len(ids) / 2, "hardly anything was accepted"
        gone = self._ground.trimmed.get("done", set())
        self._reckoning.check(ids, _END_S, gone)
        self._check_letters(gone)
        self._check_callbacks({*forgotten}, gone)
        assert {m: n for m, n in self._traffic.contents.items() if len(n) > 1} == {}, "holes"

    def _check_letters(self, gone: set[str]) -> None:
        """Check that each failure has left one letter, but for cancelled and refused ones."""
        letters = Counter(event["id"] for event in self._reckoning.ended("dead"))
        failed = [event for event in self._reckoning.ended() if event["status"] == "failed"]
        kept = [event["id"] for event in failed if event["failure"].get("cause") != "limited"]
        assert {one: n for one, n in letters.items() if one not in gone} == Counter(kept)
        assert set(letters.values()) <= {1}

    def _check_callbacks(self, forgotten: set[str], gone: set[str]) -> None:
        """Check that each producer was called back, but for whom `done` was trimmed too early."""
        called = self._called_back()
        assert self._traffic.callbacks - forgotten - gone <= called.keys(), "not called back"
        assert called.keys() <= self._traffic.callbacks
        assert set(called.values()) <= {1}, "called back twice"

    def _called_back(self) -> Counter[str]:
        return Counter(str(told["request_id"]) for told in self._house.answers(CALLBACKS))

    def repeated(self, otherwise: str) -> dict[str, int]:
        """Count the calls that no journal tells of, by what explains them."""
        calls = self._house.upstream.calls()
        found: Counter[str] = Counter()
        for event in self._reckoning.ended():
            told, redelivered = _calls_told(event)
            more = calls[event["id"]] - told
            if more > 0:
                found["delivered again"] += min(more, redelivered)
                was_trimmed = _code(event) == "request_lost"
                why = "told of in a journal that was trimmed" if was_trimmed else otherwise
                found[why] += max(0, more - redelivered)
        return dict(+found)

    def report(self, plan: Plan, otherwise: str = "unexplained") -> Report:
        """Tell what came of it all; `otherwise` is what explains calls that nothing else does."""
        ids = self.records() | self._traffic.accepted.keys()
        statuses = self._reckoning.statuses(ids)
        ended = self._reckoning.ended()
        counters = self._house.client.hgetall(self._house.names.counters)
        open_ones = sum(n for status, n in statuses.items() if status not in _ENDED)
        return Report(
            seed=plan.seed,
            faults=Counter(strike.fault for strike in plan.strikes),
            accepted=len(self._traffic.accepted),
            unknown=len(ids - self._traffic.accepted.keys()),
            ended=statuses,
            failed=Counter(filter(None, map(_code, ended))),
            climbed=sum(any("rung" in facts for facts in _facts(event)) for event in ended),
            heard=self._traffic.heard,
            calls=self._house.upstream.number("total"),
            repeated=self.repeated(otherwise),
            lost=open_ones,
            uncalled=len(self._traffic.callbacks - self._called_back().keys()),
            counters={str(name): str(count) for name, count in counters.items()},
        )


_ENDED = {"completed", "failed", "cancelled"}


def _facts(event: Ended) -> list[Mapping[str, object]]:
    return [_mapping(line.get("facts", {})) for line in event.get("journal", [])]


def _code(event: Ended) -> str:
    """Give the code of a failure; `none` where it has none, nothing where nothing failed."""
    return str(event["failure"].get("code", "none")) if "failure" in event else ""


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)
    return value


def _calls_told(event: Ended) -> tuple[int, int]:
    """Tell how many calls a journal tells of, and how many may have died with their workers."""
    told = redelivered = 0
    for line in event.get("journal", []):
        if line["hop"] == "call":
            told += "call_ms" in _mapping(line.get("facts", {}))
            redelivered += int(str(line.get("delivery", 1))) - 1
    return told, redelivered
