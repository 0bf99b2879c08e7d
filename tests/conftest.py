"""What every test may lean on: a quarantine, a real Redis, real processes."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from pipeline.embedded import redis_server as embedded
from tests.environment import forget_providers, refuse_outside, write_to_memory
from tests.processes import Nursery, Spawn

#: Where a test keeps the processes whose output is shown when it fails.
NURSERY = pytest.StashKey[Nursery]()

forget_providers()
refuse_outside()
write_to_memory()

# Its assertions are not in a test module, and have to tell what they found all the same.
pytest.register_assert_rewrite("tests.reckoning", "tests.crash.chaos.ledger")

# Four tests at a time share two cores: how long drawing an example takes says nothing here.
hypothesis.settings.register_profile(
    "house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("house")


#: Folders whose tests start many processes, and wait for them.
_LONG = ("tests/crash/", "tests/journeys/", "tests/cli/", "tests/matrix/")


def _woven(items: list[pytest.Item]) -> list[pytest.Item]:
    """Spread the files that take long among the others, so that neither all run at once nor last.

    They are over when three quarters of the others are.
    """
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    places = {True: 0.0, False: 0.0}
    counts = {long: sum(name.startswith(_LONG) == long for name in files) for long in places}
    placed: list[tuple[float, list[pytest.Item]]] = []
    for name, its in files.items():
        long = name.startswith(_LONG)
        places[long] += (0.75 if long else 1.0) / counts[long]
        placed.append((places[long], its))
    placed.sort(key=lambda one: one[0])
    return [item for _, its in placed for item in its]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Spread what takes long, and leave the tests of minutes to CI, or to who asks with -m."""
    items[:] = _woven(items)
    if os.environ.get("CI") or config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="takes long; runs when CI is set, or with -m slow")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what a failed test's processes wrote."""
    report = yield
    nursery = item.stash.get(NURSERY, None)
    if report.failed and nursery is not None:
        for name, child in nursery.spawned.items():
            report.sections.append((f"output of {name} (pid {child.pid})", child.tail))
    return report


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run tests marked `anyio` on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    """Name the redis-server to test on: `SLUICE_TEST_REDIS`, else the first that is found."""
    named = os.environ.get("SLUICE_TEST_REDIS")
    return Path(named) if named else embedded.find_redis_server()


@pytest.fixture(scope="session")
def redis_server(
    redis_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[embedded.EmbeddedRedis]:
    """Run the server that tests share, without persistence; take `redis_url` to use it."""
    directory = tmp_path_factory.mktemp("redis")
    options = {"appendonly": "no"}
    with embedded.EmbeddedRedis(directory, options=options, binary=redis_binary) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: embedded.EmbeddedRedis) -> str:
    """Give the shared server, emptied by FLUSHALL and without anyone's left connections.

    Its settings and its life are for `own_redis`: whoever changes those takes that one.
    """
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.flushall()
        client.script_flush()
    return redis_server.url


@pytest.fixture
def own_redis(redis_binary: Path, tmp_path: Path) -> Iterator[embedded.EmbeddedRedis]:
    """Run an append-only server for one test, which may kill, restart and reconfigure it."""
    with embedded.EmbeddedRedis(tmp_path / "redis", binary=redis_binary) as server:
        yield server


@pytest.fixture
def free_port() -> int:
    """Find a loopback port that nobody listens on; `embedded.free_port` finds more."""
    return embedded.free_port()


@pytest.fixture
def spawn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spawn]:
    """Start processes that end with the test: `spawn([sys.executable, "-m", "…"], env={…})`."""
    nursery = Nursery(tmp_path)
    request.node.stash[NURSERY] = nursery
    yield nursery.spawn
    nursery.end()
