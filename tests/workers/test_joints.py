"""What holds for the parts of any answer, wherever it was cut and in whatever pieces it came."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import Usage
from pipeline.streams.replies import Beginning
from workers.continuing import Joint, SoFar
from workers.providers.base import Deltas
from workers.providers.beginnings import unseen_end

TEXTS = st.text("ab \n", min_size=1, max_size=30)


def chunk(name: str, delta: object, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    fields = {"id": name, "object": "chat.completion.chunk", "created": 1, "model": name}
    return msgspec.json.encode({**fields, "choices": [choice]})


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends)]


def said(lines: list[bytes]) -> str:
    told = [msgspec.json.decode(line)["choices"][0]["delta"] for line in lines]
    assert not any("role" in delta for delta in told)
    return "".join(delta.get("content") or "" for delta in told)


@given(TEXTS, TEXTS, st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)))
def test_no_character_is_lost_or_doubled(
    before: str, after: str, cuts: list[int], others: list[int]
) -> None:
    beginning = Beginning(
        generation=1,
        place=1,
        entries=[chunk("one", {"content": text}) for text in pieces_of(before, cuts)],
    )
    so_far = SoFar(beginning, b"{}")
    assert so_far.text == before
    unseen = unseen_end("anthropic", before)
    joint = Joint(so_far, Usage(), None, unseen)
    rest = pieces_of(unseen + after, others)
    deltas = [chunk("two", {"role": "assistant", "content": ""})]
    deltas += [chunk("two", {"role": "assistant", "content": text}) for text in rest]
    deltas.append(chunk("two", {}, "stop"))
    lines = [line for one in deltas for line in joint.joined(Deltas(chunks=[one])).chunks]
    assert said(lines) == after
    assert {msgspec.json.decode(line)["id"] for line in lines} == {"one"}
