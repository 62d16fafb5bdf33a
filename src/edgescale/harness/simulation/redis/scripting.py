"""Scripts: EVAL, EVALSHA and SCRIPT, and the client that a script is."""

import hashlib
from typing import TYPE_CHECKING

from edgescale.harness.simulation.redis.arguments import integer
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import (
    ALLOW_BUSY,
    MAY_REPLICATE,
    NOSCRIPT,
    STALE,
    WRITE,
    Command,
    command,
)
from edgescale.harness.simulation.redis.declared import check_declared
from edgescale.harness.simulation.redis.lua import Lua, ScriptFailed
from edgescale.harness.simulation.redis.replies import OK, Encoded, Reply, ReplyError
from edgescale.harness.simulation.redis.script import Script, read_shebang

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.model import RedisModel
    from edgescale.harness.simulation.redis.session import Session

_SHA_DIGITS = 40
_NO_SCRIPT = b"NOSCRIPT No matching script."
_EVAL_FLAGS = NOSCRIPT | STALE | MAY_REPLICATE


class Scripts:
    """The server's cache of scripts, which a restart empties, and the engine that runs them.

    Args:
        model: the server.

    Attributes:
        strict: whether a script that touches a key which was not declared is a defect; servers let it pass.
    """

    def __init__(self, model: "RedisModel") -> None:
        self.strict = False
        self.known: dict[bytes, Script] = {}
        self._compiled: dict[bytes, Script] = {}
        self._model = model
        self._client = ScriptClient(model, model.keyspace)
        self._lua = Lua(self._client.invoke, model.flavour)

    def compiled(self, body: bytes) -> Script:
        """The script of this body, not added to what the server knows.

        Raises:
            ReplyError: its first line is wrong, or it is no Lua.
        """
        script = self._compiled.get(body)
        if script is None:
            flags, rest = read_shebang(body)
            sha = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
            try:
                script = Script(sha, self._lua.compile(rest), flags)
            except ScriptFailed as error:
                raise ReplyError(error.text) from None
            # Kept beyond a restart: compiling is the slow part, and its outcome is always the same.
            self._compiled[body] = script
        return script

    def load(self, body: bytes) -> Script:
        """Add a script to what the server knows.

        Raises:
            ReplyError: its first line is wrong, or it is no Lua.
        """
        script = self.compiled(body)
        self.known[script.sha] = script
        return script

    def of(self, argv: list[bytes]) -> Script | None:
        """The script of an EVAL or EVALSHA; None when there is none to be had."""
        if argv[0].lower() == b"evalsha":
            return self.known.get(argv[1].lower())
        try:
            return self.compiled(argv[1])
        except ReplyError:
            return None

    def run(self, session: "Session", script: Script, argv: list[bytes], count: int) -> Reply:
        """Run a script for a session with the arguments of this EVAL, of which `count` are keys.

        Raises:
            ReplyError: the script raised an error; what it changed before stays changed.
        """
        if self._model.faults.active:
            self._model.faults.check_script(flagged=script.flags is not None)
        self._client.begin(session, script, argv[3 : 3 + count] if self.strict else None)
        self._model.in_script = True
        try:
            raw = self._lua.run(
                script.function, argv[3 : 3 + count], argv[3 + count :], name=self._name(script), resp=session.resp
            )
        except ScriptFailed as error:
            raise ReplyError(error.text) from None
        finally:
            self._model.in_script = False
        return Encoded(raw)

    def _name(self, script: Script) -> bytes:
        return script.sha + b", " if self._model.flavour.names_failed_script else b""


class ScriptClient(Client):
    """Runs the commands of scripts on behalf of a session.

    Attributes:
        caller: whose script it is.
    """

    caller: "Session"

    def begin(self, caller: "Session", script: Script, declared: list[bytes] | None) -> None:
        """A script starts; None when it may touch what it likes."""
        self.caller = caller
        self._declared = None if declared is None else frozenset(declared)
        self._flags = script.flags
        self._forbidden = NOSCRIPT
        if script.flags is not None and b"no-writes" in script.flags:
            self._forbidden |= WRITE | MAY_REPLICATE
        self._wrote = False

    def invoke(self, argv: list[bytes]) -> Reply:
        """Carry out one command.

        Raises:
            ReplyError: there is no such command, or scripts may not run it, or not now.
            Undeclared: it touches a key that was not declared, and scripts must not.
        """
        model = self.model
        if not argv:
            library = b"" if model.flavour.modern else b"redis lib "
            raise ReplyError(b"ERR Please specify at least one argument for this %bcall" % library)
        found = model.table.find(argv)
        if found is None:
            raise ReplyError(_said(model, b"ERR Unknown %bcommand called from script"))
        if not found.fits(argv):
            raise ReplyError(_said(model, b"ERR Wrong number of args calling %bcommand from script"))
        if found.flags & self._forbidden:
            raise self._refusal(found)
        if self._declared is not None:
            check_declared(found.name, argv, self._declared)
        if model.faults.active:
            forgiving = self._flags is not None and b"allow-oom" in self._flags
            # Once it has written, a script is not stopped half way.
            model.faults.check_script_command(found, wrote=self._wrote, forgiving=forgiving)
            self._wrote = self._wrote or bool(found.flags & WRITE)
        model.calls[found.name] += 1
        return found.run(self, argv)

    def _refusal(self, command_: Command) -> ReplyError:
        if command_.flags & NOSCRIPT:
            product = self.model.flavour.product.encode()
            return ReplyError(b"ERR This %b command is not allowed from script" % product)
        return ReplyError(b"ERR Write commands are not allowed from read-only scripts.")


def _said(model: "RedisModel", template: bytes) -> bytes:
    """A message to scripts; older servers name themselves in it."""
    return template % (b"" if model.flavour.modern else b"Redis ")


def _key_count(argv: list[bytes]) -> int:
    count = integer(argv[2])
    if count > len(argv) - 3:
        raise ReplyError(b"ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise ReplyError(b"ERR Number of keys can't be negative")
    return count


@command("eval", -3, _EVAL_FLAGS)
def eval_(client: Client, argv: list[bytes]) -> Reply:
    """EVAL body keys key ... argument ...: what the script returns; the server knows it from then on."""
    count = _key_count(argv)
    scripts = client.model.scripts
    return scripts.run(client.model.session_of(client), scripts.load(argv[1]), argv, count)


@command("evalsha", -3, _EVAL_FLAGS)
def evalsha(client: Client, argv: list[bytes]) -> Reply:
    """EVALSHA sha keys key ... argument ...: as EVAL, for a script that the server knows."""
    scripts = client.model.scripts
    script = scripts.known.get(argv[1].lower())
    # A name of another length is no hash: that is seen before the rest is looked at.
    count = _key_count(argv) if len(argv[1]) == _SHA_DIGITS else 0
    if script is None:
        raise ReplyError(_NO_SCRIPT + (b"" if client.model.flavour.modern else b" Please use EVAL."))
    return scripts.run(client.model.session_of(client), script, argv, count)


@command("script|load", 3, NOSCRIPT | STALE)
def load(client: Client, argv: list[bytes]) -> Reply:
    """SCRIPT LOAD body: its sha."""
    return client.model.scripts.load(argv[2]).sha


@command("script|exists", -3, NOSCRIPT, modern_flags=STALE)
def exists(client: Client, argv: list[bytes]) -> Reply:
    """SCRIPT EXISTS sha ...: for each 1 when the server knows it."""
    return [int(sha.lower() in client.model.scripts.known) for sha in argv[2:]]


@command("script|flush", -2, NOSCRIPT, modern_flags=STALE)
def flush(client: Client, argv: list[bytes]) -> Reply:
    """SCRIPT FLUSH [ASYNC | SYNC]: forget all scripts."""
    if len(argv) > 3 or (len(argv) == 3 and argv[2].upper() not in {b"ASYNC", b"SYNC"}):  # noqa: PLR2004 - one option
        raise ReplyError(b"ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    client.model.scripts.known.clear()
    return OK


@command("script|kill", 2, NOSCRIPT | ALLOW_BUSY)
def kill(client: Client, _argv: list[bytes]) -> Reply:
    """SCRIPT KILL: ends the state of being busy, where a test has set it."""
    if not client.model.faults.busy:
        raise ReplyError(b"NOTBUSY No scripts in execution right now.")
    client.model.faults.change(busy=False)
    return OK
