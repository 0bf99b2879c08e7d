"""compose.yaml: what it starts and shows to whom, and that its variables are settings of ours."""

import re
import socket
from pathlib import Path

import pytest
import typer.main

from pipeline.cli import parts
from pipeline.cli.app import app
from pipeline.settings.load import Settings, load
from tests.house.sources import ROOT
from tests.otel.files import Bind, Service, compose

SERVICES = compose().services
#: Those that are built from this repository.
OURS = {name: service for name, service in SERVICES.items() if service.build}
CONFIGURED = {name: service for name, service in OURS.items() if service.environment}
HANDED_ON = sorted(key for key, value in SERVICES["gateway"].environment.items() if value is None)
#: Variables that configure nothing alone.
PARTNERS = {
    "OPENAI_BASE_URL": "OPENAI_API_KEY",
    "ANTHROPIC_BASE_URL": "ANTHROPIC_API_KEY",
    "AZURE_OPENAI_API_KEY": "AZURE_OPENAI_ENDPOINT",
    "AZURE_OPENAI_ENDPOINT": "AZURE_OPENAI_API_KEY",
}


def variables(service: Service) -> dict[str, str]:
    """Give what a container has in its environment when nothing is handed on."""
    return {key: value for key, value in service.environment.items() if value is not None}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(empty(tmp_path), environ=variables(SERVICES["gateway"]))


def empty(folder: Path) -> Path:
    """Make the file that is there when none is named."""
    path = folder / "sluice.yaml"
    path.touch()
    return path


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return float(match[1])


def test_its_variables_are_settings_of_ours_and_equal_in_all_parts(tmp_path: Path) -> None:
    loaded = [load(empty(tmp_path), environ=variables(service)) for service in CONFIGURED.values()]

    assert list(CONFIGURED) == ["gateway", "workers"]
    assert loaded[0] == loaded[1]
    assert CONFIGURED["gateway"].environment == CONFIGURED["workers"].environment


def test_without_a_key_the_simulated_provider_of_the_profile_answers(settings: Settings) -> None:
    simulated = SERVICES["simulated"]
    host, port = settings.simulate.host, settings.simulate.port

    assert [provider.base_url for provider in settings.providers.values()] == [
        f"http://{host}:{port}/v1"
    ]
    assert SERVICES[host] is simulated
    assert simulated.profiles == ["simulated"]
    assert simulated.command == ["simulate", "--host", "0.0.0.0", "--port", str(port)]
    assert not [name for name, service in SERVICES.items() if service.profiles and name != host]


@pytest.mark.parametrize("name", HANDED_ON)
def test_each_variable_that_is_handed_on_configures_a_provider(name: str, tmp_path: Path) -> None:
    text = "http://192.0.2.1:1" if name.endswith(("_URL", "_ENDPOINT", "_HOST")) else "key"
    partner = PARTNERS.get(name)
    there = {partner: "http://192.0.2.1:2" if "ENDPOINT" in partner else "key"} if partner else {}
    own = variables(SERVICES["workers"])

    without = load(empty(tmp_path), environ={**own, **there})
    given = load(empty(tmp_path), environ={**own, **there, name: text})

    assert given.providers != without.providers


@pytest.mark.parametrize("name", OURS)
def test_each_command_is_one_that_sluice_takes(name: str) -> None:
    command, *arguments = OURS[name].command
    found = typer.main.get_group(app).commands[command]

    assert found.make_context(command, arguments).params


def test_whatever_is_published_is_published_on_loopback_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.ports]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_workers_can_be_scaled() -> None:
    workers = SERVICES["workers"]

    assert workers.ports == []
    assert not [volume for volume in workers.volumes if isinstance(volume, str)]


def test_every_image_of_others_is_pinned_to_a_version() -> None:
    images = [service.image for service in SERVICES.values() if not service.build]

    assert [
        image for image in images if not re.fullmatch(r"[\w./-]+:v?\d+\.\d[\w.-]*", image)
    ] == []
    assert {service.image for service in OURS.values()} == {"sluice:local"}


def test_every_volume_is_declared_and_every_file_is_here() -> None:
    mounts = [
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.volumes
        if isinstance(volume, str)
    ]
    files = {mount for mount in mounts if mount.startswith("./")}

    assert [path for path in files if not (ROOT / path).exists()] == []
    assert set(mounts) - files == set(compose().volumes)


def test_a_configuration_of_ones_own_takes_the_place_of_an_empty_one() -> None:
    for service in CONFIGURED.values():
        (bind,) = (volume for volume in service.volumes if isinstance(volume, Bind))

        assert bind.source == "${SLUICE_CONFIG:-/dev/null}"
        assert bind.target == service.environment["SLUICE_CONFIG"]
        assert not bind.bind.create_host_path


def test_who_waits_for_health_waits_for_a_service_that_tells_it() -> None:
    waits = [
        (name, on)
        for name, service in SERVICES.items()
        for on, need in service.depends_on.items()
        if need.condition == "service_healthy" and not SERVICES[on].healthcheck
    ]
    assert waits == []
    assert {name for name in CONFIGURED if "redis" in SERVICES[name].depends_on} == set(CONFIGURED)


def test_health_is_asked_where_the_parts_answer(settings: Settings) -> None:
    places = {
        "gateway": f"http://127.0.0.1:{settings.gateway.port}/health",
        "workers": f"http://127.0.0.1:{settings.telemetry.metrics_port}/metrics",
        "simulated": f"http://127.0.0.1:{settings.simulate.port}/health",
    }
    for name, place in places.items():
        health = SERVICES[name].healthcheck
        assert health
        assert f"urlopen('{place}'" in health.test[-1]
        compile(health.test[-1], name, "exec")


def test_a_container_is_killed_only_after_we_would_have_killed_the_process(
    settings: Settings,
) -> None:
    with socket.socket() as listener:
        graces = {
            "gateway": parts.gateways(settings, {}, listener)[0].grace_s,
            "workers": parts.workers(settings, {})[0].grace_s,
        }
    for name, grace_s in graces.items():
        assert seconds(SERVICES[name].stop_grace_period) > grace_s


def test_redis_keeps_what_was_accepted_and_drops_nothing_to_make_room() -> None:
    redis = SERVICES["redis"]
    words = redis.command[1:]
    options = dict(zip(words[::2], words[1::2], strict=True))

    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert "redis-data:/data" in redis.volumes
    assert redis.ports == []


def test_our_containers_can_neither_write_nor_gain_rights() -> None:
    for service in OURS.values():
        assert (service.init, service.read_only) == (True, True)
        assert (service.cap_drop, service.tmpfs) == (["ALL"], ["/tmp"])
        assert service.security_opt == ["no-new-privileges:true"]


def test_no_secret_stands_in_it() -> None:
    own = [key for service in SERVICES.values() for key in variables(service)]

    assert [key for key in own if re.search("KEY|TOKEN|SECRET|PASSWORD", key)] == []
