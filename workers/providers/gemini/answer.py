"""Gemini's answers as they come, and what each piece of them is in OpenAI's form.

https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse. Of what has no place
there, ratings, citations and the like are left out; content of another kind is an `UnknownPart`,
as nothing of an answer is to be lost unnoticed.
"""

from typing import Final

import msgspec

from workers.providers.assembly import Fields

#: Of a part, what is no content of its own.
_BESIDE: Final = frozenset({"thought", "thoughtSignature", "partMetadata"})
_NO_ARGUMENTS: Final = msgspec.Raw(b"{}")
_NULL: Final = msgspec.Raw(b"null")


class Called(msgspec.Struct, frozen=True):
    """A call of a function."""

    name: str
    id: str = ""
    args: msgspec.Raw = _NO_ARGUMENTS

    def arguments(self) -> str:
        """Give the arguments as JSON on one line, their values as they were written."""
        args = b"{}" if self.args == _NULL else bytes(self.args)
        return msgspec.json.format(args, indent=-1).decode()


class Blob(msgspec.Struct, frozen=True, rename="camel"):
    """Data in base64."""

    mime_type: str
    data: str


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """A piece of what is said; as it comes it may hold more."""

    text: str | None = None
    thought: bool = False
    thought_signature: str = ""
    function_call: Called | None = None
    inline_data: Blob | None = None


class Content(msgspec.Struct, frozen=True):
    """What a candidate says."""

    parts: list[msgspec.Raw] = []


class LogProbs(msgspec.Struct, frozen=True, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class TopLogProbs(msgspec.Struct, frozen=True):
    candidates: list[LogProbs] = []


class LogProbsResult(msgspec.Struct, frozen=True, rename="camel"):
    """The chances of each token and of its rivals."""

    top_candidates: list[TopLogProbs] = []
    chosen_candidates: list[LogProbs] = []


class Candidate(msgspec.Struct, frozen=True, rename="camel"):
    """One of the answers."""

    index: int = 0
    content: Content = Content()
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: LogProbsResult | None = None


class Feedback(msgspec.Struct, frozen=True, rename="camel"):
    """Why there is no answer."""

    block_reason: str | None = None


class Usage(msgspec.Struct, frozen=True, rename="camel"):
    """The tokens counted so far."""

    prompt_token_count: int = 0
    cached_content_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    total_token_count: int = 0


class Frame(msgspec.Struct, frozen=True, rename="camel"):
    """A whole answer, or what is new of it."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Usage | None = None
    model_version: str = ""
    response_id: str = ""

    @property
    def is_one(self) -> bool:
        """Whether anything of the API is in it; an error is not."""
        return self != Frame()


_part = msgspec.json.Decoder(Part)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class UnknownPart(Exception):
    """A part that holds content of a kind that cannot be told."""


def decoded(raw: msgspec.Raw) -> Part:
    """Read a part; raises `msgspec.ValidationError`."""
    return _part.decode(raw)


def usage_fields(usage: Usage) -> Fields:
    """Give the counts in OpenAI's form, where an answer's tokens include the thoughts."""
    prompt = usage.prompt_token_count + usage.tool_use_prompt_token_count
    completion = usage.candidates_token_count + usage.thoughts_token_count
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": usage.total_token_count or prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached_content_token_count},
        "completion_tokens_details": {"reasoning_tokens": usage.thoughts_token_count},
    }


def say(delta: Fields, part: Part, raw: msgspec.Raw) -> None:
    """Add a part that calls nothing; images as OpenRouter has them, for want of OpenAI's own.

    https://openrouter.ai/docs/features/multimodal/image-generation
    """
    if part.text is not None:
        name = "reasoning_content" if part.thought else "content"
        if part.text:
            delta[name] = f"{delta.get(name, '')}{part.text}"
    elif part.inline_data is not None and part.inline_data.mime_type.startswith("image/"):
        url = f"data:{part.inline_data.mime_type};base64,{part.inline_data.data}"
        images = delta.setdefault("images", [])
        assert isinstance(images, list)
        images.append({"type": "image_url", "image_url": {"url": url}})
    elif unknown := _fields.decode(raw).keys() - _BESIDE:
        raise UnknownPart(f"a part of the kind {', '.join(sorted(unknown))}")


def sign(said: Fields, signature: str) -> None:
    """Add a thought's signature, for the client to give back."""
    if signature:
        said["extra_content"] = {"google": {"thought_signature": signature}}


def logprobs(result: LogProbsResult) -> Fields:
    """Give the chances of the tokens as a choice has them."""
    tops = [[_logprob(one) for one in top.candidates] for top in result.top_candidates]
    tops += [[] for _ in result.chosen_candidates[len(tops) :]]
    chosen = zip(result.chosen_candidates, tops, strict=False)
    return {"content": [{**_logprob(one), "top_logprobs": top} for one, top in chosen]}


def _logprob(told: LogProbs) -> Fields:
    return {
        "token": told.token,
        "logprob": told.log_probability,
        "bytes": list(told.token.encode()),
    }
