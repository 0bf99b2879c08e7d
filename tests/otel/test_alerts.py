"""otel/alerts.yaml and prometheus.yaml: known metrics, what to do next, and promtool's word."""

import re
import shutil
import subprocess

import pytest
import typer.main
from typer.core import TyperGroup

from pipeline.cli.app import app
from tests.house.sources import ROOT
from tests.otel.files import Rule, alerts
from tests.otel.promql import BUILT_IN, added_up, declared, metrics_of

RULES = alerts()
COMMANDS = typer.main.get_group(app)
#: What the issue asks for, and more may be there.
ASKED = {
    "SluiceHopNotMoving", "SluiceLettersGrowing", "SluiceGroupLeftBehind", "SluiceKeyDead",
    "SluiceDeadlineMisses",
}  # fmt: skip

promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    promtool is None, reason="promtool is not on PATH (apt install prometheus)"
)


def unknown(text: str) -> list[str]:
    """List the commands that a text names and we have not."""
    found = [words.split() for words in re.findall(r"`(sluice [^`]+)`", text)]
    return [" ".join(words) for words in found if not is_known(words[1:])]


def is_known(words: list[str]) -> bool:
    command = COMMANDS.commands.get(words[0])
    further = command.commands if isinstance(command, TyperGroup) else {}
    if further and len(words) > 1 and words[1].isalpha():
        return words[1] in further
    return command is not None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.alert)
def test_an_alert_reads_metrics_that_are_told(rule: Rule) -> None:
    assert metrics_of(rule.expr) - BUILT_IN <= declared()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.alert)
def test_what_all_gateways_tell_alike_is_not_added_up(rule: Rule) -> None:
    assert added_up(rule.expr) == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.alert)
def test_an_alert_says_what_it_means_and_which_command_comes_next(rule: Rule) -> None:
    assert list(rule.annotations) == ["summary", "meaning", "next"]
    assert rule.labels["severity"] in ("critical", "warning", "info")
    assert re.search(r"`sluice \w+", rule.annotations["next"])
    assert unknown(" ".join(rule.annotations.values())) == []


def test_a_command_that_we_have_not_is_found() -> None:
    assert unknown("`sluice nonsense`, `sluice dead nonsense`, `sluice dead list`") == [
        "sluice nonsense",
        "sluice dead nonsense",
    ]


def test_every_alert_has_a_name_of_its_own_and_is_raised_in_a_test() -> None:
    names = [rule.alert for rule in RULES]
    tests = (ROOT / "tests/otel/alerts.test.yaml").read_text()
    raised = set(re.findall(r'alertname="?(\w+)"?, alertstate="firing"', tests))
    raised |= set(re.findall(r"alertname: (\w+)", tests))

    assert len(set(names)) == len(names)
    assert set(names) >= ASKED
    assert set(names) - raised == set()


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "otel/prometheus.yaml"),
        ("check", "rules", "otel/alerts.yaml"),
        ("test", "rules", "tests/otel/alerts.test.yaml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    assert promtool
    done = subprocess.run(
        [promtool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
