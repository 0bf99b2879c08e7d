"""The client's synchronous face: the same, from threads without a loop."""

import threading

import pytest
import redis

from pipeline.client import Client
from pipeline.client_errors import ClientClosed, QueueTimeoutError
from pipeline.client_sync import SyncClient
from tests.gateway.answers import WORDS

_TEXT = "".join(WORDS)


def test_everything_is_there(answered: str, look: redis.Redis) -> None:
    with SyncClient(Client(answered, default_model="sim/echo")) as client:
        assert client.ask(prompt="Hi", timeout_s=10).content == _TEXT
        request_id = client.submit(prompt="Hi")
        assert client.result(request_id, timeout_s=10).content == _TEXT
        assert client.state(request_id).has_ended
        assert not client.cancel(request_id)
        chunks = list(client.stream(prompt="Hi", timeout_s=10))
        assert "".join(chunk.content for chunk in chunks) == _TEXT
        assert list(client.resume(chunks[0].request_id, chunks[2].entry, 10)) == chunks[3:]
        for chunk in client.stream(prompt="Hi", model="sim/slow", user="s1"):
            assert chunk.content == WORDS[0]
            break
        look.set("go:s1", 1)
        with pytest.raises(QueueTimeoutError):
            client.ask(prompt="Hi", model="sim/never", timeout_s=0.05)


def test_threads_share_one_client(answered: str) -> None:
    heard: list[str] = []
    with SyncClient(answered) as client:

        def ask() -> None:
            heard.append(client.ask(prompt="Hi", model="sim/echo", timeout_s=10).content)

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert heard == [_TEXT] * 20


def test_one_that_is_not_open_says_so(answered: str) -> None:
    client = SyncClient(answered)
    with pytest.raises(ClientClosed):
        client.submit(prompt="Hi")
    with client:
        pass
    with pytest.raises(ClientClosed):
        client.ask(prompt="Hi")
