"""Where Toxiproxy's program comes from: PATH, the cache, a Go toolchain; and what is said where there is none."""

import stat
from pathlib import Path

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.chaos.toxiproxy_server import PROGRAM, cached_program, toxiproxy_program, toxiproxy_served


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH beside the system's, empty; the cache is empty, too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def write(folder: Path, name: str, script: str) -> Path:
    """A program."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


async def test_a_program_on_path_is_taken(path: Path) -> None:
    write(path, "go", "exit 1")
    program = write(path, PROGRAM, "exit 0")

    assert await toxiproxy_program() == program


async def test_without_one_it_is_built_once_and_kept(path: Path, tmp_path: Path) -> None:
    write(path, "go", f'echo "$@" >> {tmp_path}/asked; echo "built" > "$GOBIN/server"')

    program = await toxiproxy_program()
    assert await toxiproxy_program() == program == cached_program()

    assert program.read_text() == "built\n"
    assert program.is_relative_to(tmp_path / "cache" / "edgescale")
    assert (tmp_path / "asked").read_text() == "install github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0\n"
    assert [*program.parent.iterdir()] == [program]


async def test_without_a_cache_of_its_own_the_users_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(path))
    assert cached_program().is_relative_to(path / ".cache" / "edgescale")


@pytest.mark.usefixtures("path")
async def test_where_nothing_is_there_it_is_said_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"neither toxiproxy-server nor go is on PATH; install one of them, or"):
        await toxiproxy_program()


async def test_a_build_that_fails_says_why_and_leaves_nothing(path: Path) -> None:
    write(path, "go", 'echo "no such module" >&2; echo "half" > "$GOBIN/server"; exit 1')

    with pytest.raises(ConfigError, match=r"go install github.com/\S+ failed: no such module"):
        await toxiproxy_program()

    assert [*cached_program().parent.iterdir()] == []


async def test_a_server_that_does_not_start_is_quoted(path: Path, tmp_path: Path) -> None:
    write(path, PROGRAM, 'echo "I cannot $1 $2"; exit 3')

    with pytest.raises(ConfigError, match=r"did not serve on port \d+: I cannot -host 127.0.0.1"):
        async with toxiproxy_served(tmp_path / "log"):
            pass


async def test_a_program_that_cannot_run_is_named(path: Path, tmp_path: Path) -> None:
    write(path, PROGRAM, "").write_text("#!/no/such/interpreter\n")

    with pytest.raises(ConfigError, match=rf"cannot run {path}/{PROGRAM}: No such file"):
        async with toxiproxy_served(tmp_path / "log"):
            pass
