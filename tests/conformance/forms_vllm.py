"""vLLM's form: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"""

from typing import Final

import msgspec
from msgspec.structs import replace

from pipeline.settings.differences import of_kind
from tests.conformance import openai_shapes as shapes
from tests.conformance.forms import Error, Json
from tests.conformance.forms_openai import OPENAI
from tests.providers.shapes import frame

_CHAT: Final = "/v1/chat/completions"

_SAMPLING: Final[Json] = {
    "chat_template_kwargs": {"enable_thinking": False},
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "structured_outputs": {"choice": ["yes", "no"]},
    "top_k": 20,
    "priority_hint": None,
}


def _older(status: int) -> bytes:
    """Write an error as versions before 0.10 do, without `error` around it."""
    told = {"object": "error", "message": "No.", "type": "BadRequestError", "code": status}
    return msgspec.json.encode({**told, "param": None})


VLLM: Final = replace(
    OPENAI,
    name="vllm",
    kind="vllm",
    call={"differs": of_kind("vllm")},
    more=(
        shapes.passing(
            "sampling",
            _CHAT,
            {**shapes.HI, **_SAMPLING},
            shapes.completion({"content": "yes", "reasoning_content": "Hm."}, prompt_logprobs=None),
        ),
        shapes.tools(_CHAT),
        shapes.tools_stream(_CHAT),
        shapes.image(_CHAT),
        shapes.structured(_CHAT),
        shapes.embeddings("/v1/embeddings"),
    ),
    errors=(
        Error(name="older", status=400, body=_older(400), cause="bad_request"),
        Error(name="older-in-200", status=200, body=_older(400), cause="bad_request"),
        Error(
            name="fastapi",
            status=422,
            body=b'{"detail":[{"loc":["body","messages"],"msg":"Field required"}]}',
            cause="bad_request",
        ),
    ),
    error_frame=frame(_older(503)),
)
