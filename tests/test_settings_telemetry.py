"""OpenTelemetry's variables configure tracing; the file goes before them."""

from pathlib import Path

import pytest

from pipeline.settings.load import SettingsError, TelemetrySettings, load


def of(**environ: str) -> TelemetrySettings:
    return load(environ=environ).telemetry


def test_nothing_is_traced_unasked() -> None:
    assert of() == TelemetrySettings()
    assert of().otlp_endpoint == ""


def test_the_standard_variables_configure_the_export() -> None:
    told = of(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_TIMEOUT="5",
        OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true",
    )
    assert told.otlp_endpoint == "http://collector:4318"
    assert (told.protocol, told.timeout_s, told.capture_content) == ("http/protobuf", 5, True)


def test_what_is_said_of_traces_goes_before_what_is_said_of_all() -> None:
    told = of(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://all:4317",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://traces:4317",
    )
    assert told.otlp_endpoint == "http://traces:4317"


@pytest.mark.parametrize(
    ("sampler", "argument", "sampling", "parent_based"),
    [
        ("always_on", "0.2", 1.0, False),
        ("always_off", "0.2", 0.0, False),
        ("traceidratio", "0.2", 0.2, False),
        ("parentbased_always_on", "", 1.0, True),
        ("parentbased_always_off", "", 0.0, True),
        ("parentbased_traceidratio", "0.2", 0.2, True),
        ("parentbased_traceidratio", "", 1.0, True),
    ],
)
def test_each_standard_sampler(
    sampler: str, argument: str, sampling: float, parent_based: bool
) -> None:
    told = of(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
    assert (told.sampling, told.parent_based) == (sampling, parent_based)


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=str
)
def test_they_can_switch_tracing_off(off: dict[str, str]) -> None:
    assert of(OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4317", **off).otlp_endpoint == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
    ],
)
def test_what_is_not_there_is_a_fault_with_the_variables_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ={name: value})
    [fault] = caught.value.faults
    assert name in fault


def test_a_sampler_without_a_number_is_a_fault() -> None:
    given = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"}
    with pytest.raises(SettingsError, match="OTEL_TRACES_SAMPLER_ARG"):
        load(environ=given)


def test_the_file_goes_before_the_variables_where_it_says_something(tmp_path: Path) -> None:
    path = tmp_path / "sluice.yaml"
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://env:4317", "OTEL_TRACES_SAMPLER": "always_off"}
    path.write_text("telemetry: {otlp_endpoint: '', sampling: 0.5}")
    told = load(path, environ=given).telemetry
    assert (told.otlp_endpoint, told.sampling) == ("http://env:4317", 0.5)
    path.write_text("telemetry: {otlp_endpoint: 'http://file:4317'}")
    assert load(path, environ=given).telemetry.otlp_endpoint == "http://file:4317"
