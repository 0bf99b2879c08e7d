"""What holds for all conversations: roles alternate, results answer calls, nothing is lost."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.anthropic.translated import Fields, messages_sent, sent
from workers.providers.form import Assistant, Message, System, Tool, User
from workers.providers.simulated.anthropic_request import read_messages
from workers.providers.simulated.form import Incoming

TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)
CONTENTS = TEXTS | st.lists(TEXTS.map(lambda said: {"type": "text", "text": said}), min_size=1)


@st.composite
def conversations(draw: st.DrawFn) -> list[Fields]:
    """Draw messages that begin with a user's and in which each call is answered."""
    messages: list[Fields] = [{"role": "user", "content": draw(CONTENTS)}]
    for at in range(draw(st.integers(0, 6))):
        role = draw(st.sampled_from(["system", "user", "assistant", "calls"]))
        if role != "calls":
            messages.append({"role": role, "content": draw(CONTENTS)})
            continue
        ids = [f"c{at}_{n}" for n in range(draw(st.integers(1, 3)))]
        arguments = [msgspec.json.encode({"x": draw(TEXTS)}).decode() for _ in ids]
        calls = [
            {"id": one, "type": "function", "function": {"name": "f", "arguments": told}}
            for one, told in zip(ids, arguments, strict=True)
        ]
        messages.append(
            {"role": "assistant", "content": draw(TEXTS | st.none()), "tool_calls": calls}
        )
        messages += [
            {"role": "tool", "tool_call_id": one, "content": draw(CONTENTS)}
            for one in draw(st.permutations(ids))
        ]
    return messages


def said_in(content: object) -> list[str]:
    """Give all texts of a content, in OpenAI's form or in Anthropic's."""
    if isinstance(content, str):
        return [content] if content else []
    found: list[str] = []
    for block in content if isinstance(content, list) else ():
        if block["type"] == "tool_result":
            found += said_in(block["content"])
        elif block["type"] == "tool_use":
            found += block["input"].values()
        else:
            found.append(block["text"])
    return found


def said_by_the_client(messages: list[Fields]) -> list[str]:
    """Give all texts of the turns, the system's aside."""
    found: list[str] = []
    for message in messages:
        if message["role"] != "system":
            found += said_in(message["content"])
        calls = msgspec.convert(message.get("tool_calls", []), list[Fields])
        for call in calls:
            function = msgspec.convert(call["function"], dict[str, str])
            found += msgspec.json.decode(function["arguments"], type=dict[str, str]).values()
    return found


@given(conversations())
def test_roles_alternate_and_begin_with_the_users(messages: list[Fields]) -> None:
    roles = [turn["role"] for turn in messages_sent(*messages)]
    assert roles == [("user", "assistant")[at % 2] for at in range(len(roles))]


@given(conversations())
def test_no_word_is_lost_or_made_up(messages: list[Fields]) -> None:
    turns = messages_sent(*messages)
    sent = [said for turn in turns for said in said_in(turn["content"])]
    assert sorted(sent) == sorted(said_by_the_client(messages))


@given(conversations())
def test_the_strict_provider_takes_every_conversation(messages: list[Fields]) -> None:
    # Newer models refuse to go on from the beginning of an answer.
    body = sent({"messages": messages}, model="claude-sonnet-4-5")
    headers = {b"anthropic-version": b"2023-06-01", b"x-api-key": b"k"}
    read_messages(Incoming("/v1/messages", b"", headers, msgspec.json.encode(body)))


@given(conversations())
def test_the_drawn_conversations_are_openais(messages: list[Fields]) -> None:
    kinds = {"system": System, "user": User, "assistant": Assistant, "tool": Tool}
    for message in messages:
        assert isinstance(msgspec.convert(message, Message), kinds[str(message["role"])])
