"""Plans that once failed, kept as files: `{"found": ..., "fixed": ..., "plan": {...}}`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgescale.errors import ConfigError
from edgescale.harness.plan import Plan


@dataclass(frozen=True, slots=True)
class Regression:
    """A plan and its past.

    Attributes:
        plan: what is run.
        found: what was wrong, as a sentence; "" for a plan without a past.
        fixed: what was changed, with the commit; "" while it is not.
    """

    plan: Plan
    found: str = ""
    fixed: str = ""

    def text(self) -> str:
        """As a file has it; one request or fault a line."""
        heads = [f"  {json.dumps(name)}: {json.dumps(getattr(self, name))},\n" for name in ("found", "fixed")]
        return "{\n" + "".join(heads) + f'  "plan": {_indented(self.plan.text())}\n}}\n'

    def dump(self, path: Path) -> None:
        """Write a file that `load` reads; its folder is made where it is missing.

        Raises:
            OSError: the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Regression":
        """Read a file that `dump` wrote, or a bare plan.

        Raises:
            ConfigError: it cannot be read, or is neither; says what would be right.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"plan {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"plan {path}: this is not JSON ({error})") from error
        try:
            return cls._parse(raw) if isinstance(raw, dict) and "plan" in raw else cls(Plan.parse(raw))
        except ConfigError as error:
            raise ConfigError(f"plan {path}: {error}") from error

    @classmethod
    def _parse(cls, raw: dict[str, Any]) -> "Regression":
        unknown = sorted(raw.keys() - {"plan", "found", "fixed"})
        if unknown:
            raise ConfigError(f"a kept plan has an unknown field {unknown[0]!r}; known are found, fixed, plan")
        notes = {name: raw.get(name, "") for name in ("found", "fixed")}
        for name, note in notes.items():
            if not isinstance(note, str):
                raise ConfigError(f"{name} cannot be {note!r}; it must be a string")
        return cls(Plan.parse(raw["plan"]), **notes)


def _indented(text: str) -> str:
    return text.rstrip().replace("\n", "\n  ")
