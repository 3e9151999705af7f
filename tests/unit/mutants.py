"""Tests that must fail once what they test is broken in a named way."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings

from whence.errors import WhenceError

Mutant = Callable[[pytest.MonkeyPatch], None]
"""Breaks one rule of the code until the test is over."""

NEVER = re.compile("(?!)")
NEVER_BYTES = re.compile(b"(?!)")
"""Patterns that match nothing."""

PROPERTY = settings(
    max_examples=200,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate],
)
"""For tests by hypothesis: the same examples in every run, so that a mutant that was caught once is always caught; and
none is made smaller, which on mutants would take most of the time."""


def catches(*mutants: Mutant) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test runs once more for each mutant, and then it has to fail.

    It stands outermost, above `parametrize` and `given`. Only what a broken rule leads to counts as caught: a mutant
    that breaks the test itself, by a TypeError for instance, is an error.
    """

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        wanted = signature.parameters

        def run(**arguments: Any) -> None:
            mutant, patch = arguments.pop("mutant"), arguments["monkeypatch"]
            passed = {name: value for name, value in arguments.items() if name in wanted}
            if mutant is None:
                test(**passed)
                return
            mutant(patch)
            try:
                test(**passed)
            except (AssertionError, ValueError, WhenceError, pytest.fail.Exception):
                return
            pytest.fail(f"the mutant {mutant.__name__} survived", pytrace=False)

        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)
            for name in ("mutant", "monkeypatch")
            if name not in wanted
        ]
        # Not `updated`: what hypothesis notes on a test would make this one seem to be its own.
        marked: Any = functools.update_wrapper(run, test, updated=())
        marked.__signature__ = signature.replace(parameters=[*wanted.values(), *added])
        marked.pytestmark = list(getattr(test, "pytestmark", ()))
        names = ["as it is", *(f"mutant-{mutant.__name__}" for mutant in mutants)]
        parametrized: Callable[..., None] = pytest.mark.parametrize("mutant", [None, *mutants], ids=names)(marked)
        return parametrized

    return mark


def replaced(target: object, name: str, value: object, called: str) -> Mutant:
    """The mutant in which one name of a module or class holds something else."""

    def mutant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(target, name, value)

    mutant.__name__ = called
    return mutant
