"""OpenAI's chat requests read, and its answers written as bytes, whole or as frames of a stream.

A token is estimated at 4 characters, and the answer is cut to that: an answer of n tokens is n
deltas. A function that must be called is called, and JSON is written where it is asked for, both
by their schema and as long as it takes. When each delta is due is `pace`'s business.
"""

from collections.abc import Mapping
from copy import copy
from typing import Annotated

import msgspec

from workers.providers.simulated.beginning import (
    CHARACTERS_PER_TOKEN,
    START,
    own,
    raised,
    rest,
    width_of,
)
from workers.providers.simulated.errors import RefusalError, error_body
from workers.providers.simulated.example import written
from workers.providers.simulated.faults import Behaviour
from workers.providers.simulated.form import Torn

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
Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]


class Function(msgspec.Struct, frozen=True):
    name: str = ""
    parameters: Mapping[str, object] | None = None


class Tool(msgspec.Struct, frozen=True):
    """A tool, or the choice of one."""

    function: Function = Function()


class JsonSchema(msgspec.Struct, frozen=True):
    schema: Mapping[str, object] | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    type: str
    json_schema: JsonSchema = JsonSchema()


class ChatRequest(msgspec.Struct, frozen=True):
    """What the simulation needs of a chat request; other fields are ignored."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    n: Choices | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Tool | None = None
    response_format: ResponseFormat | None = None
    simulate: msgspec.Raw = msgspec.Raw()

    @property
    def streams(self) -> bool:
        return bool(self.stream)

    @property
    def choices(self) -> int:
        return self.n or 1

    def cost(self, behaviour: Behaviour) -> int:
        return self.prompt_tokens() + self.choices * self.length(behaviour)[0]

    def written(self, behaviour: Behaviour, call_id: bytes, created: int) -> "Reply | Several":
        first = Reply(self, behaviour, call_id, created)
        if self.choices == 1:
            return first
        return Several([first, *(first.again(index) for index in range(1, self.choices))])

    def called(self) -> Function | None:
        """Find the function that must be called; raises RefusalError."""
        choice = self.tool_choice
        if choice is None or choice in ("auto", "none"):
            return None
        name = choice.function.name if isinstance(choice, Tool) else ""
        for tool in self.tools or ():
            if tool.function.name == name or not name:
                return tool.function
        raise RefusalError(400, f"There is no such tool to choose: {name}.", param="tool_choice")

    def fixed(self) -> str:
        """Write what has to be said: a call's arguments, or JSON; empty: anything will do."""
        asked, called = self.response_format, self.called()
        if called is not None:
            return written(called.parameters)
        if asked is None or asked.type == "text":
            return ""
        return written(asked.json_schema.schema)

    def prompt_tokens(self) -> int:
        """Estimate the tokens of all messages, rounded up."""
        return estimate_tokens(sum(len(message.text()) for message in self.messages))

    def echo(self) -> str:
        """Return the beginning of the last user message on one line."""
        for message in reversed(self.messages):
            if message.role == "user":
                return " ".join(message.text()[: 4 * ECHO_CHARACTERS].split())[:ECHO_CHARACTERS]
        return ""

    def beginning(self) -> str:
        """Return what the answer is to go on from; empty: from nothing."""
        last = self.messages[-1]
        return own(last.text(), self.fixed()) if last.role == "assistant" else ""

    def length(self, behaviour: Behaviour) -> tuple[int, str]:
        """Tell how many tokens the answer has, and why it ends there."""
        most = raised(self.max_completion_tokens or self.max_tokens, self.beginning(), behaviour)
        tokens, cut = length_of(behaviour, most, self.fixed())
        if behaviour.withheld:
            return tokens, "content_filter"
        return tokens, "length" if cut else "tool_calls" if tokens and self.called() else "stop"


def length_of(behaviour: Behaviour, most: int | None, fixed: str = "") -> tuple[int, bool]:
    """Tell how many tokens an answer has, and whether the most that may be cut it short."""
    wanted = behaviour.tokens
    if fixed:
        wanted = -(-len(fixed) // width_of(behaviour))
    if behaviour.says_nothing:
        wanted = 0
    return (most, True) if most is not None and most < wanted else (wanted, False)


def estimate_tokens(characters: int) -> int:
    """Estimate a prompt's tokens, rounded up, at least one."""
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))


def answer_text(echo: str, characters: int) -> str:
    """Write an answer of exactly so many characters; what is cut ends in dots after a word."""
    text = f'{START} You wrote: "{echo}". '
    missing = characters - len(text)
    if missing > 0:
        text += _FILLER * (missing // len(_FILLER) + 1)
    if len(text) == characters:
        return text
    return text[: characters + 1].rpartition(" ")[0].ljust(characters, ".")


class Reply:
    """The bytes of one answer, whole (`body`) or as frames (`head`, `frames`, `tail`)."""

    __slots__ = (
        *("_after", "_before", "_call_id", "_called", "_finish", "_index", "_opening"),
        *("_prompt_tokens", "_rest", "_start", "_text", "_usage_null", "_width", "tokens"),
    )

    def __init__(self, request: ChatRequest, behaviour: Behaviour, call_id: bytes, created: int):
        self.tokens, self._finish = request.length(behaviour)
        self._prompt_tokens = request.prompt_tokens()
        self._width = width_of(behaviour)
        self._call_id = call_id
        self._called = request.called() if self.tokens else None
        self._text = request.fixed() or _told(request, behaviour, self.tokens * self._width)
        self._text = self._text[: self.tokens * self._width]
        if beginning := request.beginning():
            self._text, self.tokens = rest(self._text, beginning, behaviour)
        model = _encoder.encode(request.model)
        self._opening = b'{"id":"chatcmpl-%b","object":"chat.completion%b","created":%d,"model":%b'
        self._opening %= (call_id, b".chunk" if request.stream else b"", created, model)
        options = request.stream_options
        self._usage_null = b',"usage":null' if options and options.include_usage else b""
        self._rest = b',"finish_reason":null}]' + self._usage_null + b"}\n\n"
        self._place(0)

    def again(self, index: int) -> "Reply":
        """Give the same once more, as another choice."""
        other = copy(self)
        other._place(index)  # noqa: SLF001 - it is one of us
        return other

    def _place(self, index: int) -> None:
        self._index = index
        self._start = b'data: %b,"choices":[{"index":%d,"delta":' % (self._opening, index)
        self._before = self._start + b'{"content":'
        self._after = b"}" + self._rest
        if self._called is not None:
            self._before = self._start + b'{"tool_calls":[{"index":0,"function":{"arguments":'
            self._after = b"}}]}" + self._rest

    def usage(self, choices: int = 1) -> bytes:
        """Return the counts, of so many choices."""
        tokens = choices * self.tokens
        sums = (self._prompt_tokens, tokens, self._prompt_tokens + tokens)
        return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % sums

    def body(self, choices: bytes = b"", count: int = 1) -> bytes:
        """Return the whole answer as a chat.completion, of this choice or of those given."""
        told = (self._opening, choices or self.choice(), self.usage(count))
        return b'%b,"choices":[%b],"usage":%b}' % told

    def choice(self) -> bytes:
        """Return the choice of a whole answer."""
        content, calls = _encoder.encode(self._text), b""
        if self._called is not None:
            content, calls = b"null", b',"tool_calls":[%b]' % self._call(self._text)
        message = b'{"role":"assistant","content":%b,"refusal":null%b}' % (content, calls)
        return b'{"index":%d,"message":%b,"logprobs":null,"finish_reason":"%b"}' % (
            *(self._index, message, self._finish.encode()),
        )

    def head(self) -> bytes:
        """Return the frame before the first token."""
        if self._called is not None:
            call = b'{"index":0,' + self._call("").removeprefix(b"{")
            delta = b'{"role":"assistant","content":null,"tool_calls":[%b]}' % call
            return self._start + delta + self._rest
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
        return self.finish() + self.end()

    def finish(self) -> bytes:
        """Return the frame that ends the choice."""
        finish = b'{},"finish_reason":"%b"}]' % self._finish.encode()
        return self._start + finish + self._usage_null + b"}\n\n"

    def end(self, choices: int = 1) -> bytes:
        """Return what ends the stream of so many choices."""
        if not self._usage_null:
            return DONE
        return (
            b'data: %b,"choices":[],"usage":%b}\n\n' % (self._opening, self.usage(choices)) + DONE
        )

    def _call(self, arguments: str) -> bytes:
        assert self._called is not None
        function = {"name": self._called.name, "arguments": arguments}
        call_id = f"call_{self._call_id.decode()[:24]}{self._index}"
        return _encoder.encode({"id": call_id, "type": "function", "function": function})


def _told(request: ChatRequest, behaviour: Behaviour, characters: int) -> str:
    echo = request.echo()
    if behaviour.delta_bytes:
        echo = echo.encode("ascii", "replace").decode()
    return answer_text(echo, characters)


class Several:
    """Several choices, which say the same and take turns token by token."""

    def __init__(self, replies: list[Reply]) -> None:
        self._replies = replies

    @property
    def tokens(self) -> int:
        return self._replies[0].tokens

    def body(self) -> bytes:
        choices = b",".join(reply.choice() for reply in self._replies)
        return self._replies[0].body(choices, len(self._replies))

    def head(self) -> bytes:
        return b"".join(reply.head() for reply in self._replies)

    def frames(self, first: int, last: int) -> bytes:
        turns = range(first, last)
        return b"".join(reply.frames(at, at + 1) for at in turns for reply in self._replies)

    def tail(self) -> bytes:
        finishes = b"".join(reply.finish() for reply in self._replies)
        return finishes + self._replies[0].end(len(self._replies))
