"""Thousands of streams held at once, 10 s each with 2 deltas of 20 bytes a second."""

import resource

from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.http import BODY
from tests.benchmarks.plans import Plan, Target

_STREAM: dict[str, object] = {
    **BODY,
    "stream": True,
    "simulate": {"ttft_ms": 0, "tps": 2, "tokens": 20, "delta_bytes": 20, "jitter": 0.5},
}
#: Within less than a stream lasts, so that at one time all are open.
_RAMP_S = 6.0
#: Descriptors that a process needs beside those of the streams.
_SPARE_FILES = 500


def run(bench: Bench) -> list[Figure]:
    """Open the streams, see all of them to their end, and watch the memory."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 5_000 if files >= 5_000 + _SPARE_FILES else 2_000
    count = min(most, bench.size(most, 1_000))
    with Ground(bench) as ground:
        ground.start_all(calls=5_000)
        warm_up = Target(port=ground.gateway_port, body=BODY)
        ground.load(Plan(targets=(warm_up,), connections=16, warm=16, requests=500)).checked()
        streams = Target(port=ground.gateway_port, body=_STREAM)
        measured = ground.load(Plan(targets=(streams,), connections=count, ramp_s=_RAMP_S))
    first = measured.report.accounts[0].first
    errors = sum(measured.faults.values())
    bench.say(
        f"{count:,} streams, at most {measured.report.peak:,} at once, {errors} errors "
        f"{measured.faults or ''}, {measured.frames:,} frames; first token: "
        f"p50 {shown(first.p50)} ms, p99 {shown(first.p99)} ms"
    )
    seconds = measured.report.seconds
    bench.say(f"CPU, share of a core over {seconds:.1f} s: {measured.parts(1.0, seconds)}")
    peak = f"at most {measured.report.peak:,} at once"
    return [
        Figure(
            what=f"errors of {count:,} streams of 10 s",
            value=errors,
            unit="errors",
            at_most=0,
            beside=f"{peak}; first token p99 {shown(first.p99)} ms",
        ),
        *(
            Figure(
                what=f"memory of the {part}, growth",
                value=(measured.peak_rss[part] - measured.rss[part]) / count / 1000,
                unit="KB/stream",
                at_most=None if part == "redis" else 60,
                beside=f"{shown(measured.peak_rss[part] / 1e6)} MB in all",
            )
            for part in ("gateway", "worker", "redis")
        ),
    ]
