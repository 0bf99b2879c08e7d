"""Going on where a stream was cut: what stands of the answer, who can go on, and how the parts
become one answer for whoever reads it.
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import Final

import msgspec

from pipeline.catalog import Catalog
from pipeline.errors import ModelNotFound
from pipeline.event import Candidate, Event, Usage
from pipeline.flow import CALL
from pipeline.prices import Price, cost_of
from pipeline.settings.differences import Prefix
from pipeline.streams.replies import Beginning
from workers import costing
from workers.providers import beginnings
from workers.providers.assembly import Assembly, Fields, usage_of
from workers.providers.base import Deltas, ProviderCall, Reply

#: What a message may hold that is text and no more; a call of a tool half said is not mended.
_PLAIN: Final = frozenset(
    {
        "role", "content", "reasoning", "reasoning_content", "reasoning_details", "thinking",
        "thinking_blocks",
    }
)  # fmt: skip
#: What every chunk of a stream has in common.
_OF_ALL: Final = ("id", "created", "model")
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
#: As providers and our own estimates count.
_CHARACTERS_PER_TOKEN: Final = 4

_chunk: Final = msgspec.json.Decoder(Fields).decode
_encode: Final = msgspec.json.Encoder().encode


class _Choice(msgspec.Struct, frozen=True):
    message: dict[str, object]
    finish_reason: str | None = None


class _Whole(msgspec.Struct, frozen=True):
    choices: list[_Choice]


_whole: Final = msgspec.json.Decoder(_Whole).decode


class SoFar:
    """What stands of an answer that was cut."""

    __slots__ = ("assembly", "beginning", "head", "is_plain", "is_whole", "text", "tokens")

    def __init__(self, beginning: Beginning, body: bytes) -> None:
        self.beginning = beginning
        self.assembly = Assembly()
        chunks = [_chunk(line) for entry in beginning.entries for line in entry.split(b"\n")]
        for chunk in chunks:
            self.assembly.add(chunk)
        #: What the chunks to come are to have, too.
        self.head: Fields = {
            name: chunks[0][name] for name in _OF_ALL if chunks and name in chunks[0]
        }
        self.text = _plain_text(self.assembly)
        #: Whether anyone can go on: one answer of text, which has not come to its end.
        self.is_plain = bool(self.text) and beginnings.wants_one(body)
        #: Whether all has been said: the worker died before it could say that it had.
        self.is_whole = self.assembly.ended and beginnings.wants_one(body)
        said = sum(any(_says(choice) for choice in _choices(chunk)) for chunk in chunks)
        #: About as many tokens as were said; some providers say several in a chunk.
        self.tokens = max(said, len(self.text) // _CHARACTERS_PER_TOKEN)


class Joint:
    """Makes the chunks of a call that goes on those of the answer that was begun."""

    def __init__(self, so_far: SoFar, used: Usage, price: Price | None, unseen: str) -> None:
        self._assembly = so_far.assembly
        self._head = so_far.head
        self._used = used
        self._price = price
        #: White space that stands already, and may be said again.
        self._unseen = unseen

    def joined(self, deltas: Deltas) -> Deltas:
        """Rewrite what has come: one id, one role, usage over all parts."""
        chunks: list[bytes] = []
        usage_at = -1
        for at, told in enumerate(deltas.chunks):
            is_usage = at == deltas.usage_at
            chunk = _chunk(costing.chunk_priced(told, self._price) if is_usage else told)
            if not self._rewrite(chunk):
                continue
            self._assembly.add(chunk)
            usage_at = len(chunks) if is_usage else usage_at
            chunks.append(_encode(chunk))
        return Deltas(chunks=chunks, usage_at=usage_at)

    def whole(self, reply: Reply) -> Reply:
        """Make the reply of the last part that of the whole answer."""
        usage, cost = usage_of(self._assembly.usage), self._cost(reply.usage)
        response = self._assembly.whole()
        return msgspec.structs.replace(
            reply,
            response=response if cost is None else costing.with_cost(response, cost),
            usage=usage and msgspec.structs.replace(usage, cost=cost),
            finish_reason=self._assembly.finish_reason,
        )

    def _rewrite(self, chunk: Fields) -> bool:
        """Make a chunk one of the answer that was begun; tell whether it still says anything."""
        chunk.update(self._head)
        usage = chunk.get("usage")
        if isinstance(usage, dict) and usage:
            chunk["usage"] = self._summed(usage)
        choices = _choices(chunk)
        for choice in choices:
            delta = choice.get("delta")
            if isinstance(delta, dict):
                delta.pop("role", None)
                self._leave_out_unseen(delta)
        return not choices or bool(usage) or any(_says(one) or _ends(one) for one in choices)

    def _leave_out_unseen(self, delta: Fields) -> None:
        text = delta.get("content")
        if not self._unseen or not isinstance(text, str) or not text:
            return
        pairs = zip(text, self._unseen, strict=False)
        again = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        delta["content"] = text[again:]
        self._unseen = self._unseen[again:] if again == len(text) else ""

    def _summed(self, told: Mapping[str, object]) -> Fields:
        summed: Fields = dict(told)
        for name in _COUNTS:
            count = told.get(name)
            if isinstance(count, int):
                summed[name] = count + int(getattr(self._used, name))
        cost = told.get("cost")
        if isinstance(cost, float | int) and self._used.cost:
            summed["cost"] = round(cost + self._used.cost, 12)
        return summed

    def _cost(self, last: Usage | None) -> float | None:
        if last is None or last.cost is None:
            return None
        return round(last.cost + (self._used.cost or 0.0), 12)


def may(event: Event, catalog: Catalog) -> bool:
    """Tell whether an event's answer is to be gone on with, should it be cut."""
    return event.stream and catalog.model(event.model).on_cut == "continue"


def able(plan: tuple[Candidate, ...], catalog: Catalog) -> tuple[Candidate, ...]:
    """List the candidates that can go on from an answer's beginning."""
    return tuple(one for one in plan if form_at(one.deployment, catalog) != "none")


def form_at(deployment_id: str, catalog: Catalog) -> Prefix:
    """Tell how a deployment is asked to go on; `none`: it cannot, or is configured no more."""
    try:
        deployment = catalog.deployment(deployment_id)
        provider = catalog.provider(deployment.provider)
    except ModelNotFound:
        return "none"
    return beginnings.continues(provider.kind, deployment.model, provider.differs)


def can(event: Event, so_far: SoFar, catalog: Catalog) -> bool:
    """Tell whether an event's leased deployment can go on with what stands of its answer."""
    assert event.lease is not None
    return so_far.is_plain and form_at(event.lease.deployment, catalog) != "none"


def cut_at(event: Event) -> str:
    """Name the deployment that was cut: the latest of the journal, or whose worker died."""
    assert event.lease is not None
    calls = (line.facts for line in reversed(event.journal) if line.hop == CALL)
    found = (str(facts["deployment"]) for facts in calls if "cut_after" in facts)
    return next(found, event.lease.deployment)


def stood(event: Event, so_far: SoFar, price: Price | None) -> Reply:
    """Give the reply of an answer that stands whole; what nobody has counted is estimated."""
    assembly = so_far.assembly
    told = usage_of(assembly.usage)
    part = Usage(prompt_tokens=event.prompt_tokens, completion_tokens=so_far.tokens)
    return Reply(
        response=assembly.whole(),
        usage=told or added(None, part, price),
        finish_reason=assembly.finish_reason,
        model=assembly.head("model"),
        upstream_id=assembly.head("id"),
    )


def usage_chunk(so_far: SoFar, reply: Reply) -> bytes:
    """Write the chunk with which a stream tells its usage."""
    used = reply.usage or Usage()
    usage: Fields = {name: getattr(used, name) for name in _COUNTS}
    if used.cost is not None:
        usage["cost"] = used.cost
    kind = "chat.completion.chunk"
    return _encode({**so_far.head, "object": kind, "choices": [], "usage": usage})


def asking_on(request: ProviderCall, so_far: SoFar) -> ProviderCall:
    """Make a request one that goes on from what stands of the answer."""
    form = beginnings.continues(request.kind, request.model, request.differs)
    body = beginnings.with_beginning(bytes(request.body), so_far.text, form, so_far.tokens)
    return msgspec.structs.replace(request, body=body)


def joint(event: Event, so_far: SoFar, catalog: Catalog) -> Joint:
    """Begin to join what a leased deployment says to what stands."""
    assert event.lease is not None
    provider = catalog.provider(catalog.deployment(event.lease.deployment).provider)
    price = costing.price_of(event, catalog)
    used = event.usage or Usage()
    uncounted = so_far.tokens - used.completion_tokens
    if event.delivery > 1 and uncounted > 0:
        # A part whose worker died.
        part = Usage(prompt_tokens=event.prompt_tokens, completion_tokens=uncounted)
        used = added(used, part, price)
    return Joint(so_far, used, price, beginnings.unseen_end(provider.kind, so_far.text))


def added(used: Usage | None, part: Usage, price: Price | None) -> Usage:
    """Add what a part that was cut is taken to have used to what the parts before it have."""
    before = used or Usage()
    cost = 0.0 if price is None or price.own else cost_of(price, part)
    prompt = before.prompt_tokens + part.prompt_tokens
    completion = before.completion_tokens + part.completion_tokens
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cost=(before.cost or 0.0) + cost or None,
    )


def _plain_text(assembly: Assembly) -> str:
    """Give the text of an answer that has not ended and is nothing but text; empty: it is not."""
    choices = _whole(assembly.whole()).choices
    if len(choices) != 1 or choices[0].finish_reason:
        return ""
    message = choices[0].message
    if any(value for name, value in message.items() if name not in _PLAIN):
        return ""
    text = message.get("content")
    return text if isinstance(text, str) else ""


def _choices(chunk: Fields) -> list[Fields]:
    choices = chunk.get("choices")
    return [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []


def _says(choice: Fields) -> bool:
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(v for name, v in delta.items() if name != "role")


def _ends(choice: Fields) -> bool:
    return bool(choice.get("finish_reason"))
