"""Translates for tests; what is sent has to be what the API takes, as the simulated one checks."""

from collections.abc import Mapping, Sequence

import httpx
import msgspec
import pytest

from pipeline.errors import Failure, UpstreamError
from workers.providers.base import Answer, Deltas, ProviderCall, Reply
from workers.providers.gemini.reader import GeminiReader
from workers.providers.gemini.translation import Gemini
from workers.providers.simulated.gemini_request import Generate, check

Json = Mapping[str, object]

KEY = "AIza-secret"
HELLO: Json = {"role": "user", "content": "hi"}


def call(model: str = "gemini-2.5-flash", /, **changes: object) -> ProviderCall:
    """Make a call of Gemini."""
    base = ProviderCall(
        request_id="r1",
        base_url="https://g.example",
        kind="gemini",
        model=model,
        key=KEY,
        body=b"{}",
    )
    return msgspec.structs.replace(base, **changes)


def request_of(model: str = "gemini-2.5-flash", /, **asked: object) -> httpx.Request:
    """Translate a request whose messages, unless given, are one greeting."""
    body = msgspec.json.encode({"model": "fast", "messages": [HELLO], **asked})
    return Gemini().request(call(model, body=body))


def sent(model: str = "gemini-2.5-flash", /, **asked: object) -> dict[str, object]:
    """Give the body that is sent, which the API would take."""
    body = request_of(model, **asked).read()
    check(msgspec.json.decode(body, type=Generate), model)
    fields: dict[str, object] = msgspec.json.decode(body)
    return fields


def config(model: str = "gemini-2.5-flash", /, **asked: object) -> object:
    """Give the generation's configuration that is sent."""
    return sent(model, **asked).get("generationConfig")


def contents(*messages: Json, model: str = "gemini-2.5-flash") -> list[Json]:
    """Give the turns that are sent for messages."""
    turns: list[Json] = msgspec.convert(
        sent(model, messages=messages)["contents"], list[dict[str, object]]
    )
    return turns


def refused(model: str = "gemini-2.5-flash", /, **asked: object) -> Failure:
    """Give the failure of a request that cannot be translated."""
    with pytest.raises(UpstreamError) as raised:
        request_of(model, **asked)
    failure = raised.value.failure()
    assert (failure.status, failure.cause, raised.value.sent) == (400, "bad_request", False)
    assert failure.message
    return failure


def generated(*parts: Json, finish: str | None = "STOP", index: int = 0, **more: object) -> Json:
    """Write an answer of the API with one candidate."""
    candidate: dict[str, object] = {"content": {"parts": parts, "role": "model"}, "index": index}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    named = {"modelVersion": "gemini-2.5-flash", "responseId": "resp1"}
    return {"candidates": [candidate], "usageMetadata": usage, **named, **more}


def reply_to(answer: Json | bytes, **changes: object) -> Reply:
    """Read a whole answer."""
    body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    return Gemini().reply(call(**changes), Answer(status=200, headers=httpx.Headers(), body=body))


def choice_of(answer: Json) -> dict[str, object]:
    """Give the only choice of a whole answer in OpenAI's form."""
    [choice] = msgspec.json.decode(reply_to(answer).response)["choices"]
    assert isinstance(choice, dict)
    return choice


def message_of(*parts: Json) -> dict[str, object]:
    """Give the message that these parts become, without what is null."""
    message = choice_of(generated(*parts))["message"]
    assert isinstance(message, dict)
    return {name: value for name, value in message.items() if value is not None}


def failure_of(answer: Json | bytes) -> Failure:
    """Read a whole answer that is a failure."""
    with pytest.raises(UpstreamError) as raised:
        reply_to(answer)
    return raised.value.failure()


def events(*answers: Json) -> bytes:
    """Write a stream as the API does, whose lines end in CRLF."""
    return b"".join(b"data: " + msgspec.json.encode(one) + b"\r\n\r\n" for one in answers)


def read(data: bytes | Sequence[bytes]) -> tuple[GeminiReader, list[Deltas]]:
    """Read a stream to its end."""
    reader = Gemini().reader(call(), Answer(status=200, headers=httpx.Headers()))
    given = [reader.feed(piece) for piece in ([data] if isinstance(data, bytes) else data)]
    given.append(reader.end())
    return reader, [deltas for deltas in given if deltas is not None]


def chunks_of(data: bytes | Sequence[bytes]) -> list[dict[str, object]]:
    """Give the chunks of a stream that ends well."""
    reader, given = read(data)
    assert reader.failure is None
    assert reader.finished
    return [msgspec.json.decode(chunk) for deltas in given for chunk in deltas.chunks]
