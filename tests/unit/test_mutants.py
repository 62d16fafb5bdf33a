"""Mutants: each breaks the code while it is applied and leaves nothing behind; none can silently do nothing."""

import pkgutil
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import pytest

from edgescale.broker.script import Script
from edgescale.errors import ConfigError
from edgescale.harness.checkers import CHECKERS
from edgescale.harness.mutants import MUTANTS, Edit, Misfit, Mutant, find
from edgescale.ingestion.patience import within

SCRIPTS = (
    *("submit", "settle", "renew", "give_back", "reclaim", "lookup", "locate", "beat"),
    *("cancel", "retire", "letters", "replay"),
)


class Base:
    __slots__ = ()

    def named(self) -> str:
        return "base"


class Example(Base):
    """Methods of every kind; each answers `good` in the end, and `bad` once that word has been put in its place."""

    __slots__ = ("word",)

    def __init__(self) -> None:
        self.word = "good"

    def plain(self) -> str:
        return self.word + "good"

    def named(self) -> str:
        return super().named() + "good"

    def nested(self) -> str:
        def inner() -> str:
            return self.word + "good"

        return inner()

    @property
    def shown(self) -> str:
        return self.word + "good"

    @classmethod
    def made(cls) -> str:
        return cls.__name__ + "good"

    @staticmethod
    def static() -> str:
        return "good"

    async def awaited(self) -> str:
        return self.word + "good"

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[str]:
        yield self.word + "good"


@dataclass(slots=True)
class Record:
    word: str = "good"


def mutant(*edits: Edit) -> Mutant:
    return Mutant("example", "P1", "An example.", edits)


def edit_of(method: str, old: str = '"good"', new: str = '"bad"') -> Edit:
    return Edit(f"{__name__}.Example.{method}", old, new)


def code(where: str) -> Any:
    found = pkgutil.resolve_name(where)
    return unwrap(getattr(found, "__func__", found)).__code__


def functions(of: Mutant) -> list[str]:
    return [edit.where for edit in of.edits if "." in edit.where]


def scripts() -> dict[str, Script]:
    return {name: Script.load(name) for name in SCRIPTS}


def name_of(one: Mutant) -> str:
    return one.name


# The catalogue.


@pytest.mark.parametrize("one", MUTANTS, ids=name_of)
def test_a_mutant_breaks_the_code_while_it_is_applied_and_leaves_nothing_behind(one: Mutant) -> None:
    codes, bodies, load = {where: code(where) for where in functions(one)}, scripts(), Script.__dict__["load"]

    with one.applied():
        assert all(code(where) is not codes[where] for where in functions(one))
        assert (scripts() != bodies) == (len(functions(one)) < len(one.edits))

    assert all(code(where) is codes[where] for where in functions(one))
    assert scripts() == bodies
    assert Script.__dict__["load"] is load


@pytest.mark.parametrize("one", MUTANTS, ids=name_of)
def test_a_mutant_is_described(one: Mutant) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", one.name)
    assert re.fullmatch(r"[A-Z].*\.", one.sentence)
    assert one.promise in {checker.promise for checker in CHECKERS}


def test_names_are_unique() -> None:
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)


def test_every_promise_has_a_mutant() -> None:
    assert {one.promise for one in MUTANTS} == {checker.promise for checker in CHECKERS}


def test_a_mutant_is_found_by_its_name() -> None:
    assert find(MUTANTS[0].name) is MUTANTS[0]


def test_a_name_that_there_is_not_is_answered_with_those_close_to_it() -> None:
    with pytest.raises(ConfigError, match=r"no mutant 'no_fence': did you mean no_fencing.*simulate --mutants"):
        find("no_fence")
    with pytest.raises(ConfigError, match=r"no mutant '~': `edgescale simulate --mutants` lists them"):
        find("~")


# Scripts.


def test_a_script_is_named_after_its_edited_body() -> None:
    before = Script.load("settle"), Script.load("submit")

    with mutant(Edit("settle", "local now = now_ms()", "local now = 0")).applied():
        edited = Script.load("settle")
        assert edited.body == before[0].body.replace("local now = now_ms()", "local now = 0")
        assert edited.sha != before[0].sha
        assert Script.load("submit") == before[1]


def test_an_edit_of_the_prelude_reaches_every_script() -> None:
    before = scripts()

    with mutant(Edit("_prelude", "local INBOXES_MAX = 16", "local INBOXES_MAX = 1")).applied():
        assert all(script.sha != before[name].sha for name, script in scripts().items())


# Functions: each kind runs the new code, whoever holds it.


async def entered(example: Example) -> str:
    async with example.entered() as answer:
        return answer


CALLS: dict[str, Callable[[Example], Any]] = {
    "plain": lambda example: example.plain(),
    "named": lambda example: example.named(),
    "nested": lambda example: example.nested(),
    "shown": lambda example: example.shown,
    "made": lambda example: example.made(),
    "static": lambda example: example.static(),
    "awaited": lambda example: example.awaited(),
    "entered": entered,
}


@pytest.mark.parametrize("method", CALLS)
async def test_a_method_of_any_kind_is_broken_and_mended(method: str) -> None:
    async def answer() -> str:
        called = CALLS[method](Example())
        return called if isinstance(called, str) else await called

    with mutant(edit_of(method)).applied():
        assert (await answer()).endswith("bad")

    assert (await answer()).endswith("good")


async def test_a_function_is_broken_for_those_who_imported_it_before() -> None:
    async def soon() -> str:
        return "answer"

    with mutant(
        Edit("edgescale.ingestion.patience.within", "return await call", "return f'no {await call}'")
    ).applied():
        assert await within(1, soon()) == "no answer"

    assert await within(1, soon()) == "answer"


def test_several_edits_of_one_function_add_up() -> None:
    with mutant(edit_of("plain", "self.word", "'very '"), edit_of("plain")).applied():
        assert Example().plain() == "very bad"


def test_what_is_broken_is_mended_when_the_block_fails() -> None:
    with pytest.raises(KeyError), mutant(edit_of("plain")).applied():
        raise KeyError

    assert Example().plain() == "goodgood"


# Misfits.


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (Edit("settle", "no such line", ""), "mutant example, settle: stands there 0 times and not once"),
        (Edit("settle", "redis.call", ""), r"mutant example, settle: stands there \d+ times and not once"),
        (edit_of("plain", "no such line"), r"mutant example, .*Example\.plain: stands there 0 times and not once"),
        (edit_of("plain", "self.word", "(self.word)"), "the edit does not change what the function does"),
        (edit_of("named", "super().named()", "'base'"), "the edit changes what the function closes over"),
        (edit_of("gone"), "there is no such script, function or method"),
        (edit_of("word"), "this is no function, or one that is defined elsewhere"),
        (Edit(f"{__name__}.Record.__init__", "word", "words"), "could not get source code"),
        (Edit(f"{__name__}.within", "await call", "call"), "this is no function, or one that is defined elsewhere"),
        (Edit("setle", "now_ms", "then_ms"), "there is no such script, function or method"),
    ],
)
def test_an_edit_that_does_not_fit_says_where_and_why(edit: Edit, sentence: str) -> None:
    with pytest.raises(Misfit, match=sentence), mutant(edit).applied():
        pytest.fail("the mutant was applied")


def test_a_mutant_with_one_misfit_changes_nothing() -> None:
    before = scripts()

    with pytest.raises(Misfit), mutant(edit_of("plain"), edit_of("gone")).applied():
        pytest.fail("the mutant was applied")

    assert Example().plain() == "goodgood"
    assert scripts() == before


def test_a_second_mutant_of_the_same_function_is_refused() -> None:
    other = mutant(edit_of("plain", "self.word", "''")).applied()

    with mutant(edit_of("plain")).applied(), pytest.raises(Misfit, match="another mutant is applied"), other:
        pytest.fail("the mutant was applied")
