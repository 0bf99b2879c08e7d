"""The crew, with small processes of our own making."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pipeline.cli.child import Child, Part
from pipeline.cli.crew import MAX_AT_ONCE, Crew
from pipeline.cli.report import Report
from tests.processes import runs
from tests.waiting import eventually, eventually_async

#: Writes what it does into a file that all parts share; ends after `argv[3]` seconds of SIGTERM.
_PART = """
import os, signal, sys, time
name, diary, slow = sys.argv[1], sys.argv[2], float(sys.argv[3])
def tell(what):
    with open(diary, "a") as out:
        out.write(f"{name} {what} {os.getpid()}\\n")
def end(number, frame):
    time.sleep(slow)
    tell("ended")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
tell("began")
print("hello from", name, flush=True)
while True:
    signal.pause()
"""


class Diary:
    """What the parts did, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def part(self, name: str, *, slow_s: float = 0.0, grace_s: float = 5.0) -> Part:
        """Make a part that keeps this diary."""
        arguments = (sys.executable, "-c", _PART, name, str(self.path), str(slow_s))
        return Part(name=name, arguments=arguments, environment=os.environ, grace_s=grace_s)

    @property
    def lines(self) -> list[str]:
        """Give what was done, without pids."""
        return [line.rpartition(" ")[0] for line in self.path.read_text().splitlines()]

    async def await_lines(self, count: int) -> None:
        """Wait until so many things were done."""
        await eventually_async(lambda: _asked(len(self.lines) >= count), what=str(self.lines))


async def _asked(answer: bool) -> bool:
    return answer


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


def pids(crew: Crew) -> list[int]:
    return [post.child.pid for post in crew.posts if post.child]


def run(crew: Crew, then: Callable[[], Awaitable[None]]) -> list[int]:
    """Run a crew from start to stop and give the pids that it had last."""

    async def whole() -> list[int]:
        with crew.watching():
            try:
                crew.start()
                await then()
                return pids(crew)
            finally:
                await crew.stop()

    return asyncio.run(whole())


def test_the_last_stage_ends_first_and_the_others_wait_for_it(diary: Diary) -> None:
    crew = Crew([[diary.part("one")], [diary.part("two", slow_s=0.3)]], Report())
    had = run(crew, lambda: diary.await_lines(2))
    assert diary.lines[2:] == ["two ended", "one ended"]
    assert not any(map(runs, had))


def test_who_is_killed_is_reported_and_started_again(
    diary: Diary, capsys: pytest.CaptureFixture[str]
) -> None:
    crew = Crew([[diary.part("one")]], Report(["one"]))

    async def kill_one() -> None:
        await diary.await_lines(1)
        os.kill(pids(crew)[0], signal.SIGKILL)
        await diary.await_lines(2)

    run(crew, kill_one)
    assert diary.lines == ["one began", "one began", "one ended"]
    told = capsys.readouterr().err
    assert "was killed by SIGKILL; starting it again" in told
    assert "one │ hello from one" in told


def test_who_dies_at_once_again_and_again_ends_the_crew_with_its_last_words() -> None:
    arguments = (sys.executable, "-c", "print('no such thing'); raise SystemExit(3)")
    part = Part(name="one", arguments=arguments, environment=os.environ)
    crew = Crew([[part]], Report())
    run(crew, crew.until_stopping)
    assert "one (pid" in crew.failure
    assert "exit code 3" in crew.failure
    assert f"{MAX_AT_ONCE}th time" in crew.failure
    assert "no such thing" in crew.failure


def test_who_does_not_end_in_its_time_is_killed(
    diary: Diary, capsys: pytest.CaptureFixture[str]
) -> None:
    crew = Crew([[diary.part("one", slow_s=60, grace_s=0.2)]], Report())
    (pid,) = run(crew, lambda: diary.await_lines(1))
    assert not runs(pid)
    assert "did not end in time" in capsys.readouterr().err


def test_what_a_dead_child_has_started_ends_with_it(diary: Diary, tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    part = Part(name="one", arguments=(sys.executable, "-c", script), environment=os.environ)
    crew = Crew([[part]], Report())

    async def orphan() -> None:
        await eventually_async(lambda: _asked((tmp_path / "pid").exists()))
        await eventually_async(lambda: _asked(bool((tmp_path / "pid").read_text())))
        os.kill(pids(crew)[0], signal.SIGKILL)
        grandchild = int((tmp_path / "pid").read_text())
        await eventually_async(lambda: _asked(not runs(grandchild)))

    run(crew, orphan)


def test_a_second_signal_hurries(diary: Diary) -> None:
    crew = Crew([[diary.part("one", slow_s=60, grace_s=60)]], Report())

    async def ask_twice() -> None:
        await diary.await_lines(1)
        loop = asyncio.get_running_loop()
        os.kill(os.getpid(), signal.SIGINT)
        loop.call_later(0.8, os.kill, os.getpid(), signal.SIGINT)
        await crew.until_stopping()

    (pid,) = run(crew, ask_twice)
    assert not runs(pid)
    assert diary.lines == ["one began"]


def test_a_restart_starts_each_anew_after_the_one_before_has_settled(diary: Diary) -> None:
    crew = Crew([[diary.part("one"), diary.part("two")]], Report())
    settled: list[str] = []

    async def note(child: Child) -> None:
        settled.append(f"{child.part.name} after {len(diary.lines)}")

    async def restart() -> None:
        await diary.await_lines(2)
        before = pids(crew)
        await crew.restart(note)
        await diary.await_lines(6)
        assert not set(before) & set(pids(crew))

    run(crew, restart)
    assert [line.split()[0] for line in settled] == ["one", "two"]
    assert diary.lines[2:6].index("one ended") < diary.lines[2:6].index("two ended")


@pytest.mark.crash
def test_children_end_when_we_are_killed(tmp_path: Path, diary: Diary) -> None:
    pid = os.fork()
    if pid == 0:
        crew = Crew([[diary.part("one")]], Report())

        async def forever() -> None:
            with crew.watching():
                crew.start()
                await asyncio.sleep(600)

        asyncio.run(forever())
    eventually(lambda: len(diary.lines) == 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    eventually(lambda: diary.lines == ["one began", "one ended"])
