"""`whence export` against a real server: the bytes of the route, on stdout or in a file that is whole or not there."""

import csv
import io
from pathlib import Path
from typing import Any

import httpx2
import msgspec

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


def test_a_refused_export_leaves_the_file_as_it_was(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """The error is that of the server, and nothing is left beside the file."""
    (folder := tmp_path / "exports").mkdir()
    path = folder / "events.ndjson"
    path.write_text("before")
    ran = user.run("export", "--outcome", "bad", "-o", str(path))
    assert ran.code != 0 and "outcome" in ran.err
    assert path.read_text() == "before" and list(folder.iterdir()) == [path]
