"""Raw recording with the eventsourcing library: how many events per second its SQLite recorder stores durably.

    python record.py DATABASE < events.ndjson

A thousand events a transaction. The library leaves `synchronous` at SQLite's own default, which is FULL. Prints JSON.
"""

import json
import sys
import time
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

BATCH = 1_000


def main() -> None:
    """Record what comes on stdin; only the recording is timed."""
    stored = []
    for line in sys.stdin.buffer:
        event = json.loads(line)
        stored.append(StoredEvent(UUID(event["id"]), 1, event["eventType"], line))
    datastore = SQLiteDatastore(sys.argv[1])
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    with datastore.get_connection(commit=True) as connection:
        synchronous = connection.cursor().__enter__().execute("PRAGMA synchronous").fetchone()[0]
    started = time.perf_counter()
    for at in range(0, len(stored), BATCH):
        recorder.insert_events(stored[at : at + BATCH])
    seconds = time.perf_counter() - started
    print(json.dumps({"events": len(stored), "seconds": seconds, "synchronous": synchronous}))


if __name__ == "__main__":
    main()
