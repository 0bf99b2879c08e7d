"""OpenAI's form with differences: each of them at once, at a provider that nobody has."""

from typing import Final

import msgspec
from msgspec.structs import replace

from pipeline.settings.load import Differences
from tests.conformance import openai_shapes as shapes
from tests.conformance.forms import Exchange, Json, Refused
from tests.conformance.forms_openai import OPENAI
from tests.providers.served import KEY
from tests.providers.shapes import DONE, frame

_CHAT: Final = "/api/talk"

DIFFERS: Final = Differences(
    chat_path="/talk",
    embeddings_path="/vectors",
    key_header="X-Api-Key",
    key_prefix="",
    rename={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
    refuse=("logit_bias", "n"),
    drop=("user",),
    include_usage=False,
    base64=False,
)
_FIELDS: Final[Json] = {
    **shapes.HI,
    "max_completion_tokens": 5,
    "n": 1,
    "odd": True,
    "seed": 1,
    "user": "u",
}


def _embeddings() -> Exchange:
    """Record vectors that come as numbers and go on as base64."""
    packed = shapes.embeddings("/api/vectors")
    answer = packed.answer.replace(b'"AACAPwAAAEA="', b"[1.0,2.0]")
    answer = answer.replace(b'"AABAQAAAgEA="', b"[3, 4]")
    return replace(packed, sent={"model": "m-1", "input": ["a", "b"]}, answer=answer)


def _unasked_usage(exchange: Exchange) -> Exchange:
    """Record a stream that tells its usage unasked, beside the last choices and before."""
    sent = {name: value for name, value in exchange.sent.items() if name != "stream_options"}
    early = {**shapes.USAGE, "completion_tokens": 1, "total_tokens": 10}
    chunks = [
        shapes.chunk({"role": "assistant", "content": "Grü"}, usage=early),
        shapes.chunk({"content": "ße"}),
        shapes.chunk(finish="stop", usage=shapes.USAGE),
    ]
    answer = b"".join(frame(msgspec.json.encode(one)) for one in chunks) + DONE
    return replace(exchange, sent=sent, answer=answer)


COMPATIBLE: Final = replace(
    OPENAI,
    name="compatible",
    kind="compatible",
    base="/api",
    call={"differs": DIFFERS},
    headers={"x-api-key": KEY},
    whole=shapes.hello(_CHAT),
    stream=_unasked_usage(shapes.hello_stream(_CHAT)),
    more=(
        replace(
            shapes.passing("fields", _CHAT, _FIELDS, shapes.completion({"content": "Yes."})),
            sent={
                **shapes.HI,
                "model": "m-1",
                "stream": False,
                "max_tokens": 5,
                "odd": True,
                "random_seed": 1,
            },
        ),
        _embeddings(),
    ),
    refused=(
        Refused(name="bias", asked={**shapes.HI, "logit_bias": {"1": 5}}, param="logit_bias"),
        Refused(name="choices", asked={**shapes.HI, "n": 2}, param="n"),
        Refused(
            name="two-names",
            asked={**shapes.HI, "max_tokens": 4, "max_completion_tokens": 5},
            param="max_completion_tokens",
        ),
    ),
    errors=(),
)
