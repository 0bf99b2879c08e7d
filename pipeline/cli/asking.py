"""What `sluice send` asks, and the parts of an answer that it reads."""

from typing import Literal

import msgspec

from pipeline.errors import StartError

Via = Literal["http", "redis"]


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A request from the shell."""

    prompt: str
    model: str = ""
    system: str = ""
    priority: int = 0
    stream: bool = True
    #: Do not wait for the answer.
    detached: bool = False
    via: Via = "http"
    #: The gateway's address.
    url: str = ""
    #: Bearer token.
    token: str = ""
    as_json: bool = False

    def messages(self) -> list[dict[str, str]]:
        """Give the turns of the chat."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]

    def chat_body(self) -> dict[str, object]:
        """Give the body of a chat completion in OpenAI's form."""
        body: dict[str, object] = {"model": self.model, "messages": self.messages()}
        if self.priority:
            body["priority"] = self.priority
        if self.stream:
            body["stream"] = True
        return body

    def plain_body(self) -> dict[str, object]:
        """Give the body of `POST /chat/async`."""
        body: dict[str, object] = {"model": self.model, "message": self.prompt}
        if self.system:
            body["system"] = self.system
        if self.priority:
            body["priority"] = self.priority
        return body


class _Said(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Said = _Said()
    message: _Said = _Said()
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str = ""


class Chunk(msgspec.Struct):
    """A chunk of a stream, or a whole completion, as far as it is shown."""

    choices: list[_Choice] = []
    error: _Error | None = None

    @property
    def text(self) -> str:
        """The text that it adds to the answer."""
        return "".join(choice.delta.content or "" for choice in self.choices[:1])

    @property
    def is_last(self) -> bool:
        """Whether the answer is whole with it."""
        return any(choice.finish_reason for choice in self.choices)


def text_of(body: bytes) -> str:
    """Give the text of a whole completion."""
    try:
        completion = msgspec.json.decode(body, type=Chunk)
    except msgspec.MsgspecError:
        raise StartError(f"the answer is no completion: {body[:200]!r}") from None
    return "".join(choice.message.content or "" for choice in completion.choices[:1])
