"""The client's calls on dead letters."""

from collections.abc import AsyncIterator, Sequence

from edgescale.client.wire import built, translated
from edgescale.v1 import dead_letter_pb2, ingestion_service_pb2_grpc

# Each call does as much as fits into its time, and says where to go on.
TIMEOUT_S = 30.0


class DeadLetters:
    """Dead letters as a client sees them; `Client.dead_letters` is one.

    A letter is named by its own id, or by its task's request id, of which the newest letter is meant.

    Args:
        stub: of the ingestion service.
    """

    def __init__(self, stub: "ingestion_service_pb2_grpc.IngestionServiceAsyncStub") -> None:
        self._stub = stub

    async def page(
        self, *, lane: str = "", kind: str = "", reason: str = "", request_id: str = "", size: int = 0, token: str = ""
    ) -> dead_letter_pb2.ListDeadLettersResponse:
        """Some letters without history and bytes, newest first, and the token of the next page.

        Args:
            lane: only letters of this lane, when given.
            kind: only letters of this kind, when given.
            reason: only letters with this reason, when given.
            request_id: only letters of this task, when given.
            size: letters at most; 100 when 0.
            token: from the previous page.

        Raises:
            EdgeScaleError: see `edgescale.errors`.
        """
        with built("filter"):
            wanted = dead_letter_pb2.DeadLetterFilter(lane=lane, kind=kind, reason=reason, request_id=request_id)
            request = dead_letter_pb2.ListDeadLettersRequest(filter=wanted, page_size=size, page_token=token)
        with translated():
            return await self._stub.ListDeadLetters(request, timeout=TIMEOUT_S)

    async def each(
        self, *, lane: str = "", kind: str = "", reason: str = "", request_id: str = ""
    ) -> AsyncIterator[dead_letter_pb2.DeadLetter]:
        """All letters, as `page`.

        Raises:
            EdgeScaleError: see `edgescale.errors`.
        """
        token = ""
        while True:
            page = await self.page(lane=lane, kind=kind, reason=reason, request_id=request_id, token=token)
            for letter in page.dead_letters:
                yield letter
            token = page.next_page_token
            if not token:
                return

    async def show(self, name: str) -> dead_letter_pb2.DeadLetter:
        """One letter with everything.

        Raises:
            NotFound: there is none.
            EdgeScaleError: see `edgescale.errors`.
        """
        with built("id"):
            request = dead_letter_pb2.GetDeadLetterRequest(id=name)
        with translated():
            return (await self._stub.GetDeadLetter(request, timeout=TIMEOUT_S)).dead_letter

    async def replay(self, *names: str, per_second: int = 0) -> list[dead_letter_pb2.ReplayedLetter]:
        """Put letters back into their lanes; what became of each.

        Args:
            names: of the letters.
            per_second: a slower pace than the server's; 0 for the server's.

        Raises:
            EdgeScaleError: see `edgescale.errors`; the call may be repeated.
        """
        replayed: list[dead_letter_pb2.ReplayedLetter] = []
        while len(replayed) < len(names):
            with built("ids"):
                request = dead_letter_pb2.ReplayDeadLettersRequest(ids=names[len(replayed) :], per_second=per_second)
            with translated():
                replayed += (await self._stub.ReplayDeadLetters(request, timeout=TIMEOUT_S)).letters
        return replayed

    async def replay_all(
        self,
        *,
        lane: str = "",
        kind: str = "",
        reason: str = "",
        request_id: str = "",
        everything: bool = False,
        per_second: int = 0,
    ) -> AsyncIterator[dead_letter_pb2.ReplayedLetter]:
        """Put all letters back that match, newest first; what became of each, as it comes.

        Args:
            lane: as for `page`.
            kind: as for `page`.
            reason: as for `page`.
            request_id: as for `page`.
            everything: in place of a filter: all letters are meant.
            per_second: a slower pace than the server's; 0 for the server's.

        Raises:
            InvalidInput: neither a filter is given, nor everything asked for; or both.
            EdgeScaleError: see `edgescale.errors`; the call may be repeated.
        """
        with built("filter"):
            request = dead_letter_pb2.ReplayDeadLettersRequest(
                filter=dead_letter_pb2.DeadLetterFilter(lane=lane, kind=kind, reason=reason, request_id=request_id),
                all=everything,
                per_second=per_second,
            )
        while True:
            with translated():
                answer = await self._stub.ReplayDeadLetters(request, timeout=TIMEOUT_S)
            for letter in answer.letters:
                yield letter
            request.page_token = answer.next_page_token
            if not answer.next_page_token:
                return

    async def purge(self, names: Sequence[str]) -> int:
        """Remove letters for good; how many were there.

        Raises:
            EdgeScaleError: see `edgescale.errors`.
        """
        with built("ids"):
            request = dead_letter_pb2.PurgeDeadLettersRequest(ids=names)
        return await self._purge(request)

    async def purge_all(
        self, *, lane: str = "", kind: str = "", reason: str = "", request_id: str = "", everything: bool = False
    ) -> int:
        """Remove all letters for good that match; how many there were.

        Args:
            lane: as for `page`.
            kind: as for `page`.
            reason: as for `page`.
            request_id: as for `page`.
            everything: in place of a filter: all letters are meant.

        Raises:
            InvalidInput: neither a filter is given, nor everything asked for; or both.
            EdgeScaleError: see `edgescale.errors`.
        """
        with built("filter"):
            wanted = dead_letter_pb2.DeadLetterFilter(lane=lane, kind=kind, reason=reason, request_id=request_id)
            request = dead_letter_pb2.PurgeDeadLettersRequest(filter=wanted, all=everything)
        return await self._purge(request)

    async def _purge(self, request: dead_letter_pb2.PurgeDeadLettersRequest) -> int:
        purged = 0
        while True:
            with translated():
                answer = await self._stub.PurgeDeadLetters(request, timeout=TIMEOUT_S)
            purged += answer.purged
            request.page_token = answer.next_page_token
            if not answer.next_page_token:
                return purged
