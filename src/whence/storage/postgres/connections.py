"""The connection pool: a bounded number of connections, one transaction at a time on each, and what happens when they
break.

A transaction costs two round trips plus one per statement: BEGIN and every setting travel in one message, and COMMIT is
the other. On Citus BEGIN and the settings need two messages, so it costs three. The settings are those of the
transaction alone, which makes a pooler in transaction mode safe. A single statement that makes these settings itself
can do without BEGIN and COMMIT.

A server that closes its connections is noticed by the driver's error. A server that stops answering (a cut cable, a
stalled proxy) raises nothing, so a watchdog probes it on a second connection: when the probe is answered, the first
connection is only busy. `docs/adr/0016-own-connection-pool.md` says why this is not asyncpg's pool.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode
from weakref import WeakKeyDictionary

import asyncpg
import structlog

from whence.errors import StoreRefused, Unavailable, WhenceError
from whence.fairness import FairQueue
from whence.storage.base import QUERY_SECONDS_MAX
from whence.storage.query_deadline import Deadline, query_too_expensive

__all__ = [
    "APP_ROLE",
    "CONNECTION_LOST",
    "DRIVER_ERRORS",
    "KEEPER_ROLE",
    "ROLES",
    "Connection",
    "ConnectionLost",
    "ConnectionPool",
    "DataRefused",
    "Target",
    "TransactionAborted",
    "TransactionWork",
    "begin_statements",
    "repeat_aborted",
]

_log = structlog.get_logger("whence.storage")

Connection = Any
"""An asyncpg connection; asyncpg has no type annotations."""

TransactionWork = Callable[[Connection], Awaitable[Any]]
"""What is done within a transaction."""

APP_ROLE = "whence_app"
"""The role of every transaction but removals. It can neither change nor delete events."""

KEEPER_ROLE = "whence_keeper"
"""The role of a removal."""

ROLES = (APP_ROLE, KEEPER_ROLE)
"""The roles that transactions take."""

_ACQUIRE_TIMEOUT_S = 1.8
"""The longest wait for a place in the pool, or for a new connection, and for its BEGIN."""

_WATCHDOG_INTERVAL_S = 0.6
"""How long a transaction runs before the watchdog first probes the server, and the pause between two probes."""

_PROBE_TIMEOUT_S = 0.8

_WRITE_TIMEOUT_MS = 10_000
_LOCK_TIMEOUT_MS = 5_000
_IDLE_TIMEOUT_MS = 10_000
"""How long a process that stops in the middle of an append can block its tenant's other writers."""

_FRESH_S = 1.0
"""How long after its last answer a connection is trusted with a write as its first message. Later, BEGIN finds out
whether it broke, when nothing is lost by that."""

_REPEAT_AFTER_S = (0.1, 0.4)
"""The pauses before an aborted transaction is repeated."""

_STATEMENT_CACHE_SIZE = 200

DRIVER_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Everything asyncpg raises. InternalClientError happens when a connection is lost at the moment it is used."""

CONNECTION_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
)
"""What asyncpg raises when a connection is lost; also QueryCanceledError, which leaves the connection usable."""

_DATA_ERRORS = (
    ValueError,  # asyncpg could not encode the value
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)


class DataRefused(Unavailable):
    """The server refused a value. The transaction was rolled back."""


class ConnectionLost(Unavailable):
    """The connection broke. What was sent may be stored, or not."""


class TransactionAborted(Unavailable):
    """The server aborted the transaction before its COMMIT was sent, with an internal error. So nothing is stored, and
    the same work may be done again. Citus does this to a statement whose shard moves or is split at that moment."""


async def repeat_aborted(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """What `attempt()` returns, when it is made again, at most twice, after TransactionAborted."""
    for pause_s in _REPEAT_AFTER_S:
        try:
            return await attempt()
        except TransactionAborted:
            await asyncio.sleep(pause_s)
    return await attempt()


class Target:
    """The database that a store connects to, and how."""

    def __init__(self, url: str, *, pooler: bool = False) -> None:
        """Parse the URL. `?pooler=1` is an option of Whence; all others are passed to asyncpg."""
        location, _, query = url.partition("?")
        options = parse_qsl(query, keep_blank_values=True)
        self.pooler = pooler or any(
            name == "pooler" and value.lower() in ("1", "true", "on") for name, value in options
        )
        passed_on = urlencode([(name, value) for name, value in options if name != "pooler"])
        self._dsn = f"{location}?{passed_on}" if passed_on else location
        self.on_citus = False
        """Whether the database has Citus. Set when the store is opened."""
        self.inherits_role = False
        """Whether the login may use the schema before it takes the role whence_app. Set when the store is opened."""

    async def connect(self, timeout_s: float = _ACQUIRE_TIMEOUT_S) -> Connection:
        """A new connection. Raises `DRIVER_ERRORS`."""
        return await asyncpg.connect(
            self._dsn,
            timeout=timeout_s,
            # A pooler gives each transaction another backend, which lacks the statements prepared on the last one.
            statement_cache_size=0 if self.pooler else _STATEMENT_CACHE_SIZE,
        )

    async def connect_first(self) -> Connection:
        """The first connection of a process. Raises StoreRefused for what waiting cannot cure, else Unavailable."""
        try:
            return await self.connect()
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise StoreRefused(
                "The PostgreSQL server refused the login or has no such database. Check the user, password and "
                "database in the URL of the store."
            ) from error
        except (ValueError, asyncpg.ClientConfigurationError) as error:
            raise StoreRefused(
                "The URL of the store is not valid. Use the form postgresql://user@host:5432/database."
            ) from error
        except DRIVER_ERRORS as error:
            raise Unavailable(
                "The PostgreSQL server cannot be reached. Check that it runs, and the host and port in the URL of the "
                "store."
            ) from error


class ConnectionPool:
    """At most `size` connections for one kind of work: reading, or writing. Tenants get them in turns."""

    def __init__(self, target: Target, size: int, *, writing: bool) -> None:
        """Connections are made when they are first needed."""
        self._target = target
        self._writing = writing
        self._places = FairQueue(size)
        self._unbounded = FairQueue(max(1, size // 2))
        self._idle: list[Connection] = []
        self._answered_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._running: set[asyncio.Task[Any]] = set()
        self._probing: asyncio.Task[bool] | None = None
        self._closed = False

    async def run(
        self,
        tenant_no: int,
        work: TransactionWork,
        *,
        tenant: str = "",
        role: str = APP_ROLE,
        unbounded: bool = False,
        alone: bool = False,
    ) -> Any:
        """Run `work(connection)` in one transaction as this tenant (0 for none), commit, and return its result.

        A reading transaction sees one snapshot. `tenant` names whose share of the connections is used; unbounded
        queries use at most half of them. The transaction takes `role`, which the login must be able to take. `alone`
        says that the work is one statement that makes the settings of a transaction itself; it is then sent without
        BEGIN and COMMIT where that is possible.

        Raises Throttled when too much of this tenant waits, Unavailable, QueryTooExpensive for a query that ran too
        long, and every WhenceError of `work`; the transaction is then rolled back. When the caller is cancelled, a
        query is stopped, and a write still runs to its end.
        """
        if self._closed:
            raise Unavailable("The store is closed.")
        deadline = Deadline()
        statements = begin_statements(tenant_no, writing=self._writing, on_citus=self._target.on_citus, role=role)
        task = asyncio.create_task(self._run(statements, work, tenant, deadline, unbounded=unbounded, alone=alone))
        self._running.add(task)
        task.add_done_callback(self._discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._writing:
                deadline.cancel()
                task.cancel()
            raise

    def _discard(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved, since a cancelled caller never does

    async def close(self) -> None:
        """Finish the running transactions, then close every connection. Safe to call again."""
        self._closed = True
        while self._running:
            await asyncio.wait(self._running)
        if self._probing is not None:
            await asyncio.wait({self._probing})
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.close(timeout=_PROBE_TIMEOUT_S)
            except DRIVER_ERRORS:
                connection.terminate()

    async def _run(
        self,
        statements: Sequence[str],
        work: TransactionWork,
        tenant: str,
        deadline: Deadline,
        *,
        unbounded: bool,
        alone: bool,
    ) -> Any:
        # A pooler may give each message outside of a transaction another backend.
        alone = alone and self._target.inherits_role and not self._target.pooler
        async with self._unbounded.place(tenant) if unbounded else nullcontext():
            has_place = False
            try:
                async with asyncio.timeout(_ACQUIRE_TIMEOUT_S):
                    await self._places.enter(tenant)
                    has_place = True
                    connection = await self._acquire(statements, deadline, alone=alone)
                if not self._writing:
                    deadline.start(QUERY_SECONDS_MAX)
                with deadline.watched():
                    return await self._run_watched(connection, work, deadline)
            except TimeoutError:
                raise Unavailable(
                    "The PostgreSQL server does not answer." if has_place else "Every connection is in use."
                ) from None
            finally:
                if has_place:
                    self._places.leave(tenant)

    async def _acquire(self, statements: Sequence[str], deadline: Deadline, *, alone: bool) -> Connection:
        """A connection with a transaction begun on it. Idle connections that broke are replaced. For a statement that
        goes `alone`, no transaction is begun on a connection that is known to work."""
        while True:
            connection, is_new = None, not self._idle
            try:
                connection = await self._target.connect() if is_new else self._idle.pop()
                if alone and (is_new or self._is_fresh(connection)):
                    return connection
                for statement in statements:
                    await connection.execute(statement)
                return connection
            except BaseException as error:
                if connection is not None:
                    connection.terminate()
                if isinstance(error, DRIVER_ERRORS):
                    if not is_new:
                        continue  # safe to retry: only BEGIN was sent
                    raise self._translate(error) from error
                if not deadline.has_passed:  # else the caller was cancelled, and the server is well
                    self._terminate_idle()
                raise

    def _is_fresh(self, connection: Connection) -> bool:
        return not connection.is_closed() and time.monotonic() - self._answered_at.get(connection, 0.0) < _FRESH_S

    async def _run_watched(self, connection: Connection, work: TransactionWork, deadline: Deadline) -> Any:
        watchdog = _Watchdog(partial(self._watch, connection))
        try:
            return await _run_and_commit(connection, work)
        except Exception as error:
            # The driver may be in the middle of a statement of its own when the server stops a query.
            is_stopped = isinstance(error, asyncpg.InternalClientError) and deadline.has_passed
            reason = watchdog.reason or (query_too_expensive() if is_stopped else error)
            raise self._translate(reason) from error
        finally:
            watchdog.stop()
            await self._release(connection)

    async def _watch(self, connection: Connection) -> Exception:
        """Watch a long transaction. Terminates its connection once the server does not answer or a query has run too
        long, and returns that reason."""
        until = time.monotonic() + QUERY_SECONDS_MAX - _WATCHDOG_INTERVAL_S
        while True:
            is_late = not self._writing and time.monotonic() > until
            if is_late or not await self._server_answers():
                connection.terminate()
                if is_late:
                    return query_too_expensive()
                self._terminate_idle()
                return Unavailable("The PostgreSQL server does not answer.")
            await asyncio.sleep(_WATCHDOG_INTERVAL_S)

    async def _server_answers(self) -> bool:
        """Whether the server answers on another connection. Watchdogs that ask at the same time share one probe."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> bool:
        connection = None
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                connection = await self._target.connect(_PROBE_TIMEOUT_S)
                await connection.execute("SELECT 1")
        except asyncpg.PostgresError:
            pass  # an error is an answer too
        except DRIVER_ERRORS:
            return False
        finally:
            if connection is not None:
                connection.terminate()
        return True

    async def _release(self, connection: Connection) -> None:
        """Roll back if the transaction is still open, and keep the connection unless it broke."""
        try:
            if not connection.is_closed() and connection.is_in_transaction():
                async with asyncio.timeout(_PROBE_TIMEOUT_S):
                    await connection.execute("ROLLBACK")
        except DRIVER_ERRORS:
            connection.terminate()
        if not connection.is_closed():
            self._answered_at[connection] = time.monotonic()
            self._idle.append(connection)

    def _terminate_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    def _translate(self, error: Exception) -> Exception:
        """A driver's error as a WhenceError. Any other error is returned unchanged."""
        if isinstance(error, WhenceError):
            return error
        if isinstance(error, asyncpg.QueryCanceledError) and not self._writing:
            return query_too_expensive()
        if isinstance(error, CONNECTION_LOST) and not isinstance(error, (asyncpg.QueryCanceledError, *_DATA_ERRORS)):
            _log.warning("connection to the PostgreSQL server lost", error=type(error).__name__, detail=str(error))
            sent = " What was sent may be stored; repeat it." if self._writing else ""
            kind = Unavailable if isinstance(error, TimeoutError) else ConnectionLost
            return kind(f"The PostgreSQL server cannot be reached.{sent}")
        if isinstance(error, DRIVER_ERRORS):
            _log.error("transaction failed", error=type(error).__name__, exc_info=error)
            kind = DataRefused if isinstance(error, _DATA_ERRORS) else Unavailable
            if self._writing:
                return kind("The store could not write. Send the event again with the same id.")
            return kind("The store could not be read.")
        return error


class _Watchdog:
    """Starts `watch` once a transaction has run for a while.

    Until then it is a timer and not a task, because nearly every transaction ends sooner.
    """

    def __init__(self, watch: Callable[[], Coroutine[Any, Any, Exception]]) -> None:
        """Start the timer."""
        self._watch = watch
        self._task: asyncio.Task[Exception] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCHDOG_INTERVAL_S, self._start)

    def _start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    @property
    def reason(self) -> Exception | None:
        """Why the connection was terminated; None if it was not."""
        return self._task.result() if self._task is not None and self._task.done() else None

    def stop(self) -> None:
        """Cancel the timer, and the task if it has started."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


async def _run_and_commit(connection: Connection, work: TransactionWork) -> Any:
    begun = connection.is_in_transaction()
    try:
        result = await work(connection)
    except asyncpg.InternalServerError as error:
        if error.sqlstate != "XX000":  # damaged data does not heal by itself
            raise
        _log.warning("transaction aborted", error=type(error).__name__, detail=str(error))
        raise TransactionAborted("The store could not answer. Send the request again.") from error
    if begun:
        await connection.execute("COMMIT")
    return result


_CITUS_SETTINGS = (
    # Servers connect to the coordinator only. Without this, an upsert of a reference table takes a lock on the first
    # worker, for which the role would need UPDATE on that table.
    "SET LOCAL citus.allow_modifications_from_workers_to_replicated_tables = off",
    # Citus hides shards by a function in every query of pg_class. That makes asyncpg's first lookup of array types, on
    # each new connection, take more than a second.
    "SET LOCAL citus.override_table_visibility = off",
    # Last, since what follows it is sent to the workers.
    "SET LOCAL citus.propagate_set_commands = 'local'",
)


def begin_statements(tenant_no: int, *, writing: bool, on_citus: bool, role: str = APP_ROLE) -> tuple[str, ...]:
    """The messages that begin a transaction as a tenant (0 for none): isolation level, role, row-level security and
    timeouts. Each is sent as one simple query.

    Raises ValueError or TypeError when `tenant_no` is not an integer.
    """
    number = f"{tenant_no:d}" if tenant_no else ""  # only digits are ever formatted into a statement
    with_begin = (
        # Reading: one snapshot for a page and its total. Writing: after the wait for the head's row lock, statements
        # see what other writers committed meanwhile.
        f"BEGIN ISOLATION LEVEL {'READ COMMITTED' if writing else 'REPEATABLE READ READ ONLY'}",
        f"SET LOCAL ROLE {role}",
        "SET LOCAL search_path TO whence",
        f"SET LOCAL statement_timeout = {_WRITE_TIMEOUT_MS if writing else int(QUERY_SECONDS_MAX * 1_000)}",
        f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_TIMEOUT_MS}",
    )
    propagated = (
        f"SET LOCAL whence.tenant_no = '{number}'",
        f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}",
        "SET LOCAL jit = off",  # compiling takes longer than these statements run
    )
    if not on_citus:
        return ("; ".join((*with_begin, *propagated)),)
    # Citus sends its workers the whole message that contains a SET LOCAL. BEGIN must not reach them twice, so it goes
    # in a message of its own. The role must not reach them either: Citus connects to workers as the current role.
    return "; ".join((*with_begin, *_CITUS_SETTINGS)), "; ".join(propagated)
