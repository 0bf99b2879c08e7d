"""Starts the simulated provider as a process of its own, for tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import httpx

COMMAND = [sys.executable, "-m", "workers.providers.simulated"]
CHAT = "/v1/chat/completions"
CLIENT_ID = "X-Client-Request-Id"


class SimulatedProcess:
    """The running provider; `url` ends in /v1."""

    def __init__(self, *settings: str, seed: int | None = None) -> None:
        chosen = [f"--set={setting}" for setting in settings]
        seeded = [] if seed is None else [f"--seed={seed}"]
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", *chosen, *seeded],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = self.line.split()[-1]
        self.http = httpx.Client(base_url=self.url.removesuffix("/v1"), timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()
        self.stop()

    def stop(self) -> tuple[int, str]:
        """End the process; return its exit code and what it wrote to stderr."""
        if self.process.poll() is None:
            self.process.terminate()
        errors = self.process.communicate(timeout=10)[1]
        return self.process.returncode, errors

    def ask(
        self, model: str = "fast", *, text: str = "hello", key: str = "k", **more: object
    ) -> httpx.Response:
        """Send one chat request; what is given more goes into the body."""
        body = chat_body(model, text) | more
        return self.http.post(CHAT, json=body, headers={"Authorization": f"Bearer {key}"})

    def ask_with(self, header: str, value: str, model: str, **more: object) -> httpx.Response:
        """Send one chat request with a header."""
        return self.http.post(CHAT, json=chat_body(model) | more, headers={header: value})

    @contextmanager
    def stream(self, model: str, **more: object) -> Iterator[httpx.Response]:
        body = chat_body(model) | {"stream": True} | more
        with self.http.stream("POST", CHAT, json=body) as response:
            yield response

    def frames(self, model: str, **more: object) -> list[str]:
        """Return the data of each frame of a stream that ends in order."""
        with self.stream(model, **more) as response:
            text = response.read().decode()
        assert text.endswith("\n\n")
        return [frame.removeprefix("data: ") for frame in text[:-2].split("\n\n")]

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = self.http.get("/calls").json()
        return found


def chat_body(model: str, text: str = "hello") -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}
