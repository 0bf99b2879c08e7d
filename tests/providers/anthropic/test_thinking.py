"""How much a model is to think, in all the fields that may say so."""

import pytest

from tests.providers.anthropic.translated import Fields, refused, sent
from workers.providers.anthropic.models import is_budgeted, takes_beginning

OLD = "claude-sonnet-4-5-20250929"
ADAPTIVE: Fields = {"type": "adaptive", "display": "summarized"}


def wished(given: Fields, **changes: object) -> Fields:
    """Translate, and give what is said of thinking."""
    body = sent(given, **changes)
    names = ("thinking", "output_config")
    return {name: body[name] for name in names if name in body}


def budget(tokens: int) -> Fields:
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


@pytest.mark.parametrize(
    ("model", "budgeted"),
    [
        ("claude-3-haiku-20240307", True),
        ("claude-3-7-sonnet-latest", True),
        ("claude-opus-4-20250514", True),
        ("claude-opus-4-1", True),
        ("claude-opus-4-5-20251101", True),
        ("claude-haiku-4-5", True),
        ("claude-sonnet-4-5@20250929", True),
        ("anthropic.claude-opus-4-1-20250805-v1:0", True),
        ("claude-opus-4-6", False),
        ("claude-sonnet-4-6", False),
        ("claude-opus-4-8", False),
        ("claude-sonnet-5", False),
        ("claude-opus-5-5", False),
        ("claude-mythos-preview", False),
        ("a-name-of-our-own", False),
    ],
)
def test_models_up_to_4_5_are_given_budgets_and_take_a_beginning(
    model: str, budgeted: bool
) -> None:
    assert is_budgeted(model) is budgeted
    assert takes_beginning(model) is budgeted


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("xhigh", "xhigh"),
        ("max", "max"),
    ],
)
def test_an_effort_is_the_models_to_spend(effort: str, expected: str) -> None:
    wishes: list[Fields] = [{"reasoning_effort": effort}, {"reasoning": {"effort": effort}}]
    for given in wishes:
        assert wished(given) == {"thinking": ADAPTIVE, "output_config": {"effort": expected}}


@pytest.mark.parametrize(("effort", "tokens"), [("low", 1024), ("medium", 8192), ("high", 24_576)])
def test_an_effort_is_a_budget_for_older_models(effort: str, tokens: int) -> None:
    assert wished({"reasoning_effort": effort}, model=OLD) == budget(tokens)


def test_a_budget_leaves_room_for_an_answer() -> None:
    given = {"reasoning_effort": "high", "max_completion_tokens": 2000}
    assert wished(given, model=OLD) == budget(1999)
    assert wished({"reasoning": {"max_tokens": 5}}, model=OLD) == budget(1024)
    assert wished({"reasoning": {"max_tokens": 3000}}) == budget(3000)
    failure = refused({"reasoning": {"max_tokens": 3000}, "max_tokens": 1024})
    assert failure.param == "reasoning.max_tokens"


@pytest.mark.parametrize("given", [{"reasoning_effort": "none"}, {"reasoning": {"enabled": False}}])
def test_thinking_can_be_switched_off(given: Fields) -> None:
    assert wished(given) == {"thinking": {"type": "disabled"}}
    assert wished(given, model=OLD) == {"thinking": {"type": "disabled"}}


def test_thinking_can_be_switched_on_and_not_told() -> None:
    medium = {"output_config": {"effort": "medium"}}
    assert wished({"reasoning": {"enabled": True}}) == {"thinking": ADAPTIVE, **medium}
    hidden = {"type": "adaptive", "display": "omitted"}
    assert wished({"reasoning": {"exclude": True}}) == {"thinking": hidden, **medium}
    both: Fields = {"reasoning": {"exclude": True}, "reasoning_effort": "low"}
    assert wished(both) == {"thinking": hidden, "output_config": {"effort": "low"}}


def test_anthropics_own_field_passes_as_it_is() -> None:
    own = {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}
    assert wished({"thinking": own}) == {"thinking": own}
    low = {"output_config": {"effort": "low"}}
    assert wished({"thinking": {"type": "adaptive"}, "reasoning_effort": "low"}) == {
        "thinking": {"type": "adaptive"},
        **low,
    }


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"reasoning": {"effort": "extreme"}}, "reasoning.effort"),
        ({"reasoning": {"depth": 3}}, "reasoning.depth"),
        ({"thinking": {"type": "hard"}}, "thinking.type"),
        ({"thinking": {"type": "adaptive"}, "reasoning": {}}, "reasoning"),
        ({"reasoning_effort": "low", "reasoning": {"effort": "low"}}, "reasoning.effort"),
    ],
)
def test_wishes_that_cannot_be_are_refused(given: Fields, param: str) -> None:
    assert refused(given).param == param
