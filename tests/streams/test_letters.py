"""Listing, finding and purging dead letters."""

import pytest

from pipeline import event as events
from pipeline.errors import BadRequest, RedisUnavailable
from pipeline.event import Line
from pipeline.streams.dead.letter import Letter, LetterFilter, summary
from pipeline.streams.dead.letters import LOOK, LOOKS
from pipeline.streams.link import Link
from tests.streams import rig
from tests.streams.graves import (
    ALL,
    bury,
    bury_malformed,
    entries,
    large_body,
    letters_of,
)  # fmt: skip
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio


async def found(link: Link, wanted: LetterFilter) -> list[str]:
    return [letter.id for letter in (await letters_of(link).scan(wanted)).letters]


async def test_letters_are_found_by_model_tenant_and_cause(link: Link, client: Client) -> None:
    await bury(link, client, rig.make_event("r1", model="fast", tenant="acme"))
    await bury(link, client, rig.make_event("r2", model="sim/x:error=[503]"), cause="timeout")
    await bury(link, client, rig.make_event("r3", model="sim/y", tenant="Acme"))
    assert await found(link, ALL) == ["r1", "r2", "r3"]
    assert await found(link, LetterFilter(model="sim/*")) == ["r2", "r3"]
    assert await found(link, LetterFilter(model="sim/x:error=[503]")) == ["r2"]
    assert await found(link, LetterFilter(tenant="acme")) == ["r1"]
    assert await found(link, LetterFilter(tenant="?cme", cause="overloaded")) == ["r1", "r3"]
    assert await found(link, LetterFilter(cause="tim*")) == ["r2"]


async def test_letters_are_found_by_when_their_event_ended(link: Link, client: Client) -> None:
    [one] = await bury(link, client, rig.make_event("r1"))
    [two] = await bury(link, client, rig.make_event("r2"))
    assert one.at < two.at
    assert one.event
    assert one.at == one.event.journal[-1].end
    assert await found(link, LetterFilter(since=two.at)) == ["r2"]
    assert await found(link, LetterFilter(until=two.at)) == ["r1"]
    assert await found(link, LetterFilter(since=one.at, until=two.at + 1)) == ["r1", "r2"]


async def test_letters_come_in_pages(link: Link, client: Client) -> None:
    letters = letters_of(link)
    made = [f"r{n}" for n in range(7)]
    await bury(link, client, *map(rig.make_event, made))
    first = await letters.scan(ALL, limit=3)
    second = await letters.scan(ALL, limit=3, after=first.after)
    third = await letters.scan(ALL, limit=3, after=second.after)
    pages = [first, second, third]
    assert [letter.id for page in pages for letter in page.letters] == made
    assert third.after == ""
    assert await letters.count() == 7


async def test_a_look_ends_although_nothing_was_found(link: Link, client: Client) -> None:
    dead = events.encode(rig.make_event("r1"))
    with client.pipeline(transaction=False) as pipe:
        for _ in range(LOOK * LOOKS + 1):
            pipe.xadd(NAMES.dead, {"event": dead, "id": "r1"})
        pipe.execute()
    nobodys = LetterFilter(tenant="nobody")
    page = await letters_of(link).scan(nobodys)
    assert page.letters == []
    assert page.after
    assert (await letters_of(link).scan(nobodys, after=page.after)).after == ""


async def test_letters_that_come_later_are_left_out_when_the_last_is_named(
    link: Link, client: Client
) -> None:
    letters = letters_of(link)
    assert await letters.newest() == ""
    [one] = await bury(link, client, rig.make_event("r1"))
    last = await letters.newest()
    await bury(link, client, rig.make_event("r2"))
    assert entries((await letters.scan(ALL, last=last)).letters) == [one.entry] == [last]


async def test_a_place_that_is_no_entry_id_is_refused(link: Link, client: Client) -> None:
    with pytest.raises(BadRequest, match="`-1` is no entry id"):
        await letters_of(link).scan(ALL, after="-1")


async def test_what_others_wrote_does_not_break_a_listing(link: Link, client: Client) -> None:
    client.xadd(NAMES.dead, {"event": b'{"v":1', "id": "r0"})
    client.xadd(NAMES.dead, {"event": b"\xff", "id": b"\xff"})
    client.xadd(NAMES.dead, {"something": "else"})
    client.xadd(NAMES.dead, {"event": events.encode(rig.make_event("r1")), "edits": "{"})
    client.xadd(NAMES.dead, {"event": '{"v":1,"id":"r2","model":"m","body_bytes":0,"created":1}'})
    letters = letters_of(link)
    listed = (await letters.scan(ALL)).letters
    assert [letter.cause for letter in listed] == ["unreadable"] * 4 + [""]
    assert [letter.id for letter in listed] == ["r0", "�", "", "", "r2"]
    assert all(summary(letter).fault for letter in listed[:4])
    told = await letters.replay(listed)
    assert [each.state for each in told] == ["refused"] * 5
    assert "can only be purged" in told[0].why
    assert "no longer in Redis" in told[4].why
    assert await letters.purge(listed) == 5
    assert await letters.count() == 0


async def test_a_letter_is_found_by_its_entry_and_by_its_request(
    link: Link, client: Client
) -> None:
    made = await bury(link, client, *(rig.make_event(f"r{n}") for n in range(2 * LOOK + 1)))
    letters = letters_of(link)
    for letter in (made[0], made[LOOK], made[-1]):
        assert await letters.find(letter.entry) == letter
        assert await letters.find(letter.id) == letter
    assert await letters.find("nobody") is None
    assert await letters.find("1-1") is None


async def test_of_two_letters_of_a_request_the_newest_is_found(link: Link, client: Client) -> None:
    for _ in range(2):
        client.xadd(NAMES.dead, {"event": events.encode(rig.make_event("1-1")), "id": "1-1"})
    letters = letters_of(link)
    found = await letters.find("1-1")
    assert found
    assert found.entry == await letters.newest()


async def test_the_body_of_a_letter_is_given_wherever_it_is(link: Link, client: Client) -> None:
    letters = letters_of(link)
    [small] = await bury(link, client, rig.make_event("r1"))
    [large] = await bury(link, client, rig.make_event("r2"), body=large_body())
    malformed = await bury_malformed(link, client, b'{"model":')
    assert await letters.body(small) == rig.BODY
    assert await letters.body(large) == large_body()
    assert await letters.body(malformed) == b'"{\\"model\\":"'
    client.delete(NAMES.body("r2"))
    assert await letters.body(large) == b""
    assert await letters.body(Letter(entry="1-1", id="", event=None)) == b""


async def test_purging_takes_the_bodies_along_and_counts_what_was_there(
    link: Link, client: Client
) -> None:
    letters = letters_of(link)
    made = await bury(link, client, rig.make_event("r1"), rig.make_event("r2"), body=large_body())
    assert await letters.purge(made[:1]) == 1
    assert await letters.purge(made) == 1
    assert await letters.count() == 0
    assert not client.exists(NAMES.body("r1"), NAMES.body("r2"))


async def test_purging_leaves_the_body_of_a_request_under_way(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"), body=large_body())
    client.hset(NAMES.record("r1"), "status", "running")
    assert await letters_of(link).purge([letter]) == 1
    assert client.exists(NAMES.body("r1"))


async def test_a_summary_tells_all_but_the_body(link: Link, client: Client) -> None:
    line = Line(hop="route", start=1.0, end=2.0)
    dying = rig.make_event("r1", tenant="acme", deltas=2, journal=(line,))
    [letter] = await bury(link, client, dying)
    told = summary(letter)
    assert (told.letter, told.id, told.tenant, told.cause) == (
        letter.entry,
        "r1",
        "acme",
        "overloaded",
    )
    assert (told.attempts, told.climbed, told.delivered) == (3, (60, 600), True)
    assert told.error
    assert told.error.status == 503
    assert told.journal == ()
    assert summary(letter, whole=True).journal[0] == line


async def test_a_redis_that_does_not_answer_is_an_error_of_ours(redis_url: str) -> None:
    async with rig.linked(redis_url) as link:
        letters = letters_of(link)
        await link.close()
        with pytest.raises(RedisUnavailable):
            await letters.count()
