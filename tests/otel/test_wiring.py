"""Each address in one file is a service in another that listens there."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.settings.load import Settings, load
from tests.house.sources import ROOT
from tests.otel.files import Prometheus, Sources, alerts, compose, files_of_otel, yaml_file

SERVICES = compose().services


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {key: text for key, text in SERVICES["workers"].environment.items() if text}
    (tmp_path / "sluice.yaml").touch()
    return load(tmp_path / "sluice.yaml", environ=environ)


def listening(settings: Settings) -> set[str]:
    """Name every place at which a container is reached from the others."""
    jaeger = re.findall(r'"0\.0\.0\.0:(\d+)"', (ROOT / "otel/jaeger.yaml").read_text())
    return {
        f"gateway:{settings.gateway.port}",
        f"workers:{settings.telemetry.metrics_port}",
        f"simulated:{settings.simulate.port}",
        "redis:6379",
        "prometheus:9090",
        *(f"jaeger:{port}" for port in [*jaeger, "8888"]),
    }


def test_prometheus_scrapes_places_that_tell_metrics(settings: Settings) -> None:
    jobs = {
        job.job_name: job.addresses
        for job in yaml_file("otel/prometheus.yaml", Prometheus).scrape_configs
    }
    own = jobs.pop("prometheus")

    assert own == ["127.0.0.1:9090"]
    assert jobs["sluice-gateway"] == [f"gateway:{settings.gateway.port}"]
    assert jobs["sluice-workers"] == [f"workers:{settings.telemetry.metrics_port}"]
    assert {address for found in jobs.values() for address in found} <= listening(settings)


def test_prometheus_reads_the_rules_that_are_mounted_beside_its_file() -> None:
    mounts = dict(
        volume.split(":")[:2]
        for volume in SERVICES["prometheus"].volumes
        if isinstance(volume, str)
    )
    config = mounts["./otel/prometheus.yaml"]
    (rules,) = yaml_file("otel/prometheus.yaml", Prometheus).rule_files

    assert f"--config.file={config}" in SERVICES["prometheus"].command
    assert mounts["./otel/alerts.yaml"] == str(Path(config).with_name(rules))


def test_the_alerts_on_processes_watch_jobs_that_are_scraped() -> None:
    jobs = [job.job_name for job in yaml_file("otel/prometheus.yaml", Prometheus).scrape_configs]
    patterns = [text for rule in alerts() for text in re.findall(r'job=~"([^"]+)"', rule.expr)]

    assert patterns
    assert all(any(re.fullmatch(one, job) for job in jobs) for one in patterns)


def test_grafana_and_jaeger_ask_services_that_are_there(settings: Settings) -> None:
    sources = yaml_file("otel/grafana/datasources/sluice.yaml", Sources).datasources
    urls = [source.url for source in sources]
    urls += re.findall(r"endpoint: (http\S+)", (ROOT / "otel/jaeger.yaml").read_text())

    assert {source.type for source in sources} == {"prometheus", "jaeger"}
    assert {urlsplit(url).netloc for url in urls} <= listening(settings)


def test_sluice_reaches_redis_and_jaeger_where_they_listen(settings: Settings) -> None:
    there = listening(settings)

    assert urlsplit(settings.redis.address).netloc in there
    assert urlsplit(settings.telemetry.otlp_endpoint).netloc in there
    assert urlsplit(settings.telemetry.otlp_endpoint).port == 4317
    published = [port for port in SERVICES["jaeger"].ports if port.endswith(":16686")]
    assert [f"http://{port.rpartition(':')[0]}" for port in published] == [
        settings.telemetry.jaeger_url
    ]


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    grafana = SERVICES["grafana"]
    home = Path(str(grafana.environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]))
    provider = (ROOT / "otel/grafana/dashboards/sluice.yaml").read_text()

    assert f"path: {home.parent}\n" in provider
    assert f"./otel/dashboards:{home.parent}:ro" in grafana.volumes
    assert (ROOT / "otel/dashboards" / home.name).is_file()
    assert "./otel/grafana:/etc/grafana/provisioning:ro" in grafana.volumes


def test_every_file_below_otel_is_one_that_is_mounted() -> None:
    mounted = [
        ROOT / volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.volumes
        if isinstance(volume, str) and volume.startswith("./")
    ]
    assert [
        path
        for path in files_of_otel()
        if not any(path == one or one in path.parents for one in mounted)
    ] == []
