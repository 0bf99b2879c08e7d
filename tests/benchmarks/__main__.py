"""`make bench`, or `python -m tests.benchmarks [NAME …]`: measures, and prints what came of it."""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import redis.exceptions

from pipeline.embedded.redis_server import find_redis_server
from pipeline.errors import StartError
from tests.benchmarks import (
    admission,
    async_accept,
    broker,
    deltas,
    first_token,
    hops,
    http,
    idle,
    ladder,
    latency,
    never_idle,
    routing,
    streams,
    turning_slow,
)
from tests.benchmarks.figures import Figure, Findings, markdown, table
from tests.benchmarks.ground import Bench
from tests.benchmarks.loading import BenchmarkFailed
from tests.environment import forget_providers

BENCHMARKS: Final[Mapping[str, Callable[[Bench], list[Figure]]]] = {
    "hops": hops.run,
    "http": http.run,
    "latency": latency.run,
    "first_token": first_token.run,
    "deltas": deltas.run,
    "streams": streams.run,
    "idle": idle.run,
    "async_accept": async_accept.run,
    "broker": broker.run,
    "admission": admission.run,
    "never_idle": never_idle.run,
    "routing": routing.run,
    "ladder": ladder.run,
    "turning_slow": turning_slow.run,
}

#: What may go wrong in one benchmark while the others are worth carrying out.
_FAULTS: Final = (
    BenchmarkFailed, AssertionError, StartError, OSError, redis.exceptions.RedisError,
)  # fmt: skip


def machine(given: argparse.Namespace) -> str:
    """Name what this is measured on, and how busy that is with other things."""
    server = str(find_redis_server())
    shown = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
    version = shown.stdout.partition("v=")[2].partition(" ")[0]
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, "
        f"Redis {version}{', append-only' * given.append_only}, "
        f"load average before {os.getloadavg()[0]:.1f}"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _allow_many_files() -> None:
    """Take as many file descriptors as we may have; the processes started inherit that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 20_000 if hard == resource.RLIM_INFINITY else min(hard, 20_000)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _carry_out(name: str, given: argparse.Namespace) -> list[Figure] | None:
    """Carry one benchmark out; None: it failed, and has said so."""
    print(f"{name}: {(sys.modules[BENCHMARKS[name].__module__].__doc__ or '').splitlines()[0]}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory:
        bench = Bench(quick=given.quick, directory=Path(directory), append_only=given.append_only)
        try:
            figures = BENCHMARKS[name](bench)
        except _FAULTS as fault:
            first, *more = str(fault).splitlines() or [""]
            last = f" … {more[-1]}" if more else ""
            print(f"  FAILED: {type(fault).__name__}: {first}{last}", flush=True)
            return None
    print(f"  took {time.monotonic() - began:.0f} s", flush=True)
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measures throughput, latency and cost beside their baselines.",
        epilog=f"benchmarks: {', '.join(BENCHMARKS)}. All of them take some ten minutes.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them if none")
    parser.add_argument("--quick", action="store_true", help="small sizes, rough figures")
    parser.add_argument("--append-only", action="store_true", help="with Redis's append-only file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    return given


def main() -> int:
    """Carry out what was asked for; gives the exit code, 1 when a benchmark failed."""
    given = _options()
    forget_providers()
    _allow_many_files()
    around = machine(given)
    found = {name: _carry_out(name, given) for name in given.names or BENCHMARKS}
    findings = Findings(
        machine=around,
        quick=given.quick,
        figures={name: figures for name, figures in found.items() if figures is not None},
    )
    print("\n" + (markdown(findings) if given.markdown else table(findings)))
    if given.json:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(findings)) + b"\n")
    return int(None in found.values())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; everything that was started has been ended")
