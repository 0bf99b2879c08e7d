"""In what providers differ: what is known of them, and what is set beside it."""

from pathlib import Path

import pytest

from pipeline.settings.differences import KNOWN, OF_KIND, Differences, completed, of_kind
from pipeline.settings.load import ProviderSettings, load
from workers.providers.form import HINTS


def provider(tmp_path: Path, text: str, **environ: str) -> ProviderSettings:
    """Load one provider of a file."""
    path = tmp_path / "sluice.yaml"
    path.write_text(
        f"providers: {{p: {text}}}\nmodels: {{fast: {{deployments: [{{provider: p, model: m}}]}}}}"
    )
    return load(path, environ=environ).providers["p"]


@pytest.mark.parametrize("like", KNOWN)
def test_a_provider_that_is_known_is_configured_by_its_name(tmp_path: Path, like: str) -> None:
    home = KNOWN[like].base_url
    address = "" if home else "base_url: 'http://h', "
    found = provider(tmp_path, f"{{kind: compatible, {address}differs: {{like: {like}}}}}")
    assert found.base_url == (home or "http://h")
    assert found.differs.like == like


def test_what_is_set_wins_field_by_field(tmp_path: Path) -> None:
    found = provider(
        tmp_path,
        "{kind: compatible, base_url: 'http://h/', "
        "differs: {like: mistral, base64: true, rename: {seed: seed_2}}}",
        SLUICE_PROVIDERS__P__DIFFERS__PREFIX="none",
    )
    assert found.base_url == "http://h"
    known = found.differs
    assert (known.base64, known.prefix, known.rename) == (True, "none", {"seed": "seed_2"})
    assert not known.include_usage
    assert "user" in known.drop


def test_kinds_bring_their_own_differences(tmp_path: Path) -> None:
    assert provider(tmp_path, "{kind: vllm}").differs.prefix == "continue_final_message"
    assert provider(tmp_path, "{kind: ollama}").differs == of_kind("ollama")
    assert provider(tmp_path, "{kind: openai, keys: [a]}").differs == Differences()
    assert of_kind("openai") == Differences()


def test_known_differences_drop_nothing_but_hints() -> None:
    trees = [known.differs for known in KNOWN.values()] + list(OF_KIND.values())
    for tree in trees:
        dropped = tree.get("drop", [])
        assert isinstance(dropped, list)
        assert set(dropped) <= HINTS


@pytest.mark.parametrize(
    "tree",
    [{}, {"providers": None}, {"providers": {"p": None}}, {"providers": {"p": {"differs": 1}}}],
)
def test_a_tree_with_faults_is_left_as_it_is(tree: dict[str, object]) -> None:
    assert completed(tree) == tree
