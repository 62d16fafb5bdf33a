"""Names that are safe to show."""

import re
import unicodedata
from pathlib import PurePosixPath

DISPLAY_CHARACTERS_MAX = 255
EXTENSION_CHARACTERS_MAX = 32
UNNAMED = "unnamed"
# Controls, formats (among them all that turn the direction of writing), surrogates, private use, line and paragraph
# separators. Source: The Unicode Standard, 4.5, "General Category".
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
SEPARATORS = re.compile(r"[/\\]")


def display_name(name: str) -> str:
    """A sender's name for a file, fit to be shown: the last part of its path, without what cannot be seen.

    Args:
        name: anything.

    Returns:
        1 to 255 characters in NFC; a longer name keeps its extension. "unnamed" when nothing is left.
    """
    for part in reversed(SEPARATORS.split(name)):
        cleaned = _cleaned(part)
        if cleaned.strip("."):
            return _shortened(cleaned)
    return UNNAMED


def _cleaned(part: str) -> str:
    """Without hidden characters; each run of white space is one space."""
    spaced = (" " if character.isspace() else character for character in part)
    visible = "".join(character for character in spaced if unicodedata.category(character) not in HIDDEN)
    return unicodedata.normalize("NFC", " ".join(visible.split()))


def _shortened(name: str) -> str:
    if len(name) <= DISPLAY_CHARACTERS_MAX:
        return name
    extension = PurePosixPath(name).suffix
    if len(extension) > EXTENSION_CHARACTERS_MAX:
        extension = ""
    return name[: DISPLAY_CHARACTERS_MAX - len(extension)].rstrip() + extension
