"""Asking a traced house, and finding what it told of that."""

import http.client
import json
from typing import Final

from tests.house_of_sluice import House
from tests.telemetry.collector import Collector, Seen
from tests.telemetry.lint import faults

CHAT: Final = "/v1/chat/completions"
#: A trace of somebody else's.
OUTSIDE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MESSAGES: Final = [{"role": "user", "content": "the-marked-prompt"}]


def ask(
    house: House, model: str = "fast", *, stream: bool = False, **headers: str
) -> tuple[int, str, dict[str, str]]:
    """Ask for a completion; give status, request id and the answer's headers."""
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    body = {"model": model, "messages": MESSAGES, "stream": stream}
    link.request(
        "POST", CHAT, json.dumps(body), {k.replace("_", "-"): v for k, v in headers.items()}
    )
    answer = link.getresponse()
    answer.read()
    link.close()
    told = dict(answer.getheaders())
    return answer.status, told["x-request-id"], told


def whole(collector: Collector, request_id: str, *names: str, outside: str = "") -> list[Seen]:
    """Wait for the one trace of a request, which is well-formed."""
    [spans] = collector.until(request_id, *names)
    assert faults(spans, outside) == []
    return spans


def named(spans: list[Seen], name: str) -> list[Seen]:
    """Give the spans of a name."""
    return [span for span in spans if span.name == name]
