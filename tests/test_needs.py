"""What requests need of their deployment: found in their bodies, and nothing told of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.needs import asks_of, cache_key_of, needs_of, sticky_hash

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "f"}}


def body(*contents: object, **fields: object) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


def needs(*contents: object, **fields: object) -> tuple[str, ...]:
    return needs_of(asks_of(body(*contents, **fields)))


@pytest.mark.parametrize(
    "contents",
    [
        ([IMAGE],),
        ("hi", [{"type": "text", "text": "what is it?"}, IMAGE]),
        ([{"type": "input_image", "image_url": "https://h/i.png"}], "and?"),
    ],
)
def test_an_image_needs_vision(contents: tuple[object, ...]) -> None:
    assert needs(*contents) == ("vision",)


@pytest.mark.parametrize(
    "contents",
    [
        ("image_url",),
        ('[{"type": "image_url"}]',),
        ([{"type": "text", "text": '{"type":"image_url"}'}],),
        ([{"type": "image"}],),
        ([{"type": ["image_url"]}],),
        ([{"image_url": 1}],),
        (None,),
        ([5, "image_url"],),
    ],
)
def test_a_text_about_images_is_none(contents: tuple[object, ...]) -> None:
    assert needs(*contents) == ()


@pytest.mark.parametrize("field", ["tools", "functions"])
def test_tools_are_needed_where_there_are_any(field: str) -> None:
    assert needs("hi", **{field: [TOOL]}) == ("tools",)
    assert needs([IMAGE], **{field: [TOOL]}) == ("vision", "tools")
    nothing: list[object] = [[], None, "f", 0, {}]
    for none in nothing:
        assert needs("hi", **{field: none}) == ()


def test_a_cache_key_is_hashed_and_the_same_one_alike() -> None:
    (one, same, other) = (
        cache_key_of(asks_of(body("hi", prompt_cache_key=key))) for key in ("a b", "a b", "c")
    )
    assert one == same != other
    assert len(one) == 8
    assert int(one, 16) >= 0
    for none in ("", None, 5, ["a"]):
        assert cache_key_of(asks_of(body("hi", prompt_cache_key=none))) == ""
    assert sticky_hash(b"user", b"x") != sticky_hash(b"key", b"x")


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.text(max_size=9) | st.just("image_url"),
        lambda part: (
            st.lists(part)
            | st.dictionaries(
                st.sampled_from(["messages", "content", "type", "tools", "prompt_cache_key"]), part
            )
        ),
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_no_body_raises_anything(text: bytes) -> None:
    asked = asks_of(text)
    assert set(needs_of(asked)) <= {"vision", "tools"}
    assert len(cache_key_of(asked)) in (0, 8)
