"""Dead letters by the command: seen, mended, replayed, and answered once under their own ids."""

import json
import signal
import subprocess
from collections import Counter

import pytest

from tests.cli.command import SLUICE, sluice
from tests.house_of_sluice import House, requests
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.journey


def dead(house: House, *arguments: str) -> subprocess.CompletedProcess[str]:
    return sluice(house.directory, "dead", *arguments, env=house.environment())


def listed(house: House, *arguments: str) -> list[str]:
    """Give the request ids of the letters that a filter admits."""
    lines = dead(house, "list", "--json", "--limit", "0", *arguments).stdout.splitlines()
    return [json.loads(line)["id"] for line in lines]


def await_answers(house: House, stream: str, count: int) -> list[dict[str, object]]:
    eventually(lambda: house.client.xlen(stream) >= count, what=f"{count} callbacks")
    return house.answers(stream)


def await_status(house: House, request_id: str, status: str) -> None:
    def told() -> bool:
        return house.client.hget(house.names.record(request_id), "status") == status

    eventually(told, what=f"{request_id} {status}")


def test_a_producers_letter_is_edited_replayed_and_called_back(
    house: House, reckoning: Reckoning
) -> None:
    sick = "sim/sick:error=400"
    house.xadd(requests(1, model=sick, name="mended", reply_to="mended"))
    [answer] = await_answers(house, "mended", 1)
    assert (answer["request_id"], answer["status"]) == ("mended0", "error")

    assert listed(house, "--model", "sim/sick:*", "--cause", "bad_request") == ["mended0"]
    shown = dead(house, "show", "mended0").stdout
    for words in ("mended0", "bad_request", "400", "call", '"content": "hi"'):
        assert words in shown
    assert dead(house, "replay", "mended0", "--dry-run").returncode == 0
    edited = dead(house, "edit", "mended0", "--set", "model=fast", "--set", "temperature=0")
    assert edited.returncode == 0, edited
    replayed = dead(house, "replay", "mended0")
    assert (replayed.returncode, replayed.stdout) == (0, "mended0 replayed\nDone: 1 replayed\n")

    answer = await_answers(house, "mended", 2)[1]
    assert (answer["request_id"], answer["status"]) == ("mended0", "success")
    status, told = house.ask("GET", "/v1/requests/mended0")
    assert (status, told["status"], told["model"]) == (200, "completed", "fast")
    _, task = house.ask("GET", "/chat/mended0")
    assert dict(task["result"])["content"]  # type: ignore[call-overload]
    assert [event["status"] for event in reckoning.ended() if event["id"] == "mended0"] == [
        "failed",
        "completed",
    ]
    assert house.upstream.calls()["mended0"] == 2

    again = dead(house, "replay", "mended0")
    assert again.returncode == 3
    assert "that request is completed" in again.stderr
    assert house.upstream.calls()["mended0"] == 2


def test_a_letter_of_http_is_replayed_to_another_model(house: House) -> None:
    request_id = house.later("broken")
    await_status(house, request_id, "failed")
    told = json.loads(dead(house, "replay", request_id, "--to-model", "fast", "--json").stdout)
    assert (told["id"], told["replayed_as"]) == (request_id, request_id)
    await_status(house, request_id, "completed")
    _, task = house.ask("GET", f"/chat/{request_id}")
    assert (task["status"], task["model"], task["error"]) == ("completed", "fast", None)


def test_what_was_seen_in_part_is_replayed_under_another_id(house: House) -> None:
    sick = "sim/cut:cut_at=3,tokens=10"
    house.xadd(requests(1, model=sick, name="seen", reply_to="seen", stream=True))
    await_answers(house, "seen", 1)
    told = json.loads(dead(house, "replay", "seen0", "--to-model", "fast", "--json").stdout)
    assert told["replayed_as"] != "seen0"
    answer = await_answers(house, "seen", 2)[1]
    assert (answer["request_id"], answer["status"]) == (told["replayed_as"], "success")
    assert answer["replay_of"] == "seen0"
    assert house.client.hget(house.names.record("seen0"), "replayed_as") == told["replayed_as"]


def test_a_replay_that_was_killed_and_said_again_answers_each_once(house: House) -> None:
    sick, count = "sim/crowd:error=400", 60
    house.xadd(requests(count, model=sick, name="crowd", reply_to="crowd"))
    await_answers(house, "crowd", count)
    again = ["dead", "replay", "--model", sick, "--to-model", "fast"]
    killed = house.nursery.spawn([*SLUICE, *again, "--rate", "40"], house.environment(), "replay")
    await_answers(house, "crowd", count + 5)
    killed.process.send_signal(signal.SIGKILL)
    killed.wait()
    assert dead(house, *again[1:]).returncode in {0, 3}
    answers = await_answers(house, "crowd", 2 * count)
    assert Counter((a["request_id"], a["status"]) for a in answers) == Counter(
        (f"crowd{n}", status) for n in range(count) for status in ("error", "success")
    )
    assert listed(house, "--model", sick) == []
    calls = house.upstream.calls()
    assert {calls[f"crowd{n}"] for n in range(count)} == {2}


def test_a_replay_that_fails_again_is_a_letter_again(house: House) -> None:
    house.xadd(requests(1, model="broken", name="again", reply_to="again"))
    await_answers(house, "again", 1)
    before = listed(house, "--model", "broken").count("again0")
    assert dead(house, "replay", "again0").returncode == 0
    answers = await_answers(house, "again", 2)
    assert [answer["status"] for answer in answers] == ["error", "error"]
    assert before == listed(house, "--model", "broken").count("again0") == 1
    assert dead(house, "purge", "again0", "--yes").returncode == 0
    assert "again0" not in listed(house)
