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
        self._table: Callable[[Any], Any] = runtime.table_from
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
        outcome = self._run(script, self._table(keys), self._table(args), null)
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
            return self._invoke(self._words(words))
        except ReplyError as error:
            return Failure(error.text)
        except Exception as defect:
            self._defect = defect
            raise

    def _words(self, words: tuple[Any, ...]) -> list[bytes]:
        if not words:
            library = b"" if self._flavour.modern else b"redis lib "
            raise ReplyError(b"ERR Please specify at least one argument for this %bcall" % library)
        return [word if type(word) is bytes else self._word(word) for word in words]

    def _word(self, word: Any) -> bytes:
        # A boolean is an int here, but not in Lua.
        if type(word) is int or type(word) is float:
            return self._flavour.number(word)
        arguments = b"Command arguments" if self._flavour.modern else b"Lua redis lib command arguments"
        raise ReplyError(b"ERR %b must be strings or integers" % arguments)

    def _to_lua(self, reply: Reply) -> Any:
        """A reply as scripts see it: null is false, lists are tables. Source: Redis, "Lua API reference"."""
        kind = type(reply)
        if kind is bytes or kind is int:
            return reply
        if reply is None:
            return False
        if kind is list:
            return self._table([self._to_lua(item) for item in reply])  # type: ignore[union-attr]
        if kind is Status:
            return self._table({b"ok": reply.text})  # type: ignore[union-attr]
        if kind is Failure:
            return self._table({b"err": reply.text})  # type: ignore[union-attr]
        return self._to_lua(reply.plain())  # type: ignore[union-attr]


def _explain(failure: Exception) -> bytes:
    return failure.text if isinstance(failure, CommandFailed) else str(failure).encode()


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
