"""The clients and producers of a journey: they send what was planned and note what became of it.

A request is accepted when its client was told so: by an answer that names it, or by the id of
the entry that it wrote.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

import httpx
import redis

from tests.crash.chaos.plan import Order, Plan
from tests.crowd import Heard, read
from tests.house_of_sluice import House, requests

#: Codes with which a gateway says that it has taken nothing in.
_NOT_ACCEPTED = {"redis_unavailable", "queue_full"}

#: No client waits longer.
TIMEOUT_S = 60.0

CALLBACKS = "answers"


class Traffic:
    """Sends a plan's requests while the block runs; `finish` waits for all answers."""

    def __init__(self, house: House, plan: Plan) -> None:
        self._house = house
        self._plan = plan
        self._began = 0.0
        #: Requests, and when each was known to be accepted.
        self.accepted: dict[str, float] = {}
        self.models: dict[str, str] = {}
        #: Requests whose clients were told that they failed.
        self.failed: set[str] = set()
        #: Requests that asked to be called back.
        self.callbacks: set[str] = set()
        #: What clients heard: statuses, or the name of what broke their connection.
        self.heard: Counter[str] = Counter()
        #: Contents of whole answers, by model.
        self.contents: dict[str, set[str]] = {}
        self.refused = 0
        self._threads = [
            threading.Thread(target=self._run_clients, name="clients"),
            threading.Thread(target=self._run_producer, name="producer"),
        ]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._join()

    @property
    def passed_s(self) -> float:
        """Tell how long the requests have been coming."""
        return time.monotonic() - self._began

    def finish(self) -> None:
        """Wait until everybody has been answered."""
        self._join()
        assert not any(thread.is_alive() for thread in self._threads), "clients still wait"

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(self._plan.orders[-1].at_s + TIMEOUT_S + 10)

    def _accept(self, request_id: str, model: str) -> None:
        self.accepted.setdefault(request_id, self.passed_s)
        self.models[request_id] = model

    def _run_clients(self) -> None:
        asyncio.run(self._ask_all())

    async def _ask_all(self) -> None:
        limits = httpx.Limits(max_connections=len(self._plan.orders))
        async with (
            httpx.AsyncClient(base_url=self._house.url, timeout=TIMEOUT_S, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            for order in self._plan.orders:
                if order.way != "direct":
                    await asyncio.sleep(max(0.0, order.at_s - self.passed_s))
                    group.create_task(self._ask(client, order))

    async def _ask(self, client: httpx.AsyncClient, order: Order) -> None:
        path, body = "/v1/chat/completions", {
            "model": order.model,
            "messages": [{"role": "user", "content": order.name}],
            "stream": order.way == "stream",
        }  # fmt: skip
        if order.way == "later":
            path, body = "/chat/async", {"model": order.model, "message": order.name}
        try:
            answer = await self._send(client, order.model, path, body)
        except httpx.HTTPError as error:
            self.heard[type(error).__name__] += 1
            return
        self._note(answer, order)

    async def _send(
        self, client: httpx.AsyncClient, model: str, path: str, body: object
    ) -> httpx.Response:
        """Send one request, again as long as nobody listens: nothing has gone out then."""
        ended = time.monotonic() + TIMEOUT_S
        while True:
            try:
                async with client.stream("POST", path, json=body) as answer:
                    if answer.status_code == 200:
                        # A stream that has begun was accepted, though its gateway may die now.
                        self._accept(answer.headers["x-request-id"], model)
                    await answer.aread()
                    return answer
            except httpx.ConnectError:
                if time.monotonic() > ended:
                    raise
                await asyncio.sleep(0.1)

    def _note(self, answer: httpx.Response, order: Order) -> None:
        if answer.status_code == 202:
            heard = Heard(202, "", "", answer.json()["task_id"])
        else:
            heard = read(answer)
        self.heard[f"{heard.status} {heard.code}".strip()] += 1
        if heard.code in _NOT_ACCEPTED:
            self.refused += 1
            return
        self._accept(heard.request_id, order.model)
        if heard.code:
            self.failed.add(heard.request_id)
        elif heard.status == 200:
            self.contents.setdefault(order.model, set()).add(heard.content)

    def _run_producer(self) -> None:
        port = self._house.redis.port
        with redis.Redis(port=port, protocol=2, socket_timeout=2.0) as client:
            for order in self._plan.orders:
                if order.way == "direct":
                    time.sleep(max(0.0, order.at_s - self.passed_s))
                    self._produce(client, order)

    def _produce(self, client: redis.Redis, order: Order) -> None:
        """Write one request until Redis has told its entry; one that comes twice is one request."""
        [event] = requests(1, order.model, f"{order.name}-", reply_to=CALLBACKS)
        stream = f"{self._house.names.prefix}:requests:default"
        ended = time.monotonic() + TIMEOUT_S
        while time.monotonic() < ended:
            try:
                client.xadd(stream, {"event": json.dumps(event)})
            except redis.exceptions.OutOfMemoryError:
                self.refused += 1
            except (redis.ConnectionError, redis.TimeoutError):
                self.heard["producer cut off"] += 1
            else:
                request_id = str(event["request_id"])
                self._accept(request_id, order.model)
                self.callbacks.add(request_id)
                return
            time.sleep(0.05)
        raise AssertionError(f"{order.name} could not be written")
