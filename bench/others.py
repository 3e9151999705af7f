"""Trials of the peers that do not implement the contract: the eventsourcing library, and Prefect's server."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bench.fill_peers import prefect_event, prefect_filled
from bench.load import request
from bench.scenarios import ingest_batches
from bench.servers import ROOT, peer_python, prefect_peer
from bench.workload import batched, ndjson
from whence.events import NewEvent

__all__ = ["eventsourcing_recorded", "prefect_persisted"]

_PREFECT_BATCH = 200
_PATIENCE_S = 20.0
_POLL_S = 0.05


def eventsourcing_recorded(folder: Path, events: Iterable[NewEvent]) -> float:
    """Events per second that the eventsourcing library records into SQLite, in its own process."""
    script = ROOT / "bench" / "peers" / "eventsourcing" / "record.py"
    done = subprocess.run(
        [str(peer_python("eventsourcing")), str(script), str(folder / "eventsourcing.db")],
        input=ndjson(events),
        capture_output=True,
        check=True,
    )
    printed = json.loads(done.stdout)
    if printed["synchronous"] != 2:
        raise RuntimeError("The library no longer records with synchronous=FULL, so the results are not comparable.")
    return float(printed["events"] / printed["seconds"])


def prefect_persisted(folder: Path, events: Sequence[NewEvent]) -> float:
    """Events per second that Prefect's server stores, from the first request to the last row.

    The server responds before it stores, so the rows are counted in its database by this process. Events that it drops
    do not count: the measurement ends when no row was added for 20 seconds, and excludes that wait.
    """
    shutil.copyfile(prefect_filled(None), folder / "prefect.db")  # with its tables, so that no round has to make them
    with prefect_peer(folder) as running:
        requests = [
            request("POST", "/api/events", "none", msgspec.json.encode([prefect_event(event) for event in some]))
            for some in batched(events, _PREFECT_BATCH)
        ]
        before = _rows(folder)
        started = time.perf_counter()
        ingest_batches(running, requests)
        stored, since = 0, time.perf_counter()
        while stored < len(events) and time.perf_counter() - since < _PATIENCE_S:
            time.sleep(_POLL_S)
            now = _rows(folder) - before
            if now > stored:
                stored, since = now, time.perf_counter()
        return stored / (since - started)


def _rows(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'prefect.db'}?mode=ro", uri=True, timeout=30)) as reader:
        return int(reader.execute("SELECT count(*) FROM events").fetchone()[0])
