"""What an error reply, or more than one command, is part of: scripts, groups, settings of the server."""

from collections.abc import Sequence
from typing import Any

from redis import exceptions as foreign

from edgescale.broker.fence import Fence
from edgescale.broker.pool import Pool
from edgescale.broker.script import Argument, Script


async def run_script(
    pool: Pool, fence: Fence | None, script: Script, keys: Sequence[str], args: Sequence[Argument]
) -> Any:
    """Run a script by its hash, its body where the server does not know it; behind a fence what it says is told last.

    Script and fence go over one connection, and so to one server: that another one has replicas would tell nothing.
    """
    behind = fence.behind(script, keys[0]) if fence is not None else []
    replies = await pool.exchange_all(("EVALSHA", script.sha, len(keys), *keys, *args), *behind)
    if isinstance(replies[0], foreign.NoScriptError):
        replies = await pool.exchange_all(("EVAL", script.body, len(keys), *keys, *args), *behind)
    for reply in replies:
        if isinstance(reply, foreign.ResponseError):
            raise reply
    if fence is not None and behind:
        fence.passed(replies[-1])
    return replies[0]


async def create_group(pool: Pool, stream: str, group: str) -> bool:
    """Make a consumer group at the start of a stream, the stream too; False when it is there already."""
    try:
        await pool.exchange("XGROUP", "CREATE", stream, group, "0", "MKSTREAM")
    except foreign.ResponseError as error:
        if str(error).startswith("BUSYGROUP"):
            return False
        raise
    return True


async def configured(pool: Pool, name: str) -> str | None:
    """A setting of the server; None where it does not let us ask, or has no such setting."""
    try:
        found = await pool.exchange("CONFIG", "GET", name)
    except foreign.ResponseError as error:
        # Without the permission, or where a provider has taken the command away.
        if isinstance(error, foreign.NoPermissionError) or str(error).startswith("unknown"):
            return None
        raise
    return found[1].decode() if found else None
