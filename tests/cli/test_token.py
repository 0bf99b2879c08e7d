"""`sluice token`: what it makes opens the door that the lines it shows describe."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from pipeline.settings.load import load
from tests.cli.command import error_of, sluice


def hash_of(token: str) -> str:
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def pasted(stderr: str) -> str:
    """Take the lines from `tenants:` to the next empty one."""
    return "tenants:" + stderr.split("tenants:", 1)[1].split("\n\n", 1)[0]


def test_a_token_is_on_stdout_alone_and_the_lines_to_paste_are_beside_it(tmp_path: Path) -> None:
    done = sluice(tmp_path, "token", "--tenant", "acme")
    (token,) = done.stdout.splitlines()
    assert done.returncode == 0
    assert token.startswith("sk-sluice-")
    assert token not in done.stderr
    assert done.stderr.splitlines()[0] == hash_of(token)
    assert f'"{hash_of(token)[7:15]}"' in done.stderr
    assert yaml.safe_load(pasted(done.stderr)) == {
        "tenants": {"acme": {"tokens": [hash_of(token)]}}
    }


@pytest.mark.parametrize("tenant", ["acme", "123", "no", "1e3", "0x1f"])
def test_the_lines_are_a_configuration_whatever_the_tenants_name(
    tmp_path: Path, tenant: str
) -> None:
    done = sluice(tmp_path, "token", "--tenant", tenant)
    path = tmp_path / "sluice.yaml"
    path.write_text(pasted(done.stderr))
    (kept,) = load(path, environ={}).tenants[tenant].tokens
    assert kept.reveal() == hash_of(done.stdout.strip())


def test_every_token_is_another(tmp_path: Path) -> None:
    first, second = (sluice(tmp_path, "token").stdout for _ in range(2))
    assert first != second


def test_a_token_is_told_in_json_for_programs(tmp_path: Path) -> None:
    done = sluice(tmp_path, "token", "--json")
    told = json.loads(done.stdout)
    assert told == {
        "token": told["token"],
        "hash": hash_of(told["token"]),
        "id": hash_of(told["token"])[7:15],
    }
    assert done.stderr == ""


def test_a_token_that_is_brought_is_hashed_and_not_shown(tmp_path: Path) -> None:
    done = sluice(tmp_path, "token", "--hash", stdin="my-own-token\n")
    assert done.stdout == f"{hash_of('my-own-token')}\n"
    assert "my-own-token" not in done.stderr
    told = sluice(tmp_path, "token", "--hash", "--json", stdin="my-own-token")
    assert json.loads(told.stdout) == {
        "hash": hash_of("my-own-token"),
        "id": hash_of("my-own-token")[7:15],
    }


@pytest.mark.parametrize("text", ["", "\n", "two tokens", "one\ntwo", "tökén"])
def test_what_no_header_can_carry_is_no_token(tmp_path: Path, text: str) -> None:
    line = error_of(sluice(tmp_path, "token", "--hash", stdin=text))
    assert line.startswith("stdin: expected one token")


def test_a_token_is_never_taken_as_an_argument(tmp_path: Path) -> None:
    assert sluice(tmp_path, "token", "--hash", "my-own-token").returncode == 2


def test_a_name_that_no_tenant_can_have_is_refused(tmp_path: Path) -> None:
    assert error_of(sluice(tmp_path, "token", "--tenant", "a/b")).startswith("tenants.a/b: ")


def test_a_token_can_be_made_while_the_configuration_is_refused_for_want_of_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "sluice.yaml").write_text("gateway: {host: 0.0.0.0}\n")
    assert sluice(tmp_path, "check").returncode == 1
    assert sluice(tmp_path, "token").returncode == 0


def test_an_operators_token_comes_with_lines_of_its_own(tmp_path: Path) -> None:
    done = sluice(tmp_path, "token", "--admin")
    (token,) = done.stdout.splitlines()
    assert token.startswith("sk-sluice-")
    assert token not in done.stderr
    lines = "admin:" + done.stderr.split("admin:", 1)[1].split("\n\n", 1)[0]
    (tmp_path / "sluice.yaml").write_text(lines)
    (kept,) = load(tmp_path / "sluice.yaml", environ={}).admin.tokens
    assert kept.reveal() == hash_of(token)
    told = json.loads(sluice(tmp_path, "token", "--admin", "--json").stdout)
    assert told["hash"] == hash_of(told["token"])


def test_a_token_is_a_tenants_or_an_operators(tmp_path: Path) -> None:
    assert sluice(tmp_path, "token", "--admin", "--tenant", "acme").returncode == 2


def test_the_help_gives_an_example(tmp_path: Path) -> None:
    assert "Example: sluice token" in sluice(tmp_path, "token", "--help").stdout
