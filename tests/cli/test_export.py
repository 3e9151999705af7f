"""`whence export` against a real server: the bytes of the route, on stdout or in a file that is whole or not there."""

import csv
import datetime as dt
import io
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pyarrow
import pyarrow.parquet

from tests.cli.program import Cli
from tests.cli.test_events import EVENTS, five

__all__ = ["five"]  # the fixture


def test_an_export_has_the_bytes_of_the_route(user: Cli, api: httpx2.Client, five: list[Any], tmp_path: Path) -> None:
    """With filters, an order and a format; a message counts the events."""
    wanted = api.get(f"{EVENTS}/export?resource_type=action_run&order=asc").content
    ran = user.ok("export", "--resource-type", "action_run", "--order", "asc")
    assert ran.raw_out == wanted and "3 events exported." in ran.err
    (folder := tmp_path / "exports").mkdir()
    path = folder / "five.csv"
    ran = user.ok("export", "--format", "csv", "-o", str(path))
    assert ran.out == "" and "5 events exported." in ran.err
    rows = list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
    lines = api.get(f"{EVENTS}/export").content.splitlines()
    assert [row["id"] for row in rows] == [msgspec.json.decode(line)["id"] for line in lines]
    assert list(folder.iterdir()) == [path]


def test_a_file_of_parquet_has_the_events(user: Cli, api: httpx2.Client, five: list[Any], tmp_path: Path) -> None:
    """A row each, in the order that was asked for, with times as such and payloads as text."""
    path = tmp_path / "five.parquet"
    assert "5 events exported." in user.ok("export", "--format", "parquet", "-o", str(path), "--order", "asc").err
    rows = pyarrow.parquet.read_table(path).to_pylist()
    listed = api.get(f"{EVENTS}?order=asc&include=position,recordedAt,outcome").json()["events"]
    assert [row["position"] for row in rows] == [each["position"] for each in listed]
    for row, each in zip(rows, listed, strict=True):
        assert msgspec.json.decode(row.pop("payload")) == each.pop("payload")
        for name in ("occurredAt", "recordedAt"):
            assert row.pop(name) == dt.datetime.fromisoformat(each.pop(name))
        assert row == each
    assert pyarrow.parquet.read_schema(path).field("occurredAt").type == pyarrow.timestamp("us", "UTC")


def test_parquet_is_an_extra(user: Cli, five: list[Any], tmp_path: Path) -> None:
    """Without pyarrow the command says what to install, and leaves no file."""
    without = "import sys; sys.modules['pyarrow'] = None"
    path = tmp_path / "five.parquet"
    ran = Cli(user.home, without, user.environ).run("export", "--format", "parquet", "-o", str(path))
    assert ran.code == 1 and "pip install 'whence[parquet]'" in ran.err
    assert user.run("export", "--format", "parquet").code == 2
    assert not list(tmp_path.glob("five*"))


def test_a_refused_export_leaves_the_file_as_it_was(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """The error is that of the server, and nothing is left beside the file."""
    (folder := tmp_path / "exports").mkdir()
    path = folder / "events.ndjson"
    path.write_text("before")
    ran = user.run("export", "--outcome", "bad", "-o", str(path))
    assert ran.code != 0 and "outcome" in ran.err
    assert path.read_text() == "before" and list(folder.iterdir()) == [path]
