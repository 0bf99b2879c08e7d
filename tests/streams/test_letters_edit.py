"""Editing dead letters where they are: the body, its fields, the model and the priority."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import event as events
from pipeline.errors import BadRequest, QueueFull
from pipeline.event import Companion
from pipeline.streams.dead.changes import Changes
from pipeline.streams.dead.letter import Letter
from pipeline.streams.link import Link
from tests.streams import rig
from tests.streams.graves import (
    DEAD_S,
    bury,
    bury_malformed,
    large_body,
    last_lane_event,
    letters_of,
)  # fmt: skip
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio


async def edited(link: Link, letter: Letter, changes: Changes) -> Letter:
    found = await letters_of(link).edit(letter, changes)
    assert found
    assert await letters_of(link).fetch([found.entry]) == [found]
    return found


async def test_an_edit_takes_the_letters_place(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1", priority=2))
    fields = {"model": "quality", "temperature": 0, "stream": True, "max_tokens": 7, "priority": -1}
    found = await edited(link, letter, Changes(fields=fields))
    assert found.entry != letter.entry
    assert await letters_of(link).count() == 1
    event, old = found.event, letter.event
    assert event
    assert old
    assert (event.id, event.model, event.priority, event.stream) == ("r1", "quality", -1, True)
    assert event.output_tokens == 7
    assert (event.failure, event.journal) == (old.failure, old.journal)
    assert msgspec.json.decode(event.body) == {
        "model": "quality", "messages": [], "temperature": 0, "stream": True, "max_tokens": 7,
    }  # fmt: skip
    assert event.body_bytes == len(bytes(event.body))
    [note] = found.edits
    assert (note.was, set(note.changed)) == (letter.entry, set(fields))


async def test_a_field_is_taken_out_and_others_are_left_as_they_came(
    link: Link, client: Client
) -> None:
    body = b'{"model":"m","messages":[{"content":"\\u00e9"}],"seed":1,"odd":{"a": [1.50]}}'
    [letter] = await bury(link, client, rig.make_event("r1"), body=body)
    found = await edited(link, letter, Changes(fields={"seed": None}))
    assert found.event
    assert bytes(found.event.body) == body.replace(b'"seed":1,', b"")


async def test_an_edit_leaves_what_was_preferred_and_an_edited_model_wins(
    link: Link, client: Client
) -> None:
    body = b'{"model":"other","messages":[],"model_preferences":{"specific_llm_model":"chosen"}}'
    also = (Companion(model="e", operation="embeddings"),)
    event = rig.make_event("r1", model="chosen", also=also, calls=2.0)
    [letter] = await bury(link, client, event, body=body)
    warm = await edited(link, letter, Changes(fields={"temperature": 0}))
    assert warm.event
    assert (warm.event.model, warm.event.also, warm.event.calls) == ("chosen", also, 2)
    named = await edited(link, warm, Changes(fields={"model": "third"}))
    assert named.event
    assert named.event.model == "third"


async def test_edits_add_up(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"))
    once = await edited(link, letter, Changes(fields={"temperature": 0}))
    twice = await edited(link, once, Changes(body=b'{"messages":[1]}', fields={"seed": 1}))
    assert [note.was for note in twice.edits] == [letter.entry, once.entry]
    assert twice.edits[1].changed == ("body", "seed")
    assert twice.event
    assert msgspec.json.decode(twice.event.body) == {"messages": [1], "seed": 1, "model": "m"}


async def test_a_letter_is_edited_once(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"))
    letters = letters_of(link)
    changes = Changes(fields={"seed": 1})
    ends = await asyncio.gather(*(letters.edit(letter, changes) for _ in range(3)))
    assert sum(end is not None for end in ends) == 1
    assert await letters.count() == 1
    assert [told.state for told in await letters.replay([letter])] == ["gone"]


@pytest.mark.parametrize("before", [rig.BODY, large_body()])
@pytest.mark.parametrize("after", [b'{"messages":[2]}', large_body("y")])
async def test_a_body_grows_and_shrinks(
    link: Link, client: Client, before: bytes, after: bytes
) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"), body=before)
    letters = letters_of(link)
    found = await edited(link, letter, Changes(body=after))
    wanted = {"model": "m", **msgspec.json.decode(after)}
    assert msgspec.json.decode(await letters.body(found)) == wanted
    large = len(after) > events.INLINE_BYTES
    assert client.ttl(NAMES.body("r1")) == (DEAD_S if large else -2)
    await letters.replay([found])
    _, event = last_lane_event(client)
    kept = bytes(event.body) if event.has_body else client.get(NAMES.body("r1"))
    assert msgspec.json.decode(kept) == wanted
    assert client.ttl(NAMES.body("r1")) == (-1 if large else -2)


async def test_a_new_body_mends_a_letter_without_one(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"), body=large_body())
    client.delete(NAMES.body("r1"))
    with pytest.raises(BadRequest, match="no longer in Redis"):
        await letters_of(link).edit(letter, Changes(fields={"seed": 1}))
    found = await edited(link, letter, Changes(body=b'{"messages":[]}'))
    [told] = await letters_of(link).replay([found])
    assert told.state == "replayed"


async def test_a_malformed_entry_is_mended_by_a_field(link: Link, client: Client) -> None:
    payload = b'{"model":"m","priority":99,"prompt":"hi","tenant":"acme","reply_to":"cb"}'
    letter = await bury_malformed(link, client, payload)
    found = await edited(link, letter, Changes(fields={"priority": 9}))
    assert found.event
    assert found.event.failure == (letter.event and letter.event.failure)
    [told] = await letters_of(link).replay([found])
    assert (told.state, told.replayed_as) == ("replayed", letter.id)
    _, event = last_lane_event(client, "high")
    assert (event.id, event.tenant, event.reply_to, event.direct) == (letter.id, "acme", "cb", True)
    assert msgspec.json.decode(event.body)["messages"] == [{"role": "user", "content": "hi"}]


async def test_a_malformed_entry_is_mended_by_a_new_body(link: Link, client: Client) -> None:
    letter = await bury_malformed(link, client, b'{"callback_queue":"cb"')
    with pytest.raises(BadRequest, match="no request: one of"):
        await letters_of(link).edit(letter, Changes(body=b'{"model":"m"}'))
    found = await edited(link, letter, Changes(body=b'{"model":"m","messages":[]}'))
    [told] = await letters_of(link).replay([found])
    assert told.state == "replayed"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (Changes(body=b"[]"), "no JSON object"),
        (Changes(body=b'{"messages":'), "no JSON object"),
        (Changes(body=b"\xff"), "no JSON object"),
        (Changes(fields={"priority": 11}), "`priority` is 11"),
        (Changes(fields={"messages": None}), "one of `messages`"),
        (Changes(fields={"tenant": "other"}), "`tenant` of a request cannot be changed"),
    ],
)
async def test_an_edit_that_makes_no_request_changes_nothing(
    link: Link, client: Client, changes: Changes, why: str
) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"))
    with pytest.raises(BadRequest, match=why):
        await letters_of(link).edit(letter, changes)
    assert await letters_of(link).find("r1") == letter


async def test_what_cannot_be_read_cannot_be_edited(link: Link, client: Client) -> None:
    client.xadd(NAMES.dead, {"event": "?"})
    [letter] = await letters_of(link).fetch([await letters_of(link).newest()])
    with pytest.raises(BadRequest, match="can only be purged"):
        await letters_of(link).edit(letter, Changes(body=rig.BODY))


async def test_a_full_redis_keeps_the_letter_as_it_was(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"))
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueFull, match="refused the edit"):
            await letters_of(link).edit(letter, Changes(fields={"seed": 1}))
    finally:
        client.config_set("maxmemory", 0)
    assert await letters_of(link).find("r1") == letter


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
bodies = st.dictionaries(st.sampled_from(["seed", "stop", "tools", "x", "é"]), values, max_size=4)


@rig.law(30)
@given(body=bodies, large=st.booleans())
async def test_a_replay_keeps_the_body(
    link: Link, client: Client, body: dict[str, object], large: bool
) -> None:
    client.flushdb()
    content = "x" * (events.INLINE_BYTES if large else 1)
    whole = msgspec.json.encode({"model": "m", "messages": [content], **body})
    [letter] = await bury(link, client, rig.make_event("r1"), body=whole)
    await letters_of(link).replay([letter])
    _, event = last_lane_event(client)
    assert (bytes(event.body) if event.has_body else client.get(NAMES.body("r1"))) == whole
