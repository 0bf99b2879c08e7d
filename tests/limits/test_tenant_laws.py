"""Whatever comes in whatever order: our limits are never passed, and nobody waits for ever."""

from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import Event, Lease
from pipeline.limits.tickets import Ending, Settlement, Waiting
from tests.limits.rooms import (
    Gate,
    Gates,
    Section,
    configured,
    leased,
    tickets,
    to_midnight,
    use,
    wall,
)
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

LEASES, DAY_REQUESTS, DAY_TOKENS = 2, 4, 5
WINDOW_TOKENS, HELD, RESERVED, RESERVED_TOKENS = 14, 22, 23, 24
USERS: Final = ("bob", "eve")
PROMPT: Final = 10
DAY_S: Final = 86_400


class Granted(msgspec.Struct):
    """A request that was let go: when, on the limits' clock in seconds, and what it takes."""

    at: float
    scopes: tuple[str, ...]
    tokens: int
    counts: bool = True


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one scope; 0: none."""

    rpm: int = 0
    tpm: int = 0
    rpd: int = 0
    tpd: int = 0
    concurrency: int = 0
    requests: int = 0
    seconds: int = 0

    def section(self) -> Section:
        """Write them as a configuration has them."""
        named = ("rpm", "tpm", "rpd", "tpd", "concurrency")
        section: dict[str, object] = {n: getattr(self, n) for n in named if getattr(self, n)}
        if self.requests:
            section["window"] = {"requests": self.requests, "seconds": self.seconds}
        return section


def maybe(least: int, most: int) -> st.SearchStrategy[int]:
    return st.just(0) | st.integers(least, most)


rules = st.builds(
    Rules,
    rpm=maybe(1, 6),
    tpm=maybe(40, 200),
    rpd=maybe(4, 20),
    tpd=maybe(45, 250),
    concurrency=maybe(1, 4),
    requests=maybe(1, 5),
    seconds=st.sampled_from([3, 20, 150]),
)
ask = st.tuples(st.just("ask"), st.sampled_from(USERS), st.integers(1, 30))
endings = st.sampled_from(["answered", "failed", "refused", "again"])
end = st.tuples(endings, st.integers(0, 5), st.integers(0, 30))
leave = st.tuples(st.just("leave"), st.integers(0, 30), st.just(0))
go_by = st.tuples(st.just("pass"), st.sampled_from([0.2, 2, 11, 25, 40]), st.just(0))
steps = st.lists(ask | ask | end | leave | go_by, min_size=10, max_size=60)


class Walk:
    """Takes steps at several gates, and checks every law after each."""

    def __init__(self, gates: list[Gate], client: Client, limits: dict[str, Rules]) -> None:
        self._gates = gates
        self._client = client
        self._limits = limits
        self._number = 0
        self._asked: dict[str, Event] = {}
        self.calls: dict[str, Event] = {}
        self.granted: dict[str, Granted] = {}

    def _gate(self) -> Gate:
        return self._gates[(self._number + len(self.granted)) % len(self._gates)]

    async def take(self, what: str, which: str | float, tokens: int) -> None:
        """Take one step."""
        match what:
            case "ask":
                event = self._gate().ask(
                    f"r{self._number}", tenant="acme", user=which,
                    prompt_tokens=PROMPT, output_tokens=tokens,
                )  # fmt: skip
                self._number += 1
                self._asked[event.id] = event
                await self._admit(event)
            case "pass":
                await self._gate().later(float(which))
            case "leave":
                await self._leave(f"r{int(which)}")
            case _:
                if self.calls:
                    request_id = list(self.calls)[int(which) % len(self.calls)]
                    await self._end(request_id, what, tokens)  # type: ignore[arg-type]  # an ending
        await self.collect()

    async def _admit(self, event: Event) -> None:
        verdict = await self._gate().admission.admit(event)
        if isinstance(verdict, Lease):
            self.calls[event.id] = leased(event, verdict)
        elif not isinstance(verdict, Waiting):
            del self._asked[event.id]

    async def _leave(self, request_id: str) -> None:
        if request_id in self._asked and request_id not in self.calls:
            await self._gate().admission.leave(self._asked.pop(request_id))
            if grant := self.granted.get(request_id):
                grant.counts = False

    async def _end(self, request_id: str, ending: Ending, tokens: int) -> None:
        call, grant = self.calls.pop(request_id), self.granted[request_id]
        used = PROMPT + min(tokens, call.output_tokens)
        answered = Settlement(
            ending="answered", prompt_tokens=PROMPT, completion_tokens=used - PROMPT
        )
        await self._gate().end(
            call, answered if ending == "answered" else Settlement(ending=ending)
        )
        if ending == "again":
            self._asked[request_id] = call
            await self._admit(call)
            return
        del self._asked[request_id]
        grant.counts = ending != "failed"
        grant.tokens = used if ending == "answered" else 0

    async def collect(self) -> None:
        """Come for leases that were given, and look that nothing is over."""
        for name, ticket in tickets(self._client).items():
            request_id = name[2:]
            if ticket["state"] == "lease" and request_id not in self.calls:
                await self._admit(self._asked[request_id])
            # A lease that nobody came for in time ran out, and was given anew.
            at = float(str(ticket["at"])) / 1000
            if at and (request_id not in self.granted or self.granted[request_id].at != at):
                own = ticket["own"]
                assert isinstance(own, list)
                self.granted[request_id] = Granted(at, tuple(own[::2]), int(str(ticket["tokens"])))
        for call in self.calls.values():
            await self._gate().renew(call)
        for scope, limits in self._limits.items():
            self._check(scope, limits)

    def _check(self, scope: str, limits: Rules) -> None:
        now = wall(self._client)
        mine = [g for g in self.granted.values() if scope in g.scopes and g.counts]

        def since(seconds: float) -> list[Granted]:
            return [grant for grant in mine if grant.at >= now - seconds]

        under_way = [g for i, g in self.granted.items() if i in self._asked and scope in g.scopes]
        today = since(now % DAY_S)
        assert not limits.rpm or len(since(60)) <= limits.rpm
        assert not limits.tpm or sum(grant.tokens for grant in since(60)) <= limits.tpm
        assert not limits.requests or len(since(limits.seconds)) <= limits.requests
        assert not limits.rpd or len(today) <= limits.rpd
        assert not limits.tpd or sum(grant.tokens for grant in today) <= limits.tpd
        assert not limits.concurrency or len(under_way) <= limits.concurrency

    async def drain(self) -> None:
        """End what is under way until nobody is left; days pass where a day's limit stops them."""
        for turn in range(600):
            for request_id in list(self.calls):
                await self._end(request_id, "answered", 30)
            await self.collect()
            if not self._asked:
                return
            if turn % 20 == 19:
                # A lease that is under way would run out on the way to midnight.
                while self.calls:
                    await self._end(next(iter(self.calls)), "answered", 30)
                    await self.collect()
                to_midnight(self._client, 1)
            await self._gate().later(15)
            await self.collect()
        raise AssertionError(f"wait for ever: {tickets(self._client)}")

    def check_counters(self) -> None:
        """What is counted is what was granted."""
        now = wall(self._client)
        for scope in self._limits:
            mine = [g for g in self.granted.values() if scope in g.scopes and g.counts]
            today = [grant for grant in mine if grant.at >= now - now % DAY_S]
            used = use(self._client, scope)
            if not used:
                continue
            for number in (LEASES, HELD, RESERVED, RESERVED_TOKENS):
                assert used[number] == 0, (scope, number)
            # A scope that nobody touched since midnight still shows the day before.
            if today:
                assert used[DAY_REQUESTS] == len(today)
                assert used[DAY_TOKENS] == sum(grant.tokens for grant in today)
            windows = [f"{NAMES.limits}:tokens:{scope}", "-inf", "+inf"]
            rows = self._client.zrangebyscore(*windows)
            assert used[WINDOW_TOKENS] == sum(int(row.split()[0]) for row in rows)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant and its users, what a deployment can take, and what happens."""

    tenant: Rules
    user: Rules
    capacity: int
    #: Seconds before midnight at which it begins; 0: whenever it is.
    before_s: int
    walk: list[tuple[str, str | float, int]]


cases = st.builds(
    Case, tenant=rules, user=rules, capacity=st.integers(1, 4), before_s=maybe(5, 90), walk=steps
)


@rig.law(40)
@given(case=cases)
async def test_no_order_of_requests_passes_our_limits(
    redis_url: str, client: Client, tmp_path: Path, case: Case
) -> None:
    client.flushdb()
    if case.before_s:
        to_midnight(client, case.before_s)
    acme = {"limits": case.tenant.section(), "users": {"default": case.user.section()}}
    settings = configured(tmp_path, limits={"concurrency": case.capacity}, tenants={"acme": acme})
    limits = {"t:acme": case.tenant, **{f"u:acme:{name}": case.user for name in USERS}}
    async with Gates(redis_url, client, settings, 3) as gates:
        here = Walk(gates.gates, client, limits)
        for what, which, tokens in case.walk:
            await here.take(what, which, tokens)
        await here.drain()
    here.check_counters()
