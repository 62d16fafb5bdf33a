"""What an error reply, or more than one command, is part of: scripts, groups, settings of the server."""

from collections.abc import Sequence
from typing import Any

from redis import exceptions as foreign

from edgescale.broker.fence import Fence
from edgescale.broker.route import Route
from edgescale.broker.script import Argument, Script


async def run_script(
    route: Route, fence: Fence | None, script: Script, keys: Sequence[str], args: Sequence[Argument]
) -> Any:
    """Run a script by its hash, its body where the server does not know it; behind a fence what it says is told last.

    Script and fence go over one connection, and so to one server: that another one has replicas would tell nothing.
    """
    behind = fence.behind(script, keys[0]) if fence is not None else []
    replies = await route.exchange_all([("EVALSHA", script.sha, len(keys), *keys, *args), *behind])
    if isinstance(replies[0], foreign.NoScriptError):
        replies = await route.exchange_all([("EVAL", script.body, len(keys), *keys, *args), *behind])
    for reply in replies:
        if isinstance(reply, foreign.AskError):
            # The slot is moving key by key, and the fence would be elsewhere than what it stands behind.
            raise foreign.TryAgainError(str(reply))
        if isinstance(reply, foreign.ResponseError):
            raise reply
    if fence is not None and behind:
        fence.passed(keys[0], replies[-1])
    return replies[0]


async def create_group(route: Route, stream: str, group: str) -> bool:
    """Make a consumer group at the start of a stream, the stream too; False when it is there already."""
    try:
        await route.exchange(("XGROUP", "CREATE", stream, group, "0", "MKSTREAM"), None)
    except foreign.ResponseError as error:
        if str(error).startswith("BUSYGROUP"):
            return False
        raise
    return True


async def configured(route: Route, name: str) -> list[str | None]:
    """A setting of every primary; None where one does not let us ask, or has no such setting. Source: CONFIG GET."""
    try:
        replies = await route.everywhere("CONFIG", "GET", name)
    except foreign.ResponseError as error:
        # Without the permission, or where a provider has taken the command away.
        if isinstance(error, foreign.NoPermissionError) or str(error).startswith("unknown"):
            return [None]
        raise
    return [found[1].decode() if found else None for found in replies]
