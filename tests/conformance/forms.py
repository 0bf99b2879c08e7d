"""What the suite has to know of a provider's wire form.

To add a kind: write `forms_KIND.py` with a `Form` of recordings made from the provider's public
documentation, and put it into `FORMS` (listed.py). The suite asks no more than these fields;
keep `whole` and `stream` short, since they are cut at every byte.
"""

from collections.abc import Callable, Mapping

import msgspec

from pipeline.errors import Cause
from pipeline.event import Operation

#: A JSON object.
Json = Mapping[str, object]


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One call that goes well, as recorded at both ends."""

    name: str
    #: The client's body in OpenAI's form; it asks for the model `fast`, the provider has `m-1`.
    asked: Json
    #: Path and query as they arrive at the provider.
    path: str
    #: The body as it arrives there, whole.
    sent: Json
    #: The provider's body: JSON, or the frames of a stream.
    answer: bytes
    #: What the client is told, whole, in OpenAI's form (of a stream: assembled); `created` may
    #: be left out.
    told: Json
    stream: bool = False
    operation: Operation = "chat"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the provider's form cannot express: a 400 of ours, which is never sent."""

    name: str
    asked: Json
    #: Path of the field at fault.
    param: str
    operation: Operation = "chat"


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """An error of the provider's own, beside those that every status tells."""

    name: str
    status: int
    body: bytes
    cause: Cause
    #: What the client is told; empty: anything.
    code: str = ""
    headers: Mapping[str, str] = {}
    #: Seconds to stay away as the error says; 0: it says nothing.
    retry_after_s: float = 0.0


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of provider, or one way of speaking to it."""

    name: str
    kind: str
    #: Path of the base URL, as it is configured.
    base: str
    #: What else its calls are made with: fields of `ProviderCall`.
    call: Json = {}
    #: The headers by which the key (`served.KEY`) arrives, and others that the form demands.
    headers: Mapping[str, str]
    whole: Exchange
    stream: Exchange
    #: Tools, images, structured output, embeddings …
    more: tuple[Exchange, ...] = ()
    refused: tuple[Refused, ...] = ()
    #: Writes the body of an error with a status.
    error: Callable[[int], bytes]
    errors: tuple[Error, ...] = ()
    #: A body of status 200 that is an error of overload; empty: the provider sends none.
    error_within: bytes = b""
    #: A frame that ends a stream with an error of overload, and the cause that it is given.
    error_frame: bytes
    error_frame_cause: Cause = "overloaded"
    #: A body of status 200 with no completion in it.
    empty: bytes

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All calls that go well."""
        return (self.whole, self.stream, *self.more)
