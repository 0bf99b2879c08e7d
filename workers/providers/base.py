"""What a provider call is, what comes back, and what a provider has to translate.

Providers are translations and nothing else: `Upstream` (upstream.py) does the calling, the
transport the sockets, `verdict` the errors. The hop above sees OpenAI's form alone.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import httpx
import msgspec

from pipeline.errors import UpstreamError
from pipeline.event import Operation, Usage
from pipeline.limits.seen import Seen
from pipeline.settings.load import Differences

#: Kinds of provider that speak OpenAI's form.
OPENAI_KINDS: Final = ("openai", "compatible", "ollama", "vllm", "openrouter", "simulated")


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long a call may take; each ends it with a failure of its own."""

    #: To the connection: name, TCP and TLS.
    connect_s: float = 5
    #: From the call's start to the first byte of the answer's body, connecting included.
    first_byte_s: float = 120
    #: Between two bytes of the body, comments that keep a stream alive included.
    idle_s: float = 60
    #: From the call's start to the answer's last byte.
    total_s: float = 300


class ProviderCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of one deployment with one key."""

    request_id: str
    attempt: int = 1
    operation: Operation = "chat"
    base_url: str
    kind: str
    #: The upstream's name of the model.
    model: str
    #: Secret; empty: the provider wants none.
    key: str = ""
    #: The client's JSON body as it came.
    body: msgspec.Raw | bytes
    stream: bool = False
    timeout: Timeouts = Timeouts()
    #: Headers beyond the usual; they win over ours.
    headers: tuple[tuple[str, str], ...] = ()
    #: Azure's version of its API; empty: the v1 form.
    api_version: str = ""
    #: In what a provider of kind `compatible` differs.
    differs: Differences = Differences()
    #: An answer that the provider's filter withheld is a failure: others may be asked.
    fails_withheld: bool = False
    #: Proxy to go through, secret as it may hold a password; empty: none.
    proxy: str = ""

    def __repr__(self) -> str:
        """Tell the call apart, without its key, its body and its headers."""
        return (
            f"ProviderCall(request_id={self.request_id!r}, attempt={self.attempt}, "
            f"operation={self.operation!r}, kind={self.kind!r}, base_url={self.base_url!r}, "
            f"model={self.model!r}, stream={self.stream})"
        )


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream's answer read to its end, or the head of one that is a stream."""

    status: int
    headers: httpx.Headers
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer in OpenAI's form."""

    #: JSON of the whole object: as it came, or assembled from the deltas.
    response: bytes
    usage: Usage | None = None
    #: Of the first choice; empty where the operation has none.
    finish_reason: str = ""
    #: The model that the upstream says it used.
    model: str = ""
    #: Id of the object that the upstream gave.
    upstream_id: str = ""
    status: int = 200
    headers: Mapping[str, str] = {}
    #: It ended well with nothing in it and no token counted, as cold deployments do: worth one
    #: more try, but the provider may mean it.
    empty: bool = False
    #: What the answer's headers say of the provider's limits.
    seen: tuple[Seen, ...] = ()


class Deltas(msgspec.Struct, frozen=True, kw_only=True):
    """All chunks that arrived in one read, in order.

    The first deltas of a stream say something: chunks that came before them come with them.
    """

    #: JSON of one chunk each, untouched.
    chunks: list[bytes]
    #: Index of the chunk that holds usage and no choices, which only a client that asked for
    #: it (`stream_options.include_usage`) is to see; -1: none of these.
    usage_at: int = -1


class Reader(Protocol):
    """Reads one stream, fed with bytes as they come."""

    #: Why the stream cannot go on. It may be set by a `feed` that gave chunks too.
    failure: UpstreamError | None
    #: Whether all that makes the stream complete has been read.
    finished: bool

    def feed(self, data: bytes) -> Deltas | None:
        """Take the next bytes; give the chunks that they complete."""
        ...

    def end(self) -> Deltas | None:
        """Take the end of the bytes; sets `failure` when the stream was not complete."""
        ...

    def reply(self) -> Reply:
        """Give the whole reply as assembled from the chunks read so far."""
        ...


class Translation(Protocol):
    """The two ways between OpenAI's form and one provider's."""

    def request(self, call: ProviderCall) -> httpx.Request:
        """Build the provider's request; raises `UpstreamError` when the body cannot be."""
        ...

    def reply(self, call: ProviderCall, answer: Answer) -> Reply:
        """Read a whole answer of status 200; raises `UpstreamError` when it is none."""
        ...

    def reader(self, call: ProviderCall, head: Answer) -> Reader:
        """Begin to read a stream whose head (status 200, no body) has come."""
        ...
