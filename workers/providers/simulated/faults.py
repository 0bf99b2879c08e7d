"""What a simulated call should do: the options, how they are written, and what they decide.

Options come in layers, each an object of its own: the model's name, the request's `simulate`,
the header `X-Simulate`, the server's defaults. Keeping to them is the simulated provider's work.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, get_type_hints

import msgspec
from msgspec import Meta
from msgspec.inspect import BoolType, Field, FloatType, IntType, Metadata, StrType, Type, UnionType

Value = bool | int | float | str | None
Options = Mapping[str, Value]

Milliseconds = Annotated[float, Meta(ge=0, le=86_400_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Index = Annotated[int, Meta(ge=0, le=100_000)]
Limit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Status = Annotated[int, Meta(ge=400, le=599)]
Width = Annotated[int, Meta(ge=1, le=65_536)]
Dimensions = Annotated[int, Meta(ge=1, le=16_384)]
Prefix = Annotated[str, Meta(min_length=1, max_length=200)]

#: The longest answer that will be made, in bytes; a guard against tokens x delta_bytes.
MAX_ANSWER_BYTES = 16 * 1024 * 1024


class BadOptionError(ValueError):
    """An option of the simulation that cannot be; the text names it, its value, what may be."""

    def __init__(self, option: str, value: object, allowed: str) -> None:
        super().__init__(f"simulate option {option!r} cannot be {value!r}: {allowed}")
        self.option = option


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How a simulated call goes. A token is a delta; the first has index 0."""

    ttft_ms: Annotated[Milliseconds, Meta(description="wait before the first token")] = 0.0
    tps: Annotated[
        float, Meta(ge=0, le=1_000_000, description="tokens a second; 0: all at once")
    ] = 0.0
    tokens: Annotated[Index, Meta(description="length of the answer")] = 32
    jitter: Annotated[Share, Meta(description="how far times stray, as a fraction")] = 0.0
    error: Annotated[Status | None, Meta(description="answer this HTTP status")] = None
    error_rate: Annotated[
        Share | None, Meta(description="the share of calls that fail (with 500 if error is unset)")
    ] = None
    error_first: Annotated[
        Index, Meta(description="fail this many calls of a client request id, else of a model")
    ] = 0
    retry_after_ms: Annotated[
        Milliseconds | None, Meta(description="hint sent with the answer of an error")
    ] = None
    stall_ms: Annotated[Milliseconds, Meta(description="how long to hang at stall_at")] = 0.0
    stall_at: Annotated[Index, Meta(description="hang before this token")] = 0
    cut_at: Annotated[
        Index | None, Meta(description="close the socket after so many tokens, without an end")
    ] = None
    hang: Annotated[bool, Meta(description="accept the call and never answer")] = False
    garbage: Annotated[Index | None, Meta(description="an unparsable frame at this token")] = None
    error_at: Annotated[
        Index | None, Meta(description="an error frame at this token ends the stream")
    ] = None
    empty: Annotated[bool, Meta(description="an answer without any content")] = False
    withheld: Annotated[bool, Meta(description="a filter keeps all of the answer back")] = False
    delta_bytes: Annotated[
        Width | None, Meta(description="bytes in each delta; unset: 4 characters")
    ] = None
    rpm: Annotated[Limit | None, Meta(description="requests per minute for each API key")] = None
    tpm: Annotated[Limit | None, Meta(description="tokens per minute for each API key")] = None
    concurrency: Annotated[Limit | None, Meta(description="calls at once for each API key")] = None
    quota: Annotated[bool, Meta(description="answer 429 insufficient_quota")] = False
    bad_key: Annotated[Prefix | None, Meta(description="answer 401 to API keys that begin so")] = (
        None
    )
    dimensions: Annotated[Dimensions, Meta(description="length of an embedding")] = 1536

    @property
    def says_nothing(self) -> bool:
        """Whether the answer has no content."""
        return self.empty or self.withheld


_HINTS = get_type_hints(Behaviour, include_extras=True)
_INFO = msgspec.inspect.type_info(Behaviour)
assert isinstance(_INFO, msgspec.inspect.StructType)
FIELDS: dict[str, Field] = {field.name: field for field in _INFO.fields}
FLAGS = frozenset(name for name, hint in get_type_hints(Behaviour).items() if hint is bool)


def allowed(option: str) -> str:
    """Say in words which values an option takes."""
    return _words(FIELDS[option].type)


def _words(kind: Type) -> str:
    match kind:
        case Metadata():
            words = _words(kind.type)
        case UnionType():
            words = " or ".join(_words(part) for part in kind.types)
        case IntType():
            words = f"a whole number from {kind.ge} to {kind.le}"
        case FloatType():
            words = f"a number from {kind.ge} to {kind.le}"
        case BoolType():
            words = "true or false"
        case StrType():
            words = f"text of {kind.min_length} to {kind.max_length} characters"
        case _:
            words = "null"
    return words


def describe() -> str:
    """List every option, one on a line: name, what it does, which values, its default."""
    lines = []
    for name, field in FIELDS.items():
        kind = field.type
        about = (kind.extra_json_schema or {}) if isinstance(kind, Metadata) else {}
        default = msgspec.json.encode(field.default).decode()
        lines.append(f"  {name:15}{about.get('description')} ({allowed(name)}; {default})")
    return "\n".join(lines)


def read_value(option: str, raw: Value) -> Value:
    """Check one option; text such as "0.5" or "true" is read as what the option is.

    Raises BadOptionError.
    """
    if option not in FIELDS:
        raise BadOptionError(option, raw, f"the options are {', '.join(FIELDS)}")
    try:
        value: Value = msgspec.convert(raw, _HINTS[option], strict=False)
    except msgspec.ValidationError:
        raise BadOptionError(option, raw, f"it must be {allowed(option)}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise BadOptionError(option, raw, f"it must be {allowed(option)}")
    return value


def read_pairs(text: str) -> Options:
    """Read options written `ttft_ms=200,tps=50,hang`; a bare name switches a flag on."""
    options: dict[str, Value] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, equals, raw = item.partition("=")
        if not equals and name not in FLAGS:
            raise BadOptionError(name, None, "write it as name=value")
        if name in options:
            raise BadOptionError(name, raw, "it is given twice")
        options[name] = read_value(name, raw if equals else True)
    return options


def read_model(model: str) -> Options:
    """Read the options in a model's name, such as `sim:ttft_ms=200,error=429`.

    A colon alone does not make options: `qwen3:8b` is an ordinary name.
    """
    rest = model.partition(":")[2]
    if not any("=" in item or item in FLAGS for item in rest.split(",")):
        return {}
    return read_pairs(rest)


def read_object(raw: bytes | memoryview) -> Options:
    """Read the JSON object `simulate` of a request's body."""
    try:
        items = msgspec.json.decode(raw, type=dict[str, Value])
    except msgspec.ValidationError:
        shown = bytes(raw[:80]).decode(errors="replace")
        raise BadOptionError("simulate", shown, "it must be an object of plain values") from None
    return {name: read_value(name, value) for name, value in items.items()}


def layer(behaviour: Behaviour, *layers: Options) -> Behaviour:
    """Lay options over a behaviour; a later layer wins."""
    changes = {name: value for options in layers for name, value in options.items()}
    changed = msgspec.structs.replace(behaviour, **changes)
    if changed.tokens * (changed.delta_bytes or 4) > MAX_ANSWER_BYTES:
        limit = f"tokens times delta_bytes must not exceed {MAX_ANSWER_BYTES}"
        raise BadOptionError("tokens", changed.tokens, limit)
    return changed


def failure(behaviour: Behaviour, attempt: int, chance: Callable[[], float]) -> int | None:
    """Decide whether this call, the attempt-th (from 1), fails; return its HTTP status."""
    status = behaviour.error or 500
    if attempt <= behaviour.error_first:
        return status
    if behaviour.error_rate is not None:
        return status if chance() < behaviour.error_rate else None
    always = behaviour.error is not None and not behaviour.error_first
    return status if always else None
