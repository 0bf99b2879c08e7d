"""Gemini's answers as chunks of OpenAI's form; a whole answer is a stream of one frame."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from pipeline import clock
from pipeline.errors import UpstreamError
from workers.providers import verdict
from workers.providers.assembly import Fields
from workers.providers.base import Answer, ProviderCall, Reply
from workers.providers.gemini.answer import (
    Called,
    Candidate,
    Frame,
    UnknownPart,
    Usage,
    decoded,
    logprobs,
    say,
    sign,
    usage_fields,
)
from workers.providers.reader import FrameReader, Piece, piece

#: Finish reasons that are OpenAI's, and those for which an answer is withheld.
_FINISHES: Final[Mapping[str, str]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
            "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
        ),
        "content_filter",
    ),
}  # fmt: skip
#: The request's fault: an earlier call came back without its signature.
_UNSIGNED: Final = "MISSING_THOUGHT_SIGNATURE"


_frame = msgspec.json.Decoder(Frame)
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)


class GeminiReader(FrameReader):
    """Reads the frames of one answer; each has all that is new of its candidates."""

    __slots__ = ("_calls", "_opening", "_usage")

    def __init__(self, call: ProviderCall, head: Answer) -> None:
        super().__init__(call, head)
        #: What all chunks have in common, once the first frame has told it.
        self._opening: Fields = {}
        #: By candidate that has said something, how many calls of functions it has made.
        self._calls: dict[int, int] = {}
        self._usage: Usage | None = None

    def whole(self, body: bytes) -> Reply:
        """Read a whole answer; raises `UpstreamError` when it is none."""
        for _ in (*self._pieces([body]), *self._closing()):
            pass
        if self.failure is None and not self._opening:
            self.failure = self._error_or_garbage(body)
        elif self.failure is None and self._assembly.empty:
            self.failure = verdict.empty(self._call, self._head)
        elif self.failure is None and self._call.fails_withheld and self._assembly.withheld:
            self.failure = verdict.withheld(self._call, self._head)
        if self.failure is not None:
            raise self.failure
        return self.reply()

    def _read(self, payload: bytes, *, cut: bool) -> Iterable[Piece]:
        try:
            frame = _frame.decode(payload)
        except _NOT_JSON:
            if payload.strip() and not cut:
                self._fail(self._error_or_garbage(payload))
            return ()
        feedback = frame.prompt_feedback
        if not frame.is_one:
            self._fail(self._error_or_garbage(payload))
        elif feedback is not None and feedback.block_reason and not frame.candidates:
            self._fail(_blocked(self._call, feedback.block_reason))
        else:
            self._open(frame)
            return self._chunks(frame, payload)
        return ()

    def _closing(self) -> Iterator[Piece]:
        if self._usage is not None:
            chunk = piece({**self._opening, "choices": [], "usage": usage_fields(self._usage)})
            self._assembly.add(chunk[0])
            yield chunk

    def _open(self, frame: Frame) -> None:
        self._usage = frame.usage_metadata or self._usage
        if not self._opening:
            call = self._call
            self._opening = {
                "id": frame.response_id or f"{call.request_id}-{call.attempt}",
                "object": "chat.completion.chunk",
                "created": int(clock.now()),
                "model": frame.model_version or call.model,
            }

    def _chunks(self, frame: Frame, payload: bytes) -> Iterator[Piece]:
        try:
            for candidate in frame.candidates or ():
                yield from self._choices(candidate)
        except UnknownPart as raised:
            told = f"The provider's answer holds {raised}, which OpenAI's form has no place for"
            self._fail(verdict.failed(self._call, "network", f"{told}."))
        except msgspec.ValidationError:
            self._fail(self._error_or_garbage(payload))

    def _choices(self, candidate: Candidate) -> Iterator[Piece]:
        begun = candidate.index in self._calls
        delta = self._delta(candidate, self._calls.get(candidate.index, 0))
        role: Fields = {} if begun else {"role": "assistant"}
        reason = candidate.finish_reason
        if reason and reason not in _FINISHES and not (begun or delta):
            self._fail(self._faulty(candidate))
            return
        if delta:
            self._calls.setdefault(candidate.index, 0)
            yield self._choice(candidate, {**role, **delta}, None)
            role = {}
        if reason:
            finish = _FINISHES.get(reason, "stop")
            if finish == "stop" and self._calls.get(candidate.index):
                finish = "tool_calls"
            yield self._choice(candidate, role, finish)

    def _choice(self, candidate: Candidate, delta: Fields, finish: str | None) -> Piece:
        choice: Fields = {"index": candidate.index, "delta": delta, "finish_reason": finish}
        if candidate.logprobs_result is not None and delta:
            choice["logprobs"] = logprobs(candidate.logprobs_result)
        if finish and candidate.finish_reason not in ("STOP", "MAX_TOKENS"):
            choice["native_finish_reason"] = candidate.finish_reason
        return piece({**self._opening, "choices": [choice]})

    def _delta(self, candidate: Candidate, calls: int) -> Fields:
        """Give what the candidate's parts say; raises `UnknownPart`."""
        delta: Fields = {}
        made: list[Fields] = []
        for raw in candidate.content.parts:
            part = decoded(raw)
            if part.function_call is not None:
                made.append(self._tool_call(part.function_call, candidate.index, calls + len(made)))
                sign(made[-1], part.thought_signature)
                continue
            say(delta, part, raw)
            sign(delta, part.thought_signature)
        if made:
            delta["tool_calls"] = made
            self._calls[candidate.index] = calls + len(made)
        return delta

    def _tool_call(self, called: Called, candidate: int, at: int) -> Fields:
        """Give a call; where Gemini tells no id, one is made that no other answer has."""
        return {
            "index": at,
            "id": called.id or f"call_{self._opening['id']}_{candidate}_{at}",
            "type": "function",
            "function": {"name": called.name, "arguments": called.arguments()},
        }

    def _faulty(self, candidate: Candidate) -> UpstreamError:
        """Judge an end without a word: mostly the model's slip, which one more try may mend."""
        said = candidate.finish_message or "nothing more"
        told = f"The provider ended with {candidate.finish_reason}: {said}"
        if candidate.finish_reason == _UNSIGNED:
            return verdict.failed(self._call, "bad_request", told)
        failure = verdict.failed(self._call, "overloaded", told).failure()
        return UpstreamError(msgspec.structs.replace(failure, code="empty_completion"))

    def _error_or_garbage(self, payload: bytes) -> UpstreamError:
        told = "The provider's answer holds what is no object of the API"
        return verdict.error_within(self._call, self._head, payload) or verdict.garbage(
            self._call, self._head, told, payload
        )


def _blocked(call: ProviderCall, reason: str) -> UpstreamError:
    """Make the error of a prompt that is refused for its content."""
    told = f"The provider blocked the prompt for its content: {reason}. Change the messages."
    failure = verdict.failed(call, "bad_request", told, block_reason=reason).failure()
    return UpstreamError(msgspec.structs.replace(failure, code="content_filter", param="messages"))
