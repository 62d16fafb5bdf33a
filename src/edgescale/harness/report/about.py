"""What a caller tells of a run that its history does not."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class About:
    """What stands above the page.

    Attributes:
        title: what ran.
        replay: the one command that runs it again; "" where there is none.
        note: which run this is among many, or whatever else must be known first; a sentence.
        used: what it ran on, by name: provider, servers, processes.
        failure: what the run itself ended with, where it did not come to its end; else empty.
    """

    title: str
    replay: str = ""
    note: str = ""
    used: Mapping[str, str] = field(default_factory=dict, hash=False)
    failure: str = ""
