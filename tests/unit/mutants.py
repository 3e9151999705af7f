"""A decorator for tests that must fail on named mutants of the code they test."""

import contextlib
import functools
import inspect
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import Phase, settings

from tests.examples import examples, soak
from whence.errors import WhenceError

Mutant = Callable[[pytest.MonkeyPatch], None]
"""Breaks one rule of the code until the test is over."""

_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
"""The id of a run whose tests are shared by several processes. All of them have to collect the same ones."""

NEVER = re.compile("(?!)")
NEVER_BYTES = re.compile(b"(?!)")
"""Patterns that match nothing."""

PROPERTY = settings(
    max_examples=examples(200),
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate],
)
"""For tests by hypothesis: the same examples in every run, so that a mutant that was caught once is always caught; and
none is made smaller, which on mutants would take most of the time."""


def catches(*mutants: Mutant) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run the test once more for each mutant, where it must fail. These runs are marked as slow.

    Where several processes share a run, as in CI, it tries half of the mutants, and another half each time.

    It must be the outermost decorator, above `parametrize` and `given`. A mutant is caught by a failed assertion, a
    ValueError or an error of Whence. One that breaks the test itself, for instance by a TypeError, is an error. The
    test may be a coroutine function.
    """

    def mark(test: Callable[..., Any]) -> Callable[..., Any]:
        tried = _drawn(test, mutants)
        signature = inspect.signature(test)
        wanted = signature.parameters

        def begin(arguments: dict[str, Any]) -> tuple[Mutant | None, dict[str, Any]]:
            mutant, patch = arguments.pop("mutant"), arguments["monkeypatch"]
            if mutant is not None:
                mutant(patch)
            return mutant, {name: value for name, value in arguments.items() if name in wanted}

        def run(**arguments: Any) -> None:
            mutant, passed = begin(arguments)
            with _failing(mutant):
                test(**passed)

        async def run_async(**arguments: Any) -> None:
            mutant, passed = begin(arguments)
            with _failing(mutant):
                await test(**passed)

        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)
            for name in ("mutant", "monkeypatch")
            if name not in wanted
        ]
        # Without `updated`: attributes that hypothesis sets on a test must not be copied to this function.
        runner = run_async if inspect.iscoroutinefunction(test) else run
        marked: Any = functools.update_wrapper(runner, test, updated=())
        marked.__signature__ = signature.replace(parameters=[*wanted.values(), *added])
        marked.pytestmark = list(getattr(test, "pytestmark", ()))
        trials = [
            pytest.param(None, id="as it is"),
            *(pytest.param(each, id=f"mutant-{each.__name__}", marks=pytest.mark.slow) for each in tried),
        ]
        parametrized: Callable[..., Any] = pytest.mark.parametrize("mutant", trials)(marked)
        return parametrized

    return mark


def _drawn(test: Callable[..., Any], mutants: Sequence[Mutant]) -> Sequence[Mutant]:
    """The mutants that this run tries."""
    if soak() or not _RUN:
        return mutants
    return mutants[zlib.crc32(f"{_RUN} {test.__module__}.{test.__qualname__}".encode()) % 2 :: 2]


@contextlib.contextmanager
def _failing(mutant: Mutant | None) -> Iterator[None]:
    """With a mutant, what is inside has to fail."""
    if mutant is None:
        yield
        return
    try:
        yield
    except (AssertionError, ValueError, WhenceError, pytest.fail.Exception):
        return
    pytest.fail(f"the mutant {mutant.__name__} survived", pytrace=False)


def replaced(target: object, name: str, value: object, called: str) -> Mutant:
    """A mutant that replaces one attribute of a module or class. A name that is gone is an error when tests are
    collected, so it does not wait for the run that tries this mutant."""
    if not hasattr(target, name):
        raise AttributeError(f"the mutant {called} replaces {name}, which {target!r} does not have")

    def mutant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(target, name, value)

    mutant.__name__ = called
    return mutant
