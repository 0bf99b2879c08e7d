"""Calls to the gateway over HTTP, with the standard library: the command starts fast."""

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import SluiceError, StartError

#: How long a gateway may send nothing at all; its keep-alive comments come far more often.
_SILENCE_S: Final = 600.0


class Answered(SluiceError):
    """The gateway answered with an error."""


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    code: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error = _Error()


@contextmanager
def post(
    url: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Iterator[http.client.HTTPResponse]:
    """Send a JSON body and give the answer while its body is still coming.

    Raises Answered for an error of the gateway and StartError when it cannot be reached.
    """
    target = urlsplit(url)
    maker = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    link = maker(target.hostname or "", target.port, timeout=_SILENCE_S)
    try:
        link.request("POST", target.path.rstrip("/") + path, body, dict(headers))
        answer = link.getresponse()
        if answer.status >= http.client.BAD_REQUEST:
            raise _failure(answer.status, answer.read())
        yield answer
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise StartError(f"the gateway at {url}: {error}; is `sluice up` running?") from None
    finally:
        link.close()


def _failure(status: int, body: bytes) -> Answered:
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
    except msgspec.MsgspecError:
        error = _Error()
    told = error.message or body.decode(errors="replace")[:200] or "no body"
    return Answered(f"{told} ({status} {error.code or ''})".replace(" )", ")"))


def frames(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Give the data of each server-sent event; comments and other fields are skipped."""
    data: list[bytes] = []
    for raw in answer:
        line = raw.rstrip(b"\r\n")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []
