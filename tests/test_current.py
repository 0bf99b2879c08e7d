"""The configuration in force: replaced in one step, or not at all."""

import json
from pathlib import Path

import pytest

from pipeline.current import Configuration, Current, configure
from pipeline.errors import SettingsError
from pipeline.settings.fixed import needs_restart
from pipeline.settings.load import Settings, load

pytestmark = pytest.mark.anyio

_PROVIDER = {"kind": "simulated", "base_url": "http://127.0.0.1:1/v1"}
_MODEL = {"deployments": [{"provider": "p", "model": "a"}]}


class File:
    """A configuration file that is written again and again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sluice.yaml"
        self.write()

    def write(self, **sections: object) -> None:
        tree = {"providers": {"p": _PROVIDER}, "models": {"fast": _MODEL, "m": _MODEL}, **sections}
        self.path.write_text(json.dumps(tree))

    def load(self) -> Settings:
        return load(self.path, environ={})


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


async def test_followers_hear_of_each_configuration_in_force(file: File) -> None:
    current = Current(file.load(), file.load)
    heard: list[Configuration] = []
    current.follow(heard.append)
    file.write(retry={"quick": 7})
    assert await current.reload() == []
    assert [one.settings.retry.quick for one in heard] == [2, 7]
    assert heard[-1] is current.now
    await current.reload()
    assert len(heard) == 2, "the same configuration came into force again"


async def test_faults_leave_the_old_one_in_force(file: File) -> None:
    current = Current(file.load(), file.load)
    before = current.now
    file.write(retry={"quick": -1, "backoff": 1}, gate={"aging_s": 0})
    with pytest.raises(SettingsError) as raised:
        await current.reload()
    assert len(raised.value.faults) == 3
    assert current.now is before


async def test_what_takes_a_restart_stays_as_it_runs_and_is_named(file: File) -> None:
    current = Current(file.load(), file.load)
    file.write(workers={"grace_s": 1}, gateway={"port": 9000, "request_timeout_s": 5})
    assert await current.reload() == ["gateway.port", "workers.grace_s"]
    assert current.settings.workers.grace_s == 30
    assert current.settings.gateway.port == 8080
    assert current.settings.gateway.request_timeout_s == 5


async def test_nobody_is_let_in_by_taking_out_the_tenants(file: File) -> None:
    hashed = f"sha256:{'0' * 64}"
    outside = {"host": "0.0.0.0"}
    file.write(gateway=outside, tenants={"acme": {"tokens": [hashed]}})
    current = Current(file.load(), file.load)
    file.write(gateway={"host": "127.0.0.1"})
    with pytest.raises(SettingsError, match="others would be let in"):
        await current.reload()
    file.write(gateway={**outside, "open": True})
    with pytest.raises(SettingsError, match="others would be let in"):
        await current.reload()
    assert current.settings.tenants


def version_of(file: File, **sections: object) -> str:
    file.write(**sections)
    return configure(file.load()).version


def test_the_version_changes_with_whatever_can_be_taken_over(file: File) -> None:
    sections: list[dict[str, object]] = [
        {},
        {"providers": {"p": {**_PROVIDER, "keys": ["sk-one"]}}},
        {"providers": {"p": {**_PROVIDER, "keys": ["sk-two"]}}},
        {"providers": {"p": {**_PROVIDER, "limits": {"rpm": 5}}}},
        {"models": {"fast": _MODEL}},
        {"ladder": [60]},
        {"retry": {"quick": 1}},
        {"gate": {"aging_s": 5}},
        {"tenants": {"acme": {"weight": 2}}},
        {"retention": {"events_s": 60}},
        {"gateway": {"default_model": "m"}},
    ]
    assert len({version_of(file, **one) for one in sections}) == len(sections)


def test_the_version_does_not_change_with_what_takes_a_restart(file: File) -> None:
    file.write()
    before = file.load()
    assert (
        version_of(file, workers={"calls": 5}, redis={"namespace": "other"})
        == configure(before).version
    )
    assert needs_restart(before, file.load()) == ["redis.namespace", "workers.calls"]
