"""Limits and tenants in the configuration: what they may say, and which faults they have."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.check_limits import LIMIT_CHECKS
from pipeline.settings.load import (
    GateSettings,
    ReserveSettings,
    Settings,
    SettingsError,
    TenantLimits,
    load,
)
from pipeline.settings.named import Named

ONE, OTHER = "1234abcd" + "0" * 56, "beef0000" + "1" * 56
TOKENS = f'tokens: ["sha256:{ONE}", "sha256:{OTHER}"]'

BASE = """
providers: {local: {kind: ollama, LIMITS}, any: {kind: vllm, any_model: true}}
models: {fast: {deployments: [{provider: local, model: m}]}, slow: {fallbacks: [fast]}}
"""


def read(folder: Path, text: str, limits: str = "cooldown_s: 1", **environ: str) -> Settings:
    path = folder / "sluice.yaml"
    path.write_text(BASE.replace("LIMITS", limits) + text, encoding="utf-8")
    return load(path, environ=environ)


def faults_of(folder: Path, text: str, limits: str = "cooldown_s: 1") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(folder, text, limits)
    return caught.value.faults


def test_a_gate_and_a_tenant_may_say_all_of_it(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        "gate: {aging_s: 5, max_queue_size: 7, reserve: {high: 0.5, low: 0.25}, probe_s: 9}\n"
        f"tenants: {{a: {{{TOKENS}, limits: {{rpm: 0}}, users: {{me@home: {{tpd: 0}}}},\n"
        '  token_limits: {default: {rpm: 1}, "1234abcd": {rpm: 2}},\n'
        "  model_limits: {default: {}, fast: {rpm: 3}, any/thing/at-all: {rpm: 4}}}}",
        "limits: {rpm: 60, burst: 5}",
    )
    tenant = settings.tenants["a"]
    assert settings.gate == GateSettings(
        aging_s=5, max_queue_size=7, reserve=ReserveSettings(high=0.5, low=0.25), probe_s=9
    )
    assert settings.providers["local"].limits.burst == 5
    assert [token.id for token in tenant.tokens] == ["1234abcd", "beef0000"]
    assert tenant.limits == TenantLimits(rpm=0)
    assert tenant.token_limits["1234abcd"].rpm == 2
    assert tenant.model_limits["any/thing/at-all"].rpm == 4


def test_the_gate_is_reached_by_variables(tmp_path: Path) -> None:
    environ = {
        "SLUICE_GATE__MAX_QUEUE_SIZE": "3",
        "SLUICE_GATE__RESERVE__HIGH": "0.3",
        "SLUICE_GATEWAY__USER_HEADER": "X-User",
    }
    settings = read(tmp_path, "", **environ)
    assert (settings.gate.max_queue_size, settings.gate.reserve.high) == (3, 0.3)
    assert settings.gateway.user_header == "x-user"


def test_the_users_header_is_written_small_and_has_a_default(tmp_path: Path) -> None:
    assert read(tmp_path, "gateway: {user_header: X-Forwarded-User}").gateway.user_header == (
        "x-forwarded-user"
    )
    assert read(tmp_path, "").gateway.user_header == "x-sluice-user"


NEAR = (
    "expected default, or the first 8 hex digits of the hash of one of the tenant's tokens "
    "(1234abcd, beef0000)"
)
FAULTS = {
    "gate: {reserve: {high: 0.7, default: 0.2, low: 0.1}}": (
        "gate.reserve: high, default and low together must be less than 1, so that something is "
        "left for everyone, got 1"
    ),
    "gate: {reserve: {high: 1}}": (
        "gate.reserve.high: expected a number from 0 to less than 1, got 1"
    ),
    "gate: {max_queue_size: 0}": "gate.max_queue_size: expected a whole number ≥ 1, got 0",
    "gateway: {user_header: 'a b'}": ('gateway.user_header: expected a header\'s name, got "a b"'),
    f'tenants: {{a: {{{TOKENS}, token_limits: {{"1234abce": {{}}}}}}}}': (
        f'tenants.a.token_limits.1234abce: {NEAR}; did you mean "1234abcd"?'
    ),
    f'tenants: {{a: {{{TOKENS}, token_limits: {{"sha256:{OTHER}": {{}}}}}}}}': (
        f'tenants.a.token_limits.…: {NEAR}; did you mean "beef0000"?'
    ),
    f"tenants: {{a: {{{TOKENS}, token_limits: {{mine: {{}}}}}}}}": (
        f"tenants.a.token_limits.mine: {NEAR}"
    ),
    f"tenants: {{a: {{{TOKENS}, token_limits: {{12345678: {{}}}}}}}}": (
        "tenants.a.token_limits.12345678: expected text, got 12345678; put it in quotes"
    ),
    'tenants: {a: {token_limits: {default: {rpm: "${NONE}"}}}}': (
        "tenants.a.token_limits.default.rpm: the variable NONE is not set "
        "(write ${NONE:-} where it may be missing)"
    ),
    "tenants: {a: {token_limts: {}}}": ('tenants.a.…: unknown key; did you mean "token_limits"?'),
    'tenants: {a: {tokens: [oops], token_limits: {"1234abcd": {}}}}': (
        'tenants.a.tokens[0]: expected a hash such as "sha256:…" with 64 hex digits '
        "(`sluice token --hash` tells it)"
    ),
    "tenants: {a: {model_limits: {fats: {rpm: 1}}}}": (
        'tenants.a.model_limits.fats: no model is named "fats"; did you mean "fast"?'
    ),
    "tenants: {a: {model_limits: {local/m: {rpm: 1}}}}": (
        'tenants.a.model_limits.local/m: no model is named "local/m"'
    ),
    "tenants: {a: {model_limits: {fast: {rpm: -1}}}}": (
        "tenants.a.model_limits.fast.rpm: expected a whole number ≥ 0, got -1"
    ),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.items())
def test_a_fault_is_told_with_its_path(tmp_path: Path, text: str, fault: str) -> None:
    assert faults_of(tmp_path, text) == [fault]


def test_a_burst_is_a_part_of_its_own_rpm(tmp_path: Path) -> None:
    model = "{deployments: [{provider: local, model: m, limits: {burst: 2}}]}"
    text = f"tenants: {{}}\n{BASE}".replace("LIMITS", "limits: {rpm: 9}")
    path = tmp_path / "sluice.yaml"
    path.write_text(text.replace("slow: {fallbacks: [fast]}", f"slow: {model}"))
    with pytest.raises(SettingsError) as caught:
        load(path, environ={})
    place = "models.slow.deployments[0].limits"
    assert caught.value.faults == [
        f"{place}.burst: it is a part of rpm, and {place}.rpm is not set"
    ]
    assert faults_of(tmp_path, "", "limits: {burst: 2}") == [
        "providers.local.limits.burst: it is a part of rpm, and providers.local.limits.rpm "
        "is not set"
    ]


def test_a_burst_is_not_blamed_for_a_rate_that_cannot_be_read(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "", "limits: {rpm: many, burst: 2}")
    assert fault.startswith("providers.local.limits.rpm: ")


def test_a_model_of_a_faulty_provider_is_not_blamed_for_it(tmp_path: Path) -> None:
    path = tmp_path / "sluice.yaml"
    path.write_text(
        "providers: {p: {any_model: true}}\ngateway: {default_model: p/x}\n"
        "tenants: {a: {model_limits: {p/y: {rpm: 1}}}}"
    )
    with pytest.raises(SettingsError) as caught:
        load(path, environ={})
    assert caught.value.faults == ["providers.p.kind: missing"]


shares = st.integers(0, 99)


@given(shares, shares, shares)
def test_reserved_shares_leave_something_for_everyone(high: int, default: int, low: int) -> None:
    reserve = ReserveSettings(high=high / 100, default=default / 100, low=low / 100)
    settings = Settings(gate=GateSettings(reserve=reserve))
    faults = [fault for check in LIMIT_CHECKS for fault in check(settings, Named())]
    assert bool(faults) == (high + default + low >= 100)
