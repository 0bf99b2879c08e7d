"""What holds for every command: help, errors, and a fast start."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import error_of, sluice

COMMANDS = ("up", "gateway", "workers", "simulate", "check", "send", "show", "tail", "status")
ON_LIMITS = ("limits", "keys", "reload")
ON_REDIS = (
    ("gateway",),
    ("workers",),
    ("show", "some-id"),
    ("tail",),
    ("status",),
    ("up",),
    ("limits", "--model", "fast"),
    ("keys",),
    ("keys", "revive", "simulated:"),
    ("reload",),
)


def test_the_help_names_every_command(tmp_path: Path) -> None:
    done = sluice(tmp_path, "--help")
    assert done.returncode == 0
    assert all(f" {command} " in done.stdout for command in (*COMMANDS, *ON_LIMITS))


@pytest.mark.parametrize("command", [*COMMANDS, *ON_LIMITS])
def test_each_command_explains_itself_with_an_example(command: str, tmp_path: Path) -> None:
    done = sluice(tmp_path, command, "--help")
    assert done.returncode == 0
    assert f"Example: sluice {command}" in done.stdout
    assert "--config" in done.stdout


def test_the_help_waits_for_nothing_heavy() -> None:
    script = (
        "import sys\nimport pipeline.cli.app\n"
        "heavy = {'redis', 'asyncio', 'yaml', 'rich.table'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("arguments", [("send",), ("up", "--nonsense"), ("nonsense",)])
def test_misuse_is_exit_code_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = sluice(tmp_path, *arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr


@pytest.mark.parametrize("arguments", ON_REDIS)
def test_a_redis_that_is_not_there_is_one_line_that_names_it(
    arguments: tuple[str, ...], tmp_path: Path, free_port: int
) -> None:
    url = f"redis://user:secret@127.0.0.1:{free_port}/0"
    line = error_of(sluice(tmp_path, *arguments, "--redis-url", url))
    assert f"redis://…@127.0.0.1:{free_port}/0" in line
    assert "secret" not in line


def test_a_gateway_that_is_not_there_is_one_line_that_names_it(
    tmp_path: Path, free_port: int
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    done = sluice(tmp_path, "send", "Hello", "--url", url)
    assert url in error_of(done)


@pytest.mark.parametrize("command", [*ON_REDIS, ("send", "Hello")])
def test_a_wrong_configuration_stops_every_command(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "sluice.yaml").write_text("gateway: {prot: 8080}\n")
    done = sluice(tmp_path, *command)
    assert done.returncode == 1
    assert "gateway.prot" in done.stderr
