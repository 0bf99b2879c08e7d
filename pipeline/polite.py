"""Polite answers: what a model answers in place of an error where everything has failed.

They have OpenAI's form and say in a field of ours what they are. Who must change something is told
so all the same: only what the client can do nothing about is answered politely.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pipeline.errors import Cause, Failure
from pipeline.event import Event, Facts

#: All deployments have failed, or nothing is left of the request's time.
_CAUSES: Final[frozenset[Cause]] = frozenset({"exhausted", "deadline"})
#: It cannot be admitted, or not in time.
_CODES: Final = frozenset({"deadline_unreachable", "queue_full"})

#: Tells in the journal that an answer is polite: the code of the failure that it stands for.
FACT: Final = "polite"

_USAGE: Final[Mapping[str, int]] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}

_encode: Final = msgspec.json.Encoder().encode


def may_stand_for(failure: Failure, event: Event, latest: Facts) -> bool:
    """Tell whether an answer may stand for a failure of a request; `latest` tells of its last hop.

    Nobody is to read it as the end of another answer, or to compare it with one.
    """
    if event.operation != "chat" or event.shadow or event.deltas:
        return False
    if failure.cause not in _CAUSES and failure.code not in _CODES:
        return False
    told = (latest, *(line.facts for line in event.journal))
    return not any("first_delta_ms" in facts for facts in told)


def whole(event: Event, text: str, failure: Failure) -> bytes:
    """Write a whole completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _encode(_object(event, "chat.completion", choice) | {"usage": _USAGE} | _said(failure))


def chunks(event: Event, text: str, failure: Failure) -> Sequence[bytes]:
    """Write a stream's chunks: the text, the end, and the usage where it was asked for."""
    kind = "chat.completion.chunk"
    said = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
    written = [_object(event, kind, said), _object(event, kind, ended) | _said(failure)]
    if event.include_usage:
        written.append({**_object(event, kind, ended), "choices": [], "usage": _USAGE})
    return [_encode(chunk) for chunk in written]


def _object(event: Event, kind: str, choice: Mapping[str, object]) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{event.id}",
        "object": kind,
        "created": int(event.created),
        "model": event.model,
        "choices": [choice],
    }


def _said(failure: Failure) -> dict[str, object]:
    error = {
        "message": failure.message,
        "type": failure.type,
        "param": failure.param,
        "code": failure.code,
        "status": failure.status,
        "metadata": failure.metadata,
    }
    return {"sluice": {"polite": True, "error": error}}
