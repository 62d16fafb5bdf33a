"""The dead letters: listed, shown, replayed, purged."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgescale.broker.connection import Connection
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.letter_reader import LetterReader
from edgescale.broker.letters import EVERY, Letter, LetterFilter, LetterId, Replay
from edgescale.broker.pace import Pace
from edgescale.broker.reconnect import persist
from edgescale.broker.script import Argument, Script
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.errors import LaneFull
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log


@dataclass(slots=True)
class Progress:
    """How far a call on many letters has come.

    Attributes:
        replays: what became of each letter, where they are replayed.
        purged: how many letters were removed, where they are purged.
        next_page_token: where to go on; empty when all were dealt with.
    """

    replays: list[Replay] = field(default_factory=list)
    purged: int = 0
    next_page_token: str = ""


class DeadLetters(LetterReader):
    """Dead letters in Redis.

    Args:
        connection: to the server.
        keys: names of everything there.
        settings: caps, patience, and how many replays there may be in a second.
        chance: jitter of repeated calls.
    """

    def __init__(self, connection: Connection, keys: Keys, settings: Settings, chance: Chance) -> None:
        super().__init__(connection, keys)
        self._settings = settings
        self._chance = chance
        self._log = get_log()
        self._replay = Script.load("replay")
        # Shared by all calls of this process; each may keep a slower one of its own.
        self._pace = Pace(settings.replays_per_second)

    async def replay(self, names: Sequence[str], *, per_second: int = 0, until: float | None = None) -> list[Replay]:
        """Put letters back into their lanes, each when it is its turn; what became of each, in order.

        Args:
            names: as for `show`.
            per_second: a slower pace than the setting's; 0 for the setting's.
            until: by the loop's clock, when to stop, after the first at the earliest; None for not at all.

        Raises:
            Overloaded: Redis is out of memory; those before are replayed.
            BrokerUnavailable: as above, and whether this one was is unknown; the call may be repeated.
        """
        pace = Pace(per_second)
        replays: list[Replay] = []
        for name in names:
            if replays and _late(until):
                break
            letter = await self.find(name)
            if letter is not None:
                replays.append(await self._put_back(letter, pace))
            else:
                replays.append(Replay(name, outcome="replayed" if await self._marked(name) else "missing"))
        return replays

    async def _marked(self, name: str) -> bool:
        """Whether a letter was put back not long ago: a caller that repeats itself is told so."""
        own = LetterId.parse(name)
        if own is None or own.partition >= self._keys.partitions:
            return False
        dead = self._keys.dead(own.partition)
        # The script asks for the mark first, and looks at neither task nor stream where there is no letter.
        keys = [dead, dead, dead, self._keys.replayed(own.partition, own.entry_id)]
        args: list[Argument] = [GROUP, own.entry_id, 0, self._settings.result_ttl_ms]
        reply = await self._connection.run(self._replay, keys, args)
        return bool(reply[0] == b"replayed")

    async def replay_all(
        self,
        wanted: LetterFilter = EVERY,
        *,
        most: int,
        token: str = "",
        per_second: int = 0,
        until: float | None = None,
    ) -> Progress:
        """Put letters back into their lanes, newest first, at the pace that is set; those buried meanwhile are left.

        Args:
            wanted: which ones.
            most: how many at most, those that cannot be replayed included.
            token: from an earlier call that did not come to the end.
            per_second: a slower pace than the setting's; 0 for the setting's.
            until: by the loop's clock, when to stop; None for not at all.

        Raises:
            InvalidInput: the token is not one of ours.
            Overloaded, BrokerUnavailable: as `replay`; those before are replayed.
        """
        pace, progress = Pace(per_second), Progress(next_page_token=token)
        async for page in self.pages(wanted, token=token):
            for letter in page.letters:
                # One at least, or a caller in a hurry would never get anywhere.
                if len(progress.replays) >= most or (progress.replays and _late(until)):
                    return progress
                progress.replays.append(await self._put_back(letter, pace))
                progress.next_page_token = letter.id.token
            progress.next_page_token = page.next_page_token
            if _late(until):
                break
        return progress

    async def _put_back(self, letter: Letter, pace: Pace) -> Replay:
        await pace.turn()
        await self._pace.turn()
        partition, entry_id = letter.id.partition, letter.id.entry_id
        keys = [self._keys.dead(partition), self._keys.task(letter.request_id, partition)]
        keys += [self._keys.stream(partition, letter.lane), self._keys.replayed(partition, entry_id)]
        keys += self._keys.of_chain(partition, letter.lane, letter.ordering_key)
        cap = self._settings.cap_of(letter.lane) // self._keys.partitions
        args: list[Argument] = [GROUP, entry_id, cap, self._settings.result_ttl_ms]

        async def attempt() -> Replay:
            reply = await self._connection.run(self._replay, keys, args)
            if reply[0] == b"full":
                raise LaneFull(letter.lane, cap=self._settings.cap_of(letter.lane))
            state = reply[1].decode() if reply[0] == b"conflict" else ""
            return Replay(str(letter.id), letter.request_id, letter.lane, outcome=reply[0].decode(), state=state)

        try:
            replay = await persist(attempt, self._chance, patience_ms=self._settings.redis_patience_ms)
        except LaneFull as full:
            replay = Replay(str(letter.id), letter.request_id, letter.lane, outcome="full", cap=full.cap)
        self._log.info(
            Event.DEAD_LETTER_REPLAYED, letter=replay.id, request_id=replay.request_id, outcome=replay.outcome
        )
        return replay

    async def purge(self, names: Sequence[str]) -> int:
        """Remove letters for good, each named as for `show`; how many were there.

        Raises:
            BrokerUnavailable: Redis is away; some may have been removed.
        """
        purged = 0
        for name in names:
            letter = await self.find(name)
            purged += 0 if letter is None else await self._remove(letter.id.partition, [letter.id.entry_id])
        return purged

    async def purge_all(self, wanted: LetterFilter = EVERY, *, token: str = "", until: float | None = None) -> Progress:
        """Remove all letters that are there now and are wanted.

        Args:
            wanted: which ones.
            token: from an earlier call that did not come to the end.
            until: by the loop's clock, when to stop; None for not at all.

        Raises:
            InvalidInput: the token is not one of ours.
            BrokerUnavailable: Redis is away; some may have been removed.
        """
        progress = Progress(next_page_token=token)
        while True:
            page = await self.page(wanted, token=progress.next_page_token)
            for partition in range(self._keys.partitions):
                entry_ids = [letter.id.entry_id for letter in page.letters if letter.id.partition == partition]
                progress.purged += await self._remove(partition, entry_ids) if entry_ids else 0
            progress.next_page_token = page.next_page_token
            if not page.next_page_token or _late(until):
                return progress

    async def _remove(self, partition: int, entry_ids: Sequence[str]) -> int:
        count = int(await self._connection.command("XDEL", self._keys.dead(partition), *entry_ids))
        self._log.info(Event.DEAD_LETTERS_PURGED, partition=partition, count=count)
        return count


def _late(until: float | None) -> bool:
    return until is not None and asyncio.get_running_loop().time() >= until
