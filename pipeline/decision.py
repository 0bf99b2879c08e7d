"""Why a request went where it went, as its journal tells: who could serve it, who was chosen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from pipeline.event import Facts
from pipeline.flow import CALL, GATE, ROUTE

#: Facts that a decision tells in its own way, by the hop in whose line they stand.
DECIDING: Final[Mapping[str, frozenset[str]]] = {
    ROUTE: frozenset({"candidates", "first", "alias", "left_out", "also"}),
    GATE: frozenset({"chosen_by", "scores", "passed_over"}),
    CALL: frozenset({"config", "called_at"}),
}


class Step(Protocol):
    """A line of the journal, or so much of one."""

    @property
    def hop(self) -> str: ...

    @property
    def facts(self) -> Facts: ...


class _Step(msgspec.Struct, frozen=True):
    hop: str
    facts: Facts = {}


class Chosen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the deployments that were chosen, in their order."""

    deployment: str
    #: Version of the configuration that it was called by.
    config: str = ""
    #: The strategy, `sticky`, or `look` at one that was slow; empty: nothing was compared.
    chosen_by: str = ""
    #: What the strategy had to go by, and who could not be taken at that moment, and why.
    scores: str = ""
    passed_over: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who could serve a request, who could not, and who was chosen each time."""

    candidates: int
    first: str = ""
    #: By what other name the model was asked for.
    alias: str = ""
    #: `deployment: why`; those that cannot serve this request at all.
    left_out: tuple[str, ...] = ()
    #: `model: calls, first deployment`; the further models that its work needs.
    also: tuple[str, ...] = ()
    chosen: tuple[Chosen, ...] = ()


_decode_step: Final = msgspec.json.Decoder(_Step).decode


def decision_in(journal: Sequence[msgspec.Raw]) -> Decision | None:
    """Read the decision from a journal's lines as a record has them."""
    return decision_of([_decode_step(line) for line in journal])


def decision_of(journal: Sequence[Step]) -> Decision | None:
    """Read the decision from a journal; none: no route has been found yet."""
    routed = next((line.facts for line in reversed(journal) if line.hop == ROUTE), None)
    if routed is None or "candidates" not in routed:
        return None
    return Decision(
        candidates=int(routed["candidates"]),
        first=_text(routed, "first"),
        alias=_text(routed, "alias"),
        left_out=_parts(routed, "left_out"),
        also=_parts(routed, "also"),
        chosen=tuple(_chosen(journal)),
    )


def _chosen(journal: Sequence[Step]) -> Iterator[Chosen]:
    for place, line in enumerate(journal):
        if line.hop != GATE or "deployment" not in line.facts:
            continue
        called = journal[place + 1].facts if journal[place + 1 :] else {}
        yield Chosen(
            deployment=_text(line.facts, "deployment"),
            config=_text(called, "config"),
            chosen_by=_text(line.facts, "chosen_by"),
            scores=_text(line.facts, "scores"),
            passed_over=_text(line.facts, "passed_over"),
        )


def _parts(facts: Facts, name: str) -> tuple[str, ...]:
    text = _text(facts, name)
    return tuple(text.split("; ")) if text else ()


def _text(facts: Facts, name: str) -> str:
    return str(facts.get(name, ""))
