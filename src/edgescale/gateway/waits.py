"""Waiting for ingestion's answer while watching whether the caller is still there.

An ASGI server tells of a disconnect only through `receive`, and only while somebody reads it. Each wait therefore has
a watcher that reads on, and cancels the gRPC call once nobody is left to be answered. The task itself goes on: it was
accepted, and its result stays retrievable.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import NoReturn, Protocol, TypeVar

from grpc.aio import AioRpcError
from starlette.types import Receive

from edgescale.errors import NotServing
from edgescale.gateway.upstream import translated

T_co = TypeVar("T_co", covariant=True)


class Call(Awaitable[T_co], Protocol[T_co]):
    """As much of a gRPC call as a wait needs."""

    def cancel(self) -> bool:
        """End the call; whoever awaits it sees `CancelledError`."""


class Disconnected(Exception):
    """The caller has gone. No error for anybody to see, so it stands outside the tree."""


async def until_gone(receive: Receive) -> NoReturn:
    """Read on after the body's end.

    Raises:
        Disconnected: the caller has gone.
    """
    while (await receive())["type"] != "http.disconnect":
        pass
    raise Disconnected


async def _cancel_when_gone(call: Call[object], receive: Receive) -> None:
    with suppress(Disconnected):
        await until_gone(receive)
    call.cancel()


async def watched(call: Call[T_co], receive: Receive) -> T_co:
    """The call's answer, given up when the caller goes.

    Args:
        call: a call whose request is complete.
        receive: of the HTTP request, whose body was read to its end.

    Raises:
        EdgeScaleError: ingestion's answer, or lack of one.
        Disconnected: the caller has gone; the call is cancelled.
        NotServing: the server stops and its grace period is over.
    """
    watcher = asyncio.create_task(_cancel_when_gone(call, receive))
    try:
        return await call
    except AioRpcError as error:
        raise translated(error) from error
    except asyncio.CancelledError:
        # Two can cancel: the watcher, through the call, or the server at the end of its grace period. Nobody else
        # holds this task, so turning the second into an answer swallows no cancellation that anyone relies on.
        if watcher.done():
            raise Disconnected from None
        raise NotServing("this gateway is about to stop; ask again") from None
    finally:
        watcher.cancel()
