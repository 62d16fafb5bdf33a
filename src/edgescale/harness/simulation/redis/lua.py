"""Lua as Redis embeds it: version 5.1 in a sandbox, without clock, files or randomness."""

import hashlib
import importlib
from collections.abc import Callable
from importlib import resources
from typing import Any, TypeAlias

from edgescale.errors import ConfigError
from edgescale.harness.simulation.redis.flavour import Flavour
from edgescale.harness.simulation.redis.replies import RESP2, Failure, Reply, ReplyError, Status

Invoke: TypeAlias = Callable[[list[bytes]], Reply]
# How many values a function of Lua can take is limited. Source: Lua 5.1, LUAI_MAXCSTACK.
_PACKED_MAX = 1_000


class ScriptFailed(Exception):
    """A script raised an error; `text` is the error reply, code first."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class CommandFailed(Exception):
    """Travels through Lua as the error that `redis.call` raises."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class Lua:
    """Compiles and runs scripts.

    Args:
        invoke: carries out the command of a script; raises ReplyError when scripts may not.
        flavour: spells numbers and messages.

    Raises:
        ConfigError: the library that embeds Lua is not installed.
    """

    def __init__(self, invoke: Invoke, flavour: Flavour) -> None:
        try:
            lupa = importlib.import_module("lupa.lua51")
        except ImportError as error:
            raise ConfigError("the simulation runs scripts through lupa: pip install edgescale[harness]") from error
        self._invoke = invoke
        self._flavour = flavour
        self._defect: Exception | None = None
        # Without an encoding, Lua's strings are byte strings here.
        runtime = lupa.LuaRuntime(encoding=None, register_eval=False, unpack_returned_tuples=True)
        self._table_from: Callable[[Any], Any] = runtime.table_from
        # Twice as fast as the above.
        self._pack: Callable[..., Any] = runtime.compile(b"return function(...) return { ... } end")()
        function = runtime.globals().python.as_function
        sandbox = resources.files(__package__) / "sandbox.lua"
        # As functions of Lua and not as objects, so that a failure in a tail call still knows its line.
        self._compile, self._run = runtime.compile(sandbox.read_bytes())(
            function(self._call), function(self._pcall), function(_explain), function(_sha1hex)
        )

    def compile(self, body: bytes) -> Any:
        """A script, ready to run.

        Raises:
            ScriptFailed: it is no Lua.
        """
        script, problem = self._compile(body)
        if script is None:
            raise ScriptFailed(b"ERR Error compiling script (new function): " + problem)
        return script

    def run(self, script: Any, keys: list[bytes], args: list[bytes], *, name: bytes, resp: int) -> bytes:
        """Run a script; what it returned is encoded for this protocol version.

        Args:
            script: compiled.
            keys: its KEYS.
            args: its ARGV.
            name: what an error calls it.
            resp: the protocol version.

        Raises:
            ScriptFailed: it raised an error.
        """
        null = b"$-1\r\n" if resp == RESP2 else b"_\r\n"
        outcome = self._run(script, self._to_lua(keys), self._to_lua(args), null)
        if self._defect is not None:
            # A defect of ours must not pass for an error of the script's.
            raise self._defect
        if type(outcome) is bytes:
            return outcome
        _, message, source, line = outcome
        place = b"" if source is None else b" script: %bon %b:%d." % (name, source, line)
        raise ScriptFailed(message + place)

    def _call(self, *words: Any) -> Any:
        """redis.call: an error ends the script."""
        reply = self._reply(words)
        if type(reply) is Failure:
            raise CommandFailed(reply.text)
        return self._to_lua(reply)

    def _pcall(self, *words: Any) -> Any:
        """redis.pcall: an error is a value."""
        return self._to_lua(self._reply(words))

    def _reply(self, words: tuple[Any, ...]) -> Reply:
        try:
            return self._invoke([word if type(word) is bytes else self._word(word) for word in words])
        except ReplyError as error:
            return Failure(error.text)
        except Exception as defect:
            self._defect = defect
            raise

    def _word(self, word: Any) -> bytes:
        # A boolean is an int here, but not in Lua.
        if type(word) is int or type(word) is float:
            return self._flavour.number(word)
        arguments = b"Command arguments" if self._flavour.modern else b"Lua redis lib command arguments"
        raise ReplyError(b"ERR %b must be strings or integers" % arguments)

    def _to_lua(self, reply: Reply) -> Any:
        """A reply as scripts see it: null is false, lists are tables. Source: Redis, "Lua API reference"."""
        if type(reply) is bytes or type(reply) is int:
            return reply
        if reply is None:
            return False
        if type(reply) is list:
            items = [item if type(item) is bytes else self._to_lua(item) for item in reply]
            return self._pack(*items) if len(items) <= _PACKED_MAX else self._table_from(items)
        if type(reply) is Status:
            return self._table_from({b"ok": reply.text})
        if type(reply) is Failure:
            return self._table_from({b"err": reply.text})
        return self._to_lua(reply.plain())  # type: ignore[union-attr] # all that is left


def _explain(failure: Exception) -> bytes:
    return failure.text if isinstance(failure, CommandFailed) else str(failure).encode()


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
