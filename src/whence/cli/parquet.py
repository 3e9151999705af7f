"""Events as a file of Apache Parquet, one row an event. Needs the extra `parquet`: importing this module raises
WhenceError without it.

A row group is written whenever enough events have come together, so that a file of any length has one row group in
memory.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from whence.errors import WhenceError
from whence.events import Event
from whence.wire.bodies import EventBody
from whence.wire.times import parse_time

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError:
    raise WhenceError("Parquet needs pyarrow. Run: pip install 'whence[parquet]'") from None

__all__ = ["ParquetWriter", "read_parquet", "row_of_body", "row_of_event"]

_ROWS_MAX = 16_384
_PAYLOAD_MAX = 8 * 1024 * 1024  # characters in a row group, which may have 16,384 payloads of 256 KiB
_ROWS_READ = 4_096

Row = Mapping[str, Any]
"""An event by column: texts, and times in microseconds."""

_TIME = pa.timestamp("us", tz="UTC")
_TEXT = pa.string()
_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64()),  # null for a credential that may not read every event
        pa.field("id", _TEXT, nullable=False),
        pa.field("occurredAt", _TIME, nullable=False),
        pa.field("recordedAt", _TIME, nullable=False),
        pa.field("eventType", _TEXT, nullable=False),
        pa.field("outcome", _TEXT, nullable=False),
        pa.field("actorType", _TEXT, nullable=False),
        pa.field("actorId", _TEXT, nullable=False),
        pa.field("resourceType", _TEXT, nullable=False),
        pa.field("resourceId", _TEXT, nullable=False),
        pa.field("correlationId", _TEXT, nullable=False),
        pa.field("causationId", _TEXT),
        pa.field("payload", _TEXT),  # null once it is erased
        pa.field("tenantId", _TEXT, nullable=False),
    ]
)


class ParquetWriter:
    """Writes rows into a file. It is complete once it is closed."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd")
        self._columns: list[list[Any]] = [[] for _ in _SCHEMA]
        self._size = 0
        self.count = 0

    def add(self, row: Row) -> None:
        """Add one row."""
        for name, column in zip(_SCHEMA.names, self._columns, strict=True):
            column.append(row[name])
        self._size += len(row["payload"] or "")
        self.count += 1
        if len(self._columns[0]) >= _ROWS_MAX or self._size >= _PAYLOAD_MAX:
            self._write_group()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._columns[0]:
                self._write_group()
        finally:
            self._writer.close()

    def _write_group(self) -> None:
        arrays = [pa.array(column, field.type) for column, field in zip(self._columns, _SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))
        self._columns, self._size = [[] for _ in _SCHEMA], 0


def row_of_body(event: EventBody) -> Row:
    """The row of an event with position, recordedAt and outcome, as a server sent it."""
    payload = event.payload_bytes.decode()
    return {
        "position": event.position,
        "id": event.id,
        "occurredAt": parse_time(event.occurred_at),
        "recordedAt": parse_time(str(event.recorded_at)),
        "eventType": event.event_type,
        "outcome": event.outcome,
        "actorType": event.actor_type,
        "actorId": event.actor_id,
        "resourceType": event.resource_type,
        "resourceId": event.resource_id,
        "correlationId": event.correlation_id,
        "causationId": event.causation_id,
        "payload": None if payload == "null" else payload,
        "tenantId": event.tenant_id,
    }


def row_of_event(event: Event) -> Row:
    """The row of an event."""
    return {
        "position": event.position,
        "id": event.id,
        "occurredAt": event.occurred_at,
        "recordedAt": event.recorded_at,
        "eventType": event.event_type,
        "outcome": event.outcome,
        "actorType": event.actor_type,
        "actorId": event.actor_id,
        "resourceType": event.resource_type,
        "resourceId": event.resource_id,
        "correlationId": event.correlation_id,
        "causationId": event.causation_id,
        "payload": None if event.payload is None else event.payload.decode(),
        "tenantId": event.tenant_id,
    }


def read_parquet(path: Path) -> Iterator[Row]:
    """The rows of a file that `ParquetWriter` wrote. Raises ValueError for any other file."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(_SCHEMA):
                raise ValueError("The file has other columns.")
            # One row group at a time, since pyarrow keeps what it has read until the end of an iteration.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_ROWS_READ, row_groups=[group]):
                    columns = [_in_microseconds(column) for column in batch.columns]
                    yield from pa.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError("The file is no sound Parquet.") from error


def _in_microseconds(column: Any) -> Any:
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
