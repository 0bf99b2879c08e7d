"""The files under test, read strictly: a key given twice, or one that we do not know, fails."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from pipeline.settings.file import parse
from tests.house.sources import ROOT

T = TypeVar("T")


class Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in a file of ours, and nothing else may."""


class Health(Sealed, frozen=True, kw_only=True):
    """How a service tells that it is well."""

    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str


class Need(Sealed, frozen=True, kw_only=True):
    """What a service waits for."""

    condition: Literal["service_started", "service_healthy"]


class EnvFile(Sealed, frozen=True, kw_only=True):
    """A file of variables."""

    path: str
    required: bool


class BindOptions(Sealed, frozen=True, kw_only=True):
    """How a bind is made."""

    create_host_path: bool


class Bind(Sealed, frozen=True, kw_only=True):
    """A file of this machine in a container."""

    type: Literal["bind"]
    source: str
    target: str
    read_only: bool
    bind: BindOptions


class Logging(Sealed, frozen=True, kw_only=True):
    """Where a container's output goes."""

    driver: str
    options: dict[str, str]


class Service(Sealed, frozen=True, kw_only=True):
    """A service, with the keys that ours have."""

    image: str
    restart: Literal["unless-stopped"]
    logging: Logging
    build: str = ""
    command: list[str] = []
    environment: dict[str, str | None] = {}
    env_file: list[EnvFile] = []
    volumes: list[str | Bind] = []
    ports: list[str] = []
    depends_on: dict[str, Need] = {}
    healthcheck: Health | None = None
    stop_grace_period: str = "10s"
    profiles: list[str] = []
    extra_hosts: list[str] = []
    init: bool = False
    read_only: bool = False
    tmpfs: list[str] = []
    cap_drop: list[str] = []
    security_opt: list[str] = []


class Compose(Sealed, frozen=True, kw_only=True):
    """compose.yaml, without the parts that are only referred to."""

    name: str
    services: dict[str, Service]
    volumes: dict[str, None]


class DnsLookup(Sealed, frozen=True, kw_only=True):
    """Targets that a name stands for."""

    names: list[str]
    type: Literal["A"]
    port: int
    refresh_interval: str


class Targets(Sealed, frozen=True, kw_only=True):
    """Targets by their addresses."""

    targets: list[str]


class Job(Sealed, frozen=True, kw_only=True):
    """What Prometheus scrapes."""

    job_name: str
    dns_sd_configs: list[DnsLookup] = []
    static_configs: list[Targets] = []

    @property
    def addresses(self) -> list[str]:
        """List `host:port` of all targets."""
        found = [f"{name}:{one.port}" for one in self.dns_sd_configs for name in one.names]
        return found + [target for one in self.static_configs for target in one.targets]


class Prometheus(Sealed, frozen=True, kw_only=True):
    """otel/prometheus.yaml."""

    global_: dict[str, str] = msgspec.field(name="global")
    rule_files: list[str]
    scrape_configs: list[Job]


class Rule(Sealed, frozen=True, kw_only=True):
    """One alert."""

    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    for_: str = msgspec.field(name="for", default="0s")


class Rules(Sealed, frozen=True, kw_only=True):
    """A group of alerts."""

    name: str
    rules: list[Rule]


class RuleFile(Sealed, frozen=True, kw_only=True):
    """otel/alerts.yaml."""

    groups: list[Rules]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A data source of Grafana's; it has further keys."""

    uid: str
    type: str
    url: str


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """otel/grafana/datasources/sluice.yaml."""

    datasources: list[Source]


def yaml_tree(path: str) -> dict[str, object]:
    """Read a YAML file of ours, by its path from the root."""
    tree, fault = parse(ROOT / path)
    assert not fault, f"{path}: {fault}"
    assert isinstance(tree, dict), path
    return tree


def yaml_file(path: str, form: type[T]) -> T:
    """Read a YAML file of ours into its form; anchors' own sections are left out."""
    tree = {key: value for key, value in yaml_tree(path).items() if not key.startswith("x-")}
    return msgspec.convert(tree, form)


def json_text(path: str) -> str:
    """Read a JSON file of ours in which no key is given twice."""

    def pairs(found: Sequence[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in found]
        assert len(set(keys)) == len(keys), f"{path}: a key is given twice among {keys}"
        return dict(found)

    text = (ROOT / path).read_text()
    json.loads(text, object_pairs_hook=pairs)
    return text


def compose() -> Compose:
    """Read compose.yaml."""
    return yaml_file("compose.yaml", Compose)


def alerts() -> list[Rule]:
    """List all alerts."""
    return [
        rule for group in yaml_file("otel/alerts.yaml", RuleFile).groups for rule in group.rules
    ]


def files_of_otel() -> list[Path]:
    """List every file that is to be read by others' programs."""
    return sorted(path for path in (ROOT / "otel").rglob("*") if path.is_file())
