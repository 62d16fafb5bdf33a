"""The `edgescale` command."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgescale import __version__
from edgescale.errors import ConfigError, InvalidInput
from edgescale.exits import EXIT_FAILED, sentences
from edgescale.harness.chaos_command import chaos
from edgescale.harness.simulate_command import simulate
from edgescale.local.asking import with_client
from edgescale.local.cancel_command import cancel, print_message
from edgescale.local.dead_command import dead

if TYPE_CHECKING:
    from edgescale.compose import Service
    from edgescale.config import Settings


app = typer.Typer(
    name="edgescale",
    help="Events in over gRPC and HTTP, worked on in parallel, exactly one answer back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
send = typer.Typer(help="Send one request to ingestion and print the answer.", no_args_is_help=True)
app.add_typer(send, name="send")
app.add_typer(dead, name="dead")

Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="Any setting of docs/configuration.md; may be repeated."),
]
RedisUrl = Annotated[str | None, typer.Option("--redis-url", help="Redis or Valkey to use.")]
GrpcBind = Annotated[str | None, typer.Option("--grpc-bind", help="host:port of ingestion.")]
HttpBind = Annotated[str | None, typer.Option("--http-bind", help="host:port of the gateway.")]
Target = Annotated[str | None, typer.Option("--target", help="host:port of ingestion to talk to.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
RequestId = Annotated[str, typer.Option("--request-id", help="Repeating an id repeats the answer, not the work.")]
OrderingKey = Annotated[str, typer.Option("--ordering-key", help="Its tasks are done one after the other.")]
UntilStdinCloses = Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgescale {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Events in over gRPC and HTTP, worked on in parallel, exactly one answer back."""
    del version


def _settings(sets: list[str] | None, **flags: Any) -> "Settings":
    """Settings from the environment, `--set` and flags, the last going first.

    Raises:
        ConfigError: they cannot work.
    """
    from edgescale.config import Settings, load_settings

    named = {}
    for pair in sets or []:
        name, separator, value = pair.partition("=")
        name = name.strip().lower().removeprefix("edgescale_")
        if not separator or name not in Settings.model_fields:
            raise ConfigError(f"--set {pair}: must be NAME=VALUE with a name of docs/configuration.md")
        named[name] = value
    return load_settings(os.environ, **(named | {name: value for name, value in flags.items() if value is not None}))


def _serve(service: "Service", name: str, settings: "Settings", *, until_stdin_closes: bool) -> None:
    from edgescale.compose import run_service
    from edgescale.telemetry.logs import configure_logs

    configure_logs(service=name, log_format=settings.log_format, level=settings.log_level)
    run_service(service, settings, name=name, until_stdin_closes=until_stdin_closes)


@app.command()
def gateway(
    sets: Set = None,
    http_bind: HttpBind = None,
    target: Target = None,
    until_stdin_closes: UntilStdinCloses = False,
) -> None:
    """Serve HTTP in front of ingestion."""
    from edgescale.compose import run_gateway

    settings = _settings(sets, http_bind=http_bind, ingestion_target=target)
    _serve(run_gateway, "gateway", settings, until_stdin_closes=until_stdin_closes)


@app.command()
def ingestion(
    sets: Set = None,
    redis_url: RedisUrl = None,
    grpc_bind: GrpcBind = None,
    until_stdin_closes: UntilStdinCloses = False,
) -> None:
    """Serve gRPC: accept requests and answer them."""
    from edgescale.compose import run_ingestion

    settings = _settings(sets, redis_url=redis_url, grpc_bind=grpc_bind)
    _serve(run_ingestion, "ingestion", settings, until_stdin_closes=until_stdin_closes)


@app.command()
def worker(
    sets: Set = None,
    redis_url: RedisUrl = None,
    lanes: Annotated[str | None, typer.Option("--lanes", help="Lanes and tasks at once, as text=8,file=2.")] = None,
    until_stdin_closes: UntilStdinCloses = False,
) -> None:
    """Work on tasks: one process."""
    from edgescale.compose import run_worker

    settings = _settings(sets, redis_url=redis_url, worker_lanes=lanes)
    _serve(run_worker, "worker", settings, until_stdin_closes=until_stdin_closes)


@app.command()
def up(
    sets: Set = None,
    redis_url: RedisUrl = None,
    grpc_bind: GrpcBind = None,
    http_bind: HttpBind = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where data is kept.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Worker processes.")] = None,
) -> None:
    """Run everything on this machine, until Ctrl-C.

    Without --redis-url or EDGESCALE_REDIS_URL, a Valkey server of its own keeps its data in the data directory.
    """
    from edgescale.config import ENV_PREFIX
    from edgescale.local.up import run_up
    from edgescale.telemetry.logs import configure_logs

    settings = _settings(
        sets, redis_url=redis_url, grpc_bind=grpc_bind, http_bind=http_bind, data_dir=data_dir, worker_processes=workers
    )
    given = redis_url or f"{ENV_PREFIX}REDIS_URL" in os.environ or any("redis_url" in pair for pair in sets or [])
    configure_logs(service="up", log_format=settings.log_format, level=settings.log_level)
    asyncio.run(run_up(settings, embedded=not given))


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Bring everything up on free ports, send real input, kill a worker on the way, and check the answers.

    Exits with 0 only if every check held.
    """
    from edgescale.local.demo import run_demo

    if not asyncio.run(run_demo(as_json=as_json)):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def status(target: Target = None, as_json: AsJson = False) -> None:
    """Show lanes and agents."""
    from edgescale.local.status import show_status

    with_client(target, lambda client: show_status(client, as_json=as_json))


app.command()(cancel)
app.command()(simulate)
app.command()(chaos)


@send.command()
def heartbeat(
    agent_id: Annotated[str, typer.Argument(help="Who is alive.")],
    sequence: Annotated[int, typer.Option("--sequence", min=0, help="Counts up by one per beat.")] = 0,
    boot_id: Annotated[str, typer.Option("--boot-id", help="Names one run of the agent.")] = "",
    state: Annotated[str, typer.Option("--status", help="Free words of the agent on itself.")] = "",
    request_id: RequestId = "",
    target: Target = None,
) -> None:
    """Send a heartbeat; returns once it is queued."""
    with_client(
        target,
        lambda client: print_message(
            client.send_heartbeat(agent_id, sequence=sequence, boot_id=boot_id, status=state, request_id=request_id)
        ),
    )


@send.command()
def text(
    words: Annotated[str, typer.Argument(help="The text, or - for standard input.")],
    top_terms: Annotated[int, typer.Option("--top-terms", min=0, max=100, help="Most frequent terms.")] = 0,
    request_id: RequestId = "",
    ordering_key: OrderingKey = "",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the answer.")] = 60.0,
    target: Target = None,
) -> None:
    """Have a text analysed, and print what was found."""
    content = _standard_input() if words == "-" else words
    with_client(
        target,
        lambda client: print_message(
            client.analyze_text(
                content, top_terms=top_terms, request_id=request_id, ordering_key=ordering_key, timeout_s=timeout_s
            )
        ),
    )


@send.command()
def file(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The file.")],
    request_id: RequestId = "",
    ordering_key: OrderingKey = "",
    target: Target = None,
) -> None:
    """Stream a file, and print the report on it."""
    from edgescale.local.progress import upload_with_progress

    ids = {"request_id": request_id, "ordering_key": ordering_key}
    with_client(target, lambda client: print_message(upload_with_progress(client, path, **ids)))


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("input.text", "standard input is not UTF-8") from error


def main() -> None:
    """Run the command; errors of the tree become one sentence and an exit status."""
    with sentences():
        app()
