"""Scripts of this package, as the server knows them."""

import hashlib
from dataclasses import dataclass
from importlib import resources

# Of a command or a script.
Argument = str | bytes | int


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script of this package; its contract stands on top of its file."""

    name: str
    body: str
    sha: str

    @classmethod
    def load(cls, name: str) -> "Script":
        """Read `scripts/<name>.lua`, put the shared functions behind its first line, and hash it."""
        folder = resources.files("edgescale.broker") / "scripts"
        shebang, _, rest = (folder / f"{name}.lua").read_text("utf-8").partition("\n")
        body = f"{shebang}\n{(folder / '_prelude.lua').read_text('utf-8')}\n{rest}"
        # SHA-1 is how EVALSHA names a script, not a matter of security.
        return cls(name, body, hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest())
