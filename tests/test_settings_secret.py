"""What must not be seen is seen nowhere: not in a repr, an error, a warning or a version."""

import hashlib
import logging
import re
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.settings.load import ApiKey, RedisUrl, Secret, SettingsError, load
from pipeline.settings.secret import ProxyUrl, TokenHash, new_token, token_hash

KEY = "sk-proj-0123456789abcdefghij"
PASSWORD = "hunter2/with?odd#signs"
TOKEN = "sha256:" + "5e" * 32

OTHER = {"OTHER_KEY": "other-secret-12"}

FILE = f"""
redis: {{url: "redis://me:{PASSWORD}@127.0.0.1:6379/0"}}
providers:
  p: {{kind: vllm, keys: [{KEY}, "${{OTHER_KEY}}"], proxy: "http://me:{PASSWORD}@proxy:3128"}}
models: {{fast: {{deployments: [{{provider: p, model: m}}]}}}}
tenants: {{acme: {{tokens: ["{TOKEN}"], weight: 2}}}}
"""


def leaks(*texts: str) -> list[str]:
    # Eight digits of a token's hash are its id, and no secret.
    secrets = (KEY, KEY[3:], PASSWORD, "hunter2", TOKEN, "5e" * 4 + "5", "other-secret")
    return [secret for secret in secrets for text in texts if secret in text]


def test_settings_show_no_secret_in_any_way(tmp_path: Path) -> None:
    path = tmp_path / "sluice.yaml"
    path.write_text(FILE)
    settings = load(path, environ=OTHER)
    catalog = Catalog(settings)
    record = logging.LogRecord("n", 20, "p", 1, "%s", (settings,), None)
    shown = [repr(settings), str(settings), f"{settings.redis.url}", record.getMessage()]
    shown += [*settings.left_out, catalog.version, repr(catalog.cards()), repr(vars(catalog))]
    assert leaks(*shown) == []
    assert settings.redis.address == f"redis://me:{PASSWORD}@127.0.0.1:6379/0"
    assert settings.providers["p"].keys[0].reveal() == KEY


@pytest.mark.parametrize(
    "text",
    [
        f"providers: {{p: {{kind: {KEY}}}}}",
        f"providers: {{p: {{kind: vllm, keys: {KEY}}}}}",
        f"providers: {{p: {{kind: vllm, {KEY}: 1}}}}",
        f"providers: {{p: {{kind: vllm, keys: [[{KEY}]]}}}}",
        f"providers: {{p: {{kind: vllm, keys: ['{KEY} {KEY}']}}}}",
        f"providers: {{p: {{kind: vllm, keys: [{KEY}, {KEY}]}}}}",
        f"providers: {{p: {{kind: vllm, keys: {{{KEY}: 1}}}}}}",
        f"providers: {{p: {{kind: vllm, base_url: 'http://me:{PASSWORD}@h/v1'}}}}",
        f"providers: {{p: {{kind: vllm, base_url: '{KEY}'}}}}",
        f"providers: {{p: {{kind: vllm, proxy: 'socks://me:{PASSWORD}@h'}}}}",
        f"providers: {{p: {{kind: vllm, timeout: {KEY}}}}}",
        f"providers: {{{KEY} {KEY}: {{kind: vllm}}}}",
        f"redis: {{url: 'http://:{PASSWORD}@h'}}",
        f"redis: {{namespace: 'redis://:{PASSWORD}@h'}}",
        f"gateway: {{port: {KEY}, host: 'redis://:{PASSWORD}@h'}}",
        f"gateway: {{default_model: {KEY}}}",
        "models: {a: {deployments: [{provider: '${OTHER_KEY}', model: m}]}}",
        "models: {a: {fallbacks: ['${OTHER_KEY}']}}",
        "gateway: {port: '${OTHER_KEY}', default_model: '${OTHER_KEY}'}",
        f"tenants: {{a: {{tokens: ['{TOKEN}0']}}}}",
        f"tenants: {{a: {{tokens: ['{TOKEN}']}}, b: {{tokens: ['{TOKEN}']}}}}",
        f"tenants: {{a: {{tokens: ['{TOKEN}'], token_limits: {{'{TOKEN}': {{rpm: 1}}}}}}}}",
        f"tenants: {{a: {{tokens: ['{TOKEN}'], token_limits: {{'{KEY}': {{rpm: 1}}}}}}}}",
        f"tenants: {{a: {{model_limits: {{'{KEY}': {{rpm: 1}}}}}}}}",
        f"gateway: {{user_header: '{KEY} {KEY}'}}",
        f"telemetry: {{otlp_endpoint: 'http://h?key={KEY}'}}",
        f"redis: {{url: {KEY}",
        f"redis: {{url: *{KEY}}}",
        f"redis: {{url: !{KEY} a}}",
        f"redis: {{url: '${{{KEY}}}'}}",
        f"{KEY}",
    ],
)
def test_no_fault_quotes_a_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sluice.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(path, environ=OTHER)
    # The causes count too: a traceback that somebody logs shows them.
    told = "".join(traceback.format_exception(caught.value))
    assert leaks(str(caught.value), repr(caught.value.faults), told) == []


@pytest.mark.parametrize(
    "environ",
    [
        {"SLUICE_REDIS_URL": f"http://:{PASSWORD}@h"},
        {"SLUICE_PORT": KEY},
        {"SLUICE_PROVIDERS__P__KEYS": f"{KEY} {KEY}"},
        {"OPENAI_API_KEY": f"{KEY} {KEY}"},
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"https://me:{PASSWORD}@h"},
        {"OLLAMA_HOST": f"http://me:{PASSWORD}@h:x"},
        {"OPENAI_API_KEY": KEY, "LLM_RPM": KEY},
        {"OPENROUTER_API_KEY": KEY, "QUEUE_RETRY_DELAYS": KEY},
    ],
)
def test_no_fault_quotes_a_variable(environ: Mapping[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ=environ)
    assert leaks(str(caught.value)) == []


@given(st.text(min_size=1, max_size=80))
def test_a_mask_never_shows_more_than_seven_characters(text: str) -> None:
    secret = Secret(text)
    assert secret.reveal() == text
    assert len(str(secret)) <= 8
    assert len(text) >= 20 or str(secret) == "…"


def test_a_mask_shows_the_end_of_a_long_key_only() -> None:
    assert str(ApiKey(KEY)) == "sk-…ghij"
    assert repr(ApiKey("sk-short")) == "ApiKey('…')"
    assert f"{ApiKey(KEY)!s:>10}" == "  sk-…ghij"


@given(st.text(st.characters(codec="ascii", exclude_categories=["Z", "C"]), min_size=1))
def test_an_addresss_mask_hides_user_and_password(password: str) -> None:
    shown = str(RedisUrl(f"rediss://üser:{password}ñ@host:1/2?x=ñ"))
    assert shown == "rediss://…@host:1/2?…"
    assert str(ProxyUrl("http://proxy:3128")) == "http://proxy:3128"


def test_secrets_are_equal_by_their_text() -> None:
    assert ApiKey("abc") == ApiKey("abc")
    assert ApiKey("abc") != ApiKey("abd")
    assert ApiKey("abc") != "abc"
    assert len({TokenHash(TOKEN), TokenHash(TOKEN)}) == 1


def test_a_tokens_hash_is_that_of_its_bytes_and_shows_its_id_only() -> None:
    hashed = token_hash("tökén")
    assert hashed.reveal() == f"sha256:{hashlib.sha256('tökén'.encode()).hexdigest()}"
    assert hashed == token_hash("tökén".encode())
    assert hashed.id == hashed.reveal()[7:15]
    assert str(hashed) == f"sha256:{hashed.id}…"
    assert str(TokenHash(TOKEN)) == "sha256:5e5e5e5e…"


def test_new_tokens_are_long_and_never_the_same_even_where_chance_is_seeded() -> None:
    made = set()
    for _ in range(100):
        clock.chance.seed(1)
        made.add(new_token())
    assert len(made) == 100
    assert all(re.fullmatch(r"sk-sluice-[A-Za-z0-9_-]{43}", token) for token in made)


def test_a_key_may_have_a_line_end_from_its_file(tmp_path: Path) -> None:
    assert load(environ={"OPENAI_API_KEY": f"{KEY}\n"}).providers["openai"].keys[0].reveal() == KEY
    path = tmp_path / "sluice.yaml"
    path.write_text(FILE)
    keys = load(path, environ={"OTHER_KEY": "abc\n"}).providers["p"].keys
    assert keys[1].reveal() == "abc"
