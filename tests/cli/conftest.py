"""The program, and a server that it speaks to. A test with mutants runs once more for each, and then it has to fail."""

import contextlib
import itertools
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, serving
from tests.cli.mutants import MUTANTS, Mutant
from tests.cli.program import Cli
from whence.permissions import ADMIN, READ, WRITE

TENANTS = (f"tenant-{number}" for number in itertools.count())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test as it is, and one for each mutant, whose end is turned round below."""
    mutants = getattr(metafunc.function, MUTANTS, ())
    if mutants:
        metafunc.parametrize("mutant", [None, *mutants], ids=["", *(f"mutant-{each.name}" for each in mutants)])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """A test that passes on a mutant fails."""
    callspec = getattr(pyfuncitem, "callspec", None)
    mutant = None if callspec is None else callspec.params.get("mutant")
    if mutant is None:
        return (yield)
    try:
        yield
    except (AssertionError, pytest.fail.Exception):
        return True
    return pytest.fail(f"the mutant {mutant.name} survived", pytrace=False)


@pytest.fixture
def mutant() -> Mutant | None:
    """What breaks the program; nothing unless a test names a mutant that it catches."""
    return None


@pytest.fixture
def cli(tmp_path: Path, mutant: Mutant | None) -> Cli:
    """The program of a user who has not run it before."""
    return Cli(tmp_path, prelude=mutant.code if mutant else "")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all of these tests; every test is a tenant of its own."""
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return next(TENANTS)


@pytest.fixture
def user(cli: Cli, served: Served, tenant: str) -> Cli:
    """The program of a user who has named the server and a key for everything in the environment."""
    return cli.given(url=served.url, api_key=served.key(READ, WRITE, ADMIN, tenant=tenant))


@pytest.fixture
def api(served: Served, tenant: str) -> Iterator[httpx2.Client]:
    """The API itself, as the same tenant."""
    with contextlib.closing(served.client(READ, WRITE, ADMIN, tenant=tenant)) as client:
        yield client
