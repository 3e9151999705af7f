"""The kinds of store, functions that open and break one, and the marks that name the mutants a test must catch."""

import asyncio
import functools
import importlib
import inspect
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from zlib import crc32

import asyncpg
import pytest

from tests.contract.model import ModelStore
from tests.databases import CITUS, citus_database, cleared_database
from tests.examples import soak
from whence import rollups
from whence.flows import FOLD_AT
from whence.storage import create_store
from whence.storage.base import AS_OF_SPAN, FEED_BYTES, FEED_ROWS, KINDS_MAX, POLL_S
from whence.storage.postgres import append_function
from whence.storage.sql import load_blocks
from whence.storage.sqlite import pages
from whence.storage.sqlite.engine import SQLiteReads
from whence.storage.sqlite.shared import SharedFile, SharedStore

Test = TypeVar("Test", bound=Callable[..., Any])

MUTANTS = "whence_mutants"
LIMITS = "whence_limits"

Mutant = Any
"""A broken model (a class), or a function that breaks a store before it is opened and is marked by `breaks`."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits that a store is opened with. Small limits are reached with few events."""

    divide_at: int = rollups.DIVIDE_AT
    walk_from: int = pages.WALK_FROM
    terms_max: int = pages.TERMS_MAX
    as_of_span: int = AS_OF_SPAN
    kinds_max: int = KINDS_MAX
    fold_at: int = FOLD_AT
    poll_s: float = POLL_S
    feed_rows: int = FEED_ROWS
    feed_bytes: int = FEED_BYTES


LIMIT_NAMES = ("walk_from", "terms_max", "as_of_span", "kinds_max", "fold_at", "poll_s", "feed_rows", "feed_bytes")
"""The limits that are constants of the stores, under these names in capitals."""


@dataclass(frozen=True)
class Kind:
    """One kind of store.

    `open(folder, patch, limits)` gives an empty store; limits are set by `patch`. `hashes(store, tenant)` reads leaf
    and salt of every event, by position.
    """

    open: Callable[[Path, pytest.MonkeyPatch, Limits], Awaitable[Any]]
    hashes: Callable[[Any, str], Awaitable[list[tuple[bytes, bytes]]]] | None = None


@dataclass(frozen=True)
class Trial:
    """A store that a test runs on, and the mutant that breaks it."""

    store: str
    mutant: Mutant = None


def everywhere(patch: pytest.MonkeyPatch, name: str, value: Callable[[Any], Any]) -> None:
    """Replace a name by `value(its value)` in each module of the stores that defines or imports it."""
    found = [
        module for path, module in sys.modules.items() if path.startswith("whence.storage") and name in vars(module)
    ]
    if not found:
        raise LookupError(f"No store knows {name} any more.")
    for module in found:
        patch.setattr(module, name, value(getattr(module, name)))


def around(patch: pytest.MonkeyPatch, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace an attribute by `make(its value)`."""
    patch.setattr(owner, name, make(getattr(owner, name)))


Rewording = tuple[str, str] | Callable[[str], str]
"""How a text is changed: old and new part, or a function from old to new text."""


def reword(
    patch: pytest.MonkeyPatch, block: str, *, sqlite: Rewording | None = None, postgres: Rewording | None = None
) -> None:
    """Change the text of a named SQL block of one store or of both, in every module that uses it.

    Raises LookupError when there is no such block, or when the change does not alter its text.
    """
    for store, rewording in (("sqlite", sqlite), ("postgres", postgres)):
        if rewording is not None:
            _reword_in(patch, store, block, rewording)


def _reword_in(patch: pytest.MonkeyPatch, store: str, block: str, rewording: Rewording) -> None:
    package = f"whence.storage.{store}."
    importlib.import_module(f"{package}engine")  # and with it every module of the store
    modules = [
        module
        for path, module in sys.modules.items()
        if path.startswith(package) and block in getattr(module, "_SQL", ())
    ]
    if not modules:
        raise LookupError(f"{store} has no block {block} any more.")
    for module in modules:
        blocks: dict[str, str] = dict(vars(module)["_SQL"])
        old = blocks[block]
        blocks[block] = rewording(old) if callable(rewording) else old.replace(*rewording)
        if blocks[block] == old:
            raise LookupError(f"The block {block} of {store} does not hold what is to be changed.")
        patch.setattr(module, "_SQL", blocks)


def restate(patch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    """Change the text of the statements that are sent to PostgreSQL, whether they come from a block or from code."""

    def make(real: Any) -> Any:
        def send(connection: Any, text: str, *values: Any, **options: Any) -> Any:
            return real(connection, change(text), *values, **options)

        return send

    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        around(patch, asyncpg.Connection, name, make)


def without_row_security(patch: pytest.MonkeyPatch) -> None:
    """Disable PostgreSQL's row-level security, so that only the conditions of the statements separate tenants.

    The login of these tests is a superuser, who is not subject to policies.
    """
    restate(patch, lambda text: text.replace("SET LOCAL ROLE whence_app", "SET LOCAL ROLE NONE"))


def returning(real: Callable[..., Any], value: Any) -> Any:
    """`value`, as `real` would return it: awaitable where `real` is a coroutine function."""

    async def later() -> Any:
        return value

    return later() if inspect.iscoroutinefunction(real) else value


def _always(value: object) -> Callable[[Any], Any]:
    """A function that returns this value for any arguments."""
    return lambda _real: value


def set_limits(patch: pytest.MonkeyPatch, limits: Limits) -> None:
    """Set these limits for every store that is opened from now on."""
    patch.setattr(rollups, "DIVIDE_AT", limits.divide_at)
    for name in LIMIT_NAMES:
        everywhere(patch, name.upper(), _always(getattr(limits, name)))


async def open_model(_folder: Path, _patch: pytest.MonkeyPatch, limits: Limits, model: type = ModelStore) -> Any:
    return model(as_of_span=limits.as_of_span, kinds_max=limits.kinds_max)


async def open_sqlite(folder: Path, patch: pytest.MonkeyPatch, limits: Limits) -> Any:
    """A SQLite store on a fresh file."""
    set_limits(patch, limits)
    return create_store(f"sqlite:///{folder}/log.db")


class _Shared(SharedStore):
    """The store of an acceptor, with the process that writes as tasks of the same event loop."""

    def __init__(self, path: str, folder: Path) -> None:
        self._writer_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._writer_socket.bind(str(folder / "writer"))
        self._writer_socket.listen()
        self._file = SharedFile(path, accept_rollback=False)
        self._writer_store = self._file.open_writer(again=False)
        self._ended = asyncio.Event()
        self._service = asyncio.create_task(
            self._file.serve_writer(self._writer_store, self._writer_socket, lambda: None, self._ended)
        )
        super().__init__(path, str(folder / "writer"))

    async def close(self) -> None:
        await super().close()
        self._ended.set()
        await self._service
        await self._writer_store.close()


async def open_shared(folder: Path, patch: pytest.MonkeyPatch, limits: Limits) -> Any:
    """A SQLite store on a fresh file, which another store writes."""
    set_limits(patch, limits)
    return _Shared(f"{folder}/log.db", folder)


async def hashes_of_sqlite(store: Any, tenant: str) -> list[tuple[bytes, bytes]]:
    def read(connection: Any) -> list[tuple[bytes, bytes]]:
        tenant_no = connection.execute("SELECT tenant_no FROM tenant WHERE tenant = ?", (tenant,)).get
        rows = connection.execute(load_blocks("whence.storage.sqlite")["hashes"], (tenant_no,))
        return [(leaf, salt) for _, salt, _, leaf, _ in rows]

    found: list[tuple[bytes, bytes]] = await store._readers.read(tenant, read)
    return found


async def open_postgres(_folder: Path, patch: pytest.MonkeyPatch, limits: Limits) -> Any:
    """A PostgreSQL store on a database without events."""
    store = create_store(await cleared_database())
    set_limits(patch, limits)
    return store


async def open_citus(_folder: Path, patch: pytest.MonkeyPatch, limits: Limits) -> Any:
    """A PostgreSQL store on a Citus database without events."""
    store = create_store(await citus_database())
    set_limits(patch, limits)
    return store


async def hashes_of_postgres(store: Any, tenant: str) -> list[tuple[bytes, bytes]]:
    async def read(connection: Any, whose: Any) -> list[tuple[bytes, bytes]]:
        rows = await connection.fetch(load_blocks("whence.storage.postgres")["hashes"], whose.number)
        return [(leaf, salt) for _, salt, _, leaf, _ in rows]

    found: list[tuple[bytes, bytes]] = await store._read_as(tenant, read)
    return found


async def select(store: Any, tenant: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement without parameters, as a tenant; none on the model, which has no tables."""
    if isinstance(store, ModelStore):
        return []
    if isinstance(store, SQLiteReads):
        found: list[tuple[Any, ...]] = await store._readers.read(
            tenant, lambda connection: connection.execute(sql).fetchall()
        )
        return found
    rows = await store._read_as(tenant, lambda connection, _tenant: connection.fetch(sql))
    return [tuple(row) for row in rows]


KINDS = {
    "model": Kind(open_model),
    "sqlite": Kind(open_sqlite, hashes_of_sqlite),
    "shared": Kind(open_shared, hashes_of_sqlite),
    "postgres": Kind(open_postgres, hashes_of_postgres),
}
"""Every kind of store, by name. A new one is added here, and then each test of the contract runs on it."""

if os.environ.get(CITUS):
    KINDS["citus"] = Kind(open_citus, hashes_of_postgres)

STORES = tuple(KINDS)
REAL = tuple(name for name in STORES if name != "model")


def catches(*mutants: Mutant) -> Callable[[Test], Test]:
    """Run the test once more for each mutant, where it must fail."""

    def mark(test: Test) -> Test:
        setattr(test, MUTANTS, mutants)
        return test

    return mark


def limited(**limits: Any) -> Callable[[Test], Test]:
    """Open the test's stores with these `Limits`."""

    def mark(test: Test) -> Test:
        setattr(test, LIMITS, Limits(**limits))
        return test

    return mark


def breaks(*stores: str) -> Callable[[Test], Test]:
    """Declare a function as a mutant of these kinds of store. On PostgreSQL every append then goes by statements, which
    is what the mutants change; those of the function are in tests/storage/test_postgres_append_function.py."""

    def mark(mutant: Test) -> Test:
        @functools.wraps(mutant)
        def breaking(patch: pytest.MonkeyPatch) -> None:
            if "postgres" in stores:
                by_statements(patch)
            mutant(patch)

        breaking.breaks = stores  # type: ignore[attr-defined]  # functions accept any attribute
        return cast(Test, breaking)

    return mark


def by_statements(patch: pytest.MonkeyPatch) -> None:
    """Leave no append to PostgreSQL's function."""
    patch.setattr(append_function, "FUNCTION_EVENTS_MAX", 0)


def trials(stores: tuple[str, ...], mutants: tuple[Mutant, ...], test: str) -> list[Trial]:
    """Each store without a mutant, and each mutant on the stores that it breaks. In the short form, on one of these,
    another one from test to test."""
    broken = []
    for mutant in mutants:
        breaks = ("model",) if isinstance(mutant, type) else tuple(each for each in mutant.breaks if each in stores)
        if breaks and not soak():
            breaks = (breaks[crc32(f"{test} {mutant.__name__}".encode()) % len(breaks)],)
        broken += [Trial(store, mutant) for store in breaks]
    return [*map(Trial, stores), *broken]


async def open_trial(trial: Trial, folder: Path, patch: pytest.MonkeyPatch, limits: Limits) -> Any:
    """The empty store of a trial, with its mutant applied."""
    if isinstance(trial.mutant, type):
        return await open_model(folder, patch, limits, trial.mutant)
    if trial.mutant is not None:
        trial.mutant(patch)
    return await KINDS[trial.store].open(folder, patch, limits)
