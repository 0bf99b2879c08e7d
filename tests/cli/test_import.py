"""`sluice import`: the command itself, what it prints where, and what it refuses."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.command import error_of, sluice

LITELLM = """
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4.1-mini, api_key: sk-a-literal-key-0123456789}
  - model_name: local
    litellm_params: {model: ollama/qwen3, api_base: "http://127.0.0.1:11434", num_ctx: 8192}
litellm_settings: {fallbacks: [{fast: [local]}]}
"""
LLM_QUEUE = """
azure_open_ai:
  - api_key: os.environ/AZ
    azure_endpoint: https://east.openai.azure.com/
    azure_oai_models:
      - {unique_model_id: gpt, deployment_name_in_azure: gpt-1, model_type: chat, req_per_min: 9}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(LITELLM)
    return path


def test_the_file_goes_to_stdout_and_what_is_to_be_known_to_both(source: Path) -> None:
    done = sluice(source.parent, "import", source.name)
    assert done.returncode == 0
    settings = yaml.safe_load(done.stdout)
    assert settings["providers"]["openai"]["keys"] == ["${OPENAI_KEY}"]
    assert settings["models"]["fast"]["fallbacks"] == ["local"]
    for words in ("model_list[1].litellm_params.num_ctx = 8192", "OPENAI_KEY: model_list[0]"):
        assert words in done.stdout.split("\n\n")[0]
        assert words in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("config.yaml (LiteLLM): models: 2, providers: 2, above; 1 lost, ")
    assert "literal" not in done.stdout + done.stderr


def test_what_was_written_passes_the_check_once_its_variables_are_set(source: Path) -> None:
    folder = source.parent
    done = sluice(folder, "import", source.name, "--output", "sluice.yaml")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "written to sluice.yaml" in done.stderr
    unset = sluice(folder, "check")
    assert unset.returncode == 1
    assert "the variable OPENAI_KEY is not set" in unset.stderr
    assert sluice(folder, "check", env={"OPENAI_KEY": "sk-x"}).returncode == 0


def test_a_file_that_is_there_is_only_written_over_by_force(source: Path) -> None:
    target = source.parent / "sluice.yaml"
    target.write_text("gateway: {port: 1}\n")
    line = error_of(sluice(source.parent, "import", source.name, "-o", "sluice.yaml"))
    assert line == "sluice.yaml: it is there already; --force writes over it"
    assert target.read_text() == "gateway: {port: 1}\n"
    assert (
        sluice(source.parent, "import", source.name, "-o", "sluice.yaml", "--force").returncode == 0
    )
    assert "openai" in target.read_text()


def test_json_tells_everything_to_programs(source: Path) -> None:
    done = sluice(source.parent, "import", source.name, "--json")
    told = json.loads(done.stdout)
    assert done.stderr == ""
    assert told["format"] == "litellm"
    assert told["settings"]["models"]["local"]["deployments"][0]["model"] == "qwen3"
    assert told["variables"] == [
        {
            "name": "OPENAI_KEY",
            "stands_for": "model_list[0].litellm_params.api_key",
            "in_source": True,
        }
    ]
    assert told["unmatched"][0]["path"] == "model_list[1].litellm_params.num_ctx"
    assert {"path", "value", "why", "instead"} == set(told["differing"][0])


def test_llm_queues_file_is_known_by_its_keys(tmp_path: Path) -> None:
    (tmp_path / "llm_config.yaml").write_text(LLM_QUEUE)
    done = sluice(tmp_path, "import", "llm_config.yaml")
    assert "# Made by `sluice import` from llm_config.yaml (LLM Queue)." in done.stdout
    assert yaml.safe_load(done.stdout)["providers"]["azure"]["keys"] == ["${AZ}"]


REFUSED = {
    "": "expected a mapping with azure_open_ai (LLM Queue) or model_list (LiteLLM) at the top",
    "- 1": "but it holds a list",
    "a: [": "no valid YAML: ",
    "a: 1\na: 2": "line 2, column 1: no valid YAML: a key is given twice",
    "routes: {x: 1}": "neither LLM Queue's nor LiteLLM's",
    "model_list: []\nazure_open_ai: []": "say which it is with --from llm-queue or --from litellm",
    "model_list: []": "model_list: nothing in it can be taken over",
    "azure_open_ai: []": "azure_open_ai: it holds no deployment that can be taken",
    "model_list: &a [*a]": "nested too deeply",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_bad_source_is_refused_with_what_was_expected(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    done = sluice(tmp_path, "import", "bad.yaml")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("sluice: bad.yaml: ")
    assert REFUSED[text] in done.stderr


def test_a_source_that_is_missing_is_told(tmp_path: Path) -> None:
    line = error_of(sluice(tmp_path, "import", "none.yaml"))
    assert line == "none.yaml: cannot be read: No such file or directory"


def test_a_result_that_would_not_load_is_not_printed(tmp_path: Path) -> None:
    entry = "{model_name: a, litellm_params: {model: groq/a, timeout: 99999999}}"
    (tmp_path / "long.yaml").write_text(f"model_list: [{entry}]")
    done = sluice(tmp_path, "import", "long.yaml", "-o", "sluice.yaml")
    assert done.returncode == 1
    assert "what it becomes is not valid; mend the source:" in done.stderr
    assert "providers.groq.timeout.total_s: expected a number" in done.stderr
    assert not (tmp_path / "sluice.yaml").exists()


def test_a_format_can_be_named_and_not_made_up(source: Path) -> None:
    assert sluice(source.parent, "import", source.name, "--from", "litellm").returncode == 0
    wrong = error_of(sluice(source.parent, "import", source.name, "--from", "llm-queue"))
    assert wrong.startswith("config.yaml: azure_open_ai: it holds no deployment")
    assert sluice(source.parent, "import", source.name, "--from", "nginx").returncode == 2


def test_the_help_gives_an_example(tmp_path: Path) -> None:
    said = sluice(tmp_path, "import", "--help").stdout
    assert "Example: sluice import litellm.yaml --output sluice.yaml" in said
    for option in ("--from", "--output", "--force", "--json"):
        assert option in said
