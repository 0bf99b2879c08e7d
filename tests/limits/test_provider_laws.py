"""Whatever is asked, by whom and when: a provider never gets more than it allows, and in the end
everybody has had a turn and the counters tell the truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import Event, Lease
from pipeline.limits.tickets import Refusal, Settlement
from pipeline.settings.load import Settings
from tests.limits.rooms import (
    Gates,
    advance,
    calls,
    configured,
    leased,
    provider,
    tickets,
    to_midnight,
    use,
    wall,
)
from tests.streams import rig
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

Limits = dict[str, int]

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
OF_DEPLOYMENT: Final = "d:p/a"


#: Each about as much as the steps ask for in a minute or a day.
RANGES: Final = {
    "rpm": st.integers(1, 12),
    "tpm": st.integers(40, 150),
    "rpd": st.integers(2, 9),
    "tpd": st.integers(60, 200),
    "concurrency": st.integers(1, 4),
}


@st.composite
def limits(draw: st.DrawFn, most: int) -> Limits:
    """Draw some limits, so few that each has a say."""
    names = draw(st.lists(st.sampled_from(list(RANGES)), unique=True, max_size=most))
    drawn = {name: draw(RANGES[name]) for name in names}
    if "rpm" in drawn and draw(st.booleans()):
        drawn["burst"] = draw(st.integers(1, min(5, drawn["rpm"])))
    return drawn


asks = st.tuples(st.just("ask"), st.integers(1, 40), st.integers(1, 5))
ends = st.tuples(st.sampled_from(["answered", "failed", "unsent"]), st.integers(0, 60), st.just(1))
passes = st.tuples(st.just("pass"), st.integers(0, 25), st.integers(1, 3))
leaves = st.tuples(st.just("leave"), st.integers(0, 60), st.just(1))
Steps = list[tuple[str, int, int]]
steps: st.SearchStrategy[Steps] = st.lists(
    st.one_of(asks, ends, ends, passes, passes, leaves), min_size=10, max_size=40
)


class Call(msgspec.Struct):
    """A call as the provider saw it; times in ms of the wall."""

    key: str
    granted: float
    taken: int
    used: int = -1
    ended: float = 0
    was_sent: bool = True

    @property
    def day(self) -> int:
        """Number the day on which it was let in."""
        return int(self.granted // DAY_MS)

    @property
    def counted(self) -> int:
        """Tell the tokens that count on its day."""
        is_settled = self.used >= 0 and int(self.ended // DAY_MS) == self.day
        return self.used if is_settled else self.taken

    @property
    def counts(self) -> bool:
        """Tell whether it is one of its day's requests."""
        return self.was_sent or int(self.ended // DAY_MS) != self.day


class Walk:
    """Asks, ends calls and lets time pass; keeps what the provider saw."""

    def __init__(self, gates: Gates, client: Client) -> None:
        self._gates = gates.gates
        self._client = client
        self.asked: dict[str, Event] = {}
        self.held: dict[str, tuple[Event, Call]] = {}
        #: All calls and their ends, in the order in which these came about.
        self.story: list[tuple[Call, bool]] = []

    async def take(self, what: str, number: int) -> None:
        """Take one step."""
        gate = self._gates[(number + len(self.asked)) % len(self._gates)]
        match what:
            case "ask":
                name = f"r{len(self.story)}-{len(self.asked)}-{number}"
                self.asked[name] = gate.ask(
                    name, prompt_tokens=number, output_tokens=number % 7 + 1
                )
            case "pass":
                advance(self._client, number)
                for event, _ in self.held.values():
                    await gate.renew(event)
                await gate.admission.sweep()
            case "leave":
                waiting = [name for name in self.asked if name not in self.held]
                if waiting:
                    name = waiting[number % len(waiting)]
                    await gate.admission.leave(self.asked.pop(name))
            case _:
                if self.held:
                    await self.end(what, sorted(self.held)[number % len(self.held)], number)
        await self.collect()

    async def end(self, how: str, name: str, tokens: int) -> None:
        """End a call: answered with so many tokens, failed, or never sent."""
        event, call = self.held.pop(name)
        self.asked.pop(name)
        call.used = tokens if how == "answered" else 0
        call.was_sent = how != "unsent"
        call.ended = wall(self._client) * 1000
        self.story.append((call, True))
        end = Settlement(
            ending="answered" if how == "answered" else "failed",
            prompt_tokens=call.used,
            completion_tokens=0,
            was_sent=call.was_sent,
        )
        await self._gates[tokens % len(self._gates)].end(event, end)

    async def collect(self) -> None:
        """Ask for all who have no lease; note what they were given."""
        for number, (name, event) in enumerate([*self.asked.items()]):
            if name in self.held:
                continue
            gate = self._gates[number % len(self._gates)]
            verdict = await gate.admission.admit(event)
            if isinstance(verdict, Lease):
                ticket = tickets(self._client)[f"1.{name}"]
                granted, taken = ticket["granted"], ticket["taken"]
                assert isinstance(granted, float | int)
                assert isinstance(taken, float | int)
                call = Call(verdict.key, granted, int(taken))
                self.held[name] = leased(event, verdict), call
            elif isinstance(verdict, Refusal):
                self.asked.pop(name)
        known = {id(call) for call, _ in self.story}
        new = [call for _, call in self.held.values() if id(call) not in known]
        self.story += [(call, False) for call in sorted(new, key=lambda call: call.granted)]


def windows(story: list[tuple[Call, bool]]) -> Iterator[list[tuple[Call, bool]]]:
    """List what came about from one call's beginning to another's, in a minute at the most."""
    starts = [at for at, (_, is_end) in enumerate(story) if not is_end]
    for first in starts:
        for last in starts:
            span = story[last][0].granted - story[first][0].granted
            if last >= first and span <= MINUTE_MS:
                yield story[first : last + 1]


def none_over(story: list[tuple[Call, bool]], allowed: Limits) -> None:
    """Check the laws of a minute and of a day over what one scope saw."""
    rpm, tpm = allowed.get("rpm"), allowed.get("tpm")
    for window in windows(story):
        begun = [call for call, is_end in window if not is_end]
        if rpm:
            sent = sum(call.was_sent for call in begun)
            assert sent <= rpm + allowed.get("burst", max(1, rpm // 60))
        if tpm:
            ended = [call for call, is_end in window if is_end]
            net = sum(call.taken for call in begun) + sum(c.used - c.taken for c in ended)
            assert net <= tpm + max(tpm / 60, begun[-1].taken) + 0.01
    for day in {call.day for call, _ in story}:
        none_over_a_day([one for one in story if one[0].day == day], allowed)


def none_over_a_day(story: list[tuple[Call, bool]], allowed: Limits) -> None:
    requests = tokens = 0
    for call, is_end in story:
        if not is_end:
            requests, tokens = requests + 1, tokens + call.taken
            assert requests <= allowed.get("rpd", requests)
            assert tokens <= allowed.get("tpd", tokens)
        elif int(call.ended // DAY_MS) == call.day:
            requests -= not call.was_sent
            tokens += call.used - call.taken


def both(directory: Path, of_deployment: Limits, of_key: Limits) -> Settings:
    """Configure limits of a deployment and of each of two keys."""
    keys = provider("k1", "k2", limits_per="key", limits=of_key)
    return configured(directory, limits=of_deployment, providers={"p": keys})


@rig.law(50)
@given(of_deployment=limits(3), of_key=limits(2), steps=steps)
async def test_no_order_of_steps_takes_more_than_a_provider_allows(
    redis_url: str,
    client: Client,
    tmp_path: Path,
    *,
    of_deployment: Limits,
    of_key: Limits,
    steps: Steps,
) -> None:
    client.flushdb()
    to_midnight(client, 100)
    async with Gates(redis_url, client, both(tmp_path, of_deployment, of_key), 3) as gates:
        walk = Walk(gates, client)
        for what, number, times in steps:
            for _ in range(times):
                await walk.take(what, number)
                none_at_once_over(client, walk, of_deployment, of_key)
        await drained(walk, client)
        none_over(walk.story, of_deployment)
        for key in {call.key for call, _ in walk.story}:
            none_over([one for one in walk.story if one[0].key == key], of_key)
        counters_are_true(walk, client)


def none_at_once_over(client: Client, walk: Walk, of_deployment: Limits, of_key: Limits) -> None:
    held = [call.key for _, call in walk.held.values()]
    assert len(held) <= of_deployment.get("concurrency", len(held))
    assert calls(client, OF_DEPLOYMENT) == len(held)
    for key in set(held):
        assert held.count(key) <= of_key.get("concurrency", len(held))


async def drained(walk: Walk, client: Client) -> None:
    """End all calls as time passes: everybody gets a turn."""
    for n in range(400):
        for name in sorted(walk.held):
            await walk.end("answered", name, 1)
            # At once, so that the story has what this end let in before the next end.
            await walk.collect()
        await walk.collect()
        if not walk.asked:
            return
        if not walk.held and n % 4 == 3:
            to_midnight(client, -1)
        await walk.take("pass", 25)
    raise AssertionError(f"{sorted(walk.asked)} starved")


def counters_are_true(walk: Walk, client: Client) -> None:
    """Compare what is counted of today with the calls of today."""
    begun = [call for call, is_end in walk.story if not is_end]
    assert not tickets(client)
    scopes = {OF_DEPLOYMENT: begun}
    for key in {call.key for call in begun}:
        scopes[f"k:{key}/a"] = [call for call in begun if call.key == key]
    for scope, seen in scopes.items():
        used = use(client, scope)
        if not used:
            assert not seen
            continue
        today = [call for call in seen if call.day == used[3]]
        assert used[2] == 0
        assert used[4] == sum(call.counts for call in today)
        assert used[5] == sum(call.counted for call in today)
