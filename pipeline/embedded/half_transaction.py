"""The end of an append-only file that a crash cut off in the middle of a transaction.

Redis takes away the command that was cut and leaves the MULTI before it open. What is written
next is queued behind that one, and the load after that mixes both or loses the later: so we cut
the file before that MULTI first. https://github.com/valkey-io/valkey/pull/4342 tells of it.
"""

import logging
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.about import noted

#: 80 MB take 0.1 s.
CHECK_TIMEOUT_S = 60.0

#: A length is written in far fewer bytes: a longer line is damage.
_LINE_BYTES = 64

log = logging.getLogger(__name__)


def append_only_file(directory: Path, name: str = "appendonly.aof") -> Path:
    """Name the file that Redis appends to: the manifest's last, before Redis 7 the only one."""
    folder = directory / "appendonlydir"
    manifest = folder / f"{name}.manifest"
    lines = manifest.read_text().splitlines() if manifest.exists() else []
    pairs = [line.split() for line in lines if line.startswith("file ")]
    named = [dict(zip(words[::2], words[1::2], strict=False)) for words in pairs]
    current = [one["file"] for one in named if one.get("type") in ("b", "i")]
    return folder / current[-1] if current else directory / name


def cut_half_transaction(file: Path, binary: Path) -> None:
    """Take a transaction without its EXEC from the file's end, which Redis must not be using.

    Nobody was told that it was done. What else is wrong with the file is left to Redis, which
    takes away a single command that was cut, and refuses damage.
    """
    size = file.stat().st_size if file.exists() else 0
    whole = _whole_bytes(file, binary) if size else 0
    if whole >= size:
        return
    with file.open("r+b") as tail:
        tail.seek(whole)
        if not _is_half_a_transaction(tail):
            return
        tail.truncate(whole)
        os.fsync(tail.fileno())
    log.warning("Half a transaction was cut off", extra=noted(bytes=size - whole, file=str(file)))


def _whole_bytes(file: Path, binary: Path) -> int:
    """Count the bytes up to the last whole command or transaction; all where none can tell."""
    try:
        # Every redis-server is this tool as well, by its name; it knows what an RDB head holds.
        checked = subprocess.run(
            [str(binary.with_name("redis-check-aof")), str(file)],
            executable=binary,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        told = noted(file=str(file), timeout_s=CHECK_TIMEOUT_S)
        log.warning("A file was too large to be looked through", extra=told)
        return file.stat().st_size
    found = re.search(rb"\bok_up_to=(\d+)", checked.stdout)
    return int(found[1]) if found else file.stat().st_size


def _is_half_a_transaction(tail: BinaryIO) -> bool:
    commands = _commands(tail)
    try:
        return next(commands, b"") == b"MULTI" and not {b"MULTI", b"EXEC"}.intersection(commands)
    except ValueError:
        return False


def _commands(tail: BinaryIO) -> Iterator[bytes]:
    """Give the names of the whole commands up to the file's end; damage raises ValueError."""
    try:
        while True:
            line = tail.readline(_LINE_BYTES)
            # Redis 7 can be told to note the time between commands.
            if line.startswith(b"#"):
                continue
            words = [_word(tail) for _ in range(_number(line, b"*"))]
            yield words[0].upper() if words else b""
    except EOFError:
        return


def _word(tail: BinaryIO) -> bytes:
    length = _number(tail.readline(_LINE_BYTES), b"$")
    word, end = tail.read(length), tail.read(2)
    if not b"\r\n".startswith(end):
        raise ValueError("a word is longer than it says")
    if len(end) < 2:
        raise EOFError
    return word


def _number(line: bytes, sign: bytes) -> int:
    if not line or (line.startswith(sign) and not line.endswith(b"\n") and len(line) < _LINE_BYTES):
        raise EOFError
    if not line.startswith(sign) or not line[1:].strip().isdigit():
        raise ValueError("this is no number")
    return int(line[1:])
