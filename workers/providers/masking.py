"""Keeps a call's secrets out of messages, even where the upstream repeats them."""

import re
from typing import Final

from workers.providers.base import ProviderCall

_MASK: Final = "***"
#: Keys as the providers write them, also shortened with stars, as OpenAI repeats a wrong one.
_KEY_LIKE: Final = re.compile(r"\b(?:sk|gsk|xai|pk|rk)-[\w*.-]{4,}|\bAIza[\w*-]{8,}")
_BEARER: Final = re.compile(r"(?i)\bbearer\s+[^\s\"',;]+")


def masked(text: str, call: ProviderCall) -> str:
    """Give the text with the call's key, its proxy's address and whatever looks like a key hidden.

    A text that an upstream cut in the middle of the key is caught by the look of it alone.
    """
    for secret in (call.key, call.proxy):
        if secret:
            text = text.replace(secret, _MASK)
    for _, value in call.headers:
        if len(value) >= 16:
            text = text.replace(value, _MASK)
    return _KEY_LIKE.sub(_MASK, _BEARER.sub(f"Bearer {_MASK}", text))
