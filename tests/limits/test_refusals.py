"""What is told to whom is refused: by whose limit, how much is left, when to come back."""

from pathlib import Path

import pytest

from pipeline import clock
from pipeline.errors import Failure
from pipeline.limits import refusals
from pipeline.limits.tickets import Refusal
from tests.limits.rooms import Gates, Section, configured, in_state, to_midnight, use
from tests.streams.rig import Client, make_event

pytestmark = pytest.mark.anyio

MODELS: Section = {
    "m": {"deployments": [{"provider": "p", "model": "a"}], "on_limit": "refuse"},
    "patient": {"deployments": [{"provider": "p", "model": "a"}]},
}
LEASES = 2


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"rpm": 2}, ("rpm", 2, 0, 60)),
        ({"tpm": 50}, ("tpm", 50, 10, 60)),
        ({"window": {"requests": 2, "seconds": 7.5}}, ("window", 2, 0, 7.5)),
        ({"rpd": 2}, ("rpd", 2, 0, 86_400)),
        ({"tpd": 50}, ("tpd", 50, 10, 86_400)),
    ],
    ids=["rpm", "tpm", "window", "rpd", "tpd"],
)
async def test_a_refusal_names_limit_rest_and_reset(
    redis_url: str,
    client: Client,
    tmp_path: Path,
    limits: Section,
    expected: tuple[str, int, int, float],
) -> None:
    to_midnight(client, 3600)
    settings = configured(tmp_path, models=MODELS, tenants={"acme": {"limits": limits}})
    async with Gates(redis_url, client, settings) as gates:
        for n in range(2):
            await gates.first.end(await gates.first.take(f"r{n}", tenant="acme"))
        refusal = await gates.first.refused("r2", tenant="acme")
    assert (refusal.why, refusal.scope) == ("limited", "t:acme")
    assert (refusal.dimension, refusal.limit, refusal.remaining, refusal.window_s) == expected
    reset_s = min(refusal.window_s, 3600)
    assert reset_s - 5 < refusal.reset_s < reset_s + 0.01
    assert in_state(client, "held") == []


async def test_a_refusal_by_concurrency_knows_no_reset(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, models=MODELS, tenants={"acme": {"limits": {"concurrency": 1}}})
    async with Gates(redis_url, client, settings) as gates:
        held = await gates.first.take("r0", tenant="acme")
        refusal = await gates.first.refused("r1", tenant="acme")
        assert (refusal.dimension, refusal.limit, refusal.reset_s) == ("concurrency", 1, -1)
        assert use(client, "t:acme")[LEASES] == 1
        await gates.first.end(held)
        await gates.first.take("r1", tenant="acme")


async def test_only_the_model_that_says_so_refuses(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, models=MODELS, tenants={"acme": {"limits": {"rpm": 1}}})
    async with Gates(redis_url, client, settings) as gates:
        await gates.first.take("r0", tenant="acme")
        await gates.first.queue("r1", tenant="acme", model="patient")
        assert (await gates.first.refused("r2", tenant="acme")).dimension == "rpm"


async def test_who_would_overtake_those_held_is_refused_with_their_reset(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, models=MODELS, tenants={"acme": {"limits": {"tpm": 60}}})
    async with Gates(redis_url, client, settings) as gates:
        await gates.first.end(await gates.first.take("r0", tenant="acme"))
        await gates.first.queue("large", tenant="acme", model="patient", output_tokens=50)
        refusal = await gates.first.refused("small", tenant="acme", output_tokens=1)
        assert (refusal.why, refusal.scope) == ("limited", "t:acme")
        assert 50 < refusal.reset_s < 61


async def test_a_request_larger_than_our_limit_is_refused_at_once(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    tenants: Section = {"acme": {"limits": {"tpm": 50}}, "zeta": {"limits": {"tpd": 50}}}
    async with Gates(redis_url, client, configured(tmp_path, tenants=tenants)) as gates:
        for tenant in tenants:
            refusal = await gates.first.refused(f"r-{tenant}", tenant=tenant, output_tokens=41)
            assert (refusal.why, refusal.scope, refusal.limit) == ("heavy", f"t:{tenant}", 50)
            await gates.first.take(f"s-{tenant}", tenant=tenant, output_tokens=40)


async def test_a_request_larger_than_our_limit_is_told_so_though_the_tenant_is_busy(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"concurrency": 1}, "users": {"default": {"tpm": 50}}}
    async with Gates(redis_url, client, configured(tmp_path, tenants={"acme": acme})) as gates:
        await gates.first.take("r0", tenant="acme", user="bob")
        refusal = await gates.first.refused("r1", tenant="acme", user="eve", output_tokens=90)
        assert (refusal.why, refusal.scope) == ("heavy", "u:acme:eve")


async def test_a_request_larger_than_any_deployment_gives_back_what_it_reserved(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"rpm": 1, "concurrency": 1, "tpm": 1000}}
    settings = configured(tmp_path, limits={"tpm": 100}, tenants={"acme": acme})
    async with Gates(redis_url, client, settings) as gates:
        refusal = await gates.first.refused("r0", tenant="acme", output_tokens=500)
        assert (refusal.why, refusal.scope) == ("heavy", "")
        assert use(client, "t:acme")[LEASES] == 0
        await gates.first.take("r1", tenant="acme")


def told(refusal: Refusal) -> Failure:
    event = make_event(
        tenant="acme", user="bob", prompt_tokens=10, output_tokens=10,
        created=clock.now(), deadline=clock.now() + 30,
    )  # fmt: skip
    return refusals.failure(refusal, event)


def limited(scope: str, dimension: str) -> Refusal:
    return Refusal(
        why="limited", scope=scope, dimension=dimension, limit=60, remaining=3, reset_s=12.3456,
        window_s=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "kind", "name"),
    [
        ("t:acme", "tenant", "acme"),
        ("u:acme:bob:x", "user", "acme/bob:x"),
        ("x:acme:01234567", "token", "acme/01234567"),
        ("m:acme:m/1", "model", "acme/m/1"),
    ],
)
def test_a_limited_client_reads_whose_limit_it_is(scope: str, kind: str, name: str) -> None:
    failure = told(limited(scope, "rpm"))
    assert (failure.status, failure.code, failure.type) == (429, "rate_limited", "requests")
    assert failure.retry_after_s == pytest.approx(12.3456)
    assert failure.metadata == {
        "source": "sluice", "scope": kind, "name": name, "dimension": "rpm", "limit": 60,
        "remaining": 3, "window_s": 60, "reset_s": 12.346,
    }  # fmt: skip
    assert f"The {kind} `{name}`" in failure.message
    assert "60 requests a minute" in failure.message


@pytest.mark.parametrize(
    ("dimension", "kind"),
    [("rpm", "requests"), ("rpd", "requests"), ("tpm", "tokens"), ("tpd", "tokens")],
)
def test_a_limited_client_reads_what_it_has_too_much_of(dimension: str, kind: str) -> None:
    assert told(limited("t:acme", dimension)).type == kind


def test_a_reset_that_nobody_knows_is_not_told() -> None:
    failure = told(Refusal(why="limited", scope="t:acme", dimension="concurrency", limit=2))
    assert failure.metadata
    assert "reset_s" not in failure.metadata
    assert "Try again" not in failure.message
    assert failure.retry_after_s == 0


@pytest.mark.parametrize(
    ("refusal", "status", "code", "source"),
    [
        (Refusal(why="no_access", scope="t:acme"), 403, "no_access", "sluice"),
        (Refusal(why="heavy", scope="t:acme", limit=9), 413, "request_too_heavy", "sluice"),
        (Refusal(why="heavy"), 413, "request_too_heavy", "provider"),
        (Refusal(why="full"), 503, "queue_full", "sluice"),
        (Refusal(why="unreachable", reset_s=99), 429, "deadline_unreachable", "provider"),
        (Refusal(why="dead"), 502, "upstream_credentials_exhausted", "provider"),
    ],
    ids=lambda value: getattr(value, "why", None),
)
def test_each_refusal_has_its_status_and_names_its_source(
    refusal: Refusal, status: int, code: str, source: str
) -> None:
    failure = told(refusal)
    assert (failure.status, failure.code) == (status, code)
    assert failure.metadata
    assert failure.metadata["source"] == source


def test_an_unreachable_deadline_is_told_with_the_estimate() -> None:
    failure = told(Refusal(why="unreachable", reset_s=99.1234))
    assert failure.metadata
    assert failure.metadata["eta_s"] == 99.123
    assert failure.retry_after_s == pytest.approx(99.1234)
