"""What code ran: its commit, and the versions of what it stands on."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("edgescale", "redis", "hiredis", "lupa", "protobuf", "grpcio", "hypothesis")


def commit_of(folder: Path = Path(__file__).parent) -> str:
    """The commit that the code in this folder is of, with a `+` where it was changed since; "" where nobody knows."""
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}+" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    answer = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 - fixed words
    return answer.stdout.strip()


def versions() -> dict[str, str]:
    """Of Python, and of the packages that a run can depend on, by name."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
