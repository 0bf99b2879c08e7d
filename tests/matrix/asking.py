"""Asks for every cell of the matrix with the official client, and looks at what became of it."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, NamedTuple, cast

import msgspec
import openai
from openai.types.chat import ChatCompletionMessageParam

from pipeline.limits.report import LimitsReport
from tests.house_of_sluice import House
from tests.matrix.broken import Broken
from tests.matrix.leavings import left_by
from tests.matrix.places import CLIENTS_S, PLACES, Place, patient_model
from tests.matrix.table import ANSWER, NOTHING, ROWS, SPARED, Cell, Patient
from tests.waiting import eventually_async

#: Requests at once: short timeouts are to be those of the fault.
_AT_ONCE: Final = 24
_MESSAGES: Final[list[ChatCompletionMessageParam]] = [{"role": "user", "content": "hi"}]


class _Facts(msgspec.Struct, frozen=True):
    """What the journal tells of a lease, and of the call that it was for."""

    deployment: str = ""
    key: str = ""


class _Line(msgspec.Struct, frozen=True):
    hop: str
    facts: _Facts = _Facts()


class _Heard(NamedTuple):
    sees: str
    request_id: str
    #: Unix time at which it was heard.
    at: float


class Matrix(NamedTuple):
    """What was seen: a cell for each place, and the ends of those who have patience, by row."""

    cells: Mapping[Place, Cell]
    #: Calls that the provider itself has counted.
    counted: Mapping[Place, int]
    #: With how many keys it was called.
    keys: Mapping[Place, int]
    patient: Mapping[int, str]


async def ask_all(house: House, provider: Broken) -> Matrix:
    """Ask for every cell, then look at all providers at once."""
    gate = asyncio.Semaphore(_AT_ONCE)
    later = [house.later(patient_model(number)) for number in range(len(ROWS))]
    async with openai.AsyncOpenAI(
        base_url=f"{house.url}/v1", api_key="any", max_retries=0, timeout=CLIENTS_S + 10
    ) as client:

        async def ask(place: Place) -> _Heard:
            async with gate:
                answer = _stream(client, place.name) if place.stream else _whole(client, place.name)
                return await answer

        heard = dict(zip(PLACES, await asyncio.gather(*map(ask, PLACES)), strict=True))
    patient = {number: await _became(house, task) for number, task in enumerate(later)}
    report = await eventually_async(lambda: _settled(house), 10.0, "all calls settled")
    assert report
    return _reckoned(house, provider, heard, report)._replace(patient=patient)


async def _whole(client: openai.AsyncOpenAI, model: str) -> _Heard:
    try:
        raw = await client.chat.completions.with_raw_response.create(
            model=model, messages=_MESSAGES
        )
    except openai.APIStatusError as error:
        return _refused(error)
    said = raw.parse().choices[0].message.content
    return _Heard(ANSWER if said else NOTHING, raw.headers["x-request-id"], time.time())


async def _stream(client: openai.AsyncOpenAI, model: str) -> _Heard:
    try:
        stream = await client.chat.completions.create(model=model, messages=_MESSAGES, stream=True)
    except openai.APIStatusError as error:
        return _refused(error)
    request_id, content, reason = stream.response.headers["x-request-id"], "", ""
    try:
        async for chunk in stream:
            content += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
    except openai.APIError as error:
        deltas = "deltas" if content else "nothing"
        sees = f"{deltas}, then {type(error).__name__} {error.code}"
        return _Heard(sees, request_id, time.time())
    assert reason, "a stream without an end"
    return _Heard(ANSWER if content else NOTHING, request_id, time.time())


def _refused(error: openai.APIStatusError) -> _Heard:
    sees = f"{type(error).__name__} {error.status_code} {error.code}"
    return _Heard(sees, error.response.headers["x-request-id"], time.time())


async def _became(house: House, task: str) -> str:
    """Wait until a patient request has come to rest, and tell where."""
    ways: Mapping[object, Patient] = {
        "retrying": "climbs", "completed": "answered", "failed": "fails",
    }  # fmt: skip

    async def settled() -> str:
        _, told = house.ask("GET", f"/chat/{task}")
        eta_s = cast("float", told.get("eta_s") or 0)
        waits = "waits" if told["status"] == "waiting" and eta_s > CLIENTS_S / 2 else ""
        return ways.get(told["status"], waits)

    return await eventually_async(settled, 15.0, f"where {task} comes to rest")


async def _settled(house: House) -> LimitsReport | None:
    """Look at the limits, once no call is under way."""
    _, told = house.ask("GET", "/stats")
    report = msgspec.convert(told["limits"], LimitsReport)
    held = sum(one.use.used.get("concurrency", 0) for one in report.deployments)
    return None if held else report


def _reckoned(
    house: House, provider: Broken, heard: Mapping[Place, _Heard], report: LimitsReport
) -> Matrix:
    looked_at, simulated = time.time(), house.upstream.calls()
    deployments = {one.name.partition("/")[0]: one for one in report.deployments}
    cells, counted, used = {}, {}, {}
    for place, one in heard.items():
        keys = [key for key in report.keys if key.name.partition(":")[0] == place.name]
        rests = left_by(deployments[place.name], keys, looked_at - one.at)
        lines = _journal(house, one.request_id)
        called = [line for line in lines if line.hop == "call"]
        here = sum(line.facts.deployment.startswith(f"{place.name}/") for line in called)
        sees = _served_by_whom(one.sees, len(called) - here)
        cells[place] = Cell(here, sees, rests)
        counted[place] = simulated[one.request_id] + provider.calls[one.request_id]
        used[place] = len({line.facts.key for line in lines} & {key.name for key in keys})
    return Matrix(cells, counted, used, {})


def _served_by_whom(sees: str, elsewhere: int) -> str:
    if sees == ANSWER and elsewhere == 1:
        return SPARED
    # Nobody expects that.
    return sees + f", {elsewhere} calls elsewhere" * bool(elsewhere)


def _journal(house: House, request_id: str) -> list[_Line]:
    _, told = house.ask("GET", f"/v1/requests/{request_id}/events")
    return msgspec.convert(told["data"], list[_Line])
