"""The dead letters, read: page by page over all partitions, or one of them with everything."""

from collections.abc import AsyncIterator

from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.keys import Keys
from edgescale.broker.letters import EVERY, Letter, LetterFilter, LetterId, LetterPage
from edgescale.broker.script import Argument, Script
from edgescale.errors import NotFound

# Of one partition, for one page: enough to fill it where most letters fit, and soon over where none does.
LOOKS_MAX = 2_000
PAGE_SIZE = 100


class LetterReader:
    """Reads dead letters.

    Args:
        connection: to the server.
        keys: names of everything there.
    """

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._letters = Script.load("letters")

    async def page(self, wanted: LetterFilter = EVERY, *, size: int = PAGE_SIZE, token: str = "") -> LetterPage:
        """Letters without the bytes of their entries and without history, newest first.

        Args:
            wanted: which ones.
            size: letters at most.
            token: from the previous page; empty for the first.

        Raises:
            InvalidInput: the token is not one of ours.
            BrokerUnavailable: Redis is away.
        """
        behind = LetterId.of_token(token)
        found: list[Letter] = []
        # Below this nothing is known yet: some partition was not looked through any further.
        floor: LetterId | None = None
        for partition in range(self._keys.partitions):
            # One more than is wanted, to know whether there is another page.
            letters, reached = await self._look(partition, wanted, size + 1, behind)
            found += letters
            if reached is not None:
                floor = reached if floor is None else max(floor, reached)
        found.sort(key=lambda letter: letter.id, reverse=True)
        sure = [letter for letter in found if floor is None or letter.id >= floor]
        if len(sure) > size or (len(sure) == size and floor is not None):
            return LetterPage(sure[:size], sure[size - 1].id.token)
        return LetterPage(sure, "" if floor is None else floor.token)

    async def _look(
        self, partition: int, wanted: LetterFilter, most: int, behind: LetterId | None
    ) -> tuple[list[Letter], LetterId | None]:
        """Up to `most` letters of a partition, and the last one that was looked at where there may be more."""
        args: list[Argument] = [_from(partition, behind), most, LOOKS_MAX]
        args += [wanted.lane, wanted.kind, wanted.reason, wanted.request_id]
        reached, rows = await self._connection.run(self._letters, [self._keys.dead(partition)], args)
        letters = [
            Letter.parse(LetterId.of(partition, entry_id.decode()), flat_dict(flat), size_bytes)
            for entry_id, size_bytes, flat in rows
        ]
        return letters, LetterId.of(partition, reached.decode()) if reached else None

    async def pages(self, wanted: LetterFilter = EVERY, *, token: str = "") -> AsyncIterator[LetterPage]:
        """All letters that are there now, page by page; what is buried meanwhile is not among them."""
        while True:
            page = await self.page(wanted, token=token)
            yield page
            token = page.next_page_token
            if not token:
                return

    async def show(self, name: str) -> Letter:
        """One letter with everything.

        Args:
            name: its own id, or the request id of its task, of which the newest letter is meant.

        Raises:
            NotFound: there is none.
            BrokerUnavailable: Redis is away.
        """
        letter = await self.find(name)
        if letter is None:
            raise NotFound(f"no dead letter {name!r}: it was replayed or purged, or never was")
        return letter

    async def find(self, name: str) -> Letter | None:
        """As `show`; None when there is none."""
        own = LetterId.parse(name)
        if own is not None and own.partition < self._keys.partitions:
            letter = await self._read(own)
            if letter is not None:
                return letter
        return await self._of_task(name)

    async def _read(self, letter_id: LetterId) -> Letter | None:
        dead, entry_id = self._keys.dead(letter_id.partition), letter_id.entry_id
        rows = await self._connection.command("XRANGE", dead, entry_id, entry_id)
        return Letter.parse_whole(letter_id, flat_dict(rows[0][1])) if rows else None

    async def _of_task(self, request_id: str) -> Letter | None:
        """The newest letter of a task. Its record names it, and where that has expired, all are looked through."""
        partition = self._keys.partition_of(request_id)
        named = await self._connection.command("HGET", self._keys.task(request_id), "letter")
        if named:
            letter = await self._read(LetterId.of(partition, named.decode()))
            if letter is not None and letter.request_id == request_id:
                return letter
        async for page in self.pages(LetterFilter(request_id=request_id)):
            if page.letters:
                return await self._read(page.letters[0].id)
        return None


def _from(partition: int, behind: LetterId | None) -> str:
    """Where a partition's letters go on behind this one, as XREVRANGE has it.

    Of letters with the same id in the stream, the one of the highest partition comes first.
    """
    if behind is None:
        return "+"
    return behind.entry_id if partition < behind.partition else f"({behind.entry_id}"
