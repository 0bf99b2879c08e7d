"""The relations of models: aliases, the three kinds of fallbacks, and what deployments are."""

from pathlib import Path

import pytest

from pipeline.settings.load import Settings, SettingsError, load


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "sluice.yaml"
    path.write_text(f"providers: {{p: {{kind: vllm}}, q: {{kind: ollama}}}}\n{text}")
    return load(path, environ={})


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    return caught.value.faults


FAST = "fast: {deployments: [{provider: p, model: m}]"

WRONG = {
    f"models: {{{FAST}, aliases: [fast]}}}}": [
        'models.fast.aliases[0]: "fast" is its own name; an alias is another name'
    ],
    f"models: {{{FAST}}}, slow: {{aliases: [fast], fallbacks: [fast]}}}}": [
        'models.slow.aliases[0]: "fast" is the name of a model; an alias is another name'
    ],
    f"models: {{{FAST}, aliases: [a, a]}}}}": [
        'models.fast.aliases[1]: "a" is listed twice; it can stand for one model only'
    ],
    f"models: {{{FAST}, aliases: [a]}}, slow: {{aliases: [a], fallbacks: [fast]}}}}": [
        'models.slow.aliases[0]: "a" is fast\'s too; it can stand for one model only'
    ],
    f"models: {{{FAST}, aliases: [quick], context_fallbacks: [quik]}}}}": [
        'models.fast.context_fallbacks[0]: no model is named "quik"; did you mean "quick"?'
    ],
    f"models: {{{FAST}, policy_fallbacks: [nope]}}}}": [
        'models.fast.policy_fallbacks[0]: no model is named "nope"'
    ],
    f"models: {{{FAST}, aliases: [a], policy_fallbacks: [a]}}}}": [
        'models.fast.policy_fallbacks[0]: "a" is the model itself; name another one'
    ],
    f"models: {{{FAST}, aliases: [a], fallbacks: [b]}}, slow: {{aliases: [b], fallbacks: [a]}}}}": [
        "models.fast.fallbacks: fast → slow → fast goes in a circle"
    ],
    f"models: {{{FAST}, aliases: [a]}}}}\ntenants: {{t: {{model_limits: {{a: {{rpm: 1}}}}}}}}": [
        'tenants.t.model_limits.a: "a" is an alias; limit "fast"'
    ],
    """
models:
  fast: {deployments: [{provider: p, model: m, vision: true, price: {prompt: 1}}]}
  slow: {deployments: [{provider: p, model: m, vision: false, price: {prompt: 2}}]}
""": [
        "models.slow.deployments[0].price: models.fast.deployments[0].price says otherwise of the "
        'same "p/m"; say it once, or the same twice',
        "models.slow.deployments[0].vision: models.fast.deployments[0].vision says otherwise of "
        'the same "p/m"; say it once, or the same twice',
    ],
    """
models:
  fast:
    deployments: [{provider: p, model: m, weight: 2}, {provider: p, model: m, weight: 3}]
""": [
        "models.fast.deployments[1].weight: models.fast.deployments[0] lists the same deployment "
        "with the weight 2; list it once"
    ],
    """
models:
  fast:
    deployments:
      - {provider: p, model: m, vector_size: 768}
      - {provider: q, model: m, vector_size: 1536}
""": [
        'models.fast.deployments[1].vector_size: "fast" could answer with these 1536 numbers or '
        "with 768, as models.fast.deployments[0] has it, which cannot be compared; give them "
        "names without fallbacks between them"
    ],
    """
models:
  fast: {deployments: [{provider: p, model: m, vector_size: 768}], fallbacks: [mid]}
  mid: {deployments: [{provider: p, model: x}], context_fallbacks: [last-one]}
  last: {aliases: [last-one], deployments: [{provider: q, model: m, vector_size: 3}]}
""": [
        'models.last.deployments[0].vector_size: "fast" could answer with these 3 numbers or with '
        "768, as models.fast.deployments[0] has it, which cannot be compared; give them names "
        "without fallbacks between them"
    ],
}


@pytest.mark.parametrize("text", WRONG)
def test_a_fault_names_its_place_and_what_to_do(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text) == WRONG[text]


RIGHT = {
    "an alias as a fallback and as the default": """
gateway: {default_model: quick}
models:
  fast: {aliases: [quick], deployments: [{provider: p, model: m}]}
  slow: {deployments: [{provider: q, model: m}], fallbacks: [quick]}
""",
    "a circle of special fallbacks, which ends by itself": """
models:
  fast: {deployments: [{provider: p, model: m}], context_fallbacks: [slow]}
  slow: {deployments: [{provider: q, model: m}], context_fallbacks: [fast]}
""",
    "one deployment with different weights in two models, and facts in one": """
models:
  fast: {deployments: [{provider: p, model: m, weight: 2, vision: true}]}
  slow: {deployments: [{provider: p, model: m, weight: 3}]}
""",
    "a cached token that costs more than one that is not": """
models:
  fast: {deployments: [{provider: p, model: m, price: {prompt: 1, cached: 2}}]}
""",
    "vectors of other lengths under names of their own": """
models:
  fast: {deployments: [{provider: p, model: m, vector_size: 768}]}
  slow: {deployments: [{provider: q, model: m, vector_size: 1536}]}
""",
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT)
def test_what_is_meant_so_is_no_fault(tmp_path: Path, text: str) -> None:
    assert "fast" in loaded(tmp_path, text).models


def test_a_price_below_nothing_is_a_fault(tmp_path: Path) -> None:
    text = (
        "models: {fast: {deployments: [{provider: p, model: m, price: {prompt: 1, cached: -1}}]}}"
    )
    (fault,) = faults(tmp_path, text)
    assert fault.startswith("models.fast.deployments[0].price.cached: expected a number ≥ 0")
