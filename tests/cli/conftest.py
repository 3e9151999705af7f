"""The program and a server for it. A test that names mutants also runs with each of them, and must then fail."""

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
    """Run a test unchanged, and once for each mutant; the hook below inverts the result of those."""
    mutants = getattr(metafunc.function, MUTANTS, ())
    if mutants:
        trials = [pytest.param(each, id=f"mutant-{each.name}", marks=pytest.mark.slow) for each in mutants]
        metafunc.parametrize("mutant", [pytest.param(None, id=""), *trials])


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
    """What breaks the program: one of the mutants that the test names, or None."""
    return None


@pytest.fixture
def cli(tmp_path: Path, mutant: Mutant | None) -> Cli:
    """The program of a user who has never run it."""
    return Cli(tmp_path, mutant=mutant.code if mutant else "")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all of these tests; each test uses its own tenant."""
    with serving(tmp_path_factory.mktemp("served"), console=False, redact=("card.number",)) as running:
        yield running


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return next(TENANTS)


@pytest.fixture
def user(cli: Cli, served: Served, tenant: str) -> Cli:
    """The program of a user whose environment names the server and a key with all scopes."""
    return cli.given(url=served.url, api_key=served.key(READ, WRITE, ADMIN, tenant=tenant))


@pytest.fixture
def api(served: Served, tenant: str) -> Iterator[httpx2.Client]:
    """A client of the API for the same tenant."""
    with contextlib.closing(served.client(READ, WRITE, ADMIN, tenant=tenant)) as client:
        yield client
