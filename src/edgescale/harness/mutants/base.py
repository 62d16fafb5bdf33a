"""What a mutant is: a bug that is put into the running code by name, and taken out again.

An edit names a place, the text that stands there, and the text that takes its place. The place is either a script of
the broker or a Python function. A script is edited as it is loaded. Of a function the module's source is taken, edited
and compiled, and the function is given the new code; it stays the same object, so that whoever imported or decorated
it runs the new code, too.

Nothing of this is guessed: an edit whose text is no longer there, or that changes nothing, is a `Misfit`. So a mutant
that survives has survived, and has not merely been forgotten when the code moved on.
"""

import hashlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import resources
from types import CodeType, FunctionType

from edgescale.broker.script import Script

PRELUDE = "_prelude"


class Misfit(Exception):
    """An edit does not fit the code any more; the message names the mutant, the place and what is wrong."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of the code's text.

    Attributes:
        where: the name of a script, such as `settle`, or `_prelude` for what stands before every script; or the dotted
            name of a function or method, such as `edgescale.worker.executor.Executor.execute`.
        old: stands there exactly once.
        new: takes its place.
    """

    where: str
    old: str
    new: str

    def on(self, text: str) -> str:
        """The text, edited.

        Raises:
            Misfit: `old` does not stand there exactly once.
        """
        if (count := text.count(self.old)) != 1:
            raise Misfit(f"stands there {count} times and not once: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug.

    Attributes:
        name: in snake_case, unlike any other.
        promise: the checker that must report it, P1 to P8, or P10.
        sentence: what the broken code does.
        edits: that make it so.
    """

    name: str
    promise: str
    sentence: str
    edits: tuple[Edit, ...]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The code is broken within this block, for whatever is constructed and called there; only one at a time.

        Raises:
            Misfit: an edit does not fit; nothing was changed.
        """
        names = _scripts()
        scripts = {name: self._edited_script(name) for name in names if self._at(name) or self._at(PRELUDE)}
        functions = dict.fromkeys(edit.where for edit in self.edits if edit.where not in {PRELUDE, *names})
        codes = [self._edited_code(where) for where in functions]
        with ExitStack() as undo:
            undo.callback(setattr, Script, "load", Script.__dict__["load"])
            Script.load = _loader(Script.load, scripts)  # type: ignore[method-assign, assignment]
            for function, code in codes:
                undo.callback(setattr, function, "__code__", function.__code__)
                function.__code__ = code
            yield

    def _at(self, where: str) -> Sequence[Edit]:
        return [edit for edit in self.edits if edit.where == where]

    def _edited_script(self, name: str) -> Script:
        script = Script.load(name)
        body = self._edited(name, self._edited(PRELUDE, script.body))
        return Script(name, body, hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest())

    def _edited_code(self, where: str) -> tuple[FunctionType, CodeType]:
        try:
            function = _function(where)
            lines, first = inspect.getsourcelines(function)
            module = inspect.getsource(sys.modules[function.__module__]).splitlines(keepends=True)
        except (Misfit, OSError) as error:
            raise Misfit(f"mutant {self.name}, {where}: {error}") from error
        edited = [*module[: first - 1], self._edited(where, "".join(lines)), *module[first - 1 + len(lines) :]]
        present, code = (_compiled("".join(text), function) for text in (module, edited))
        problem = _unfit(function.__code__, present, code)
        if code is None or problem:
            raise Misfit(f"mutant {self.name}, {where}: {problem}")
        return function, code

    def _edited(self, where: str, text: str) -> str:
        try:
            for edit in self._at(where):
                text = edit.on(text)
        except Misfit as error:
            raise Misfit(f"mutant {self.name}, {where}: {error}") from error
        return text


def _scripts() -> Sequence[str]:
    """The names of the scripts that can be loaded."""
    folder = resources.files("edgescale.broker") / "scripts"
    names = sorted(item.name.removesuffix(".lua") for item in folder.iterdir() if item.name.endswith(".lua"))
    return [name for name in names if name != PRELUDE]


def _loader(load: Callable[[str], Script], edited: Mapping[str, Script]) -> "staticmethod[[str], Script]":
    return staticmethod(lambda name: edited[name] if name in edited else load(name))


def _function(where: str) -> FunctionType:
    """The function of a dotted name, below its decorators.

    Raises:
        Misfit: there is none, or it is somebody else's under another name.
    """
    try:
        found = pkgutil.resolve_name(where)
    except (ImportError, AttributeError, ValueError) as error:
        raise Misfit("there is no such script, function or method") from error
    found = inspect.unwrap(getattr(found, "__func__", getattr(found, "fget", found)))
    if not isinstance(found, FunctionType) or f"{found.__module__}.{found.__qualname__}" != where:
        raise Misfit("this is no function, or one that is defined elsewhere")
    return found


def _compiled(source: str, function: FunctionType) -> CodeType | None:
    """The function's code in the source of its module; None when it is not there under its name and at its place."""
    code = compile(source, function.__code__.co_filename, "exec", dont_inherit=True)
    sought = function.__qualname__, function.__code__.co_firstlineno
    return next((each for each in _codes(code) if (each.co_qualname, each.co_firstlineno) == sought), None)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """All code within, from the outside inwards."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _unfit(running: CodeType, present: CodeType | None, edited: CodeType | None) -> str:
    """What keeps the edited code from taking the place of the running one; empty when nothing does."""
    if present is None or not _alike(running, present):
        return "the source has changed since it was imported, or another mutant is applied"
    if edited is None or _alike(present, edited):
        return "the edit does not change what the function does"
    if edited.co_freevars != running.co_freevars:
        return "the edit changes what the function closes over"
    return ""


def _alike(one: object, other: object) -> bool:
    """Whether two constants, code among them, do the same; code that has run compares unequal by itself."""
    if not isinstance(one, CodeType) or not isinstance(other, CodeType):
        return type(one) is type(other) and one == other
    same = all(getattr(one, name) == getattr(other, name) for name in ("co_code", "co_names", "co_varnames"))
    return same and len(one.co_consts) == len(other.co_consts) and all(map(_alike, one.co_consts, other.co_consts))
