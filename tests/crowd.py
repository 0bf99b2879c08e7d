"""A crowd of HTTP clients, each waiting for its own answer while something happens to the house."""

import asyncio
import json
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

import httpx

_TIMEOUT_S = 60.0


class Heard(NamedTuple):
    """What one client heard: the status, the content, and the error's code where there was one."""

    status: int
    content: str
    code: str = ""
    request_id: str = ""


class Crowd:
    """Clients of `POST /v1/chat/completions`, every second one with a stream.

    They ask when the block is entered; `heard` waits for all their answers.
    """

    def __init__(self, url: str, count: int, model: str) -> None:
        self._url = url
        self._count = count
        self._model = model
        self._heard: Sequence[Heard] = ()
        self._thread = threading.Thread(target=self._run, name="crowd")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.join(_TIMEOUT_S + 5)

    def heard(self) -> Sequence[Heard]:
        """Wait for all answers."""
        self._thread.join(_TIMEOUT_S + 5)
        assert not self._thread.is_alive(), "clients still wait"
        return self._heard

    def _run(self) -> None:
        self._heard = asyncio.run(self._ask_all())

    async def _ask_all(self) -> Sequence[Heard]:
        limits = httpx.Limits(max_connections=self._count)
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, limits=limits) as client:
            asked = [self._ask(client, stream=bool(n % 2)) for n in range(self._count)]
            return await asyncio.gather(*asked)

    async def _ask(self, client: httpx.AsyncClient, *, stream: bool) -> Heard:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": "hi"}],
            "stream": stream,
        }
        try:
            answer = await client.post(f"{self._url}/v1/chat/completions", json=body)
        except httpx.HTTPError as error:
            return Heard(0, "", type(error).__name__)
        return read(answer)


def read(answer: httpx.Response) -> Heard:
    """Read an answer of either form."""
    request_id = answer.headers.get("x-request-id", "")
    if answer.headers["content-type"].startswith("text/event-stream"):
        content, code = read_stream(answer.text)
        return Heard(answer.status_code, content, code, request_id)
    found = answer.json()
    if "error" in found:
        return Heard(answer.status_code, "", found["error"]["code"], request_id)
    content = found["choices"][0]["message"]["content"]
    return Heard(answer.status_code, content, "", request_id)


def read_stream(text: str) -> tuple[str, str]:
    """Join the deltas of a stream; give its error's code, too, `cut` when it has no end."""
    frames = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    parts: list[str] = []
    for frame in frames:
        if frame == "[DONE]":
            return "".join(parts), ""
        chunk = json.loads(frame)
        if "error" in chunk:
            return "".join(parts), chunk["error"]["code"]
        parts += [choice["delta"].get("content") or "" for choice in chunk["choices"]]
    return "".join(parts), "cut"
