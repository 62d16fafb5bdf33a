#!/usr/bin/env -S python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox"]
# ///
"""Everything that is run on this project: `nox` does all that must be green, `nox -s NAME` one of them."""

import filecmp
import shutil
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROTO = ROOT / "proto"
GENERATED = ROOT / "src" / "edgescale" / "v1"
SERVICES = "edgescale/v1/ingestion_service.proto"
# Pinned for this project's own runs; users get the ranges of pyproject.toml.
PINNED = ("-c", "constraints.txt")
TEST_TOOLS = (
    *("hypothesis", "httpx", "moto[server]", "playwright", "psutil"),
    *("pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist"),
)
SIDE_BY_SIDE = ("-n", "3")
SHORT_CAMPAIGN = ("--seeds", "500")
TYPE_STUBS = (
    "boto3",
    "types-grpcio",
    "types-grpcio-health-checking",
    "types-grpcio-reflection",
    "types-protobuf",
    "types-psutil",
)

nox.needs_version = ">=2025.5"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "proto", "types", "tests", "simulate"]


def install(session: nox.Session, *packages: str) -> None:
    """The project with all extras, and what the session needs beside it."""
    session.install(*PINNED, "-e", ".[local,harness,chaos]", *packages)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, import directions, the contract's names."""
    session.install(*PINNED, "ruff", "import-linter", "buf-bin")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": str(ROOT / "src")})
    session.run("buf", "lint")
    session.run("buf", "breaking", "--against", str(PROTO / "baseline.binpb"))


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over the sources, the tests, the benches and this file."""
    install(session, "mypy", "nox", *TEST_TOOLS, *TYPE_STUBS)
    session.run("mypy")


@nox.session
def proto(session: nox.Session) -> None:
    """Generate src/edgescale/v1 anew; fail where it differed from what is committed, unless `-- --write`."""
    session.install(*PINNED, "grpcio-tools", "mypy-protobuf")
    fresh = Path(session.create_tmp()) / "generated"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    generate(session, fresh)
    made = fresh / "edgescale" / "v1"
    if "--write" in session.posargs:
        shutil.copytree(made, GENERATED, dirs_exist_ok=True)
        return
    names = sorted(path.name for path in made.iterdir())
    committed = sorted(path.name for path in GENERATED.glob("*_pb2*.py*"))
    _, different, missing = filecmp.cmpfiles(made, GENERATED, names, shallow=False)
    if different or missing or committed != names:
        session.error(f"generated code differs: {sorted({*different, *missing, *set(committed) ^ set(names)})}")


def generate(session: nox.Session, out: Path) -> None:
    """Messages with type stubs for all files, and the service's stubs."""
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    protoc = ("python", "-m", "grpc_tools.protoc", f"-I{PROTO}")
    session.run(*protoc, f"--python_out={out}", f"--mypy_out=quiet:{out}", *files)
    session.run(*protoc, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", SERVICES)


@nox.session
def tests(session: nox.Session) -> None:
    """All suites, in one environment: what unit, property, integration and chaos run one by one."""
    install(session, *TEST_TOOLS)
    # Most of them wait for servers most of the time.
    session.run("pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """Tests of the parts, without a server."""
    install(session, *TEST_TOOLS)
    session.run("pytest", "tests/unit", *session.posargs)


@nox.session(name="property")
def property_(session: nox.Session) -> None:
    """Hypothesis: round trips, re-slicing, bounds."""
    install(session, *TEST_TOOLS)
    session.run("pytest", "tests/property", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Tests on real servers and processes: embedded Valkey, redis-server on PATH, or `-- --provider compose`."""
    install(session, *TEST_TOOLS)
    session.run("pytest", "tests/integration", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Faults of real networks, servers and processes; `-- --provider docker`, `-- --scenarios all`."""
    install(session, *TEST_TOOLS)
    session.run("pytest", "tests/chaos", *session.posargs)


def on_many_servers(session: nox.Session) -> None:
    """All integration tests that share a server, on what tests/unrest.py has by the session's name."""
    install(session, *TEST_TOOLS)
    session.run("pytest", "tests/integration", *session.posargs, env={"TEST_SERVERS": session.name})


@nox.session
def cluster(session: nox.Session) -> None:
    """The integration tests on a real cluster of three primaries and three replicas."""
    on_many_servers(session)


@nox.session
def failing(session: nox.Session) -> None:
    """The same while its primaries are killed, one after the other, and come back as replicas."""
    on_many_servers(session)


@nox.session
def migrating(session: nox.Session) -> None:
    """The same while all partitions migrate from primary to primary, all the time."""
    on_many_servers(session)


@nox.session
def sentinel(session: nox.Session) -> None:
    """The same behind Sentinel, through many failovers."""
    on_many_servers(session)


@nox.session
def simulate(session: nox.Session) -> None:
    """A short campaign in simulation, every promise judged; `-- --seeds 10000 --from 500` makes it a long one."""
    install(session)
    session.run("edgescale", "simulate", *(session.posargs or SHORT_CAMPAIGN))


@nox.session
def demo(session: nox.Session) -> None:
    """The whole pipeline on real input, a worker killed on the way."""
    install(session)
    session.run("edgescale", "demo", *session.posargs)


@nox.session
def up(session: nox.Session) -> None:
    """Everything on this machine, until Ctrl-C."""
    install(session)
    session.run("edgescale", "up", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The benches of bench/; figures are ratios within one run."""
    install(session, "psutil", "httpx")
    for script in session.posargs or sorted(str(path) for path in (ROOT / "bench").glob("bench_*.py")):
        session.run("python", script)


if __name__ == "__main__":
    nox.main()
