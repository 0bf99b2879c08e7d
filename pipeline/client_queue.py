"""The Python client with the face of LLM Queue (`vellm-llm-queue`), for programs written for it.

    queue = LLMQueue(Client.from_settings())
    await queue.initiate()
    response, status = await queue.execute_request(
        "chat_completion", {"messages": [...]}, user_id="bob", model_pref=ModelPreferences()
    )
    await queue.graceful_shutdown()

Executors, scheduler and limits are the pipeline's: its configuration says what those were told.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from pipeline.client import Client
from pipeline.client_errors import (
    ClientClosed,
    QueueTimeoutError,
    RequestFailed,
    SchedulerQueueFullError,
    UserIdHeaderMissingError,
    UserRateLimitExceededError,
)
from pipeline.client_request import Wishes
from pipeline.errors import BadRequest, ModelNotFound, SluiceError
from pipeline.event import Operation
from pipeline.preferences import ModelPreferences

__all__ = ["LLMQueue", "ModelPreferences"]

#: What that library raises; everything else it answers with a status.
_RAISED: Final = (UserRateLimitExceededError, SchedulerQueueFullError, QueueTimeoutError)

#: Its kinds of requests.
_OPERATIONS: Final[Mapping[str, Operation]] = {
    "chat_completion": "chat",
    "embeddings": "embeddings",
}

#: A response: OpenAI's object, or `{"error": {...}}`.
Response = dict[str, object]


class LLMQueue:
    """A way into the pipeline for any number of tasks; it opens and closes its client itself."""

    def __init__(self, client: Client, *, request_timeout_seconds: float = 300.0) -> None:
        """Take a client that is not open; a request waits for its answer for so long."""
        self._client = client
        self._timeout_s = request_timeout_seconds
        self._under_way: set[asyncio.Future[None]] = set()
        self._is_open = False

    async def initiate(self) -> None:
        """Connect. Raises `RedisUnavailable`."""
        await self._client.open()
        self._is_open = True

    async def execute_request(
        self,
        req_type: str,
        request_data: Mapping[str, object],
        user_id: str,
        model_pref: ModelPreferences | None = None,
    ) -> tuple[Response, int]:
        """Put a request in and wait for its answer; gives that and a status.

        The status is 200 with OpenAI's response; 400 for what is no request or names no model of
        ours, 404 for an unknown `req_type`, and 500 where it has failed, with an error object.
        Raises `UserRateLimitExceededError`, `SchedulerQueueFullError`, `QueueTimeoutError` (the
        request has been cancelled), `UserIdHeaderMissingError` and `ClientClosed`.
        """
        if not self._is_open:
            raise ClientClosed("The queue is not initiated, or was shut down.")
        if not user_id:
            raise UserIdHeaderMissingError("A request needs a `user_id`.")
        operation = _OPERATIONS.get(req_type)
        if operation is None:
            known = ", ".join(_OPERATIONS)
            return _error(f"`{req_type}` is no type of request; there are {known}."), 404
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(ended)
        try:
            return await self._asked(operation, request_data, user_id, model_pref)
        finally:
            self._under_way.discard(ended)
            ended.set_result(None)

    async def graceful_shutdown(self, timeout_s: float = 30.0) -> None:
        """Take no more requests, wait for those under way for so long, and disconnect.

        Who still waits then is told by `ClientClosed`; requests that were accepted go on.
        """
        self._is_open = False
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout_s)
        await self._client.close()

    async def _asked(
        self,
        operation: Operation,
        request_data: Mapping[str, object],
        user_id: str,
        model_pref: ModelPreferences | None,
    ) -> tuple[Response, int]:
        wishes = Wishes(user=user_id, timeout_s=self._timeout_s, patient=False)
        if model_pref is not None:
            wishes["model_preferences"] = model_pref
        body = {**request_data, "stream": False} if operation == "chat" else request_data
        try:
            _check(operation, request_data)
            answer = await self._client.ask(body, cancel_on_timeout=True, **wishes)
        except (*_RAISED, ClientClosed):
            raise
        except (BadRequest, ModelNotFound) as error:
            return _error_of(error), HTTPStatus.BAD_REQUEST
        except RequestFailed as error:
            return _error_of(error), HTTPStatus.INTERNAL_SERVER_ERROR
        return answer.json(), HTTPStatus.OK


def _check(operation: Operation, request_data: Mapping[str, object]) -> None:
    needed = "messages" if operation == "chat" else "input"
    if needed not in request_data:
        raise BadRequest(f"'{needed}' is missing.", param=needed)


def _error(message: str) -> Response:
    return {"error": {"message": message, "type": "invalid_request_error", "code": "not_found"}}


def _error_of(error: SluiceError) -> Response:
    told = {"message": error.message, "type": error.type, "code": error.code, "param": error.param}
    return {"error": told}
