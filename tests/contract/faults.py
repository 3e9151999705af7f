"""Which mutants a test must catch, and the ways to make one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.contract.model import ModelStore
from whence.storage import Store, open_store

Test = TypeVar("Test", bound=Callable[..., Any])

MUTANTS = "whence_mutants"

Mutant = type[ModelStore] | Callable[[pytest.MonkeyPatch], None]
"""A broken model, or what breaks the SQLite store before it is opened."""


def catches(*mutants: Mutant) -> Callable[[Test], Test]:
    """The test runs once more for each mutant, and then it has to fail."""

    def mark(test: Test) -> Test:
        setattr(test, MUTANTS, mutants)
        return test

    return mark


def open_sqlite(folder: Path) -> Store:
    """The SQLite store of a fresh file."""
    return open_store(f"sqlite:///{folder}/log.db")


def open_mutant(mutant: Mutant, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Any:
    """The store that a mutant is."""
    if isinstance(mutant, type):
        return mutant()
    mutant(monkeypatch)
    return open_sqlite(folder)
