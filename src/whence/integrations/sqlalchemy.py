"""SQLAlchemy: a transactional outbox.

An event is written in the transaction that it describes, so that either both are committed or neither. `drain`, or the
command `whence relay`, sends it afterwards.

Events are sent in the order of their rows, and deleted once they are stored. An event has an id, so that it is stored
once however often it is sent; several relays may run at once. A refused event stays in the table with the reason, and
does not hold up the others.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
)
from sqlalchemy.orm import Session

from whence.client.base_client import BaseClient
from whence.client.clients import AsyncWhence, Whence
from whence.client.context import current_context
from whence.client.event_builder import EmittedEvent, EventFields, build_event
from whence.client.requests import SEND_EVENTS_MAX, batch_request, first_batch
from whence.client.responses import ApiResponse, is_temporary, parse_batch_results, refusal
from whence.errors import Invalid, TooLarge, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["DrainResult", "Outbox", "drain", "drain_async", "outbox", "outbox_table"]

_STORED = (200, 201)


class DrainResult(msgspec.Struct, frozen=True):
    """How many events of an outbox were stored and refused."""

    stored: int
    refused: int


def outbox_table(metadata: MetaData, name: str = "whence_outbox") -> Table:
    """The table of the outbox, for your own migrations or for `create_all`."""
    existing = metadata.tables.get(name)
    if existing is not None:
        return existing
    number = BigInteger().with_variant(Integer(), "sqlite")  # SQLite increments only INTEGER keys by itself
    return Table(
        name,
        metadata,
        Column("number", number, primary_key=True, autoincrement=True),
        Column("body", Text, nullable=False),
        Column("refused", Text),
    )


class Outbox:
    """The outbox of one session."""

    def __init__(self, session: Session | Connection, log: BaseClient | None, table: Table) -> None:
        self._session = session
        self._log = log
        self._table = table

    def emit(self, event: Mapping[str, Any] | str, **fields: Unpack[EventFields]) -> EmittedEvent:
        """Write an event in the transaction of the session, with the arguments of `Whence.emit`. Raises Invalid."""
        if self._log is not None:
            emitted = self._log.new(event, **fields)
        else:
            emitted = build_event(event, fields, current_context())
        if emitted.dropped:
            return emitted
        self._session.execute(insert(self._table).values(body=emitted.body.decode()))
        return emitted


def outbox(session: Session | Connection, log: BaseClient | None = None, name: str = "whence_outbox") -> Outbox:
    """The outbox of a session. If `log` is given, its enrichers and `before_send` apply; it sends nothing.

    With an AsyncSession: `await session.run_sync(lambda sync: outbox(sync).emit(…))`, and send with `drain_async`.
    """
    return Outbox(session, log, outbox_table(MetaData(), name))


def drain(engine: Engine, log: Whence, name: str = "whence_outbox") -> DrainResult:
    """Send the events in the table until only refused ones are left.

    Raises the errors of `Whence.send`, Unavailable when the server accepts no event for now, and those of the database.
    """
    table = outbox_table(MetaData(), name)
    stored = refused = 0
    while True:
        with engine.connect() as connection:
            rows = _next_rows(connection, table)
        if not rows:
            return DrainResult(stored, refused)
        # Sent between two transactions, so that none stays open during a request.
        stored_numbers, refusals = send_rows(log, rows)
        with engine.begin() as connection:
            _record(connection, table, stored_numbers, refusals)
        stored += len(stored_numbers)
        refused += len(refusals)


async def drain_async(engine: "AsyncEngine", log: AsyncWhence, name: str = "whence_outbox") -> DrainResult:
    """As `drain`, for asyncio."""
    table = outbox_table(MetaData(), name)
    stored = refused = 0
    while True:
        async with engine.connect() as connection:
            rows = await connection.run_sync(_next_rows, table)
        if not rows:
            return DrainResult(stored, refused)
        stored_numbers, refusals = await send_rows_async(log, rows)
        async with engine.begin() as connection:
            await connection.run_sync(_record, table, stored_numbers, refusals)
        stored += len(stored_numbers)
        refused += len(refusals)


OutboxRows = list[tuple[int, bytes]]
"""Rows as pairs of their number and their event as JSON."""

SendResult = tuple[list[int], dict[int, str]]
"""The numbers of the rows that are stored, and the reasons of those that were refused. Others are sent again."""


def send_rows(log: Whence, rows: OutboxRows) -> SendResult:
    """Send these rows in a batch, and in smaller ones if it is refused as a whole. Raises as `drain`."""
    sending = _sending(rows)
    try:
        bodies = next(sending)
        while True:
            bodies = sending.send(log.send(batch_request(bodies)))
    except StopIteration as end:
        result: SendResult = end.value
        return result


async def send_rows_async(log: AsyncWhence, rows: OutboxRows) -> SendResult:
    """As `send_rows`, for asyncio."""
    sending = _sending(rows)
    try:
        bodies = next(sending)
        while True:
            bodies = sending.send(await log.send(batch_request(bodies)))
    except StopIteration as end:
        result: SendResult = end.value
        return result


def _next_rows(connection: Connection, table: Table) -> OutboxRows:
    """The rows of the next batch."""
    unsent = select(table.c.number, table.c.body).where(table.c.refused.is_(None)).order_by(table.c.number)
    rows = [(row.number, row.body.encode()) for row in connection.execute(unsent.limit(SEND_EVENTS_MAX))]
    return rows[: len(first_batch(body for _, body in rows))]


def _record(connection: Connection, table: Table, stored: Sequence[int], refusals: Mapping[int, str]) -> None:
    """Delete the rows that are stored, and keep the reasons of those that were refused."""
    connection.execute(delete(table).where(table.c.number.in_(stored)))
    for number, why in refusals.items():
        connection.execute(table.update().where(table.c.number == number).values(refused=why))


def _sending(rows: OutboxRows) -> Generator[bytes, ApiResponse, SendResult]:
    """Yields the body of each batch to send, and receives its response. A batch that is refused as a whole is halved.

    A generator, so that it serves both the sync and the async client.
    """
    response = yield b"\n".join(body for _, body in rows)
    try:
        results = parse_batch_results(response, len(rows))
    except (Invalid, TooLarge) as error:
        if len(rows) == 1:
            return [], {rows[0][0]: str(error)}
        half = len(rows) // 2
        stored, refusals = yield from _sending(rows[:half])
        more_stored, more_refusals = yield from _sending(rows[half:])
        return stored + more_stored, refusals | more_refusals
    by_number = list(zip((number for number, _ in rows), results, strict=True))
    stored = [number for number, result in by_number if result.status in _STORED]
    refusals = {
        number: refusal(result) or f"The server responded with {result.status}."
        for number, result in by_number
        if result.status not in _STORED and not is_temporary(result.status)
    }
    if not stored and not refusals:
        raise Unavailable("The server cannot store events now.")
    return stored, refusals
