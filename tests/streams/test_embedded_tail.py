"""A file of Redis's that was cut within a transaction: the start drops the half, and no more."""

from pathlib import Path

import pytest
import redis

from pipeline.embedded.half_transaction import append_only_file, cut_half_transaction
from pipeline.embedded.redis_server import EmbeddedRedis, EmbeddedRedisFailed
from tests.waiting import eventually

pytestmark = pytest.mark.crash

_MULTI = b"*1\r\n$5\r\nMULTI\r\n"


def client(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis(port=server.port, decode_responses=True, protocol=2)


def transact(server: EmbeddedRedis, *keys: str) -> None:
    with client(server) as link, link.pipeline(transaction=True) as pipe:
        for key in keys:
            pipe.xadd(key, {"event": "1"}, id="1-1")
        pipe.execute()


def keys(server: EmbeddedRedis) -> list[str]:
    with client(server) as link:
        return sorted(str(key) for key in link.scan_iter())


def rewrite(server: EmbeddedRedis) -> None:
    """Let Redis give its file an RDB head; Redis 7 begins a file after it."""
    with client(server) as link:
        link.bgrewriteaof()
        eventually(
            lambda: not link.info("persistence")["aof_rewrite_in_progress"], what="the rewrite"
        )


@pytest.fixture
def written(own_redis: EmbeddedRedis) -> EmbeddedRedis:
    """Give a killed server whose file ends with a transaction over `a` and `b`."""
    with client(own_redis) as link:
        link.set("before", "1")
    rewrite(own_redis)
    with client(own_redis) as link:
        link.set("plain", "1")
    transact(own_redis, "a", "b")
    own_redis.kill()
    return own_redis


def test_a_cut_anywhere_in_a_transaction_leaves_nothing_of_it(
    written: EmbeddedRedis, redis_binary: Path
) -> None:
    file = written.data
    content = file.read_bytes()
    start = content.rindex(_MULTI)
    left = {}
    for cut in range(start, len(content) + 1):
        file.write_bytes(content[:cut])
        cut_half_transaction(file, redis_binary)
        left[cut] = file.read_bytes()
    # A cut MULTI alone is no transaction yet: that one Redis takes away itself.
    in_multi = {cut: content[:cut] for cut in range(start, start + len(_MULTI))}
    halves = dict.fromkeys(range(start + len(_MULTI), len(content)), content[:start])
    assert left == in_multi | halves | {len(content): content}


@pytest.mark.parametrize("kept", [b"XADD", b"event", b"\r\n$1\r\nb", b"*1\r\n$4\r\nEX"])
def test_what_is_written_after_a_half_transaction_survives_the_next_crash(
    written: EmbeddedRedis, kept: bytes
) -> None:
    content = written.data.read_bytes()
    end = content.index(kept, content.rindex(_MULTI)) + len(kept)
    written.data.write_bytes(content[:end])
    written.start()
    assert keys(written) == ["before", "plain"]
    with client(written) as link:
        link.set("after", "1")
    written.kill()
    written.start()
    assert keys(written) == ["after", "before", "plain"]
    transact(written, "b", "c")
    written.kill()
    written.start()
    assert keys(written) == ["after", "b", "before", "c", "plain"]
    assert "can not be nested" not in written.log.read_text()


def test_damage_amid_the_file_is_refused_and_nothing_is_cut(written: EmbeddedRedis) -> None:
    content = written.data.read_bytes()
    damaged = content.replace(_MULTI, _MULTI + b"\0\0\0\0\0\0\0\0")
    written.data.write_bytes(damaged)
    with pytest.raises(EmbeddedRedisFailed):
        written.start()
    assert written.data.read_bytes() == damaged


def test_a_second_multi_is_no_cut_end(written: EmbeddedRedis, redis_binary: Path) -> None:
    content = written.data.read_bytes()
    nested = content.replace(_MULTI, _MULTI + _MULTI)
    written.data.write_bytes(nested)
    cut_half_transaction(written.data, redis_binary)
    assert written.data.read_bytes() == nested


def test_the_manifest_names_the_file_that_is_appended_to(tmp_path: Path) -> None:
    assert append_only_file(tmp_path) == tmp_path / "appendonly.aof"
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text(
        "file appendonly.aof.2.base.rdb seq 2 type b\n"
        "file appendonly.aof.1.incr.aof seq 1 type h\n"
        "file appendonly.aof.2.incr.aof seq 2 type i\n"
        "file appendonly.aof.3.incr.aof seq 3 type i startoffset 7\n"
    )
    assert append_only_file(tmp_path) == folder / "appendonly.aof.3.incr.aof"
