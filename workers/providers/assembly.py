"""Assembles the chunks of a chat stream into the whole object, as the provider would have sent it.

How fields of a delta add up: strings are pieces of one string, lists grow (items with an `index`
by that index), objects are merged by the same rules. Exceptions: `ONCE` fields hold their latest
value, a `name` said again is not doubled, and numbers and booleans hold their latest. Unknown
fields follow the rules too: an unknown string is taken for text in pieces, since that is what
providers add (`reasoning`, `thinking` …). Beside the delta, everything holds its latest value;
the log probabilities alone grow.
"""

import math
from collections.abc import Mapping
from io import StringIO
from typing import Final

import msgspec

from pipeline.event import Usage

#: Strings that name something; the latest that is not empty counts.
ONCE: Final = frozenset({"role", "id", "type", "format", "signature", "object"})
_BUT_A_REFUSAL: Final = ONCE | {"refusal"}
#: What a chunk has that the whole object has differently, or that hides its length.
_NOT_OF_THE_WHOLE: Final = frozenset({"object", "choices", "usage", "obfuscation", "error"})

_encode = msgspec.json.Encoder().encode

Fields = dict[str, object]


class Indexed(dict[int, Fields]):
    """List items that are addressed by their `index`, and may come in any order."""


class Assembly:
    """The whole object in the making; it holds text, not the chunks it came in."""

    __slots__ = ("_choices", "_head", "usage")

    def __init__(self) -> None:
        self._head: Fields = {}
        #: By index: the choice's own fields, and under `message` the merged deltas.
        self._choices: dict[int, Fields] = {}
        #: As the provider sent it.
        self.usage: Mapping[str, object] | None = None

    @property
    def empty(self) -> bool:
        """Whether no choice says anything, and the first has not even come to an end."""
        return not self.says_something and not self.finish_reason

    @property
    def says_something(self) -> bool:
        """Whether any choice has content of any kind."""
        return self._says(ONCE)

    @property
    def withheld(self) -> bool:
        """Whether the provider's filter has kept all back but, maybe, that it refuses."""
        return self.finish_reason == "content_filter" and not self._says(_BUT_A_REFUSAL)

    @property
    def finish_reason(self) -> str:
        """Tell why the first choice ended; empty: it has not, or there is none."""
        if not self._choices:
            return ""
        reason = self._choices[min(self._choices)].get("finish_reason")
        return reason if isinstance(reason, str) else ""

    @property
    def ended(self) -> bool:
        """Whether every choice seen has told why it ended."""
        return bool(self._choices) and all(
            choice.get("finish_reason") for choice in self._choices.values()
        )

    def head(self, name: str) -> str:
        """Give a string field of the object itself; empty where it has none."""
        text = self._head.get(name)
        return text if isinstance(text, str) else ""

    def add(self, chunk: Fields) -> None:
        """Take one chunk."""
        choices = chunk.get("choices")
        usage = chunk.get("usage")
        closing = not self._head or bool(usage)
        if isinstance(usage, dict) and usage:
            self.usage = usage
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    closing |= self._add_choice(choice)
        # The fields beside the choices repeat in each chunk; the first and the closing ones
        # have all that there is (Perplexity's citations, OpenRouter's provider).
        if closing:
            self._head.update(
                (name, value) for name, value in chunk.items() if name not in _NOT_OF_THE_WHOLE
            )

    def whole(self) -> bytes:
        """Give the JSON of the whole object, of what has come so far."""
        choices = [_whole_choice(index, self._choices[index]) for index in sorted(self._choices)]
        whole: Fields = {
            "id": self.head("id"),
            "object": "chat.completion",
            "created": 0,
            "model": self.head("model"),
            **self._head,
            "choices": choices,
        }
        if self.usage is not None:
            whole["usage"] = self.usage
        return _encode(whole)

    def _says(self, without: frozenset[str]) -> bool:
        return any(
            _filled(value)
            for choice in self._choices.values()
            for name, value in _fields(choice["message"]).items()
            if name not in without
        )

    def _add_choice(self, choice: Fields) -> bool:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        held = self._choices.get(index)
        if held is None:
            held = self._choices[index] = {"message": {}}
        closing = False
        for name, value in choice.items():
            if name == "delta":
                if isinstance(value, dict):
                    merge(_fields(held["message"]), value)
            elif value is None or name == "index":
                continue
            elif name == "logprobs":
                merge(held, {name: value})
            elif name != "message":
                held[name] = value
                closing = True
        return closing


def usage_of(told: Mapping[str, object] | None) -> Usage | None:
    """Read the counts that a provider gave, and the cost where it tells one.

    A missing total is the sum. Cached tokens stand in OpenAI's details or as DeepSeek has them;
    the cost as OpenRouter has it, or Perplexity.
    """
    if told is None:
        return None
    prompt, completion = _count(told, "prompt_tokens"), _count(told, "completion_tokens")
    details = _fields(told.get("prompt_tokens_details"))
    cached = _count(details, "cached_tokens")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_count(told, "total_tokens") or prompt + completion,
        cached_tokens=cached or _count(told, "prompt_cache_hit_tokens"),
        cache_write_tokens=_count(details, "cache_write_tokens"),
        reasoning_tokens=_count(_fields(told.get("completion_tokens_details")), "reasoning_tokens"),
        cost=_cost(told.get("cost")) if "cost" in told else None,
    )


def _cost(told: object) -> float | None:
    amount: object = told.get("total_cost") if isinstance(told, dict) else told
    if not isinstance(amount, int | float) or isinstance(amount, bool):
        return None
    return float(amount) if 0 <= amount < math.inf else None


def counts_nothing(usage: Usage | None) -> bool:
    """Tell whether a provider counted, and counted no token of an answer."""
    return usage is not None and usage.completion_tokens == 0


def merge(held: Fields, new: Fields) -> None:
    """Add the fields of a delta to those held; strings in the making are held as `StringIO`."""
    for name, value in new.items():
        was = held.get(name)
        if type(was) is StringIO and type(value) is str:
            was.write(value)
        elif value is None:
            held.setdefault(name, None)
        elif isinstance(value, str):
            _merge_text(held, name, value)
        elif isinstance(value, dict):
            merge(_place(held, name), value)
        elif isinstance(value, list):
            _merge_list(held, name, value)
        else:
            held[name] = value


def _merge_text(held: Fields, name: str, value: str) -> None:
    was = held.get(name)
    if name in ONCE:
        held[name] = value or was or ""
    elif name == "name":
        # Some providers repeat a function's name in each delta, others cut it in pieces.
        held[name] = was + value if isinstance(was, str) and was != value else value
    else:
        text = held[name] = StringIO()
        text.write(value)


def _merge_list(held: Fields, name: str, values: list[object]) -> None:
    by_index = name == "tool_calls" or any(isinstance(v, dict) and "index" in v for v in values)
    if not by_index:
        was = held.setdefault(name, [])
        if isinstance(was, list):
            was.extend(values)
        else:
            held[name] = list(values)
        return
    items = held.get(name)
    if not isinstance(items, Indexed):
        items = held[name] = Indexed()
    for value in values:
        if isinstance(value, dict):
            merge(items.setdefault(_index(items, value), {}), value)


def _index(items: Indexed, value: Fields) -> int:
    """Tell which item a delta without an index belongs to: a new id begins a new one."""
    index = value.get("index")
    if isinstance(index, int):
        return index
    latest = max(items, default=-1)
    new = latest < 0 or (value.get("id") and value["id"] != items[latest].get("id"))
    return latest + 1 if new else latest


def _place(held: Fields, name: str) -> Fields:
    was = held.get(name)
    if not isinstance(was, dict):
        was = held[name] = {}
    return was


def _whole_choice(index: int, held: Fields) -> Fields:
    settled = _fields(_settled(held))
    message = _fields(settled["message"])
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        call.pop("index", None)
    return {
        "index": index,
        "logprobs": None,
        "finish_reason": None,
        **settled,
        "message": {"role": "assistant", "content": None, "refusal": None, **message},
    }


def _settled(held: object) -> object:
    """Turn what is held in the making into plain values."""
    if isinstance(held, StringIO):
        return held.getvalue()
    if isinstance(held, Indexed):
        return [_settled(held[index]) for index in sorted(held)]
    if isinstance(held, dict):
        return {name: _settled(value) for name, value in held.items()}
    return held


def _filled(values: object) -> bool:
    if isinstance(values, StringIO):
        return bool(values.tell())
    return bool(values)


def _fields(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


def _count(told: Mapping[str, object], name: str) -> int:
    count = told.get(name)
    return count if isinstance(count, int) else 0
