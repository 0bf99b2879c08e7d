"""How each kind of provider is asked to go on from an answer's beginning."""

import msgspec
import pytest

from pipeline.settings.differences import KNOWN, Differences, Prefix, of_kind
from workers.providers.beginnings import continues, unseen_end, wants_one, with_beginning

Fields = dict[str, object]

_USER: Fields = {"role": "user", "content": "hi"}


def asked(form: Prefix = "last_message", **fields: object) -> Fields:
    body = msgspec.json.encode({"messages": [_USER], **fields})
    found: Fields = msgspec.json.decode(with_beginning(body, "So far", form, 5))
    return found


def last(found: Fields) -> Fields:
    messages = found["messages"]
    assert isinstance(messages, list)
    message: Fields = messages[-1]
    return message


@pytest.mark.parametrize(
    ("kind", "model", "form"),
    [
        ("anthropic", "claude-sonnet-4-5", "last_message"),
        ("anthropic", "claude-opus-4-6", "none"),
        ("anthropic", "claude-new", "none"),
        ("gemini", "gemini-2.5-pro", "last_message"),
        ("openrouter", "any/model", "last_message"),
        ("ollama", "llama3", "last_message"),
        ("vllm", "any", "continue_final_message"),
        ("simulated", "fast", "last_message"),
        ("openai", "gpt-5", "none"),
        ("azure", "gpt-5", "none"),
        ("compatible", "any", "none"),
    ],
)
def test_who_goes_on_and_how(kind: str, model: str, form: Prefix) -> None:
    assert continues(kind, model, of_kind(kind)) == form


@pytest.mark.parametrize(("like", "form"), [("mistral", "prefix"), ("groq", "last_message")])
def test_a_compatible_one_goes_on_as_it_says(like: str, form: Prefix) -> None:
    differs = msgspec.convert(KNOWN[like].differs, Differences)
    assert continues("compatible", "any", differs) == form


def test_the_beginning_comes_last() -> None:
    found = asked()
    assert found["messages"] == [_USER, {"role": "assistant", "content": "So far"}]


def test_the_clients_own_beginning_goes_before_it() -> None:
    found = asked(messages=[_USER, {"role": "assistant", "content": "Well, ", "name": "a"}])
    assert last(found) == {"role": "assistant", "content": "Well, So far", "name": "a"}


def test_what_a_form_wants_beside_it() -> None:
    assert last(asked("prefix"))["prefix"] is True
    found = asked("continue_final_message")
    assert (found["continue_final_message"], found["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize(("most", "left"), [(12, 7), (5, 1), (None, None)])
def test_the_rest_may_have_what_was_not_said(most: int | None, left: int | None) -> None:
    found = asked(max_tokens=most, max_completion_tokens=most)
    assert (found["max_tokens"], found["max_completion_tokens"]) == (left, left)


def test_one_answer_is_wanted_unless_it_is_said() -> None:
    assert [wants_one(body) for body in (b"{}", b'{"n":null}', b'{"n":1}', b'{"n":2}')] == [
        *(True, True, True, False),
    ]


def test_anthropic_alone_is_not_shown_white_space_at_the_end() -> None:
    assert unseen_end("anthropic", "So far, \n") == " \n"
    assert unseen_end("gemini", "So far, ") == ""
