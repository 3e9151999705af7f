"""Files of Parquet: what is written is read again, in row groups of a bounded size."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet
import pytest

from tests.unit.events_made import event_body
from tests.unit.mutants import catches, replaced
from whence.cli import parquet
from whence.cli.parquet import ParquetWriter, read_parquet, row_of_body
from whence.wire.bodies import EventBody


def made(position: int | None, payload: str = '{"n":1E2}') -> EventBody:
    times = {"occurred_at": "1969-12-31T23:59:59.999999Z", "recorded_at": "9999-12-31T23:59:59.999999Z"}
    return event_body(position, payload=payload, **times)


def write(path: Path, events: list[EventBody]) -> list[parquet.Row]:
    rows = [row_of_body(each) for each in events]
    with ParquetWriter(path) as writer:
        for row in rows:
            writer.add(row)
    assert writer.count == len(events)
    return rows


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    """With any text, times of any year, and null for what a key does not learn and for an erased payload."""
    events = [made(1), made(None), made(3, "null"), made(4, '{"text":"\\u0000 \u2028 \U0001f600"}')]
    rows = write(tmp_path / "events.parquet", events)
    assert list(read_parquet(tmp_path / "events.parquet")) == rows
    assert [row["payload"] for row in rows[:3]] == ['{"n":1E2}', '{"n":1E2}', None]
    assert rows[0]["occurredAt"] == -1 and rows[1]["position"] is None
    assert write(tmp_path / "none.parquet", []) == list(read_parquet(tmp_path / "none.parquet"))


@catches(
    replaced(parquet, "_ROWS_MAX", 10**9, "holds_any_number_of_rows"),
    replaced(parquet, "_PAYLOAD_MAX", 10**12, "holds_any_size_of_payloads"),
)
def test_a_row_group_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its rows, and by the size of their payloads: no more than that is in memory."""
    for name, most in (("_ROWS_MAX", 4), ("_PAYLOAD_MAX", 100)):
        if getattr(parquet, name) < 10**9:
            monkeypatch.setattr(parquet, name, most)
    path = tmp_path / "events.parquet"
    write(path, [made(number) for number in range(10)] + [made(11, f'"{"x" * 60}"')] * 6)
    groups = pyarrow.parquet.ParquetFile(path).metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [4, 4, 4, 2, 2]


class InOne(pyarrow.parquet.ParquetFile):
    """Mutant: a file is read as if it were one row group."""

    num_row_groups = 1

    def iter_batches(self, *args: Any, **_options: Any) -> Any:
        return super().iter_batches(*args)


@catches(replaced(parquet.pq, "ParquetFile", InOne, "keeps_what_it_has_read"))
def test_a_file_is_read_a_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of the file before is not kept."""
    monkeypatch.setattr(parquet, "_ROWS_MAX", 10)
    path, held = tmp_path / "events.parquet", pyarrow.total_allocated_bytes()
    write(path, [made(number, f'"{os.urandom(50_000).hex()}"') for number in range(200)])
    assert path.stat().st_size > 10_000_000
    assert max(pyarrow.total_allocated_bytes() - held for _ in read_parquet(path)) < 5_000_000


@pytest.mark.parametrize("change", ["cut", "columns", "text"])
def test_another_file_is_refused(tmp_path: Path, change: str) -> None:
    """One that is cut, that has other columns, or that is none."""
    path = tmp_path / "events.parquet"
    write(path, [made(1)])
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif change == "columns":
        pyarrow.parquet.write_table(pyarrow.table({"id": ["1"]}), path)
    else:
        path.write_text("id,occurredAt\n")
    with pytest.raises(ValueError, match="The file"):
        list(read_parquet(path))


def test_a_row_has_every_column() -> None:
    """Those of an event with position, recordedAt and outcome. That a payload was erased is seen by its null."""
    names = {field.encode_name for field in msgspec.structs.fields(EventBody)} - {"erasedAt"}
    assert set(row_of_body(made(1))) == names
