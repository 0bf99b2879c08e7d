"""Requests that need several models go when all have capacity, and pay for the calls to come."""

from pathlib import Path

import pytest

from pipeline.event import Companion, Event
from pipeline.limits.tickets import Granted
from pipeline.settings.load import Settings
from tests.limits.rooms import DONE, Gate, Gates, advance, calls, configured, granted
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio


def two_models(directory: Path, **limits: dict[str, int]) -> Settings:
    """Configure the models `talk` and `embed`, each with a deployment of its own."""
    return configured(
        directory,
        gateway={"default_model": "talk"},
        models={
            name: {
                "deployments": [{"provider": "p", "model": name, "limits": limits.get(name, {})}]
            }
            for name in ("talk", "embed")
        },
    )


def rag(gate: Gate, request_id: str, count: float = 1, tokens: int = 0) -> Event:
    """Make a chat request that will make so many calls of `embed` too."""
    companion = Companion(
        model="embed",
        operation="embeddings",
        calls=count,
        tokens=tokens,
        plan=gate.catalog.candidates("embed"),
    )
    return gate.ask(request_id, model="talk", also=(companion,))


def embedding(gate: Gate, request_id: str, **changes: object) -> Event:
    """Make an embeddings request."""
    return gate.ask(request_id, model="embed", operation="embeddings", **changes)


async def test_a_request_waits_for_its_companion_too(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = two_models(tmp_path, embed={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        busy = await gate.take(embedding(gate, "busy"))
        await gate.queue(rag(gate, "rag"))
        assert calls(client, "d:p/talk") == 0
        await gate.end(busy)
        assert granted(client) == ["rag"]


async def test_it_takes_nothing_of_one_while_the_other_is_full(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = two_models(tmp_path, talk={"concurrency": 1}, embed={"rpm": 60})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("talks", model="talk")
        await gate.queue(rag(gate, "rag"))
        await gate.take(embedding(gate, "free"))


async def test_the_calls_to_come_weigh_on_the_companions_rate(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = two_models(tmp_path, embed={"rpm": 60})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take(rag(gate, "rag", count=3))
        await gate.queue(embedding(gate, "next"))
        await gate.later(2.9)
        assert granted(client) == ["rag"]
        await gate.later(0.2)
        assert set(granted(client)) == {"rag", "next"}


async def test_a_call_that_was_paid_for_goes_at_once_and_takes_nothing_again(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = two_models(tmp_path, embed={"rpm": 60, "tpm": 6000})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take(rag(gate, "rag", count=2, tokens=20))
        verdict = await gate.admission.admit(embedding(gate, "e1", follows="rag"))
        assert isinstance(verdict, Granted)
        assert verdict.chosen_by == "paid"
        await gate.end(await gate.take(embedding(gate, "e2", follows="rag")), DONE)
        await gate.queue(embedding(gate, "e3", follows="rag"))
        await gate.later(2.1)
        assert "e3" in granted(client)


async def test_what_was_paid_for_and_never_called_is_forgotten(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_models(tmp_path)) as gates:
        await gates.first.take(rag(gates.first, "rag"))
    assert 0 < client.ttl(f"{NAMES.limits}:paid:rag") <= 300


async def test_a_request_counts_as_so_many_calls(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = two_models(tmp_path, talk={"rpm": 60})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("r1", model="talk", calls=2.5)
        waiting = await gate.queue("r2", model="talk")
        assert waiting.eta_s == pytest.approx(2.5, abs=0.1)
        advance(client, 2.6)
        await gate.admission.sweep()
        assert "r2" in granted(client)
