"""The configuration's faults: each is told, with its path, and nothing else is blamed for it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.errors import StartError
from pipeline.settings.load import GatewaySettings, SettingsError, load

#: A provider that needs nothing, and a model on it, for files that are about something else.
BASE = """
providers: {local: {kind: ollama}}
models: {fast: {deployments: [{provider: local, model: m}]}}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str) -> Path:
        path = tmp_path / "sluice.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def faults_of(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, environ=environ or {}, overrides=overrides)
    return caught.value.faults


FAULTS = {
    "gateway: {port: fast}": 'gateway.port: expected a whole number from 1 to 65535, got "fast"',
    "gateway: {port: 70000}": "gateway.port: expected a whole number from 1 to 65535, got 70000",
    'gateway: {port: "8080"}': 'gateway.port: expected a whole number from 1 to 65535, got "8080"',
    "gateway: {port: true}": "gateway.port: expected a whole number from 1 to 65535, got true",
    "gateway: {port: ~}": "gateway.port: expected a whole number from 1 to 65535, got nothing",
    "gateway: {prot: 1}": 'gateway.prot: unknown key; did you mean "port"?',
    "gatway: {port: 1}": 'gatway: unknown key; did you mean "gateway"?',
    "gateway: 5": "gateway: expected a mapping of keys, got a number",
    "gateway: {open: 1}": "gateway.open: expected true or false, got 1",
    "gateway: {on_disconnect: stop}": (
        'gateway.on_disconnect: expected one of drain, cancel, got "stop"'
    ),
    "gateway: {default_model: fats}": (
        'gateway.default_model: no model is named "fats"; '
        "set it to one of those under models (fast)"
    ),
    "gateway: {host: 0.0.0.0}": (
        'gateway.host: "0.0.0.0" can be reached by others, and no tenants are configured; '
        "configure tenants, or set gateway.open: true to let anyone in"
    ),
    "workers: {calls: 0}": "workers.calls: expected a whole number ≥ 1, got 0",
    "workers: {calls: 1.5}": "workers.calls: expected a whole number ≥ 1, got 1.5",
    "workers: {grace_s: .nan}": "workers.grace_s: expected a number from 0 to 31536000, got nan",
    "workers: {scan_s: .inf}": "workers.scan_s: expected a number > 0 and ≤ 31536000, got inf",
    "redis: {url: 'http://h'}": "redis.url: expected a URL with redis://, rediss:// or unix://",
    "redis: {namespace: 'a b'}": (
        "redis.namespace: expected 1 to 64 letters, digits or . _ : -, "
        'all in braces on a Redis cluster, got "a b"'
    ),
    "redis: {namespace: 4}": (
        "redis.namespace: expected 1 to 64 letters, digits or . _ : -, "
        "all in braces on a Redis cluster, got 4; put it in quotes"
    ),
    "redis: {partitions: 2}": (
        "redis.partitions: more than one is not supported by this version yet, got 2; leave it at 1"
    ),
    "ladder: [60, 60]": "ladder[1]: expected more than the 60 before it, got 60",
    "ladder: [0]": "ladder[0]: expected a whole number from 1 to 31536000, got 0",
    "ladder: 60": "ladder: expected a list, got a number",
    "retention: {events_s: 0}": (
        "retention.events_s: expected a whole number from 1 to 31536000, got 0"
    ),
    "telemetry: {otlp_endpoint: 'ftp://h'}": (
        "telemetry.otlp_endpoint: expected a URL with http:// or https://, without user, password, "
        'query and fragment, got "ftp://h"'
    ),
    "telemetry: {sampling: 1.5}": "telemetry.sampling: expected a number from 0 to 1, got 1.5",
    "workers: {calls: '${N}'}": (
        "workers.calls: the variable N is not set (write ${N:-} where it may be missing)"
    ),
    "workers: {calls: '${N:-x}'}": "workers.calls: expected a whole number ≥ 1, got text from ${N}",
    "workers: {calls: '${'}": (
        "workers.calls: a ${ is not followed by NAME} or NAME:-default} (write $${ for the text)"
    ),
    "tenants: {a: {tokens: [abc]}}": (
        'tenants.a.tokens[0]: expected a hash such as "sha256:…" with 64 hex digits '
        "(`sluice token --hash` tells it)"
    ),
    "tenants: {a: {limits: {window: {requests: 1}}}}": "tenants.a.limits.window.seconds: missing",
    "gateway: {user_header: Authorization}": (
        "gateway.user_header: Authorization holds a secret, which would become the user's name"
    ),
    "tenants: {a: {priority: 11}}": (
        "tenants.a.priority: expected a whole number from -10 to 10, got 11"
    ),
    "tenants: {a/b: {}}": ('tenants.a/b: expected 1 to 64 letters, digits or . _ -, got "a/b"'),
    f"tenants: {{a: {{tokens: ['sha256:{'0' * 64}']}}, b: {{tokens: ['sha256:{'0' * 64}']}}}}": (
        "tenants.b.tokens: one of them is a's too"
    ),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.items())
def test_a_fault_is_told_with_its_path(write: Write, text: str, fault: str) -> None:
    assert faults_of(write(BASE + text)) == [fault]


PROVIDER_FAULTS = {
    "{kind: azure, keys: [a]}": (
        "providers.p.base_url: missing; a provider of kind azure needs one, such as "
        "https://NAME.openai.azure.com"
    ),
    "{kind: azure, base_url: 'http://h'}": (
        "providers.p.keys: none is set, and Azure answers nothing without one"
    ),
    "{kind: anthropic}": (
        "providers.p.keys: none is set, and https://api.anthropic.com answers nothing without one"
    ),
    "{kind: gemini}": (
        "providers.p.keys: none is set, and https://generativelanguage.googleapis.com answers "
        "nothing without one"
    ),
    "{kind: openrouter, base_url: 'https://openrouter.ai/api/v1/'}": (
        "providers.p.keys: none is set, and https://openrouter.ai/api/v1 answers nothing without "
        "one"
    ),
    "{kind: other}": (
        "providers.p.kind: expected one of openai, azure, anthropic, gemini, openrouter, ollama, "
        'vllm, compatible, simulated, got "other"'
    ),
    "{}": "providers.p.kind: missing",
    "{kind: compatible}": (
        "providers.p.base_url: missing; a provider of kind compatible needs one, or "
        "`differs: {like: …}` with a provider that is known"
    ),
    "{kind: compatible, base_url: 'http://h', differs: {like: grok}}": (
        "providers.p.differs.like: expected one of cohere, deepseek, fireworks, groq, mistral, "
        'ollama, perplexity, together, vllm, xai, got "grok"'
    ),
    "{kind: compatible, base_url: 'http://h', differs: {prefx: none}}": (
        'providers.p.differs.prefx: unknown key; did you mean "prefix"?'
    ),
    "{kind: compatible, base_url: 'http://h', differs: [groq]}": (
        "providers.p.differs: expected a mapping of keys, got a list"
    ),
    "{kind: compatible, base_url: 'http://h', differs: {chat_path: chat}}": (
        'providers.p.differs.chat_path: expected a path that begins with a slash, got "chat"'
    ),
    "{kind: compatible, base_url: 'http://h', differs: {rename: {model: engine}}}": (
        "providers.p.differs: model is in every request, and stays as it is"
    ),
    "{kind: compatible, base_url: 'http://h', differs: {refuse: [n], drop: [user, n]}}": (
        "providers.p.differs.drop: n is refused too; it can be one of them"
    ),
    "{kind: vllm, differs: {refuse: [n]}}": (
        "providers.p.differs: only providers of kind compatible differ, not vllm; name that kind, "
        "and the base_url"
    ),
    "{kind: openai, keys: [a], api_version: 2024-10-21}": (
        'providers.p.api_version: expected a version such as "2024-10-21", got a date; put it '
        "in quotes"
    ),
    "{kind: openai, keys: [a], api_version: '2024-10-21'}": (
        "providers.p.api_version: only providers of kind azure have one, not openai"
    ),
    "{kind: vllm, proxy: 'socks5://h:1'}": (
        "providers.p.proxy: expected a URL with http:// or https://"
    ),
    "{kind: vllm, headers: {'a b': x}}": (
        'providers.p.headers.a b: expected a header\'s name, got "a b"'
    ),
    '{kind: vllm, headers: {X-Title: "a\\nb"}}': (
        "providers.p.headers.X-Title: expected up to 2048 printable ASCII characters"
    ),
    "{kind: openai}": (
        "providers.p.keys: none is set, and https://api.openai.com/v1 answers nothing without one"
    ),
    "{kind: vllm, keys: [abc, abc]}": "providers.p.keys: the same key is listed twice",
    "{kind: vllm, keys: abc}": "providers.p.keys: expected a list, got text",
    "{kind: vllm, keys: [123]}": (
        "providers.p.keys[0]: expected a key of printable ASCII characters without spaces, "
        "got a number; put it in quotes"
    ),
    "{kind: vllm, timeout: {connect_s: fast}}": (
        'providers.p.timeout.connect_s: expected a number > 0 and ≤ 31536000, got "fast"'
    ),
    "{kind: vllm, limits: {concurrency: 0}}": (
        "providers.p.limits.concurrency: expected a whole number ≥ 1, got 0"
    ),
}


@pytest.mark.parametrize(("provider", "fault"), PROVIDER_FAULTS.items())
def test_a_providers_fault_is_told_and_its_models_are_not_blamed(
    write: Write, provider: str, fault: str
) -> None:
    path = write(
        f"providers: {{p: {provider}}}\n"
        "models: {fast: {deployments: [{provider: p, model: m}]}}"
    )
    assert faults_of(path) == [fault]


@pytest.mark.parametrize(
    "provider",
    [
        "{kind: azure, base_url: 'http://h', headers: {Authorization: Bearer x}}",
        "{kind: azure, base_url: 'http://h/openai/v1', keys: [a], api_version: preview}",
        "{kind: anthropic, base_url: 'http://127.0.0.1:8081'}",
        "{kind: gemini, headers: {X-Goog-Api-Key: x}}",
        "{kind: compatible, differs: {like: groq}, keys: [a]}",
    ],
)
def test_a_key_may_come_otherwise_or_not_at_all(write: Write, provider: str) -> None:
    load(
        write(
            f"providers: {{p: {provider}}}\n"
            "models: {fast: {deployments: [{provider: p, model: m}]}}"
        ),
        environ={},
    )


MODEL_FAULTS = {
    "fast: {deployments: [{provider: locl, model: m}]}": (
        'models.fast.deployments[0].provider: no provider is named "locl"; did you mean "local"?'
    ),
    "fast: {deployments: [{provider: local}]}": "models.fast.deployments[0].model: missing",
    "fast: {}": "models.fast.deployments: expected at least one, got none",
    "fast: {fallbacks: [fats]}": (
        'models.fast.fallbacks[0]: no model is named "fats"; did you mean "fast"?'
    ),
    "fast: {fallbacks: [fast]}": "models.fast.fallbacks: fast → fast goes in a circle",
    "{fast: {fallbacks: [b]}, b: {fallbacks: [c]}, c: {fallbacks: [b]}}": (
        "models.b.fallbacks: b → c → b goes in a circle"
    ),
    "fast: {fallbacks: [fast], strategy: best}": (
        "models.fast.strategy: expected one of order, weighted, round_robin, least_busy, latency, "
        'cost, got "best"'
    ),
}


@pytest.mark.parametrize(("models", "fault"), MODEL_FAULTS.items())
def test_a_models_fault_is_told_with_its_path(write: Write, models: str, fault: str) -> None:
    flow = models if models.startswith("{") else f"{{{models}}}"
    assert fault in faults_of(write(f"providers: {{local: {{kind: ollama}}}}\nmodels: {flow}"))


def test_all_faults_are_told_at_once_and_in_one_error(write: Write) -> None:
    path = write(
        "gateway: {port: 0, hots: x}\nladder: [2, 1]\nworkers: {calls: -1}\n"
        "providers: {a: {kind: azure}, b: {kind: vllm, keys: ['${NOPE}']}, c: {knd: vllm}}\n"
        "models: {fast: {deployments: [{provider: c, model: m}], fallbacks: [none]}}"
    )
    with pytest.raises(StartError) as caught:
        load(path, environ={"SLUICE_NO": "1"}, overrides={"gateway.processes": "many"})
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path} is not valid:"
    assert [line.split(": ")[0].strip() for line in lines[1:]] == [
        "providers.b.keys[0]",
        "SLUICE_NO",
        "gateway.hots",
        "gateway.port",
        "gateway.processes",
        "workers.calls",
        "providers.c.knd",
        "providers.c.kind",
        "ladder[1]",
        "providers.a.base_url",
        "providers.a.keys",
        "models.fast.fallbacks[0]",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a", "expected a mapping of sections (redis, gateway, providers …) at the top"),
        ("a: [", "line 1, column 5: no valid YAML: expected the node content, but found "),
        ("a: 1\na: 2", "line 2, column 1: no valid YAML: a key is given twice"),
        ("a: *hunter2hunter2", "line 1, column 4: no valid YAML: found undefined alias '…'"),
        ("ladder: &a [*a]", f"ladder{'[0]' * 21}: nested too deeply"),
        ("a: " + "[" * 3000, "no valid YAML: it holds characters, values or depths"),
        ("a: \x01", "no valid YAML: it holds characters"),
        ("a: 2024-13-45", "no valid YAML: it holds characters, values"),
    ],
)
def test_a_file_that_is_no_such_yaml_is_refused(write: Write, text: str, fault: str) -> None:
    assert faults_of(write(text))[0].startswith(fault)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "none.yaml") == ["cannot be read: No such file or directory"]
    assert faults_of(tmp_path) == ["cannot be read: Is a directory"]
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    assert faults_of(tmp_path / "latin.yaml") == ["cannot be read: it is not UTF-8 text"]


def test_unknown_variables_are_faults_and_foreign_ones_are_not() -> None:
    assert faults_of(
        None, {"SLUICE_PROT": "1", "SLUICE_GATEWAY__HOTS": "x", "SLUICE_PORT": "x"}
    ) == [
        'SLUICE_PROT: unknown variable; did you mean "SLUICE_PORT"?',
        'gateway.hots: unknown key (from SLUICE_GATEWAY__HOTS); did you mean "host"?',
        "gateway.port: expected a whole number from 1 to 65535, got text from SLUICE_PORT",
    ]
    foreign = {
        "SLUICE_TEST_REDIS": "x",
        "SLUICE_HOST": "",
        "SLUICE_SERVICE_HOST": "10.0.0.1",
        "SLUICE_PORT": "tcp://10.0.0.1:8080",
        "SLUICE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    }
    assert load(environ=foreign).gateway == GatewaySettings()
