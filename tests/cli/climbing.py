"""A house in which requests climb, wait and run for long, and the command beside it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.command import sluice
from tests.house_of_sluice import House as Whole
from tests.waiting import eventually


class House:
    """The whole of Sluice, of which only Redis is asked; commands find it by its configuration."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole
        self._number = 0

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command on it."""
        where = ("--config", str(self.whole.config), "--redis-url", self.whole.redis.url)
        return sluice(self.whole.directory, *arguments, *where, stdin=stdin)

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Give the JSON lines that a command prints."""
        done = self.run(*arguments, "--json")
        assert done.returncode in (0, 1, 3), done
        return [json.loads(line) for line in done.stdout.splitlines()]

    def put(self, request_id: str, model: str, **fields: object) -> str:
        """Write a request as a producer does; gives its id."""
        messages = [{"role": "user", "content": "hi"}]
        event = {"request_id": request_id, "model": model, "messages": messages, **fields}
        self.whole.xadd([event])
        return request_id

    def field(self, request_id: str, name: str) -> str:
        """Read a field of a request's record."""
        return str(self.whole.client.hget(self.whole.names.record(request_id), name) or "")

    def until(self, request_id: str, name: str, value: str) -> None:
        """Wait until a field of a record has a value."""
        what = f"{request_id} has {name} {value}"
        eventually(lambda: self.field(request_id, name) == value, 20, what)

    def climb(self, count: int = 1, model: str = "away") -> list[str]:
        """Have new requests on the first rung; gives their ids."""
        self._number += count
        ids = [f"{model}{number}" for number in range(self._number - count, self._number)]
        for request_id in ids:
            self.put(request_id, model)
        for request_id in ids:
            self.until(request_id, "rung", "60")
        return ids

    def climb_in_turn(self, *models: str) -> list[str]:
        """Have new requests on the first rung, one behind the other."""
        return [request_id for model in models for request_id in self.climb(model=model)]


@contextmanager
def climbing(binary: Path, directory: Path) -> Iterator[House]:
    """Run a house."""

    def served(model: str, **limits: int) -> dict[str, object]:
        return {"deployments": [{"provider": "sim", "model": model, "limits": limits}]}

    models = {
        "away": served("away:error=503"),
        "gone": served("gone:error=500"),
        "one": served("one:tokens=500,tps=5", concurrency=1),
        "long": served("long:tokens=500,tps=50"),
    }
    # What always fails is to be asked each time.
    providers = {"sim": {"any_model": True, "breaker": {"failures": 0}}}
    with Whole(
        directory, binary, {}, providers=providers, models=models, retry={"quick": 0}
    ) as whole:
        yield House(whole.start())
