"""Asks a provider whether it is there at all, where it has an endpoint for that.

Whoever answers is alive, even with a refusal: only calls tell more.
"""

from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from workers.providers.base import ProviderCall, Timeouts, Translation

#: Where each kind is asked: a path below its base URL; one that begins with two slashes, below
#: its host.
_PLACES: Final[Mapping[str, str]] = {
    "openai": "/models",
    "compatible": "/models",
    "openrouter": "/models",
    "azure": "//openai/v1/models",
    "anthropic": "/v1/models?limit=1",
    "gemini": "/v1beta/models?pageSize=1",
    "ollama": "//api/version",
    "vllm": "//health",
    "simulated": "//health",
}
#: A look that takes longer tells that nobody is there, in seconds.
PATIENCE: Final = Timeouts(connect_s=5, first_byte_s=10, idle_s=10, total_s=10)

#: What any provider's form can carry: its request has the headers that let us in.
_SMALLEST: Final = b'{"model":"health","messages":[{"role":"user","content":"?"}]}'
#: Headers that a look has no use for.
_OF_A_BODY: Final = frozenset({b"content-type", b"content-length", b"transfer-encoding"})


def look(call: ProviderCall, translation: Translation) -> httpx.Request:
    """Build the request of a look; raises `UpstreamError` for a key that no header can hold."""
    smallest = msgspec.structs.replace(call, operation="chat", stream=False, body=_SMALLEST)
    usual = translation.request(smallest)
    headers = [(name, text) for name, text in usual.headers.raw if name not in _OF_A_BODY]
    return httpx.Request("GET", _url(call), headers=headers, extensions=usual.extensions)


def _url(call: ProviderCall) -> httpx.URL:
    place = _PLACES[call.kind]
    if not place.startswith("//"):
        return httpx.URL(call.base_url + place)
    return httpx.URL(call.base_url).join(place[1:])
