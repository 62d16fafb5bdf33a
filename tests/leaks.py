"""What may be left in Redis after a test: keys that expire, and keys that the design keeps, each for a reason."""

from collections.abc import Mapping

from edgescale.broker.keys import Name
from edgescale.broker.model import TERMINAL_STATES
from tests.support import Rig

# By family. Every other key of ours must expire.
KEPT: Mapping[str, str] = {
    "stream": "holds what is queued and running, and its group; a settled entry is deleted",
    "waiting": "holds those behind another one of their key; one goes with its turn, the stream stays as a lane's",
    "chain": "the open tasks of an ordering key; a line goes with its task, and the key with the last line",
    "schedule": "holds what waits; a line goes with its entry, and the key with the last line",
    "dead": "holds dead letters, which are removed when they are old: `dead_letter_retention_ms`",
    "agents": "the index of agents, whose lines are removed after silence: `agent_retention_ms`",
    "task": "a record without an expiry is of an open task; it gets one with the task's end",
}
# In one round trip, so that it can be asked after every test: the keys without expiry, and the state of those with one.
_LASTING = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('PTTL', key) == -1 then
    local state = redis.call('TYPE', key).ok == 'hash' and redis.call('HGET', key, 'state')
    found[#found + 1] = { key, state or '' }
  end
end
return found
"""


async def leaked(rig: Rig) -> list[str]:
    """Keys that do not expire and that the design has no reason to keep."""
    replies = await rig.connection.everywhere("EVAL", _LASTING, 0)
    rows = [row for reply in replies for row in reply]
    lasting = {key.decode(errors="replace"): state.decode(errors="replace") for key, state in rows}
    return sorted(key for key, state in lasting.items() if not _may_stay(key, state))


def _may_stay(key: str, state: str) -> bool:
    name = Name.parse(key)
    return name is not None and name.family in KEPT and state not in TERMINAL_STATES
