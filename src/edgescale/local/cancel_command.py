"""`edgescale cancel`, and how answers of ingestion are printed."""

import asyncio
import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from google.protobuf.message import Message


def cancel(
    request_id: Annotated[str, typer.Argument(help="Of the task.")],
    target: Annotated[str | None, typer.Option("--target", help="host:port of ingestion to talk to.")] = None,
) -> None:
    """Cancel a task, and print it as it stands then.

    A queued task never starts, a running one is told to stop. A task that has ended otherwise stays as it is; its state
    says so.
    """
    from edgescale.client import Client
    from edgescale.config import load_settings

    async def call() -> None:
        async with Client(load_settings(os.environ, ingestion_target=target).ingestion_target) as client:
            await print_message(client.cancel_task(request_id))

    asyncio.run(call())


async def print_message(call: "Awaitable[Message]") -> None:
    """Print the answer to a call as JSON; what is not set is left out."""
    from google.protobuf.json_format import MessageToDict

    message = MessageToDict(await call, preserving_proto_field_name=True, always_print_fields_with_no_presence=False)
    print(json.dumps(message, indent=2, ensure_ascii=False))
