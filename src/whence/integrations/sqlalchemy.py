"""SQLAlchemy: a transactional outbox. An event is written in the transaction of what it tells of, so that there is
either both or neither; `drain`, or `whence relay`, sends it afterwards.

Events are sent in the order of their rows and deleted once they are stored. Sending one twice does no harm, since it
has its id; so two relays do no harm either. A refused event stays in the table with the reason, and holds up nothing.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    insert,
    select,
)
from sqlalchemy.orm import Session

from whence.client.answers import Answer, parse_batch, refusal
from whence.client.context import current
from whence.client.emission import Emitted, Fields, new_event
from whence.client.http import AsyncWhence, Whence
from whence.client.log import Log
from whence.client.requests import batch_request
from whence.errors import Invalid, TooLarge, Unavailable, WhenceError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Drained", "Outbox", "drain", "drain_async", "outbox", "outbox_table"]

_BATCH_EVENTS = 500
_BATCH_BYTES = 4 * 1024 * 1024
_STORED = (200, 201)


class Drained(msgspec.Struct, frozen=True):
    """What became of the rows of an outbox."""

    stored: int
    refused: int


def outbox_table(metadata: MetaData, name: str = "whence_outbox") -> Table:
    """The table, for your own migrations or `create_all`."""
    known = metadata.tables.get(name)
    if known is not None:
        return known
    number = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER counts up by itself there
    return Table(
        name,
        metadata,
        Column("number", number, primary_key=True, autoincrement=True),
        Column("body", Text, nullable=False),
        Column("refused", Text),
    )


class Outbox:
    """Where the events of one session go."""

    def __init__(self, session: Session | Connection, log: Log | None, table: Table) -> None:
        self._session = session
        self._log = log
        self._table = table

    def emit(self, event: Mapping[str, Any] | str, **fields: Any) -> Emitted:
        """Write an event, as `Whence.emit` takes it, in the transaction of the session. Raises Invalid."""
        if self._log is not None:
            emitted = self._log.new(event, **fields)
        else:
            emitted = new_event(event, msgspec.structs.replace(Fields(), **fields), current())
        self._session.execute(insert(self._table).values(body=emitted.body.decode()))
        return emitted


def outbox(session: Session | Connection, log: Log | None = None, name: str = "whence_outbox") -> Outbox:
    """The outbox of a session. `log`, if given, adds what it was told to add by `enrich`; nothing is sent by it.

    With an AsyncSession: `await session.run_sync(lambda sync: outbox(sync).emit(…))`, and `drain_async` sends.
    """
    return Outbox(session, log, outbox_table(MetaData(), name))


def drain(engine: Engine, log: Whence, name: str = "whence_outbox") -> Drained:
    """Send what is in the table, until only what was refused is left. Raises as `Whence.send` and the database."""
    table = outbox_table(MetaData(), name)
    stored = refused = 0
    while True:
        with engine.connect() as connection:
            rows = _waiting(connection, table)
        if not rows:
            return Drained(stored, refused)
        # Between two transactions, so that none is held open while the server is waited for.
        done, bad = _sent(log, rows)
        with engine.begin() as connection:
            _settle(connection, table, done, bad)
        stored += len(done)
        refused += len(bad)


async def drain_async(engine: "AsyncEngine", log: AsyncWhence, name: str = "whence_outbox") -> Drained:
    """As `drain`, for asyncio."""
    table = outbox_table(MetaData(), name)
    stored = refused = 0
    while True:
        async with engine.connect() as connection:
            rows = await connection.run_sync(_waiting, table)
        if not rows:
            return Drained(stored, refused)
        done, bad = await _sent_async(log, rows)
        async with engine.begin() as connection:
            await connection.run_sync(_settle, table, done, bad)
        stored += len(done)
        refused += len(bad)


Waiting = list[tuple[int, bytes]]
"""Rows by their number, with the events in them."""

Outcome = tuple[list[int], dict[int, str]]
"""The numbers of the rows that are stored, and why others were refused."""


def _waiting(connection: Connection, table: Table) -> Waiting:
    """The rows that are to be sent next."""
    waiting = select(table.c.number, table.c.body).where(table.c.refused.is_(None)).order_by(table.c.number)
    return _within_bytes(connection.execute(waiting.limit(_BATCH_EVENTS)).all())


def _settle(connection: Connection, table: Table, done: Sequence[int], bad: Mapping[int, str]) -> None:
    connection.execute(delete(table).where(table.c.number.in_(done)))
    for number, why in bad.items():
        connection.execute(table.update().where(table.c.number == number).values(refused=why))


def _within_bytes(rows: Sequence[Row[Any, Any]]) -> Waiting:
    taken: Waiting = []
    size = 0
    for row in rows:
        number, body = row.number, row.body.encode()
        size += len(body) + 1
        if taken and size > _BATCH_BYTES:
            break
        taken.append((number, body))
    return taken


def _sent(log: Whence, rows: Waiting) -> Outcome:
    sending = _sending(rows)
    try:
        bodies = next(sending)
        while True:
            bodies = sending.send(log.send(batch_request(bodies)))
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


async def _sent_async(log: AsyncWhence, rows: Waiting) -> Outcome:
    sending = _sending(rows)
    try:
        bodies = next(sending)
        while True:
            bodies = sending.send(await log.send(batch_request(bodies)))
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


def _sending(rows: Waiting) -> Generator[bytes, Answer, Outcome]:
    """Yields what is to be sent and is told the answer; what became of the rows. A batch that is refused as a whole is
    halved.
    """
    answer = yield b"\n".join(body for _, body in rows)
    try:
        results = parse_batch(answer).results
    except (Invalid, TooLarge) as error:
        if len(rows) == 1:
            return [], {rows[0][0]: str(error)}
        done, bad = yield from _sending(rows[: len(rows) // 2])
        more, worse = yield from _sending(rows[len(rows) // 2 :])
        return done + more, bad | worse
    if len(results) != len(rows):
        raise WhenceError("The server did not tell what became of each event. Check the URL.")
    pairs = list(zip((number for number, _ in rows), results, strict=True))
    done = [number for number, result in pairs if result.status in _STORED]
    bad = {
        number: refusal(result) or f"The server answered {result.status}."
        for number, result in pairs
        if result.status not in _STORED and result.status < 500 and result.status != 429
    }
    if not done and not bad:
        raise Unavailable("The server cannot store events now.")
    return done, bad
