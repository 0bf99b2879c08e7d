"""Messages: roles, parts, calls of tools and their results, signed thoughts, a begun answer."""

import pytest

from tests.providers.anthropic.official import check_request
from tests.providers.anthropic.translated import Fields, messages_sent, refused, sent

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
CACHED: Fields = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def text(said: str, **more: object) -> Fields:
    return {"type": "text", "text": said, **more}


def user(content: object, **more: object) -> Fields:
    return {"role": "user", "content": content, **more}


def assistant(content: object = None, **more: object) -> Fields:
    return {"role": "assistant", "content": content, **more}


def call(call_id: str, arguments: str = "{}") -> Fields:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def result(call_id: str, content: object = "Rain.") -> Fields:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def blocks_of(part: Fields) -> object:
    [message] = messages_sent(user([part]))
    return message["content"]


def test_the_official_types_find_faults() -> None:
    good = sent()
    for bad in (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "y": 1}]}]},
        {"max_tokens": "7"},
        {"mystery": 1},
        {"tools": [{"name": "f"}]},
        {"tool_choice": {"type": "some"}},
    ):
        with pytest.raises(AssertionError):
            check_request({**good, **bad})


def test_what_the_system_says_stands_apart_in_its_order() -> None:
    body = sent(
        {
            "messages": [
                {"role": "system", "content": [text("One.", **CACHED), text("Two.")]},
                user("hi"),
                {"role": "developer", "content": "Three."},
                user("there"),
            ]
        }
    )
    assert body["system"] == [text("One.", **CACHED), text("Two."), text("Three.")]
    assert body["messages"] == [user([text("hi"), text("there")])]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (text("x"), text("x")),
        (text("x", **CACHED), text("x", **CACHED)),
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}, **CACHED},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                **CACHED,
            },
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        ),
        (
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "JVBERi0="}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            },
        ),
    ],
)
def test_a_part_becomes_a_block(part: Fields, block: Fields) -> None:
    assert blocks_of(part) == [block]


@pytest.mark.parametrize(
    ("part", "at"),
    [
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "input_audio"),
        ({"type": "image_url", "image_url": {"url": "ftp://x/y.png"}}, "image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AA=="}},
            "image_url.url",
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
        ({"type": "file", "file": {"file_data": "data:text/csv;base64,AA=="}}, "file.file_data"),
        ({"type": "file", "file": {"file_data": "data:application/pdf,x"}}, "file.file_data"),
        ({"type": "video_url"}, "type"),
    ],
    ids=str,
)
def test_a_part_that_cannot_be_is_refused_where_it_is(part: Fields, at: str) -> None:
    failure = refused({"messages": [user("hi"), user([text("x"), part])]})
    assert failure.param == f"messages[1].content[1].{at}"


def test_calls_and_results_stand_in_messages_of_their_own_roles() -> None:
    calls = [call("a", '{"n": 1.50}'), call("b", "")]
    assert messages_sent(
        user("hi"), assistant("Wait.", tool_calls=calls), result("b"), result("a"), user("So?")
    ) == [
        user([text("hi")]),
        assistant(
            [
                text("Wait."),
                {"type": "tool_use", "id": "a", "name": "f", "input": {"n": 1.5}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ]
        ),
        user(
            [
                {"type": "tool_result", "tool_use_id": "b", "content": "Rain."},
                {"type": "tool_result", "tool_use_id": "a", "content": "Rain."},
                text("So?"),
            ]
        ),
    ]


def test_results_come_before_what_a_user_said_earlier() -> None:
    turns = messages_sent(user("hi"), assistant(tool_calls=[call("a")]), user("Wait"), result("a"))
    assert turns[-1] == user(
        [{"type": "tool_result", "tool_use_id": "a", "content": "Rain."}, text("Wait")]
    )


def test_a_result_may_have_parts() -> None:
    turns = messages_sent(
        user("hi"), assistant(tool_calls=[call("a")]), result("a", [text("x", **CACHED), text("")])
    )
    expected = {"type": "tool_result", "tool_use_id": "a", "content": [text("x", **CACHED)]}
    assert turns[-1] == user([expected])


def test_ids_of_other_providers_are_made_fit_at_both_ends() -> None:
    turns = messages_sent(user("hi"), assistant(tool_calls=[call("f.1:é")]), result("f.1:é"))
    assert turns[1]["content"] == [{"type": "tool_use", "id": "f_1__", "name": "f", "input": {}}]
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "f_1__", "content": "Rain."}
    ]


@pytest.mark.parametrize("arguments", ["{", "[]", '"x"', "nonsense"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    failure = refused({"messages": [user("hi"), assistant(tool_calls=[call("a", arguments)])]})
    assert failure.param == "messages[1].tool_calls[0].function.arguments"


def test_neighbours_of_one_role_share_a_message() -> None:
    assert messages_sent(user("a"), user("b"), assistant("c"), assistant("d"), user("e")) == [
        user([text("a"), text("b")]),
        assistant([text("c"), text("d")]),
        user([text("e")]),
    ]


def test_what_is_empty_is_left_out_for_it_says_nothing() -> None:
    assert messages_sent(user(""), user([text(""), text("a")]), assistant(""), user("b")) == [
        user([text("a"), text("b")])
    ]


def test_an_earlier_refusal_is_what_the_assistant_said() -> None:
    parts = [{"type": "refusal", "refusal": "No."}]
    assert messages_sent(user("a"), assistant(parts), user("b"))[1] == assistant([text("No.")])
    said = assistant(None, refusal="No.", annotations=[])
    assert messages_sent(user("a"), said, user("b"))[1] == assistant([text("No.")])


def test_signed_thoughts_go_back_as_they_came() -> None:
    signed = {"type": "reasoning.text", "text": "Hm.", "signature": "s", "index": 0}
    hidden = {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1"}
    others = [
        {"type": "reasoning.text", "text": "unsigned"},
        {"type": "reasoning.summary", "summary": "x", "format": "openai-responses-v1"},
        {"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"},
    ]
    blocks: list[Fields] = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
    ]
    for fields in (
        {"reasoning_details": [signed, hidden, *others], "reasoning_content": "Hm."},
        {"thinking_blocks": blocks, "reasoning_details": [signed]},
    ):
        said = messages_sent(user("a"), assistant("b", **fields), user("c"))[1]
        assert said == assistant([*blocks, text("b")])


@pytest.mark.parametrize("name", ["audio", "function_call"])
def test_what_no_earlier_answer_can_hold_is_refused(name: str) -> None:
    failure = refused({"messages": [user("a"), assistant("b", **{name: {"id": "x"}})]})
    assert failure.param == f"messages[1].{name}"


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_names_of_those_who_speak_are_refused(role: str) -> None:
    failure = refused({"messages": [user("a"), {"role": role, "content": "b", "name": "Ann"}]})
    assert failure.param == "messages[1].name"


def test_images_of_an_earlier_answer_are_refused() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    failure = refused({"messages": [user("a"), assistant("b", images=[image])]})
    assert failure.param == "messages[1].images"


def test_the_name_of_a_tool_may_stand_beside_its_result() -> None:
    turns = messages_sent(
        user("hi"), assistant(tool_calls=[call("a")]), {**result("a"), "name": "f"}
    )
    assert turns[-1] == user([{"type": "tool_result", "tool_use_id": "a", "content": "Rain."}])


def test_a_begun_answer_stays_last_without_white_space_at_its_end() -> None:
    assert messages_sent(user("a"), assistant("One, two, \n"))[-1] == assistant([text("One, two,")])
    assert messages_sent(user("a"), assistant(" \n")) == [user([text("a")])]
    assert messages_sent(user("a"), assistant("b "), user("c"))[1] == assistant([text("b ")])
