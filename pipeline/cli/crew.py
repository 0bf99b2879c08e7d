"""Keeps child processes running: starts them in stages, restarts who dies, ends them in order.

Who dies is started again after a pause that grows with each death in quick succession; a part
that dies at once again and again ends the whole crew, with its last lines.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from pipeline import clock
from pipeline.cli.child import Child, Part
from pipeline.cli.report import Report

#: A process that ended within this time of its start has died at once.
AT_ONCE_S: Final = 3.0
#: Deaths at once in a row after which the crew gives up, before and after it has been ready. An
#: event that kills its workers is dead-lettered after `workers.max_deliveries`, 5: it must not
#: end the crew before that.
MAX_AT_ONCE, MAX_AT_ONCE_LATER = 3, 8
#: Pauses before the first, second … new start in a row; the last one repeats.
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
#: A signal so soon after the first is its echo: some senders signal a process and its group.
_ECHO_S: Final = 0.5
#: How long the kernel may take to end what was killed.
_KILL_TIMEOUT_S: Final = 10.0


_NO_MORE: Final[Mapping[signal.Signals, Callable[[], None]]] = {}


class Post:
    """A part and the process that fills it now, if there is one."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.child: Child | None = None
        #: Deaths at once in a row.
        self.deaths = 0
        #: Told to end, to be started anew at once.
        self.restarting = False
        self.timer: asyncio.TimerHandle | None = None


class Crew:
    """The children of this process. `stages` are in the order of their start."""

    def __init__(self, stages: Sequence[Sequence[Part]], report: Report) -> None:
        self._stages = [[Post(part) for part in stage] for stage in stages]
        self.report = report
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurried = False
        self._asked_at = 0.0
        #: Whether everything has worked once: then more patience is due.
        self.was_ready = False
        #: Why the crew gave up; empty: it was asked to stop, or still runs.
        self.failure = ""
        self.on_child_end: Callable[[], None] | None = None

    @property
    def posts(self) -> list[Post]:
        """List all posts in the order of their start."""
        return [post for stage in self._stages for post in stage]

    @property
    def is_stopping(self) -> bool:
        """Whether the crew was asked to stop, or gave up."""
        return self._stopping.is_set()

    @contextmanager
    def watching(
        self, more: Mapping[signal.Signals, Callable[[], None]] = _NO_MORE
    ) -> Iterator[None]:
        """Take this process's signals: the first INT or TERM stops, a second one hurries."""
        loop = asyncio.get_running_loop()
        takers = {
            signal.SIGCHLD: self._reap,
            signal.SIGINT: self.ask_to_stop,
            signal.SIGTERM: self.ask_to_stop,
            **more,
        }
        for number, taker in takers.items():
            loop.add_signal_handler(number, taker)
        try:
            yield
        finally:
            for number in takers:
                loop.remove_signal_handler(number)

    def start(self) -> None:
        """Start every part."""
        for post in self.posts:
            self._fill(post)

    async def until_stopping(self) -> None:
        """Wait until somebody asks to stop, or the crew gives up."""
        await self._stopping.wait()

    def ask_to_stop(self) -> None:
        """Begin to stop; asked again, do not wait for work under way."""
        now = clock.monotonic()
        if self._asked_at and now - self._asked_at > _ECHO_S and not self._hurried:
            self._hurried = True
            self.report.note(
                "ending at once; work under way will be taken up later", event="Stop was hurried"
            )
        self._asked_at = self._asked_at or now
        self._stopping.set()
        self._changed.set()

    def give_up(self, why: str) -> None:
        """Stop, with this as the reason."""
        self.failure = self.failure or why
        self._stopping.set()
        self._changed.set()

    async def stop(self) -> None:
        """End all parts, the last stage first; each stage waits for the one after it."""
        self._stopping.set()
        for stage in reversed(self._stages):
            for post in stage:
                if post.timer:
                    post.timer.cancel()
                if post.child:
                    post.child.terminate()
            grace_s = max((post.part.grace_s for post in stage), default=0.0)
            await self._until(partial(self._is_done, stage), grace_s)
            for post in stage:
                if post.child:
                    late = "" if self._hurried else " did not end in time and"
                    name = post.part.name
                    self.report.note(f"{name}{late} is killed", event="Part was killed", child=name)
                    post.child.kill()
            await self._until(partial(_is_empty, stage), _KILL_TIMEOUT_S)

    async def restart(self, settled: Callable[[Child], Awaitable[None]]) -> None:
        """Start every part anew, one after another; `settled` waits until the new one works."""
        for post in self.posts:
            if not self.is_stopping:
                await self._restart(post, settled)

    async def _restart(self, post: Post, settled: Callable[[Child], Awaitable[None]]) -> None:
        old = post.child
        if old is None:
            return
        name = post.part.name
        self.report.note(f"{name} is restarted", event="Restart of a part began", child=name)
        post.restarting = True
        old.terminate()
        await self._until(lambda: not post.restarting, post.part.grace_s)
        if post.restarting:
            old.kill()
        await self._until(lambda: not post.restarting, _KILL_TIMEOUT_S)
        if post.child:
            await settled(post.child)

    def _is_done(self, stage: Sequence[Post]) -> bool:
        return self._hurried or _is_empty(stage)

    def _fill(self, post: Post) -> None:
        post.timer = None
        if not self.is_stopping:
            post.child = Child(post.part, self.report.line)

    def _reap(self) -> None:
        for post in self.posts:
            child = post.child
            code = child.poll() if child else None
            if child is None or code is None:
                continue
            post.child = None
            child.close()
            if post.restarting:
                post.restarting = False
                self._fill(post)
            elif not self.is_stopping:
                self._replace(post, child, code)
        if self.on_child_end:
            self.on_child_end()
        self._changed.set()

    def _replace(self, post: Post, child: Child, code: int) -> None:
        ended = f"{post.part.name} (pid {child.pid}) {_how(code)}"
        pause_s = PAUSES_S[min(post.deaths, len(PAUSES_S) - 1)]
        post.deaths = post.deaths + 1 if child.age_s < AT_ONCE_S else 0
        if post.deaths >= (MAX_AT_ONCE_LATER if self.was_ready else MAX_AT_ONCE):
            last = "".join(f"\n  {line}" for line in child.tail)
            self.give_up(
                f"{ended}, for the {post.deaths}th time at once after its start. "
                f"Its last lines:{last}"
            )
            return
        self.report.note(
            f"{ended}; starting it again in {pause_s:g} s",
            "bold red",
            event="Part ended",
            child=post.part.name,
            pid=child.pid,
            code=code,
            again_in_s=pause_s,
        )
        loop = asyncio.get_running_loop()
        post.timer = loop.call_later(pause_s, self._fill, post)

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()


def _is_empty(stage: Sequence[Post]) -> bool:
    return all(post.child is None for post in stage)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
