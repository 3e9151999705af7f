"""Connections: a bounded number of them, one transaction at a time on each, and what happens when they break.

A transaction takes two ways to the server and back, and one more for each statement: it begins with all of its
settings in one message. They are settings of the transaction alone, so a pooler in transaction mode may stand between.
On Citus it takes one way more.

A server that is gone is seen by the error of the connection. One that says nothing more (a cut cable, a stalled proxy)
is told from one that works on something long by a look on a second connection.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

import asyncpg
import structlog

from whence.errors import StoreRefused, Unavailable, WhenceError
from whence.storage.base import QUERY_SECONDS_MAX
from whence.storage.query_gate import query_too_expensive

__all__ = [
    "CONNECTION_LOST",
    "DRIVER_ERRORS",
    "Connection",
    "Connections",
    "DataRefused",
    "Target",
    "Work",
    "begin_statements",
]

_log = structlog.get_logger("whence.storage")

Connection = Any
"""An asyncpg connection, which comes without types."""

Work = Callable[[Connection], Awaitable[Any]]

APP_ROLE = "whence_app"

_BEGIN_S = 1.8
"""To find a connection that is free, or to make one, and to begin."""

_LOOK_AFTER_S = 0.6
_LOOK_S = 0.8
"""After how long without an answer the server is looked at, and how long that may take."""

_WRITE_MS = 10_000
_LOCK_MS = 5_000
_IDLE_MS = 10_000
"""A process that stops in the middle of an append holds up its tenant's other writers for so long, and no longer."""

_STATEMENTS_CACHED = 200

DRIVER_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises; the last of them too when a connection ends at the moment in which it is used."""

_REFUSED = (
    ValueError,  # the driver could not encode it
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)

CONNECTION_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
)


class DataRefused(Unavailable):
    """The server did not take a value that it was given. Nothing of the transaction was kept."""


class Target:
    """Where the database is, and how it is spoken to."""

    def __init__(self, url: str, *, pooler: bool = False) -> None:
        """Read a URL; `?pooler=1` in it is ours, the rest is the driver's."""
        place, _, options = url.partition("?")
        told = parse_qsl(options, keep_blank_values=True)
        self.pooler = pooler or any(name == "pooler" and value.lower() in ("1", "true", "on") for name, value in told)
        left = urlencode([(name, value) for name, value in told if name != "pooler"])
        self._dsn = f"{place}?{left}" if left else place
        self.on_citus = False
        """Learned when the store is opened."""

    async def connect(self, timeout_s: float = _BEGIN_S) -> Connection:
        """A new connection. Raises what the driver raises."""
        return await asyncpg.connect(
            self._dsn,
            timeout=timeout_s,
            # A pooler hands each transaction to another backend, which does not know the statements of the last one.
            statement_cache_size=0 if self.pooler else _STATEMENTS_CACHED,
        )

    async def first(self) -> Connection:
        """The first connection of a process. Raises StoreRefused when waiting would not mend it, else Unavailable."""
        try:
            return await self.connect()
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise StoreRefused(
                "The PostgreSQL server does not let this login into this database. Look at user, password and database "
                "in the URL of the store."
            ) from error
        except (ValueError, asyncpg.ClientConfigurationError) as error:
            raise StoreRefused(
                "The URL of the store cannot be read. It looks like postgresql://user@host:5432/database."
            ) from error
        except DRIVER_ERRORS as error:
            raise Unavailable("The PostgreSQL server cannot be reached.") from error


class Connections:
    """A fixed number of connections for one kind of work: reading, or writing."""

    def __init__(self, target: Target, size: int, *, writing: bool) -> None:
        """Open nothing yet."""
        self._target = target
        self._writing = writing
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._running: set[asyncio.Task[Any]] = set()
        self._look: asyncio.Task[bool] | None = None
        self._closed = False

    async def run(self, tenant_no: int, work: Work, gate: AbstractContextManager[None] | None = None) -> Any:
        """What `work(connection)` returns, done in one transaction as this tenant (0 for none) and committed.

        Reading sees one snapshot. Raises Unavailable, QueryTooExpensive for a question that takes too long, and every
        WhenceError of `work`, after which nothing is kept. When the waiting task is cancelled, the work goes on to
        its end, behind its `gate`: a half-spoken protocol would cost the connection.
        """
        if self._closed:
            raise Unavailable("The store is closed.")
        task = asyncio.create_task(self._run(tenant_no, work, gate or nullcontext()))
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits any more

    async def close(self) -> None:
        """Finish what is under way, then close every connection. Harmless when repeated."""
        self._closed = True
        while self._running:
            await asyncio.wait(self._running)
        if self._look is not None:
            await asyncio.wait({self._look})
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.close(timeout=_LOOK_S)
            except DRIVER_ERRORS:
                connection.terminate()

    async def _run(self, tenant_no: int, work: Work, gate: AbstractContextManager[None]) -> Any:
        with gate:
            messages, taken = begin_statements(tenant_no, writing=self._writing, on_citus=self._target.on_citus), False
            try:
                async with asyncio.timeout(_BEGIN_S):
                    taken = await self._free.acquire()
                    connection = await self._begun(messages)
                return await self._worked(connection, work)
            except TimeoutError:
                raise Unavailable(
                    "The PostgreSQL server does not answer." if taken else "Every connection is in use."
                ) from None
            finally:
                if taken:
                    self._free.release()

    async def _begun(self, messages: Sequence[str]) -> Connection:
        """A connection inside a fresh transaction. Idle ones that broke meanwhile are replaced."""
        while True:
            connection, fresh = None, not self._idle
            try:
                connection = await self._target.connect() if fresh else self._idle.pop()
                for message in messages:
                    await connection.execute(message)
                return connection
            except BaseException as error:
                if connection is not None:
                    connection.terminate()
                if isinstance(error, DRIVER_ERRORS):
                    if not fresh:
                        continue  # nothing was asked of it yet
                    raise self._told(error) from error
                self._forget_idle()
                raise

    async def _worked(self, connection: Connection, work: Work) -> Any:
        watch = _Watch(partial(self._watching, connection))
        try:
            return await _committed(connection, work)
        except Exception as error:
            raise self._told(watch.verdict or error) from error
        finally:
            watch.end()
            await self._put_back(connection)

    async def _watching(self, connection: Connection) -> Exception:
        """Watch a transaction that has not ended for a while. When the server is gone, or a question takes longer than
        it may, it is broken off, for the reason that is returned."""
        until = time.monotonic() + QUERY_SECONDS_MAX - _LOOK_AFTER_S
        while True:
            late = not self._writing and time.monotonic() > until
            if late or not await self._reachable():
                connection.terminate()
                if late:
                    return query_too_expensive()
                self._forget_idle()
                return Unavailable("The PostgreSQL server does not answer.")
            await asyncio.sleep(_LOOK_AFTER_S)

    async def _reachable(self) -> bool:
        """Whether the server answers somebody else. Asked at once by all who wait, by one connection."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._looked())
        return await asyncio.shield(self._look)

    async def _looked(self) -> bool:
        connection = None
        try:
            async with asyncio.timeout(_LOOK_S):
                connection = await self._target.connect(_LOOK_S)
                await connection.execute("SELECT 1")
        except asyncpg.PostgresError:
            pass  # it refuses, so it is there
        except DRIVER_ERRORS:
            return False
        finally:
            if connection is not None:
                connection.terminate()
        return True

    async def _put_back(self, connection: Connection) -> None:
        """Keep a connection for the next transaction if it is sound."""
        try:
            if not connection.is_closed() and connection.is_in_transaction():
                async with asyncio.timeout(_LOOK_S):
                    await connection.execute("ROLLBACK")
        except DRIVER_ERRORS:
            connection.terminate()
        if not connection.is_closed():
            self._idle.append(connection)

    def _forget_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    def _told(self, error: Exception) -> Exception:
        """The error in our own words; one that is nobody's stays as it is."""
        if isinstance(error, WhenceError):
            return error
        if isinstance(error, asyncpg.QueryCanceledError) and not self._writing:
            return query_too_expensive()
        if isinstance(error, CONNECTION_LOST) and not isinstance(error, (asyncpg.QueryCanceledError, *_REFUSED)):
            _log.warning("the PostgreSQL server is lost", error=type(error).__name__, told=str(error))
            return Unavailable("The PostgreSQL server cannot be reached. What was sent may be stored; repeat it.")
        if isinstance(error, DRIVER_ERRORS):
            _log.error("transaction failed", error=type(error).__name__, exc_info=error)
            told = "could not write. Send the event again with the same id." if self._writing else "could not be read."
            kind = DataRefused if isinstance(error, _REFUSED) else Unavailable
            return kind(f"The store {told}")
        return error


class _Watch:
    """Somebody who begins to watch after a while. Until then it is a timer and no task: nearly all work ends sooner."""

    def __init__(self, watching: Callable[[], Coroutine[Any, Any, Exception]]) -> None:
        """Begin to wait."""
        self._watching = watching
        self._task: asyncio.Task[Exception] | None = None
        self._timer = asyncio.get_running_loop().call_later(_LOOK_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._watching())

    @property
    def verdict(self) -> Exception | None:
        """Why the work was broken off, if it was."""
        return self._task.result() if self._task is not None and self._task.done() else None

    def end(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


async def _committed(connection: Connection, work: Work) -> Any:
    result = await work(connection)
    await connection.execute("COMMIT")
    return result


def begin_statements(tenant_no: int, *, writing: bool, on_citus: bool) -> tuple[str, ...]:
    """The messages that begin a transaction as a tenant: how it isolates, whose it is, what it may do and how long."""
    number = f"{tenant_no:d}" if tenant_no else ""  # what is pasted into a message is digits and nothing else
    whole = (
        # Reading: one snapshot for a page and its total. Writing: behind the wait for the head, what is there now.
        f"BEGIN ISOLATION LEVEL {'READ COMMITTED' if writing else 'REPEATABLE READ READ ONLY'}",
        f"SET LOCAL ROLE {APP_ROLE}",
        "SET LOCAL search_path TO whence",
        f"SET LOCAL statement_timeout = {_WRITE_MS if writing else int(QUERY_SECONDS_MAX * 1_000)}",
        f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MS}",
    )
    everywhere = (
        f"SET LOCAL whence.tenant_no = '{number}'",
        f"SET LOCAL lock_timeout = {_LOCK_MS}",
        "SET LOCAL jit = off",  # it compiles for longer than our statements run
    )
    if not on_citus:
        return ("; ".join((*whole, *everywhere)),)
    # To the machines that take part, Citus hands on the whole message in which a SET LOCAL stands. So BEGIN is in
    # another one, and what is in this one may be said twice. The role is not: Citus connects as the one that is set.
    return "; ".join((*whole, "SET LOCAL citus.propagate_set_commands = 'local'")), "; ".join(everywhere)
