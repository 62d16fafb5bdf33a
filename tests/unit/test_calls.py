"""The status that a server sent reaches the caller, whatever happens to a write that was under way."""

from collections.abc import AsyncIterator

from grpc import StatusCode, aio

from edgescale.client import Client
from edgescale.errors import LaneFull
from edgescale.status import DETAILS_KEY, to_status
from edgescale.v1.ingestion_service_pb2 import UploadFileRequest, UploadFileResponse
from edgescale.v1.ingestion_service_pb2_grpc import (
    IngestionServiceServicer,
    add_IngestionServiceServicer_to_server,
)

REFUSALS = 200
CHUNKS_TAKEN = 10


class Refusing(IngestionServiceServicer):
    """Takes a few chunks, then says that the lane is full."""

    async def UploadFile(  # noqa: N802 - named by the contract
        self, request_iterator: AsyncIterator[UploadFileRequest], context: aio.ServicerContext[object, object]
    ) -> UploadFileResponse:
        for _ in range(CHUNKS_TAKEN):
            await anext(request_iterator)
        details = to_status(LaneFull("file", cap=7, retry_after_ms=250)).SerializeToString()
        await context.abort(StatusCode.RESOURCE_EXHAUSTED, "full", ((DETAILS_KEY, details),))
        raise AssertionError


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


async def test_an_early_refusal_is_never_lost_to_a_write_under_way() -> None:
    server = aio.server()
    add_IngestionServiceServicer_to_server(Refusing(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    seen: list[Exception] = []

    async with Client(f"127.0.0.1:{port}") as client:
        for _ in range(REFUSALS):
            try:
                await client.upload_file(endless(), name="endless")
            except Exception as error:  # noqa: BLE001 - the error is what is looked at
                seen.append(error)
    await server.stop(0)

    assert [type(error) for error in seen] == [LaneFull] * REFUSALS
    assert {(error.cap, error.retry_after_ms) for error in seen if isinstance(error, LaneFull)} == {(7, 250)}
