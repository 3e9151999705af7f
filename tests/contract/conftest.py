"""Runs every test of the contract on each store, and on each mutant that it must catch."""

from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.faults import KINDS, LIMITS, MUTANTS, REAL, STORES, Kind, Limits, Trial, open_trial, trials
from whence.errors import Unavailable, WhenceError

WHERE = {"store": STORES, "real": REAL, "sqlite": ("sqlite",)}
"""The fixtures that give a test its store, and the kinds of store that they give."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each store and mutant. For a mutant, the result of the test is inverted below."""
    stores = next((WHERE[name] for name in WHERE if name in metafunc.fixturenames), None)
    if stores is None:
        return
    mutants = getattr(metafunc.function, MUTANTS, None)
    if not mutants:
        raise pytest.UsageError(f"{metafunc.function.__name__} names no mutant that it catches.")
    found = trials(stores, mutants, metafunc.function.__name__)
    params = [pytest.param(trial, id=name_of(trial), marks=marks_of(trial)) for trial in found]
    metafunc.parametrize("opened", params, indirect=True)


def name_of(trial: Trial) -> str:
    return trial.store if trial.mutant is None else f"{trial.store}-mutant-{trial.mutant.__name__}"


def marks_of(trial: Trial) -> list[pytest.MarkDecorator]:
    """Mark runs on mutants as slow: they show that a test can fail, which changes less often than the tested code."""
    return [] if trial.mutant is None else [pytest.mark.slow]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """A test that passes on a mutant fails. A mutant that cannot serve at all proves nothing, and fails too."""
    callspec = getattr(pyfuncitem, "callspec", None)
    trial = None if callspec is None else callspec.params.get("opened")
    if not isinstance(trial, Trial) or trial.mutant is None:
        return (yield)
    try:
        yield
    except Unavailable:
        raise
    except (AssertionError, LookupError, WhenceError, pytest.fail.Exception):
        return True
    return pytest.fail(f"the mutant {trial.mutant.__name__} survived", pytrace=False)


@pytest.fixture
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> AsyncIterator[Any]:
    """An empty store of the kind that the test is parametrised with."""
    limits = getattr(request.function, LIMITS, Limits())
    store = await open_trial(request.param, tmp_path, monkeypatch, limits)
    yield store
    await store.close()


@pytest.fixture
def store(opened: Any) -> Any:
    """An empty store of each kind."""
    return opened


@pytest.fixture
def real(opened: Any) -> Any:
    """An empty store of each kind except the model, for tests of parts that the model does not have."""
    return opened


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of the test's store."""
    found: Kind = KINDS[request.node.callspec.params["opened"].store]
    return found


@pytest.fixture
def sqlite(opened: Any) -> Any:
    """An empty SQLite store, for tests of its internals."""
    return opened
