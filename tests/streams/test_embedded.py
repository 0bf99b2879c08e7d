"""The embedded server: its start, its crash, its lock, and its end with its parent."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import redis

from pipeline.embedded import redis_server as embedded
from pipeline.embedded.directory_lock import DirectoryTaken
from pipeline.embedded.redis_server import EmbeddedRedis, EmbeddedRedisFailed, RedisServerMissing
from tests.processes import Spawn, runs
from tests.waiting import eventually

_PARENT = """
import signal, sys
from pathlib import Path
from pipeline.embedded.redis_server import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]), binary=Path(sys.argv[2]))
server.start()
print("server", server.pid, "port", server.port, flush=True)
signal.pause()
"""


def setting(server: EmbeddedRedis, name: str) -> str:
    with redis.Redis(port=server.port, decode_responses=True) as client:
        return str(client.config_get(name)[name])


def write(server: EmbeddedRedis, key: str, value: str) -> None:
    with redis.Redis(port=server.port) as client:
        client.set(key, value)


def read(server: EmbeddedRedis, key: str) -> str | None:
    with redis.Redis(port=server.port, decode_responses=True) as client:
        value = client.get(key)
        return None if value is None else str(value)


def test_a_server_listens_on_loopback_alone_and_appends_every_write(
    own_redis: EmbeddedRedis,
) -> None:
    assert own_redis.url == f"redis://127.0.0.1:{own_redis.port}/0"
    assert setting(own_redis, "bind") == "127.0.0.1"
    assert setting(own_redis, "appendonly") == "yes"
    assert setting(own_redis, "maxmemory-policy") == "noeviction"
    assert setting(own_redis, "save") == ""


def test_options_replace_the_defaults(redis_binary: Path, tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, options={"maxmemory": "64mb"}, binary=redis_binary) as server:
        assert setting(server, "maxmemory") == str(64 * 1024 * 1024)


@pytest.mark.crash
def test_a_killed_server_comes_back_on_its_port_with_its_data(own_redis: EmbeddedRedis) -> None:
    port = own_redis.port
    write(own_redis, "kept", "yes")
    own_redis.kill()
    assert not own_redis.alive
    own_redis.start()
    assert own_redis.port == port
    assert read(own_redis, "kept") == "yes"


def test_a_restart_changes_the_process_and_nothing_else(own_redis: EmbeddedRedis) -> None:
    before = own_redis.pid
    write(own_redis, "kept", "yes")
    own_redis.restart()
    assert own_redis.pid != before
    assert read(own_redis, "kept") == "yes"


def test_a_stopped_server_leaves_no_process(redis_binary: Path, tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path, binary=redis_binary)
    server.start()
    pid = server.pid
    server.stop()
    server.stop()
    assert pid is not None
    assert not runs(pid)


@pytest.mark.crash
def test_a_paused_server_can_be_stopped(redis_binary: Path, tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path, binary=redis_binary)
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert not server.alive


def test_a_second_server_in_the_same_directory_is_refused_with_pid_and_path(
    own_redis: EmbeddedRedis, redis_binary: Path
) -> None:
    second = EmbeddedRedis(own_redis.directory, binary=redis_binary)
    with pytest.raises(DirectoryTaken) as raised:
        second.start()
    assert str(os.getpid()) in str(raised.value)
    assert str(own_redis.directory) in str(raised.value)
    assert own_redis.alive


def test_a_directory_is_free_again_after_a_stop(redis_binary: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with EmbeddedRedis(tmp_path, binary=redis_binary) as server:
            assert server.alive


def test_a_taken_port_is_named(redis_binary: Path, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        server = EmbeddedRedis(tmp_path, port=port, binary=redis_binary)
        with pytest.raises(EmbeddedRedisFailed, match=f"port {port} .* is taken"):
            server.start()


def test_a_server_that_ends_at_its_start_leaves_its_last_words(
    redis_binary: Path, tmp_path: Path
) -> None:
    options = {"appendfilename": "no/such/place"}
    server = EmbeddedRedis(tmp_path, options=options, binary=redis_binary)
    with pytest.raises(EmbeddedRedisFailed, match="redis-server ended at its start"):
        server.start()


def test_data_of_a_newer_redis_is_refused(tmp_path: Path) -> None:
    older = tmp_path / "redis-server"
    older.write_text("#!/bin/sh\necho Redis server v=6.2.14\n")
    older.chmod(0o755)
    data = tmp_path / "data"
    (data / "appendonlydir").mkdir(parents=True)
    with pytest.raises(EmbeddedRedisFailed, match="written by Redis 7 or later"):
        EmbeddedRedis(data, binary=older).start()


def test_a_machine_without_a_server_hears_which_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(RedisServerMissing, match="install redis"):
        embedded.find_redis_server()


def test_the_server_beside_the_virtual_environment_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "redis" / "bin" / "redis-server"
    place.parent.mkdir(parents=True)
    place.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert embedded.find_redis_server() == place


@pytest.mark.crash
def test_a_server_ends_with_its_killed_parent_and_gives_the_directory_free(
    spawn: Spawn, redis_binary: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    parent = spawn([sys.executable, "-c", _PARENT, str(data), str(redis_binary)])
    parent.await_output("port")
    words = parent.output.split()
    pid, port = int(words[1]), int(words[3])
    with redis.Redis(port=port) as client:
        client.set("kept", "yes")
    parent.process.kill()
    parent.wait()
    with EmbeddedRedis(data, binary=redis_binary) as heir:
        assert read(heir, "kept") == "yes"
    eventually(lambda: not runs(pid), what="the orphan's end")


@pytest.mark.crash
def test_the_ctrl_c_of_the_terminal_does_not_reach_the_server(
    spawn: Spawn, redis_binary: Path, tmp_path: Path
) -> None:
    parent = spawn([sys.executable, "-c", _PARENT, str(tmp_path / "data"), str(redis_binary)])
    parent.await_output("port")
    pid = int(parent.output.split()[1])
    assert os.getpgid(pid) not in (os.getpgid(parent.pid), os.getpgid(0))
