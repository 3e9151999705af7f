"""Every test of the contract runs on each store, and on each mutant that it must catch."""

from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.faults import MUTANTS, open_mutant, open_sqlite
from tests.contract.model import ModelStore
from whence.errors import WhenceError

STORES = ("model", "sqlite")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a store; for a mutant the test is the same, and its end is turned round below."""
    mutants = getattr(metafunc.function, MUTANTS, None)
    if "store" in metafunc.fixturenames:
        stores: tuple[Any, ...] = STORES
    elif "sqlite" in metafunc.fixturenames:
        stores = ("sqlite",)
    else:
        return
    if not mutants:
        raise pytest.UsageError(f"{metafunc.function.__name__} names no mutant that it catches.")
    names = [*stores, *(f"mutant-{mutant.__name__}" for mutant in mutants)]
    metafunc.parametrize("opened", [*stores, *mutants], ids=names, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """A test that passes on a mutant fails."""
    callspec = getattr(pyfuncitem, "callspec", None)
    mutant = None if callspec is None else callspec.params.get("opened")
    if mutant is None or isinstance(mutant, str):
        return (yield)
    try:
        yield
    except (AssertionError, WhenceError, pytest.fail.Exception):
        return True
    return pytest.fail(f"the mutant {mutant.__name__} survived", pytrace=False)


@pytest.fixture
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> AsyncIterator[Any]:
    """An empty store of the kind that the test is parametrised with."""
    if request.param == "model":
        store: Any = ModelStore()
    elif request.param == "sqlite":
        store = open_sqlite(tmp_path)
    else:
        store = open_mutant(request.param, monkeypatch, tmp_path)
    yield store
    await store.close()


@pytest.fixture
def store(opened: Any) -> Any:
    """An empty store of each kind."""
    return opened


@pytest.fixture
def sqlite(opened: Any) -> Any:
    """An empty SQLite store, for what only its inside can show."""
    return opened
