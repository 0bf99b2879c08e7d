"""Messages as Gemini's turns: roles, parts, calls and their results, and what is refused."""

import pytest

from tests.providers.gemini.ground import HELLO, Json, contents, refused, sent

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="


def user(*parts: Json) -> Json:
    return {"role": "user", "content": parts}


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def image(url: str, **more: object) -> Json:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(**fields: object) -> Json:
    return {"type": "file", "file": fields}


def tool_call(called: str, name: str, arguments: str = "{}", signature: str = "") -> Json:
    made = {"id": called, "type": "function", "function": {"name": name, "arguments": arguments}}
    return (
        {**made, "extra_content": {"google": {"thought_signature": signature}}}
        if signature
        else made
    )


def calls(*made: Json, **more: object) -> Json:
    return {"role": "assistant", "content": None, "tool_calls": made, **more}


def result(called: str, content: object = "ok") -> Json:
    return {"role": "tool", "tool_call_id": called, "content": content}


def turn(role: str, *parts: Json) -> Json:
    return {"role": role, "parts": list(parts)}


def call_part(called: str, name: str, args: Json | None = None, **more: object) -> Json:
    return {"functionCall": {"id": called, "name": name, "args": args or {}}, **more}


def response_part(called: str, name: str, response: Json) -> Json:
    return {"functionResponse": {"id": called, "name": name, "response": response}}


def test_what_the_system_says_is_one_instruction_in_its_order() -> None:
    body = sent(
        messages=[
            {"role": "system", "content": "Be brief."},
            HELLO,
            {"role": "developer", "content": [text("Be "), text("kind.")]},
        ]
    )
    assert body["systemInstruction"] == {
        "parts": [{"text": "Be brief."}, {"text": "Be "}, {"text": "kind."}]
    }
    assert body["contents"] == [turn("user", {"text": "hi"})]


def test_neighbours_of_one_role_share_a_turn() -> None:
    assistant = {"role": "assistant", "content": "yes"}
    assert contents(HELLO, user(text("there")), assistant, assistant, HELLO) == [
        turn("user", {"text": "hi"}, {"text": "there"}),
        turn("model", {"text": "yes"}, {"text": "yes"}),
        turn("user", {"text": "hi"}),
    ]


def test_the_results_of_calls_stay_apart_from_a_users_words() -> None:
    made = calls(tool_call("a", "f"), tool_call("b", "g", '{"x": [1, 2.50]}'))
    assert contents(HELLO, made, result("a"), result("b", '{"sum":3}'), HELLO) == [
        turn("user", {"text": "hi"}),
        turn("model", call_part("a", "f"), call_part("b", "g", {"x": [1, 2.5]})),
        turn(
            "user",
            response_part("a", "f", {"output": "ok"}),
            response_part("b", "g", {"sum": 3}),
        ),
        turn("user", {"text": "hi"}),
    ]


def test_numbers_in_arguments_stay_as_they_are_written() -> None:
    made = calls(tool_call("a", "f", '{"id": 12345678901234567890123, "x": 1e2}'))
    args = {"id": 12345678901234567890123, "x": 100}
    assert contents(HELLO, made, result("a"))[1] == turn("model", call_part("a", "f", args))


def test_an_id_used_again_means_the_latest_call() -> None:
    turns = contents(
        HELLO, calls(tool_call("a", "f")), result("a"), calls(tool_call("a", "g")), result("a")
    )
    results = [turn("user", response_part("a", name, {"output": "ok"})) for name in "fg"]
    assert [turns[2], turns[4]] == results


def test_signatures_are_given_back_where_they_were() -> None:
    signed = {"google": {"thought_signature": "dGV4dA=="}}
    said = {"role": "assistant", "content": "Hm.", "extra_content": signed}
    made = calls(tool_call("a", "f", signature="Y2FsbA=="), tool_call("b", "g"))
    assert contents(HELLO, said, HELLO, made, result("a"), result("b"), model="gemini-3-pro")[
        1:4
    ] == [
        turn("model", {"text": "Hm.", "thoughtSignature": "dGV4dA=="}),
        turn("user", {"text": "hi"}),
        turn("model", call_part("a", "f", thoughtSignature="Y2FsbA=="), call_part("b", "g")),
    ]


def test_gemini_3_is_told_that_a_call_of_another_model_has_no_signature() -> None:
    made = calls(tool_call("a", "f"), tool_call("b", "g"))
    turns = contents(HELLO, made, result("a"), result("b"), model="gemini-3.1-flash")
    placeholder = "skip_thought_signature_validator"
    assert turns[1] == turn(
        "model", call_part("a", "f", thoughtSignature=placeholder), call_part("b", "g")
    )


def test_thoughts_refusals_and_images_of_an_answer_go_back_as_parts() -> None:
    answer = {
        "role": "assistant",
        "content": [text("Well"), {"type": "refusal", "refusal": "no"}],
        "reasoning_content": "Let me see.",
        "refusal": "never",
        "images": [{**image(PNG), "index": 0}],
        "annotations": [],
        "audio": None,
        "function_call": None,
    }
    assert contents(HELLO, answer)[1] == turn(
        "model",
        {"text": "Let me see.", "thought": True},
        {"text": "Well"},
        {"text": "no"},
        {"text": "never"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    )


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (image(PNG), {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}),
        (
            image("https://example.org/a.webp"),
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://example.org/a.webp"}},
        ),
        (image("https://example.org/a"), {"fileData": {"fileUri": "https://example.org/a"}}),
        (
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
        ),
        (
            file(file_data=PDF, filename="a.pdf"),
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        ),
        (
            file(file_data="JVBERi0=", filename="a.pdf"),
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        ),
        (
            file(file_id="https://youtu.be/x"),
            {"fileData": {"fileUri": "https://youtu.be/x"}},
        ),
    ],
)
def test_a_part_of_each_kind_goes_to_its_place(part: Json, expected: Json) -> None:
    assert contents(user(text("see"), part)) == [turn("user", {"text": "see"}, expected)]


def test_the_detail_of_images_is_that_of_the_whole_request() -> None:
    messages = [user(image(PNG, detail="low"), image(PNG, detail="low"))]
    config = sent(messages=messages)["generationConfig"]
    assert config == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert "generationConfig" not in sent(messages=[user(image(PNG, detail="auto"))])


@pytest.mark.parametrize(
    ("param", "messages"),
    [
        ("messages", []),
        ("messages", [{"role": "system", "content": "alone"}]),
        ("messages[0].role", [{"role": "function", "name": "f", "content": ""}]),
        ("messages[0].name", [{**HELLO, "name": "Ann"}]),
        ("messages[0].content", [{"role": "user", "content": []}]),
        ("messages[0].content", [{"role": "user", "content": None}]),
        ("messages[0].mood", [{**HELLO, "mood": "good"}]),
        ("messages[0].content[0].type", [user({"type": "video_url", "video_url": {}})]),
        ("messages[0].content[0].image_url.url", [user(image("ftp://example.org/a"))]),
        ("messages[0].content[0].input_audio.format",
         [user({"type": "input_audio", "input_audio": {"data": "", "format": "pcm16"}})]),
        ("messages[0].content[0].file.file_id", [user(file(file_id="file-123"))]),
        ("messages[0].content[0].file.file_id", [user(file(
            file_id="https://generativelanguage.googleapis.com/v1beta/files/a"))]),
        ("messages[0].content[0].file.file_data", [user(file(file_data="JVBERi0="))]),
        ("messages", [user(image(PNG, detail="low"), image(PNG, detail="high"))]),
        ("messages[1].content", [HELLO, {"role": "assistant", "content": None}]),
        ("messages[1].audio", [HELLO, {"role": "assistant", "audio": {"id": "a"}}]),
        ("messages[1].function_call",
         [HELLO, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}]),
        ("messages[1].tool_calls[0].type",
         [HELLO, calls({"id": "a", "type": "custom", "custom": {}, "function": {"name": "f"}})]),
        ("messages[1].tool_calls[1].function.arguments",
         [HELLO, calls(tool_call("a", "f"), tool_call("b", "f", "{"))]),
        ("messages[1].tool_calls[0].function.arguments",
         [HELLO, calls(tool_call("a", "f", "[1]"))]),
        ("messages[1].tool_call_id", [HELLO, result("a")]),
        ("messages[1].tool_call_id", [HELLO, result("a"), calls(tool_call("a", "f"))]),
        ("messages[2].content[0].type",
         [HELLO, calls(tool_call("a", "f")), result("a", [image(PNG)])]),
    ],
)  # fmt: skip
def test_what_no_part_can_say_is_refused_by_its_path(param: str, messages: list[Json]) -> None:
    assert refused(messages=messages).param == param


def test_empty_arguments_are_those_of_a_function_that_takes_none() -> None:
    assert contents(HELLO, calls(tool_call("a", "f", "")), result("a"))[1] == turn(
        "model", call_part("a", "f")
    )
