"""Settings as the environment of a process that is started here."""

import os
from typing import TYPE_CHECKING

from edgescale.config import ENV_PREFIX

if TYPE_CHECKING:
    from edgescale.config import Settings


def environment_of(settings: "Settings", **changes: object) -> dict[str, str]:
    """This process's environment, with all settings as they are here, as far as `changes` say nothing else."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    values = {**settings.model_dump(mode="json"), **changes}
    return inherited | {f"{ENV_PREFIX}{name.upper()}": _as_text(value) for name, value in values.items()}


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={number}" for name, number in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
