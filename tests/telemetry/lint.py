"""The lint of TRACES.md over captured spans, and a tree of them to compare."""

from collections.abc import Sequence

from tests.telemetry.collector import Seen

#: Clocks of processes on one machine are set to Redis's within this, in ns.
_SKEW_NS = 20_000_000


def faults(spans: Sequence[Seen], outside: str = "") -> list[str]:
    """List what is wrong with the spans of one trace; `outside` is the parent of its root."""
    by_id = {span.id: span for span in spans}
    found = []
    roots = [span for span in spans if span.parent in ("", outside)]
    if len({span.trace for span in spans}) != 1:
        found.append("more than one trace")
    if len(by_id) != len(spans):
        found.append("an id is used twice")
    if len(roots) != 1:
        found.append(f"{len(roots)} roots: {[span.name for span in roots]}")
    for span in spans:
        if span not in roots:
            found += _misplaced(span, by_id.get(span.parent))
        found += _misdescribed(span)
    return found


def _misplaced(span: Seen, parent: Seen | None) -> list[str]:
    if parent is None:
        return [f"{span.name}: its parent {span.parent} is not there"]
    found = []
    if span.start < parent.start - _SKEW_NS or span.end > parent.end + _SKEW_NS:
        found.append(f"{span.name} lies outside of {parent.name}")
    # What one process tells of itself goes by one clock.
    if span.part == parent.part and (span.start < parent.start or span.end > parent.end):
        found.append(f"{span.name} lies outside of {parent.name} of the same process")
    if (span.kind, parent.kind) == ("CONSUMER", "PRODUCER"):
        found.append(f"{span.name} is a consumer below a producer")
    if span.kind == "CONSUMER" and parent.kind == "CONSUMER":
        found.append(f"{span.name} is no child of the root")
    return found


def _misdescribed(span: Seen) -> list[str]:
    found = []
    if span.start > span.end:
        found.append(f"{span.name} ends before it starts")
    speaks = any(name.startswith("gen_ai.") for name in span.attributes)
    if speaks != (span.kind == "CLIENT"):
        found.append(f"{span.name}: gen_ai.* belongs on model calls, and on all of them")
    for link in span.links:
        told = {span.attributes.get(f"sluice.previous.{part}") for part in ("trace_id", "span_id")}
        if told != {link.trace, link.span}:
            found.append(f"{span.name}: a link that no attribute tells")
    return found


def root_of(spans: Sequence[Seen]) -> Seen:
    """Give the root of a trace."""
    ids = {span.id for span in spans}
    [root] = [span for span in spans if span.parent not in ids]
    return root


def tree(spans: Sequence[Seen]) -> str:
    """Draw spans by their names, children indented below their parents, first ones first."""
    ids = {span.id for span in spans}
    lines: list[str] = []

    def draw(span: Seen, depth: int) -> None:
        error = f" !{span.error}" if span.error else ""
        lines.append(f"{'  ' * depth}{span.name} {span.kind} {span.part}{error}")
        for child in spans:
            if child.parent == span.id:
                draw(child, depth + 1)

    for span in spans:
        if span.parent not in ids:
            draw(span, 0)
    return "\n".join(lines)
