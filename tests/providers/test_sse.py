"""The event parser: every line ending, every cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers import sse
from workers.providers.sse import EventParser, EventTooLarge

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
VALUES = st.binary(max_size=20).filter(lambda v: b"\n" not in v and b"\r" not in v)
OTHER_LINES = st.one_of(
    VALUES.map(lambda v: b": " + v),
    VALUES.map(lambda v: b"id: " + v),
    st.just(b"event: message"),
    st.just(b"retry: 10"),
    st.just(b"nonsense"),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Draw a stream and the data of the events in it."""
    end = draw(LINE_ENDS)
    raw = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    expected: list[bytes] = []
    for values in draw(st.lists(st.lists(VALUES, max_size=3), max_size=5)):
        lines = [b"data: " + value for value in values]
        others = draw(st.lists(OTHER_LINES, max_size=2))
        raw += b"".join(line + end for line in [*others, *lines]) + end * draw(st.integers(1, 3))
        if values:
            expected.append(b"\n".join(values))
    return raw, expected


def parsed(pieces: list[bytes]) -> list[bytes]:
    """Parse pieces of a stream to its end."""
    parser = EventParser()
    return [data for piece in pieces for data in parser.feed(piece)] + parser.end()


@given(streams(), st.data())
def test_parsing_does_not_depend_on_where_the_bytes_are_cut(
    stream: tuple[bytes, list[bytes]], data: st.DataObject
) -> None:
    raw, expected = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert parsed(pieces) == parsed([raw]) == expected


@given(streams())
def test_bytes_that_come_one_by_one_give_the_same_events(
    stream: tuple[bytes, list[bytes]],
) -> None:
    raw, expected = stream
    assert parsed([raw[i : i + 1] for i in range(len(raw))]) == expected


def test_an_event_is_given_as_soon_as_its_blank_line_has_come() -> None:
    parser = EventParser()
    assert parser.feed(b"data: 1\n") == []
    assert parser.feed(b"\ndata: 2") == [b"1"]
    assert parser.feed(b"\r\r") == [b"2"]


def test_a_space_after_the_colon_is_optional_and_only_one_is_dropped() -> None:
    assert parsed([b"data:a\n\ndata:  b\n\ndata\n\n"]) == [b"a", b" b", b""]


def test_comments_and_fields_other_than_data_give_nothing() -> None:
    assert parsed([b": keep-alive\n\nevent: ping\n\nid: 7\nretry: 5\n\ndatax: 1\n\n"]) == []


def test_an_event_that_never_ended_is_given_at_the_end() -> None:
    assert parsed([b"data: 1\n\ndata: [DONE]"]) == [b"1", b"[DONE]"]


def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    parser = EventParser()
    with pytest.raises(EventTooLarge):
        parser.feed(b"data: " + b"x" * 200)
