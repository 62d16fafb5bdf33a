"""`edgescale dead`: what could not be done, listed, shown, replayed and purged."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgescale.errors import InvalidInput
from edgescale.exits import EXIT_FAILED
from edgescale.local.asking import with_client

if TYPE_CHECKING:
    from edgescale.client import Client

dead = typer.Typer(help="List, show, replay and purge dead letters.", no_args_is_help=True)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Of letters, or the request ids of their tasks.")
]
Lane = Annotated[str, typer.Option("--lane", help="Only letters of this lane.")]
Kind = Annotated[str, typer.Option("--kind", help="Only letters of this kind.")]
Reason = Annotated[str, typer.Option("--reason", help="Only letters whose last attempt failed with this reason.")]
All = Annotated[bool, typer.Option("--all", help="All letters are meant.")]
Target = Annotated[str | None, typer.Option("--target", help="host:port of ingestion to talk to.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@dead.command("list")
def list_letters(
    lane: Lane = "",
    kind: Kind = "",
    reason: Reason = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Letters at most.")] = 100,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first."""
    from edgescale.local import dead_letters

    wanted = {"lane": lane, "kind": kind, "reason": reason}
    with_client(target, lambda client: dead_letters.show_list(client, wanted, limit=limit, as_json=as_json))


@dead.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="Of the letter, or the request id of its task.")],
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its attempts, its last error, its bytes."""
    from edgescale.local import dead_letters

    with_client(target, lambda client: dead_letters.show_one(client, name, as_json=as_json))


@dead.command()
def replay(
    names: Names = None,
    lane: Lane = "",
    kind: Kind = "",
    reason: Reason = "",
    everything: All = False,
    per_second: Annotated[
        int, typer.Option("--per-second", min=0, help="A slower pace than the server's; 0 for the server's.")
    ] = 0,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Put dead letters back into their lanes: those that are named, those that match, or all.

    Exits with 0 only if all of them were.
    """
    from edgescale.local import dead_letters

    wanted = _wanted(names, everything=everything, lane=lane, kind=kind, reason=reason)
    counts = {"left": 0}

    async def use(client: "Client") -> None:
        counts["left"] = await dead_letters.replay(client, names or [], wanted, per_second=per_second, as_json=as_json)

    with_client(target, use)
    if counts["left"]:
        raise typer.Exit(EXIT_FAILED)


@dead.command()
def purge(
    names: Names = None,
    lane: Lane = "",
    kind: Kind = "",
    reason: Reason = "",
    everything: All = False,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Remove dead letters for good: those that are named, those that match, or all."""
    from edgescale.local import dead_letters

    wanted = _wanted(names, everything=everything, lane=lane, kind=kind, reason=reason)
    with_client(target, lambda client: dead_letters.purge(client, names or [], wanted, as_json=as_json))


def _wanted(names: list[str] | None, *, everything: bool, **wanted: str) -> dict[str, str | bool]:
    """What the options say, as the client takes it.

    Raises:
        InvalidInput: it is not clear which letters are meant.
    """
    given = [f"--{option}" for option, value in wanted.items() if value] + ["--all"] * everything
    if names and given:
        raise InvalidInput(given[0], "must not be given beside ids")
    if everything and len(given) > 1:
        raise InvalidInput("--all", f"must not be given beside {given[0]}")
    if not names and not given:
        raise InvalidInput("ID", "say which letters are meant: ids, or --lane, --kind and --reason, or --all")
    return wanted | {"everything": everything}
