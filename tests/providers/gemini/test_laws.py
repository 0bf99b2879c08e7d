"""Laws: nothing that is said is lost on the way there or back, and the turns are legal."""

import itertools
from collections.abc import Iterator

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.gemini.ground import Json, chunks_of, events, generated, message_of, read, sent
from workers.providers.form import ToolCall

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda each: st.lists(each, max_size=3)
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)
MODELS = st.sampled_from(["gemini-2.5-flash", "gemini-3-pro"])


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    """Draw a conversation in which every call has its result."""
    messages: list[Json] = [{"role": "user", "content": draw(TEXTS)}]
    for at in range(draw(st.integers(0, 5))):
        match draw(st.sampled_from(["system", "user", "parts", "assistant", "calls"])):
            case "calls":
                messages += draw(steps(at))
            case "parts":
                parts = [
                    {"type": "text", "text": text} for text in draw(st.lists(TEXTS, min_size=1))
                ]
                messages.append({"role": "user", "content": parts})
            case role:
                messages.append({"role": role, "content": draw(TEXTS)})
    return messages


@st.composite
def steps(draw: st.DrawFn, at: int) -> list[Json]:
    """Draw calls of functions with their results."""
    made, results = [], []
    for number, arguments in enumerate(draw(st.lists(OBJECTS, min_size=1, max_size=3))):
        called = f"c{at}_{number}"
        function = {"name": f"f{number}", "arguments": msgspec.json.encode(arguments).decode()}
        made.append({"id": called, "type": "function", "function": function})
        results.append({"role": "tool", "tool_call_id": called, "content": draw(TEXTS)})
    said = draw(st.none() | TEXTS)
    return [{"role": "assistant", "content": said, "tool_calls": made}, *results]


def said_in(messages: list[Json]) -> list[str]:
    """Give all texts of a conversation, the system's first, as turns have them."""
    system = [one for one in messages if one["role"] == "system"]
    others = [one for one in messages if one["role"] != "system"]
    return [text for one in (*system, *others) for text in _texts_of(one)]


def _texts_of(message: Json) -> Iterator[str]:
    content, calls = message.get("content"), message.get("tool_calls")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content)
    for call in calls if isinstance(calls, list) else ():
        yield call["function"]["arguments"]


def said_in_turns(body: Json) -> list[str]:
    """Give all texts of a request to Gemini."""
    turns = [body.get("systemInstruction", {"parts": []}), *_listed(body["contents"])]
    return [_text_of(part) for turn in turns for part in turn["parts"]]  # type: ignore[index]


def _text_of(part: dict[str, dict[str, object]]) -> str:
    if "functionCall" in part:
        return msgspec.json.encode(part["functionCall"]["args"]).decode()
    if "functionResponse" in part:
        response = part["functionResponse"]["response"]
        assert isinstance(response, dict)
        return str(response["output"])
    return str(part["text"])


def _listed(value: object) -> list[Json]:
    assert isinstance(value, list)
    return value


@given(conversations(), MODELS)
def test_all_that_is_said_arrives_once_and_in_its_order(messages: list[Json], model: str) -> None:
    # `sent` has the turns checked as the API checks them, signatures of Gemini 3 included.
    assert said_in_turns(sent(model, messages=messages)) == said_in(messages)


@given(conversations())
def test_turns_alternate_but_for_the_words_after_results(messages: list[Json]) -> None:
    turns = _listed(sent(messages=messages)["contents"])
    for one, following in itertools.pairwise(turns):
        if one["role"] == following["role"]:
            parts = [*_listed(one["parts"]), *_listed(following["parts"])]
            assert one["role"] == "user"
            assert "functionResponse" in parts[0]
            assert "text" in parts[-1]


PARTS: st.SearchStrategy[list[dict[str, dict[str, object]]]] = st.lists(
    st.builds(lambda text: {"text": text}, TEXTS)
    | st.builds(lambda text: {"text": text, "thought": True}, TEXTS)
    | st.builds(lambda args: {"functionCall": {"name": "f", "args": args}}, OBJECTS),
    min_size=1,
    max_size=6,
)


@given(PARTS)
def test_all_that_is_answered_is_told(parts: list[dict[str, dict[str, object]]]) -> None:
    message = message_of(*parts)
    texts = [part for part in parts if "text" in part]
    assert message.get("content", "") == "".join(
        str(part["text"]) for part in texts if not part.get("thought")
    )
    assert message.get("reasoning_content", "") == "".join(
        str(part["text"]) for part in texts if part.get("thought")
    )
    calls = msgspec.convert(message.get("tool_calls", []), list[ToolCall])
    assert len({call.id for call in calls}) == len(calls)
    assert [msgspec.json.decode(call.function.arguments) for call in calls] == [
        part["functionCall"]["args"] for part in parts if "functionCall" in part
    ]


@given(PARTS, st.data())
def test_a_stream_adds_up_to_the_whole_answer(parts: list[Json], data: st.DataObject) -> None:
    frames = [generated(part, finish=None) for part in parts]
    stream = events(*frames, generated({"text": ""}))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    bounds = [0, *cuts, len(stream)]
    pieces = [stream[one:other] for one, other in itertools.pairwise(bounds)]
    reader, _ = read(pieces)
    [choice] = msgspec.json.decode(reader.reply().response)["choices"]
    told = {name: value for name, value in choice["message"].items() if value is not None}
    assert told == message_of(*parts)
    assert len(chunks_of(pieces)) == len(parts) + 2
