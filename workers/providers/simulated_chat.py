"""OpenAI's chat requests read, and its answers written as bytes, whole or as frames of a stream.

A token is estimated at 4 characters, and the answer is cut to that: an answer of n tokens is n
deltas. When each is due is the business of `simulated_pace`.
"""

from typing import Annotated

import msgspec

from workers.providers.faults import Behaviour
from workers.providers.simulated_errors import error_body
from workers.providers.simulated_form import Torn

CHARACTERS_PER_TOKEN = 4
#: How much of the last user message an answer repeats, in characters.
ECHO_CHARACTERS = 60
_FILLER = "All that follows only fills the answer up to the number of tokens it was asked for. "

DONE = b"data: [DONE]\n\n"
TORN = Torn(
    garbage_body=b'{"id":"chatcmpl-garbage","object":"chat.completion","choi',
    garbage_frame=b'data: {"id":"chatcmpl-garbage","choices":[{"index":0,"delta":{"con\n\n',
    error_frame=b"data: "
    + error_body("The simulated stream broke, as asked.", "server_error", None, "server_error")
    + b"\n\n",
)

_encoder = msgspec.json.Encoder()


class Part(msgspec.Struct, frozen=True):
    text: str = ""


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return " ".join(part.text for part in self.content or ())


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class ChatRequest(msgspec.Struct, frozen=True):
    """What the simulation needs of a chat request; other fields are ignored."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    simulate: msgspec.Raw = msgspec.Raw()

    @property
    def streams(self) -> bool:
        return bool(self.stream)

    def cost(self, behaviour: Behaviour) -> int:
        return self.prompt_tokens() + self.length(behaviour)[0]

    def written(self, behaviour: Behaviour, call_id: bytes, created: int) -> "Reply":
        return Reply(self, behaviour, call_id, created)

    def prompt_tokens(self) -> int:
        """Estimate the tokens of all messages, rounded up."""
        return estimate_tokens(sum(len(message.text()) for message in self.messages))

    def echo(self) -> str:
        """Return the beginning of the last user message on one line."""
        for message in reversed(self.messages):
            if message.role == "user":
                return " ".join(message.text()[: 4 * ECHO_CHARACTERS].split())[:ECHO_CHARACTERS]
        return ""

    def length(self, behaviour: Behaviour) -> tuple[int, str]:
        """Tell how many tokens the answer has, and why it ends there."""
        tokens, cut = length_of(behaviour, self.max_completion_tokens or self.max_tokens)
        return tokens, "length" if cut else "stop"


def length_of(behaviour: Behaviour, most: int | None) -> tuple[int, bool]:
    """Tell how many tokens an answer has, and whether the most that may be cut it short."""
    wanted = 0 if behaviour.empty else behaviour.tokens
    return (most, True) if most is not None and most < wanted else (wanted, False)


def estimate_tokens(characters: int) -> int:
    """Estimate a prompt's tokens, rounded up, at least one."""
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))


def answer_text(echo: str, characters: int) -> str:
    """Write an answer of exactly so many characters; what is cut ends in dots after a word."""
    text = f'Simulated answer, no model was asked. You wrote: "{echo}". '
    missing = characters - len(text)
    if missing > 0:
        text += _FILLER * (missing // len(_FILLER) + 1)
    if len(text) == characters:
        return text
    return text[: characters + 1].rpartition(" ")[0].ljust(characters, ".")


class Reply:
    """The bytes of one answer, whole (`body`) or as frames (`head`, `frames`, `tail`)."""

    __slots__ = (
        *("_after", "_before", "_finish", "_opening", "_prompt_tokens", "_rest"),
        *("_start", "_text", "_usage_null", "_width", "tokens"),
    )

    def __init__(self, request: ChatRequest, behaviour: Behaviour, call_id: bytes, created: int):
        self.tokens, self._finish = request.length(behaviour)
        self._prompt_tokens = request.prompt_tokens()
        self._width = behaviour.delta_bytes or CHARACTERS_PER_TOKEN
        echo = request.echo()
        if behaviour.delta_bytes:
            echo = echo.encode("ascii", "replace").decode()
        self._text = answer_text(echo, self.tokens * self._width)
        model = _encoder.encode(request.model)
        self._opening = b'{"id":"chatcmpl-%b","object":"chat.completion%b","created":%d,"model":%b'
        self._opening %= (call_id, b".chunk" if request.stream else b"", created, model)
        options = request.stream_options
        self._usage_null = b',"usage":null' if options and options.include_usage else b""
        self._start = b"data: " + self._opening + b',"choices":[{"index":0,"delta":'
        self._rest = b',"finish_reason":null}]' + self._usage_null + b"}\n\n"
        self._before = self._start + b'{"content":'
        self._after = b"}" + self._rest

    def _usage(self) -> bytes:
        sums = (self._prompt_tokens, self.tokens, self._prompt_tokens + self.tokens)
        return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % sums

    def body(self) -> bytes:
        """Return the whole answer as a chat.completion."""
        return (
            b'%b,"choices":[{"index":0,"message":{"role":"assistant","content":%b,"refusal":null}'
            b',"logprobs":null,"finish_reason":"%b"}],"usage":%b}'
        ) % (self._opening, _encoder.encode(self._text), self._finish.encode(), self._usage())

    def head(self) -> bytes:
        """Return the frame before the first token."""
        return self._start + b'{"role":"assistant","content":"","refusal":null}' + self._rest

    def frames(self, first: int, last: int) -> bytes:
        """Return the frames of the tokens from `first` up to, not including, `last`."""
        before, after, width = self._before, self._after, self._width
        if last - first == 1:
            return before + _encoder.encode(self._text[first * width : last * width]) + after
        texts = [self._text[at * width : (at + 1) * width] for at in range(first, last)]
        # One line each: newlines within a text are escaped, so lines are safe to cut at.
        lines = _encoder.encode_lines(texts).split(b"\n")
        lines.pop()
        return before + (after + before).join(lines) + after if lines else b""

    def tail(self) -> bytes:
        """Return what ends the stream in order: finish reason, usage if asked for, [DONE]."""
        finish = b'{},"finish_reason":"%b"}]' % self._finish.encode()
        end = self._start + finish + self._usage_null + b"}\n\n"
        if self._usage_null:
            end += b'data: %b,"choices":[],"usage":%b}\n\n' % (self._opening, self._usage())
        return end + DONE
