"""Fills the database of this peer with its own events that come on stdin as NDJSON; with none it is only made.

    PREFECT_API_DATABASE_CONNECTION_URL=… python fill.py < events.ndjson

Every line is checked as a request would be, and its rows are those that Prefect's own writer makes of it.
"""

import asyncio
import sys
from itertools import islice

from prefect.server.database import provide_database_interface
from prefect.server.events.schemas.events import Event

BATCH = 2_000


async def fill() -> None:
    """Make the tables, then store what comes on stdin."""
    db = provide_database_interface()
    await db.create_db()
    # As its writer does on PostgreSQL; its way on SQLite is a statement a row for what follows nothing.
    insert_event, insert_resource = (
        db.queries.insert(table).execution_options(dml_strategy="raw") for table in (db.Event, db.EventResource)
    )
    while some := list(islice(sys.stdin.buffer, BATCH)):
        events = [Event.model_validate_json(line).receive() for line in some]
        resources = [row for event in events for row in event.as_database_resource_rows()]
        async with db.session_context(begin_transaction=True) as session:
            await session.execute(insert_event, [event.as_database_row() for event in events])
            await session.execute(insert_resource, resources)
    await (await db.engine()).dispose()


if __name__ == "__main__":
    asyncio.run(fill())
