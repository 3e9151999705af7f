"""SQLAlchemy: a transactional outbox. An event is written in the transaction of what it tells of, so that there is
either both or neither; `drain`, or `whence relay`, sends it afterwards.

Events are sent in the order of their rows and deleted once they are stored. Sending one twice does no harm, since it
has its id; so two relays do no harm either. A refused event stays in the table with the reason, and holds up nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

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

from whence.client.answers import parse_batch, refusal
from whence.client.context import current
from whence.client.emission import Emitted, Fields, new_event
from whence.client.http import Whence
from whence.client.log import Log
from whence.client.requests import batch_request
from whence.errors import Invalid, TooLarge, Unavailable, WhenceError

__all__ = ["Drained", "Outbox", "drain", "outbox", "outbox_table"]

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

    With an AsyncSession: `await session.run_sync(lambda sync: outbox(sync).emit(…))`.
    """
    return Outbox(session, log, outbox_table(MetaData(), name))


def drain(engine: Engine, log: Whence, name: str = "whence_outbox") -> Drained:
    """Send what is in the table, until only what was refused is left. Raises as `Whence.send` and the database."""
    table = outbox_table(MetaData(), name)
    stored = refused = 0
    while True:
        with engine.connect() as connection:
            waiting = select(table.c.number, table.c.body).where(table.c.refused.is_(None)).order_by(table.c.number)
            rows = connection.execute(waiting.limit(_BATCH_EVENTS)).all()
        if not rows:
            return Drained(stored, refused)
        # Between two transactions, so that none is held open while the server is waited for.
        done, bad = _sent(log, _within_bytes(rows))
        with engine.begin() as connection:
            connection.execute(delete(table).where(table.c.number.in_(done)))
            for number, why in bad.items():
                connection.execute(table.update().where(table.c.number == number).values(refused=why))
        stored += len(done)
        refused += len(bad)


def _within_bytes(rows: Sequence[Row[Any, Any]]) -> list[tuple[int, bytes]]:
    taken: list[tuple[int, bytes]] = []
    size = 0
    for row in rows:
        number, body = row.number, row.body.encode()
        size += len(body) + 1
        if taken and size > _BATCH_BYTES:
            break
        taken.append((number, body))
    return taken


def _sent(log: Whence, rows: Sequence[tuple[int, bytes]]) -> tuple[list[int], dict[int, str]]:
    """The rows that are stored, and why others were refused. A batch that is refused as a whole is halved."""
    try:
        results = parse_batch(log.send(batch_request(b"\n".join(body for _, body in rows)))).results
    except (Invalid, TooLarge) as error:
        if len(rows) == 1:
            return [], {rows[0][0]: str(error)}
        done, bad = _sent(log, rows[: len(rows) // 2])
        more, worse = _sent(log, rows[len(rows) // 2 :])
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
