"""Whatever comes under whatever keys: a key has one request at a time, and its answers are kept."""

from typing import Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Conflict, InProgress, SluiceError
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Link
from pipeline.streams.once import Accepted, Once
from tests.streams import rig
from tests.streams.rig import BODY, NAMES, Client, ids, make_event

pytestmark = pytest.mark.anyio

End = Literal["completed", "failed", "cancelled", "gone"]


class Ask(NamedTuple):
    """Somebody asks under a key."""

    key: str
    fingerprint: str
    attach: bool


class Ends(NamedTuple):
    """The holder of a key ends."""

    key: str
    how: End


class Held(NamedTuple):
    """Who holds a key, as we believe."""

    id: str
    fingerprint: str
    is_completed: bool = False


keys, fingerprints = st.sampled_from("kl"), st.sampled_from("fg")
steps = st.lists(
    st.one_of(
        st.builds(Ask, keys, fingerprints, st.booleans()),
        st.builds(Ends, keys, st.sampled_from(["completed", "failed", "cancelled", "gone"])),
    ),
    max_size=20,
)


class World:
    """What we believe of the keys, beside what Redis says."""

    def __init__(self, ingress: Ingress, client: Client) -> None:
        self._ingress = ingress
        self._client = client
        self._held: dict[str, Held] = {}
        self.accepted: list[str] = []

    async def ask(self, step: Ask, request_id: str) -> None:
        """Ask, and compare the answer with what we expect."""
        once = Once(key=step.key, fingerprint=step.fingerprint)
        once = once.shared if step.attach else once
        answer: Accepted | SluiceError
        try:
            answer = await self._ingress.accept(make_event(request_id), BODY, once=once)
        except SluiceError as error:
            answer = error
        held = self._held.get(step.key)
        if held is None:
            assert isinstance(answer, Accepted)
            assert answer.id == request_id
            assert answer.entry
            self._held[step.key] = Held(request_id, step.fingerprint)
            self.accepted.append(request_id)
        elif held.fingerprint != step.fingerprint:
            assert isinstance(answer, Conflict)
        elif held.is_completed or step.attach:
            assert answer == Accepted(id=held.id, replayed=held.is_completed)
        else:
            assert isinstance(answer, InProgress)

    def end(self, step: Ends) -> None:
        """End the holder of a key, if it is under way; a kept one can only be gone."""
        held = self._held.get(step.key)
        if held is None or (held.is_completed and step.how != "gone"):
            return
        record = NAMES.record(held.id)
        if step.how == "gone":
            self._client.delete(record)
        else:
            self._client.hset(record, "status", step.how)
        if step.how == "completed":
            self._held[step.key] = held._replace(is_completed=True)
        else:
            del self._held[step.key]


@rig.law(80)
@given(steps=steps)
async def test_a_key_stands_for_one_request_until_that_fails(
    redis_url: str, link: Link, client: Client, steps: list[Ask | Ends]
) -> None:
    client.flushall()
    world = World(Ingress(link, NAMES), client)
    for number, step in enumerate(steps):
        if isinstance(step, Ask):
            await world.ask(step, f"r{number}")
        else:
            world.end(step)
    assert ids(client, "requests:default") == world.accepted
