"""Reads requests of Anthropic's Messages API as strictly as the API itself.

https://platform.claude.com/docs/en/api/messages/create
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from workers.providers.anthropic.models import takes_beginning
from workers.providers.simulated.anthropic_reply import MessageReply, message_text
from workers.providers.simulated.beginning import own, raised, rest, width_of
from workers.providers.simulated.chat import (
    ECHO_CHARACTERS,
    estimate_tokens,
    length_of,
)
from workers.providers.simulated.errors import RefusalError
from workers.providers.simulated.example import written
from workers.providers.simulated.faults import Behaviour
from workers.providers.simulated.form import Incoming, decoded

#: From this version on no model takes them.
UNSAMPLED = b"2026-10-21"

Filled = Annotated[str, Meta(min_length=1)]
Id = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]+$")]
ToolName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]
Share = Annotated[float, Meta(ge=0, le=1)]


class _Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class CacheControl(_Given, frozen=True, kw_only=True):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class _Block(_Given, frozen=True, kw_only=True):
    cache_control: CacheControl | None = None


class Text(_Block, frozen=True, kw_only=True, tag="text"):
    text: Filled


class Base64(_Given, frozen=True, kw_only=True, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf"]
    data: Filled


class Url(_Given, frozen=True, kw_only=True, tag="url"):
    url: Annotated[str, Meta(pattern="^https?://")]


class Image(_Block, frozen=True, kw_only=True, tag="image"):
    source: Base64 | Url


class Document(_Block, frozen=True, kw_only=True, tag="document"):
    source: Base64 | Url
    title: str | None = None


class Thinking(_Given, frozen=True, kw_only=True, tag="thinking"):
    thinking: str
    signature: Filled


class Redacted(_Given, frozen=True, kw_only=True, tag="redacted_thinking"):
    data: Filled


class ToolUse(_Block, frozen=True, kw_only=True, tag="tool_use"):
    id: Id
    name: ToolName
    input: dict[str, object]


class ToolResult(_Block, frozen=True, kw_only=True, tag="tool_result"):
    tool_use_id: Id
    content: str | list[Text | Image | Document] = ""
    is_error: bool = False


class UserMessage(_Given, frozen=True, kw_only=True, tag_field="role", tag="user"):
    content: Filled | Annotated[list[Text | Image | Document | ToolResult], Meta(min_length=1)]


class AssistantMessage(_Given, frozen=True, kw_only=True, tag_field="role", tag="assistant"):
    content: Filled | Annotated[list[Text | Thinking | Redacted | ToolUse], Meta(min_length=1)]


class Tool(_Given, frozen=True, kw_only=True):
    name: ToolName
    input_schema: dict[str, object]
    description: str | None = None
    strict: bool | None = None
    type: Literal["custom"] | None = None
    cache_control: CacheControl | None = None


class ToolChoice(_Given, frozen=True, kw_only=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class ThinkingConfig(_Given, frozen=True, kw_only=True):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Meta(ge=1024)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class Format(_Given, frozen=True, kw_only=True):
    type: Literal["json_schema"]
    schema: dict[str, object]


class OutputConfig(_Given, frozen=True, kw_only=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


class Metadata(_Given, frozen=True, kw_only=True):
    user_id: str | None = None


class MessagesRequest(_Given, frozen=True, kw_only=True):
    """A request of a message; `simulate` is the simulation's own."""

    model: Filled
    max_tokens: Annotated[int, Meta(ge=0)]
    messages: Annotated[list[UserMessage | AssistantMessage], Meta(min_length=1)]
    system: str | list[Text] = ""
    stream: bool = False
    stop_sequences: list[Filled] = []
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] = "auto"
    cache_control: CacheControl | None = None
    simulate: msgspec.Raw = msgspec.Raw()

    @property
    def streams(self) -> bool:
        return self.stream

    def cost(self, behaviour: Behaviour) -> int:
        return self.prompt_tokens() + length_of(behaviour, self.max_tokens, self.fixed())[0]

    def written(self, behaviour: Behaviour, call_id: bytes, created: int) -> MessageReply:  # noqa: ARG002 - Anthropic tells no time
        fixed = self.fixed()
        beginning = own(self.beginning(), fixed)
        tokens, cut = length_of(behaviour, raised(self.max_tokens, beginning, behaviour), fixed)
        width = width_of(behaviour)
        tool = "" if behaviour.says_nothing else self.forced_tool()
        plain = bool(tool or behaviour.delta_bytes)
        text = fixed[: tokens * width] or message_text(self.echo(), tokens * width, plain=plain)
        if beginning:
            text, tokens = rest(text, beginning, behaviour)
        thinks = self.thinking is not None and self.thinking.type in ("enabled", "adaptive")
        return MessageReply(
            model=self.model,
            call_id=call_id,
            prompt_tokens=self.prompt_tokens(),
            tokens=tokens,
            cut=cut,
            width=width,
            text=text,
            fixed=bool(fixed),
            thinks=thinks and not behaviour.says_nothing,
            withheld=behaviour.withheld,
            tool=tool,
        )

    def beginning(self) -> str:
        """Return what the answer is to go on from; empty: from nothing."""
        last = self.messages[-1]
        return _text(last.content) if isinstance(last, AssistantMessage) else ""

    def forced_tool(self) -> str:
        """Name the tool that must be called; empty: none must."""
        choice = self.tool_choice
        if choice is None or choice.type not in ("any", "tool"):
            return ""
        return choice.name or self.tools[0].name

    def fixed(self) -> str:
        """Write what has to be said: a call's arguments by its schema, or JSON; empty: nothing."""
        name = self.forced_tool()
        if name:
            schema = next((tool.input_schema for tool in self.tools if tool.name == name), {})
            return written(schema) if schema.get("required") else ""
        asked = self.output_config.format if self.output_config else None
        return written(asked.schema) if asked else ""

    def prompt_tokens(self) -> int:
        """Estimate the tokens of all messages, rounded up."""
        system = self.system if isinstance(self.system, str) else _text(self.system)
        said = [_text(message.content) for message in self.messages]
        return estimate_tokens(len(system) + sum(map(len, said)))

    def echo(self) -> str:
        """Return the beginning of the last user message on one line."""
        asked = [one for one in self.messages if isinstance(one, UserMessage)]
        text = _text(asked[-1].content) if asked else ""
        return " ".join(text[: 4 * ECHO_CHARACTERS].split())[:ECHO_CHARACTERS]


_Content = (
    str
    | list[Text | Image | Document | ToolResult]
    | list[Text | Thinking | Redacted | ToolUse]
    | list[Text]
)
_decoder = msgspec.json.Decoder(MessagesRequest)


def read_messages(incoming: Incoming) -> MessagesRequest:
    """Read a request of a message; raises RefusalError."""
    version = incoming.headers.get(b"anthropic-version", b"")
    if not version:
        raise RefusalError(400, "anthropic-version: header is required")
    if not (b"x-api-key" in incoming.headers or b"authorization" in incoming.headers):
        raise RefusalError(401, "x-api-key header is required")
    request = decoded(_decoder, incoming.body)
    sampled = (request.temperature, request.top_p, request.top_k) != (None, None, None)
    if sampled and version >= UNSAMPLED:
        raise RefusalError(400, "temperature, top_p and top_k are not supported.")
    if request.tool_choice and not request.tools:
        raise RefusalError(400, "tool_choice may only be specified while providing tools.")
    budget = request.thinking.budget_tokens if request.thinking else None
    if budget is not None and budget >= request.max_tokens:
        raise RefusalError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    _check_results(request)
    _check_beginning(request)
    return request


def _check_beginning(request: MessagesRequest) -> None:
    """Check that an answer's beginning is one that the model goes on from."""
    beginning = request.beginning()
    if beginning and not takes_beginning(request.model):
        told = "This model does not support assistant message prefill."
        raise RefusalError(400, f"{told} The conversation must end with a user message.")
    if beginning != beginning.rstrip():
        told = "messages: final assistant content cannot end with trailing whitespace"
        raise RefusalError(400, told)


def _check_results(request: MessagesRequest) -> None:
    """Check that each call of a tool is answered at once, and nothing else is."""
    called: list[str] = []
    for at, message in enumerate(request.messages):
        blocks = message.content if not isinstance(message.content, str) else []
        answered = [block.tool_use_id for block in blocks if isinstance(block, ToolResult)]
        first = [isinstance(block, ToolResult) for block in blocks][: len(answered)]
        if sorted(answered) != sorted(called) or not all(first):
            told = "tool_use ids must be answered by tool_result blocks immediately after"
            raise RefusalError(400, f"messages.{at}: {told}: {called} and {answered}")
        called = [block.id for block in blocks if isinstance(block, ToolUse)]
        if called and not request.tools:
            raise RefusalError(400, "Requests which include tool_use blocks must define tools.")


def _text(content: _Content) -> str:
    if isinstance(content, str):
        return content
    said = []
    for block in content:
        if isinstance(block, Text):
            said.append(block.text)
        elif isinstance(block, ToolResult):
            said.append(block.content if isinstance(block.content, str) else _text_of(block))
    return " ".join(said)


def _text_of(result: ToolResult) -> str:
    return " ".join(block.text for block in result.content if isinstance(block, Text))
