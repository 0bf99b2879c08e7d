"""What a request's tokens are taken for before a provider counts them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.limits.estimate import (
    MEDIA_TOKENS,
    MOST_TOKENS,
    Estimate,
    of_chat,
    of_embeddings,
    text_tokens,
)

IMAGE = "data:image/png;base64," + "iVBORw0KGgo/+" * 50


def chat(content: object, **fields: object) -> bytes:
    return msgspec.json.encode(
        {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
    )


def prompt(content: object, **fields: object) -> int:
    return of_chat(chat(content, **fields)).prompt_tokens


EMPTY = prompt("")


def test_four_bytes_of_ascii_are_about_a_token() -> None:
    assert prompt("four" * 1000) - EMPTY == 1000
    # The frame around a message costs about what providers take for it.
    assert 5 <= EMPTY <= 15


def test_other_scripts_have_more_tokens_to_the_byte() -> None:
    assert prompt("你好吗" * 100) - EMPTY == 300
    assert prompt("Привет" * 100) - EMPTY == 400


def test_what_models_read_beside_messages_counts() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 400}}
    assert prompt("", tools=[tool]) - EMPTY > 100


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_an_image_is_a_fixed_number_of_tokens(size: int) -> None:
    url = "data:image/png;base64," + "A" * size
    part = {"type": "image_url", "image_url": {"url": url}}
    frame = prompt([{"type": "image_url", "image_url": {"url": ""}}])
    assert 0 < prompt([part]) - frame - MEDIA_TOKENS < 10
    assert 0 < prompt([part, part]) - frame - 2 * MEDIA_TOKENS < 40


@pytest.mark.parametrize("separator", ["", " "])
def test_base64_without_a_url_is_taken_for_media_too(separator: str) -> None:
    part = f'{{"type":"input_audio","data":{separator}"{"A" * 90_000}"}}'.encode()
    assert MEDIA_TOKENS < text_tokens(part) < MEDIA_TOKENS + 20


def test_a_text_about_data_urls_is_text() -> None:
    assert prompt("a URL has ;base64, and then " + "four" * 1000) - EMPTY > 1000
    assert prompt("the data: " + "four" * 1000) - EMPTY > 1000
    escaped = '{"data": "' + "four " * 1000 + '"}'
    assert prompt(escaped) - EMPTY > 1000


def test_a_schema_with_a_field_data_is_text() -> None:
    assert prompt("", tools=[{"parameters": {"data": {"type": "x" * 400}}}]) - EMPTY > 100


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 0),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "max_completion_tokens": None}, 7),
        ({"max_output_tokens": 5}, 5),
        ({"max_tokens": 7, "max_output_tokens": 5}, 7),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"n": 3}, 0),
        ({"max_tokens": 7, "n": 0}, 7),
        ({"max_tokens": -7}, 0),
        ({"max_tokens": True}, 0),
        ({"max_tokens": "7"}, 0),
        ({"max_tokens": [7], "n": {}}, 0),
        ({"max_tokens": 10**15, "n": 10**15}, MOST_TOKENS),
    ],
)
def test_the_answers_bound_is_as_the_client_said(fields: dict[str, object], tokens: int) -> None:
    assert of_chat(chat("Hi", **fields)).output_tokens == tokens


@pytest.mark.parametrize(
    ("given", "tokens"),
    [([5], 1), ([5, 60000, 7], 3), ([[5, 6], [7]], 3)],
)
def test_tokens_that_come_as_ids_are_counted(given: object, tokens: int) -> None:
    body = msgspec.json.encode({"model": "m", "input": given})
    raw = msgspec.Raw(msgspec.json.encode(given))
    assert of_embeddings(body, raw) == Estimate(prompt_tokens=tokens)


def test_texts_to_embed_are_text() -> None:
    body = msgspec.json.encode({"model": "m", "input": ["four" * 100] * 2})
    raw = msgspec.Raw(msgspec.json.encode(["four" * 100] * 2))
    assert 200 <= of_embeddings(body, raw).prompt_tokens <= 210


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=200),
    lambda leaf: (
        st.lists(leaf, max_size=3)
        | st.dictionaries(st.sampled_from(["max_tokens", "n", "data", "x"]), leaf)
    ),
    max_leaves=6,
)


@given(anything)
def test_any_json_has_an_estimate(value: object) -> None:
    body = msgspec.json.encode(value)
    for size in (of_chat(body), of_embeddings(body, msgspec.Raw(body))):
        assert 0 <= size.prompt_tokens <= MOST_TOKENS
        assert 0 <= size.output_tokens <= MOST_TOKENS


@given(st.binary())
def test_any_bytes_have_an_estimate(body: bytes) -> None:
    assert of_chat(body).prompt_tokens >= 0


pieces = st.lists(
    st.text(max_size=30)
    | st.sampled_from([IMAGE, ";base64,", '"data":"', '"data": "', "\\u", '"', "A" * 70, " "]),
    max_size=6,
).map("".join)


@given(pieces, pieces)
def test_more_text_is_never_fewer_tokens(text: str, more: str) -> None:
    assert prompt(text + more) >= prompt(text)


@given(pieces, st.lists(pieces, max_size=3))
def test_more_messages_are_never_fewer_tokens(text: str, others: list[str]) -> None:
    def tokens(texts: list[str]) -> int:
        messages = [{"role": "user", "content": text} for text in texts]
        return text_tokens(msgspec.json.encode({"messages": messages}))

    assert tokens([text, *others]) >= tokens(others)
