"""`sluice send`: a request from the shell, its answer streamed to stdout as it comes."""

import http.client
import sys
from collections.abc import Iterator

import msgspec

from pipeline.cli import gateway_call, parts, place, send_redis
from pipeline.cli.asking import Asking, Chunk, text_of
from pipeline.cli.options import Where
from pipeline.errors import StartError


def run(where: Where, asking: Asking) -> None:
    """Send the request by the way that was chosen and print what comes back."""
    if asking.prompt == "-":
        asking = msgspec.structs.replace(asking, prompt=sys.stdin.read())
    if not asking.prompt.strip():
        raise StartError("the prompt is empty")
    spot = place.find(where)
    asking = msgspec.structs.replace(
        asking,
        model=asking.model or spot.settings.gateway.default_model,
        url=asking.url or parts.gateway_url(spot.settings),
    )
    if asking.via == "redis":
        send_redis.run(spot, asking)
    elif asking.detached:
        _detached(asking)
    else:
        _attached(asking)


def _headers(asking: Asking) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if asking.token:
        headers["authorization"] = f"Bearer {asking.token}"
    return headers


def _attached(asking: Asking) -> None:
    body = msgspec.json.encode(asking.chat_body())
    path = "/v1/chat/completions"
    with gateway_call.post(asking.url, path, body, _headers(asking)) as answer:
        print(f"request {answer.headers.get('x-request-id', '')}", file=sys.stderr)
        if asking.stream:
            _print_stream(answer, asking)
        else:
            _print_whole(answer.read(), asking)


def _print_stream(answer: http.client.HTTPResponse, asking: Asking) -> None:
    ended = False
    for chunk, raw in _chunks(answer):
        ended = ended or chunk.is_last
        if asking.as_json:
            print(raw.decode(), flush=True)
        else:
            print(chunk.text, end="", flush=True)
    if not asking.as_json:
        print()
    if not ended:
        raise StartError("the stream was cut before its end")


def _chunks(answer: http.client.HTTPResponse) -> Iterator[tuple[Chunk, bytes]]:
    for frame in gateway_call.frames(answer):
        if frame == b"[DONE]":
            return
        chunk = msgspec.json.decode(frame, type=Chunk)
        if chunk.error is not None:
            print()
            raise gateway_call.Answered(chunk.error.message or "the stream ended with an error")
        yield chunk, frame


def _print_whole(body: bytes, asking: Asking) -> None:
    print(body.decode() if asking.as_json else text_of(body))


def _detached(asking: Asking) -> None:
    """Send without waiting: the request's id goes to stdout, for a script to keep."""
    body = msgspec.json.encode(asking.plain_body())
    with gateway_call.post(asking.url, "/chat/async", body, _headers(asking)) as answer:
        told = answer.read()
    if asking.as_json:
        print(told.decode())
    else:
        print(msgspec.json.decode(told, type=_Queued).task_id)


class _Queued(msgspec.Struct):
    task_id: str
