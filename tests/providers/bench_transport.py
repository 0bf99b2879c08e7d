"""What a provider call costs in CPU: `python -m tests.providers.bench_transport`.

The upstream is the simulated provider in a process of its own, and not counted. Times are this
process's CPU, so that the ratios hold on a shared machine.
"""

import asyncio
import gc
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import httpx_aiohttp
import uvloop

from tests.providers.simulated_process import SimulatedProcess
from workers.providers.base import ProviderCall, Timeouts
from workers.providers.upstream import Upstream

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi there"}]}'
HEADERS = {"authorization": "Bearer sk-test", "content-type": "application/json"}

Once = Callable[[], Awaitable[object]]


def call_of(url: str, *, stream: bool = False) -> ProviderCall:
    """Make a call of the upstream."""
    return ProviderCall(
        request_id="bench",
        base_url=url,
        kind="simulated",
        model="fast",
        key="sk-test",
        body=BODY,
        stream=stream,
        timeout=Timeouts(first_byte_s=300, total_s=600),
    )


async def repeated(once: Once, at_once: int, total: int) -> float:
    """Run something so many times, so many at once; give the CPU seconds of one."""
    left = iter(range(total))

    async def one_after_another() -> None:
        for _ in left:
            await once()

    began = time.process_time()
    await asyncio.gather(*[one_after_another() for _ in range(at_once)])
    return (time.process_time() - began) / total


async def whole_calls(url: str) -> None:
    """Compare httpx's transport, httpx-aiohttp's and ours."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    foreign = httpx_aiohttp.AiohttpTransport(limits=httpx.Limits(max_connections=0))
    upstream = Upstream()
    async with (
        httpx.AsyncClient(limits=limits, trust_env=False, timeout=60) as default,
        httpx.AsyncClient(transport=foreign, trust_env=False, timeout=60) as aiohttp,
    ):
        path = f"{url}/chat/completions"
        ways: dict[str, Once] = {
            "httpx": lambda: default.post(path, content=BODY, headers=HEADERS),
            "httpx-aiohttp": lambda: aiohttp.post(path, content=BODY, headers=HEADERS),
            "ours": lambda: upstream.complete(call_of(url)),
        }
        for at_once in (1, 64, 512):
            told = []
            for name, once in ways.items():
                await repeated(once, at_once, at_once)
                cost = await repeated(once, at_once, max(1000, at_once * 3))
                told.append(f"{name} {cost * 1e6:.0f} µs")
            print(f"whole calls, {at_once} at once: {', '.join(told)}", flush=True)
    await upstream.close()


async def deltas(url: str, name: str, at_once: int, total: int) -> None:
    """Tell what a delta costs, the call's own cost included."""
    upstream = Upstream()
    chunks = reads = 0

    async def once() -> None:
        nonlocal chunks, reads
        async for some in upstream.stream(call_of(url, stream=True)):
            chunks += len(some.chunks)
            reads += 1

    await repeated(once, at_once, at_once)
    chunks = reads = 0
    cost = await repeated(once, at_once, total) * total
    print(
        f"{name}, {at_once} streams at once: {cost / chunks * 1e6:.1f} µs a delta, "
        f"{chunks / reads:.1f} deltas a read, {cost / total * 1e6:.0f} µs a stream",
        flush=True,
    )
    await upstream.close()


def resident_bytes() -> int:
    """Tell this process's memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


async def held(url: str, count: int) -> None:
    """Hold streams at once and tell the memory of each."""
    upstream = Upstream()
    begun = 0

    async def hold() -> None:
        nonlocal begun
        async with upstream.stream(call_of(url, stream=True)) as stream:
            await anext(stream)
            begun += 1
            async for _ in stream:
                pass

    gc.collect()
    before = resident_bytes()
    clock = time.process_time()
    tasks = [asyncio.create_task(hold()) for _ in range(count)]
    while begun < count:  # noqa: ASYNC110 - a measurement needs no event
        await asyncio.sleep(0.1)
    each = (resident_bytes() - before) / count
    await asyncio.gather(*tasks)
    spent = time.process_time() - clock
    print(f"{count} streams held: {each / 1024:.1f} KiB each, {spent:.1f} s of CPU in all")
    await upstream.close()


def main() -> None:
    """Run all of it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with SimulatedProcess() as fast:
        uvloop.run(whole_calls(fast.url))
    with SimulatedProcess("tokens=200") as together:
        uvloop.run(deltas(together.url, "deltas that come together", 16, 160))
    with SimulatedProcess("tokens=100", "tps=50") as alone:
        uvloop.run(deltas(alone.url, "deltas that come alone", 64, 128))
    with SimulatedProcess("tokens=20", "tps=1", "delta_bytes=20") as slow:
        uvloop.run(held(slow.url, min(5000, hard // 2 - 100)))


if __name__ == "__main__":
    main()
