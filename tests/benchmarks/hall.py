"""The limits of one benchmark case in Redis: candidates, leases, and a room full of who waits."""

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pipeline.catalog import Catalog
from pipeline.limits.caps import published
from pipeline.limits.plans import Plans, Room
from pipeline.limits.runner import ADMISSION, PUBLISH, REGISTER
from pipeline.limits.tickets import candidates, question, settlement
from pipeline.settings.load import Settings
from tests.benchmarks.ground import Bench, Ground
from tests.limits.rooms import DONE, configured
from tests.streams.rig import NAMES, make_event

#: Events in one call, the largest first: so many calls at once are allowed where others wait.
BATCHES: Final = (64, 16, 1)

_TENANTS: Final = 50
#: Longest that the looks after an end may take.
_SERVED_S: Final = 2.0
_FILL: Final = 128
_ALLOWED: Final = {"rpm": 600_000, "tpm": 600_000_000}
_LIMITS: Final = {"rpm": 60_000_000, "burst": 1_000_000, "tpm": 2_000_000_000}

_pack: Final = msgspec.msgpack.Encoder().encode


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the script."""

    #: Its verb, or what it was for.
    what: str
    events: int
    #: µs that it held Redis, without those in which the system gave the processor to others.
    us: float


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Who may serve, who waits, and what else is to be looked at."""

    candidates: int
    waiting: int = 0
    #: Keys of each provider, each with limits of its own.
    keys: int = 1
    #: Whether tenants have limits of requests and tokens per minute.
    limited: bool = False
    strategy: str = "least_busy"
    #: Waiting rooms: models whose candidates are the same but for one.
    rooms: int = 1

    @property
    def name(self) -> str:
        """Tell it in words."""
        also = f", {self.keys} keys each" * (self.keys > 1) + ", tenants' limits" * self.limited
        also += f", {self.strategy}" * (self.strategy != "least_busy")
        of = f"{self.candidates} candidate{'s' * (self.candidates > 1)}"
        return f"{of}, {self.waiting:,} waiting{also}"

    def settings(self, bench: Bench) -> Settings:
        """Configure it; where somebody waits, one batch of calls may be under way."""
        at_once = -(-max(BATCHES) // self.candidates) if self.waiting else 100_000
        provider: dict[str, object] = {
            "kind": "simulated",
            "base_url": "http://127.0.0.1:1/v1",
            "limits_per": "key",
            "keys": [f"secret-of-key-{n}" for n in range(self.keys)],
            "limits": {**_LIMITS, "concurrency": at_once},
        }
        names = [f"provider-{n}" for n in range(self.candidates + (self.rooms > 1))]
        price = {"prompt": 1, "completion": 2}
        listed = [{"provider": name, "model": "llama-3.1-8b", "price": price} for name in names]
        if self.rooms > 1:
            models = [listed[:n] + listed[n + 1 :] for n in range(self.rooms)]
        else:
            models = [listed]
        tenants = {f"t{n}": {"limits": _ALLOWED} for n in range(_TENANTS)}
        return configured(
            bench.directory,
            gateway={"default_model": "m0"},
            gate={"max_queue_size": 1_000_000},
            providers=dict.fromkeys(names, provider),
            models={
                f"m{n}": {"strategy": self.strategy, "deployments": those}
                for n, those in enumerate(models)
            },
            tenants=tenants if self.limited else {},
        )


class Hall:
    """A case's rooms in Redis; all that asks goes through the script, as in a worker."""

    def __init__(self, ground: Ground, bench: Bench, case: Case) -> None:
        self.case = case
        self.settings = case.settings(bench)
        self.catalog = Catalog(self.settings)
        #: Tickets that have leases.
        self.leases: list[str] = []
        self.redis: Any = ground.client
        assert ground.redis.pid is not None
        # Linux's clock of the CPU time of another process.
        self._cpu_clock = (~ground.redis.pid << 3) | 2
        self._calls: list[Call] = []
        self._watching = False
        #: CPU time of Redis in the calls since `watch`.
        self.spent_us = 0.0
        self.redis.flushdb()
        self.redis.script_load(ADMISSION.text)
        fields = [p for pair in published(self.settings, self.catalog).items() for p in pair]
        self.redis.eval(PUBLISH.text, 1, NAMES.limits, *fields)
        plans = Plans(self.settings, self.catalog)
        self._asked = [self._template(plans, model) for model in self.settings.models]
        self._count = 0

    def fill(self) -> None:
        """Take all the leases there are where others are to wait, and let those come."""
        if self.case.waiting:
            at_once = -(-max(BATCHES) // self.case.candidates) * self.case.candidates
            self.admit(at_once + (self.case.rooms > 1) * at_once, min(_FILL, at_once))
            for _ in range(self.case.waiting // _FILL + 1):
                self.run("admit", self._questions(_FILL))

    def admit(self, count: int, batch: int) -> None:
        """Let so many new events ask."""
        for _ in range(0, count, batch):
            asked = self._questions(batch)
            answers, _ = self.run("admit", asked)
            for question_, answer in zip(asked, answers, strict=True):
                if msgspec.msgpack.decode(answer)[0] == "lease":
                    self.leases.append(msgspec.msgpack.decode(question_)[0])

    def settle(self, batch: int) -> list[str]:
        """Settle so many leases; gives the tickets that were served in their place.

        What one call leaves to the next, the looks a few ms later do, as a worker's.
        """
        ending, self.leases = self.leases[:batch], self.leases[batch:]
        _, woken = self.run("settle", [_pack(settlement(one, 1, DONE)) for one in ending])
        end = time.monotonic() + _SERVED_S
        while self.case.waiting and len(woken) < len(ending) and time.monotonic() < end:
            time.sleep(0.006)
            woken += self.run("alarm", what="settle")[1]
        return [ticket.decode() for ticket in woken]

    def claim(self, tickets: list[str]) -> None:
        """Let those ask again that were served."""
        asked = list(self._asked[0])
        items = [_pack([ticket, *asked[1:]]) for ticket in tickets]
        if items:
            self.run("admit", items, "claim")
        self.leases += tickets

    def run(
        self, verb: str, items: Sequence[bytes] = (), what: str = ""
    ) -> tuple[list[bytes], list[bytes]]:
        """Run the script; gives the answers, and the tickets woken."""
        words = (NAMES.limits, NAMES.clock, verb, *items)
        started, before = self._script_us(), self.cpu_us()
        answers, woken, _ = self.redis.evalsha(ADMISSION.sha, 2, *words)
        cpu_us = self.cpu_us() - before
        if self._watching:
            us = min(cpu_us, self._script_us() - started)
            self._calls.append(Call(what=what or verb, events=len(items), us=us))
            self.spent_us += cpu_us
        return answers, woken

    def watch(self) -> None:
        """Note what every call takes, from now on."""
        self._calls, self._watching, self.spent_us = [], True, 0.0

    def watched(self) -> list[Call]:
        """List the calls since `watch`, and note no more."""
        self._watching = False
        return self._calls

    def _script_us(self) -> float:
        if not self._watching:
            return 0.0
        return float(self.redis.info("commandstats")["cmdstat_evalsha"]["usec"])

    def cpu_us(self) -> float:
        """Tell the CPU time of Redis so far."""
        return time.clock_gettime_ns(self._cpu_clock) / 1000

    def _template(self, plans: Plans, model: str) -> list[Any]:
        event = make_event(
            "r",
            model=model,
            plan=self.catalog.candidates(model),
            tenant="t0",
            user="u",
            prompt_tokens=10,
            output_tokens=10,
        )
        room: Room = plans.room(candidates(event))
        self.redis.eval(REGISTER.text, 1, NAMES.limits, room.name, room.packed, *room.upstreams)
        return question(event, room, weight=1, is_known=self.case.limited, refuses=False)

    def _questions(self, count: int) -> list[bytes]:
        made = []
        for n in range(self._count, self._count + count):
            asked = list(self._asked[n % len(self._asked)])
            tenant = f"t{n % _TENANTS}"
            asked[0], asked[3] = f"1.{n:026}", tenant
            asked[5] = [part.replace("t0", tenant) for part in asked[5]]
            made.append(_pack(asked))
        self._count += count
        return made
