"""Fills the database of this peer with the events that come on stdin as NDJSON, through its own models.

    PEER_DATABASE=… PEER_KEY=… PEER_TENANT=… python fill.py < events.ndjson

Every line is checked as a request would be, and every index grows with the rows, as it does when a server stores them.
Only the disk is not waited for: a file that is not whole is thrown away.
"""

import sys
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import app
from sqlalchemy import event, insert

BATCH = 10_000


@event.listens_for(app.engine, "connect")
def hurry(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -2097152")


def main() -> None:
    """Store what comes on stdin."""
    tenant = next(iter(app.KEYS.values()))
    now = app.to_utc(datetime.now(UTC))
    app.engine.dispose()  # the connection that made the tables has other pragmas
    while some := list(islice(sys.stdin.buffer, BATCH)):
        rows = [app.row_of(tenant, app.EventIn.model_validate_json(line), now) for line in some]
        with app.SessionLocal(bind=app.engine.execution_options(writes=True)) as session:
            session.execute(insert(app.EventRow), rows)
            session.commit()
    app.engine.dispose()


if __name__ == "__main__":
    main()
