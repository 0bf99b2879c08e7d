"""What a provider says of its limits: the words shared by who reads it and who corrects by it."""

from typing import Literal

import msgspec

#: Requests or tokens, per minute or per day.
Dimension = Literal["rpm", "tpm", "rpd", "tpd"]
#: Which limit a call ran into; "": none, or the provider does not say.
Limited = Literal["", "requests", "tokens", "concurrency", "day"]


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """What a provider said of one of its limits; goes as msgpack into the script that learns."""

    dimension: Dimension
    #: 0: unknown.
    limit: int
    #: -1: unknown.
    remaining: int
    #: As the provider means it: with OpenAI and Anthropic until all of it is there again;
    #: -1: unknown.
    reset_ms: int
