"""Ollama's form below /v1: https://docs.ollama.com/api/openai-compatibility"""

from typing import Final

from msgspec.structs import replace

from pipeline.settings.differences import of_kind
from tests.conformance import openai_shapes as shapes
from tests.conformance.forms import Error, Exchange, Refused
from tests.conformance.forms_openai import OPENAI
from tests.providers.shapes import frame

_CHAT: Final = "/v1/chat/completions"


def _unchosen(exchange: Exchange) -> Exchange:
    """Leave out `tool_choice`, which Ollama does not read."""
    asked, sent = (
        {name: value for name, value in body.items() if name != "tool_choice"}
        for body in (exchange.asked, exchange.sent)
    )
    return replace(exchange, asked=asked, sent=sent)


OLLAMA: Final = replace(
    OPENAI,
    name="ollama",
    kind="ollama",
    call={"key": "", "differs": of_kind("ollama")},
    headers={},
    more=(
        shapes.passing(
            "options",
            _CHAT,
            {**shapes.HI, "options": {"num_ctx": 8192}, "keep_alive": "10m", "think": False},
            shapes.completion({"content": "Yes.", "reasoning": "Hm."}, system_fingerprint="fp"),
        ),
        shapes.tools(_CHAT),
        _unchosen(shapes.tools_stream(_CHAT)),
        shapes.image(_CHAT),
        shapes.structured(_CHAT),
        shapes.embeddings("/v1/embeddings"),
        replace(
            shapes.passing(
                "older-name",
                _CHAT,
                {**shapes.HI, "max_completion_tokens": 5, "tool_choice": "auto"},
                shapes.completion({"content": "Yes."}),
            ),
            sent={**shapes.HI, "model": "m-1", "stream": False, "max_tokens": 5},
        ),
    ),
    refused=(
        Refused(name="choice", asked={**shapes.HI, "tool_choice": "required"}, param="tool_choice"),
    ),
    errors=(
        Error(
            name="no-such-model",
            status=404,
            body=b'{"error":{"message":"model \'m-1\' not found","type":"api_error"}}',
            cause="model_not_found",
        ),
        Error(name="in-words", status=500, body=b'{"error":"out of memory"}', cause="network"),
        Error(name="busy", status=503, body=b'{"error":"server busy"}', cause="overloaded"),
    ),
    error_frame=frame(b'{"error":{"message":"it stopped","type":"overloaded_error"}}'),
)
