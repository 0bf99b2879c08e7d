"""Azure OpenAI: OpenAI's form at Azure's addresses, in one of two ways.

With a dated version of the API the model names a deployment in the path; without one the v1 form
is spoken: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
"""

import re
from typing import Final
from urllib.parse import quote

import httpx
from msgspec.structs import replace

from workers.providers.base import ProviderCall
from workers.providers.openai import OpenAI, body_of
from workers.providers.sending import post

_PATHS: Final = {"chat": "chat/completions", "embeddings": "embeddings"}
_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
#: What a base URL may end in, since the portal and the official clients show it so.
_TAILS: Final = ("/openai/v1", "/openai")
#: Versions before it refuse `stream_options`.
_USAGE_SINCE: Final = "2024-09-01"


class Azure(OpenAI):
    """The translation for Azure, whose answers are OpenAI's with the results of its filters."""

    def request(self, call: ProviderCall) -> httpx.Request:
        """Build the request; a token of Entra ID comes with the configured headers."""
        key = (("api-key", call.key),) if call.key else ()
        dated = bool(_DATED.match(call.api_version))
        if dated and call.api_version < _USAGE_SINCE:
            call = replace(call, differs=replace(call.differs, include_usage=False))
        query = f"?api-version={call.api_version}" if call.api_version else ""
        way = f"deployments/{quote(call.model, safe='')}" if dated else "v1"
        path = f"/openai/{way}/{_PATHS[call.operation]}{query}"
        return post(replace(call, base_url=_root(call.base_url)), path, body_of(call), key)


def _root(base_url: str) -> str:
    base_url = base_url.rstrip("/")
    for tail in _TAILS:
        base_url = base_url.removesuffix(tail)
    return base_url
