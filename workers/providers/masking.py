"""Keeps a call's secrets out of messages, even where the upstream repeats them."""

import re
from collections.abc import Iterator
from typing import Final

from workers.providers.base import ProviderCall
from workers.providers.egress import proxy_of

_MASK: Final = "***"
#: What is shorter is no secret, and masking it would blot out words.
_SECRET_CHARS: Final = 6
#: Keys as the providers write them, also shortened with stars, as OpenAI repeats a wrong one.
_KEY_LIKE: Final = re.compile(r"\b(?:sk|gsk|xai|pk|rk)-[\w*.-]{4,}|\bAIza[\w*-]{8,}")
_BEARER: Final = re.compile(r"(?i)\bbearer\s+[^\s\"',;]+")


def hidden(body: bytes, call: ProviderCall) -> bytes:
    """Give an error's body without the call's secrets, before anything of it is cut short."""
    for secret in _secrets(call):
        body = body.replace(secret.encode(), _MASK.encode())
    return body


def masked(text: str, call: ProviderCall) -> str:
    """Give a text without the call's secrets, and without whatever looks like a key."""
    for secret in _secrets(call):
        text = text.replace(secret, _MASK)
    return _KEY_LIKE.sub(_MASK, _BEARER.sub(f"Bearer {_MASK}", text))


def _secrets(call: ProviderCall) -> Iterator[str]:
    through = proxy_of(call.proxy).password if call.proxy else ""
    for secret in (call.key, call.proxy, through, *(value for _, value in call.headers)):
        if len(secret) >= _SECRET_CHARS:
            yield secret
