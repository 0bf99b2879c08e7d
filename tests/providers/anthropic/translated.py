"""Translates requests for tests, which are checked on the way."""

import msgspec
import pytest

from pipeline.errors import Failure, UpstreamError
from tests.providers.anthropic.official import check_request
from workers.providers.anthropic.translation import Anthropic
from workers.providers.base import ProviderCall

Fields = dict[str, object]

HI: list[Fields] = [{"role": "user", "content": "hi"}]


def call_of(fields: Fields, **changes: object) -> ProviderCall:
    """Make a call of Anthropic."""
    call = ProviderCall(
        request_id="r1",
        base_url="https://api.anthropic.com",
        kind="anthropic",
        model="claude-sonnet-5-5",
        key="sk-ant-secret",
        body=msgspec.json.encode(fields),
    )
    return msgspec.structs.replace(call, **changes)


def sent(given: Fields | None = None, **changes: object) -> Fields:
    """Translate a request, of one greeting unless it has messages, as the API takes it."""
    call = call_of({"model": "fast", "messages": HI, **(given or {})}, **changes)
    request = Anthropic().request(call)
    body: Fields = msgspec.json.decode(request.read())
    check_request(body)
    return body


def messages_sent(*messages: Fields) -> list[Fields]:
    """Translate messages."""
    found = sent({"messages": list(messages)})["messages"]
    assert isinstance(found, list)
    return found


def refused(given: Fields) -> Failure:
    """Translate what cannot be, and give the failure."""
    with pytest.raises(UpstreamError) as raised:
        Anthropic().request(call_of({"messages": HI, **given}))
    failure = raised.value.failure()
    assert (failure.status, failure.cause) == (400, "bad_request")
    assert not raised.value.sent
    return failure
