"""What the simulated provider asks of a wire form: where it listens, how it reads and writes.

A form knows its paths, headers and JSON; the options and faults, the limits, the pace and the
counting are the same for all and stay out of it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

import msgspec

from workers.providers.simulated.errors import Headers, RefusalError
from workers.providers.simulated.faults import Behaviour

_FAULT_PATH: Final = re.compile(r"^(.*?)(?: - at `\$\.?([^`]*)`)?$")
_T = TypeVar("_T")


class Incoming(msgspec.Struct, frozen=True):
    """A request as it came."""

    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


class Written(Protocol):
    """The bytes of one chat answer, whole (`body`) or as frames (`head`, `frames`, `tail`)."""

    @property
    def tokens(self) -> int:
        """Tell how many tokens, each a delta, the answer has."""

    def body(self) -> bytes:
        """Return the whole answer."""

    def head(self) -> bytes:
        """Return the frames before the first token."""

    def frames(self, first: int, last: int) -> bytes:
        """Return the frames of the tokens from `first` up to, not including, `last`."""

    def tail(self) -> bytes:
        """Return what ends the stream in order."""


class Asked(Protocol):
    """A request that has been read."""

    @property
    def model(self) -> str:
        """Name the model."""

    @property
    def simulate(self) -> msgspec.Raw:
        """Give the body's options of the simulation; empty: none."""

    def cost(self, behaviour: Behaviour) -> int:
        """Tell the tokens that it draws on its key's limits."""


class AskedChat(Asked, Protocol):
    """A request for a chat answer."""

    @property
    def streams(self) -> bool:
        """Tell whether the answer is to come in frames."""

    def written(self, behaviour: Behaviour, call_id: bytes, created: int) -> Written:
        """Write the answer."""


class AskedWhole(Asked, Protocol):
    """A request whose answer comes whole and has no tokens of its own, such as embeddings."""

    def whole(self, behaviour: Behaviour) -> bytes:
        """Write the answer."""


class Refused(msgspec.Struct, frozen=True):
    """An error as it is answered; its status may be another than OpenAI's."""

    status: int
    body: bytes
    headers: Headers


class Torn(msgspec.Struct, frozen=True):
    """What stands where an answer breaks, as asked: a body, a frame, an error within a stream."""

    garbage_body: bytes
    garbage_frame: bytes
    error_frame: bytes


ReadChat = Callable[[Incoming], AskedChat]
ReadWhole = Callable[[Incoming], AskedWhole]


class Chat(msgspec.Struct, frozen=True):
    """A place where chat is asked for; `read` raises RefusalError."""

    form: "Form"
    read: ReadChat


class Whole(msgspec.Struct, frozen=True):
    """A place where something else is asked for; `read` raises RefusalError."""

    form: "Form"
    read: ReadWhole


Place = Chat | Whole


class Form(Protocol):
    """One wire form. The one dispatch table is `FORMS` in simulated/app.py."""

    @property
    def torn(self) -> Torn:
        """Give what breaks an answer in this form."""

    def places(self) -> Mapping[str, Place]:
        """Name the paths of which every character is known."""

    def find(self, path: str) -> Place | None:
        """Find a path that holds a name, such as the model's; None: it is not ours."""

    def look_up(self, path: str, headers: Mapping[bytes, bytes], models: tuple[str, ...]) -> bytes:
        """Answer a GET, such as the list of models; empty: it is not ours."""

    def key(self, headers: Mapping[bytes, bytes], query: bytes) -> str:
        """Find the API key; empty: none."""

    def refusal(self, refusal: RefusalError, call_id: bytes) -> Refused:
        """Write an error."""

    def headers(self, call_id: bytes, took_ms: int) -> Headers:
        """Give the headers of every answer."""

    def limit_headers(self, name: bytes, limit: int, remaining: int, full_in_s: float) -> Headers:
        """Tell one limit per minute (`requests` or `tokens`)."""


def decoded(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Read a body; raises RefusalError that names the field at fault."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _FAULT_PATH.match(str(error))
        message, path = found.groups() if found else (str(error), None)
        raise RefusalError(400, f"{message}.", param=path) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusalError(400, "The request's body is not valid JSON.") from None
