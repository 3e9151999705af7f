"""Make a large store in minutes: the real append, in big batches, without waiting for the disk.

The rows are those of normal appends, except that the recorded times and the salts differ in each run. A store that was
built from the same shape, schema and workload is reused.

    python -m bench.build_store --events 10000000 --days 180 --out bench/.stores/10m-180.db
"""

import argparse
import hashlib
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import apsw
import msgspec

from bench.workload import Shape, batched, of_one_tenant
from whence.errors import WhenceError
from whence.events import NewEvent
from whence.storage.base import Write
from whence.storage.migrations import load_migrations
from whence.storage.sqlite.append import Appender
from whence.storage.sqlite.connection import connect, migrate
from whence.storage.sqlite.verify import verify

__all__ = ["TENANT", "Built", "build", "line_length"]

ROOT = Path(__file__).parents[1]
TENANT = "bench"
_BATCH = 20_000
_CACHE_KIB = 2 * 1024 * 1024
_NOT_APPENDED_BY = ("event_kind", "event_actor", "event_flow", "event_resource")
"""The indexes of events that an append does not read. They are made at the end, by sorting, which costs less."""

_MADE_BY = ("bench/workload.py", "bench/build_store.py", "src/whence/rollups.py")


class Built(msgspec.Struct, frozen=True):
    """A store and how it was made. `made_by` is a hash of the schema, the workload and this code."""

    path: str
    shape: Shape
    made_by: str
    seconds: float
    ndjson_bytes: int


def build(path: Path, shape: Shape, *, fresh: bool = False, batch: int = _BATCH) -> Built:
    """The store of one tenant at `path`. It is built unless it exists already."""
    note = path.with_suffix(".json")
    made_by = _made_by()
    if not fresh and path.exists() and note.exists():
        built = msgspec.json.decode(note.read_bytes(), type=Built)
        if built.shape == shape and built.made_by == made_by:
            return built
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f"{path.name}*"):
        stale.unlink()
    started = time.monotonic()
    size = _fill(path, shape, batch)
    built = Built(str(path), shape, made_by, time.monotonic() - started, size)
    note.write_bytes(msgspec.json.encode(built))
    return built


def _fill(path: Path, shape: Shape, batch: int) -> int:
    """Append all events of the shape. Returns their size as NDJSON."""
    partial = path.with_name(path.name + ".partial")
    connection = connect(str(partial), _CACHE_KIB)
    migrate(connection)
    # No durability is needed: an incomplete store keeps the name .partial.
    connection.execute("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA secure_delete = OFF").fetchall()
    indexes = _drop_indexes(connection)
    appender = Appender()
    done, size, started = 0, 0, time.monotonic()
    for new, length in _made_elsewhere(shape, batch):
        connection.execute("BEGIN IMMEDIATE")
        [receipts] = appender.append(connection, TENANT, [Write(new)])
        if isinstance(receipts, WhenceError):
            raise receipts
        for receipt in receipts:
            if receipt.event is None:
                raise receipt.error or RuntimeError("an event was not stored")
        appender.request_released()
        connection.execute("COMMIT")
        appender.group_committed()
        done, size = done + len(new), size + length
        _report(done, shape.events, started)
    for definition in indexes:
        connection.execute(definition)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.close()
    os.rename(partial, path)
    return size


def _drop_indexes(connection: apsw.Connection) -> list[str]:
    """Drop the indexes that appends do not need. Returns their definitions."""
    found = []
    for name in _NOT_APPENDED_BY:
        found.append(connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).get)
        connection.execute(f"DROP INDEX {name}")
    return found


def _made_elsewhere(shape: Shape, batch: int) -> Iterator[tuple[tuple[NewEvent, ...], int]]:
    """The events in batches, each with its size as NDJSON. A second process makes them while this one appends."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    maker = multiprocessing.Process(target=_make, args=(sending, shape, batch), daemon=True)
    maker.start()
    sending.close()
    decoder = msgspec.msgpack.Decoder(tuple[tuple[NewEvent, ...], int])
    try:
        while True:
            yield decoder.decode(receiving.recv_bytes())
    except EOFError:
        maker.join()
        if maker.exitcode:
            raise RuntimeError("the maker of events failed") from None
    finally:
        maker.terminate()


def _make(sending: Connection, shape: Shape, batch: int) -> None:
    if shape.tenants != 1:
        raise ValueError("a built store has one tenant")
    encoder = msgspec.msgpack.Encoder()
    for some in batched(of_one_tenant(shape), batch):
        sending.send_bytes(encoder.encode((some, sum(map(line_length, some)))))


def line_length(event: NewEvent) -> int:
    """The bytes of an event as NDJSON, without encoding it: names and punctuation have 114, a UUID 36, a time 27.

    `tests/unit/test_bench.py` compares it with the encoded event.
    """
    length = 114 + 36 + 36 + 27 + len(event.payload) + len(event.actor_id.encode())
    length += len(event.event_type) + len(event.actor_type) + len(event.resource_type)
    for name, value in (("correlationId", event.correlation_id), ("causationId", event.causation_id)):
        length += 0 if value is None else len(name) + len(value.encode()) + 6
    return length


def _made_by() -> str:
    digest = hashlib.sha256()
    for step in load_migrations("whence.storage.sqlite"):
        digest.update(step.sql.encode())
    for name in _MADE_BY:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def _report(done: int, wanted: int, started: float) -> None:
    if sys.stderr.isatty() or done % 500_000 < _BATCH or done == wanted:
        rate = done / (time.monotonic() - started)
        end = "\r" if sys.stderr.isatty() and done < wanted else "\n"
        print(f"  {done:,} of {wanted:,} events, {rate:,.0f}/s", end=end, file=sys.stderr, flush=True)


def main() -> int:
    """Build a store, and verify it if asked to."""
    parser = argparse.ArgumentParser(description="Build a store of one tenant.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=180, help="how many days it spans; 5 is dense, 180 sparse")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fresh", action="store_true", help="build it even if it exists")
    parser.add_argument("--verify", action="store_true", help="check every event, hash and count afterwards")
    arguments = parser.parse_args()
    built = build(
        arguments.out, Shape(seed=arguments.seed, events=arguments.events, days=arguments.days), fresh=arguments.fresh
    )
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {built.shape.events:,} events in {built.seconds:.1f} s, {size:,} bytes", file=sys.stderr)
    if not arguments.verify:
        return 0
    report = verify(str(arguments.out))
    for finding in report.findings:
        print(f"  {finding.tenant} {finding.position}: {finding.what}", file=sys.stderr)
    print(f"  {report.events:,} events checked: {'sound' if report.sound else 'NOT sound'}", file=sys.stderr)
    return 0 if report.sound else 1


if __name__ == "__main__":
    sys.exit(main())
