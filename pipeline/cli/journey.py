"""A request's journey, as its record in Redis tells it: the facts that `sluice show` prints."""

from collections.abc import Mapping
from typing import Final

import msgspec
import redis

from pipeline.cli.entries import read_hash
from pipeline.decision import Decision, decision_of
from pipeline.errors import Failure, RequestNotFound
from pipeline.event import ENDED, NO_BODY, Line, Usage
from pipeline.flow import CALL
from pipeline.names import Names


class Journey(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of one request; times are Unix seconds on Redis's clock."""

    id: str
    status: str = "unknown"
    model: str = ""
    operation: str = ""
    tenant: str = ""
    user: str = ""
    session: str = ""
    priority: int = 0
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    deployment: str = ""
    attempts: int = 0
    #: Journeys between two rungs of the ladder, where it has climbed.
    leg: int = 0
    #: Seconds of the rung that it waits on, and until when.
    rung: int = 0
    due: float = 0.0
    replay_of: str = ""
    replayed_as: str = ""
    #: US dollars of all its calls, as far as prices are known.
    cost: float | None = None
    #: The trace of its latest leg, where it is traced.
    trace_id: str = ""
    #: Who cancelled it: client, client_gone or operator.
    cancel: str = ""
    finish_reason: str = ""
    #: `lane:entry id` in the request streams.
    entry: str = ""
    #: What became of the callback.
    callback: str = ""
    usage: Usage | None = None
    failure: Failure | None = None
    journal: list[Line] = []
    decision: Decision | None = None
    #: Entries of the reply stream, the closing included.
    reply_entries: int = 0
    #: The provider's whole response.
    response: msgspec.Raw = NO_BODY

    @property
    def is_cancelling(self) -> bool:
        """Whether it is to be cancelled and has not ended yet."""
        return bool(self.cancel) and self.status not in ENDED


#: Fields of the record that hold JSON.
_JSON: Final = frozenset({"usage", "failure"})


def read(client: redis.Redis, names: Names, request_id: str) -> Journey:
    """Read a request's journey. Raises RequestNotFound."""
    record = read_hash(client, names.record(request_id))
    if not record:
        raise RequestNotFound(f"no request {request_id} is known here: never accepted, or expired")
    facts = {
        name: msgspec.json.decode(value) if name in _JSON else value.decode()
        for name, value in record.items()
        if value and name in Journey.__struct_fields__ and name != "response"
    }
    # Everything in a hash is text: numbers among it are read as such.
    journey = msgspec.convert({**facts, "id": request_id}, Journey, strict=False)
    journey.journal = _journal(record)
    journey.decision = decision_of(journey.journal)
    # The record tells the calls at the request's end.
    journey.attempts = journey.attempts or sum(map(_is_call, journey.journal))
    journey.reply_entries = client.xlen(names.reply(request_id))
    if record.get("response"):
        journey.response = msgspec.Raw(record["response"])
    return journey


def _journal(record: Mapping[str, bytes]) -> list[Line]:
    numbers = sorted(int(name) for name in record if name.isdecimal())
    return [msgspec.json.decode(record[str(number)], type=Line) for number in numbers]


def _is_call(line: Line) -> bool:
    return line.hop == CALL and "call_ms" in line.facts
