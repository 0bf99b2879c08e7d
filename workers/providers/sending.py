"""Puts a provider's request together: the address, the usual headers, the configured ones."""

from functools import lru_cache
from importlib import metadata
from typing import Final

import httpx
import msgspec

from workers.providers import verdict
from workers.providers.base import ProviderCall

_USER_AGENT: Final = f"sluice/{metadata.version('sluice')}".encode()

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)


def post(
    call: ProviderCall, path: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()
) -> httpx.Request:
    """Build a POST to a path below the base URL, with the provider's own headers.

    Configured headers win over these and the usual ones. Raises `UpstreamError` for an address
    or a key that cannot be.
    """
    try:
        url = _url(call.base_url, path)
    except httpx.InvalidURL as raised:
        raise verdict.failed(
            call, "network", f"The provider's address is not valid: {raised}.", sent=False
        ) from raised
    return httpx.Request(
        "POST",
        url,
        headers=_headers(call, headers),
        stream=httpx.ByteStream(body),
        extensions={"timeout": {"connect": call.timeout.connect_s}, "proxy": call.proxy},
    )


def fields_of(call: ProviderCall) -> dict[str, msgspec.Raw]:
    """Read the client's body as far as the names of its fields; raises `UpstreamError`."""
    try:
        return _fields.decode(call.body)
    except _NOT_JSON as raised:
        raise verdict.failed(
            call, "bad_request", f"The request's body is not a JSON object: {raised}.", sent=False
        ) from raised


def _headers(call: ProviderCall, own: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"text/event-stream" if call.stream else b"application/json"),
        # Decoding costs more than these short bodies save, and holds back a stream's deltas.
        (b"accept-encoding", b"identity"),
        (b"user-agent", _USER_AGENT),
        (b"x-client-request-id", call.request_id.encode()),
    ]
    headers += [(name.encode(), _presentable(call, text).encode()) for name, text in own]
    if call.headers:
        ours = {name.lower(): _presentable(call, text) for name, text in call.headers}
        headers = [(name, text) for name, text in headers if name.decode() not in ours]
        headers += [(name.encode(), text.encode()) for name, text in ours.items()]
    return headers


def _presentable(call: ProviderCall, secret: str) -> str:
    if secret.isascii() and secret.isprintable():
        return secret
    raise verdict.failed(
        call,
        "credentials",
        "A key or header of this provider holds what no header can.",
        sent=False,
    )


@lru_cache(maxsize=1024)
def _url(base_url: str, path: str) -> httpx.URL:
    return httpx.URL(base_url.rstrip("/") + path)
