"""A real log of a bank is imported into a server on each store; every response equals an independent count.

It runs on a sample, and on the whole log when WHENCE_LOAN_LOG names its file; `tests/data/SOURCE.md` has its source.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.loan_log import Row, questions, read, walk, wrong
from tests.cli.program import Cli, Serving, peak_memory_kib, running
from tests.data.sample import SAMPLE, sampled
from tests.databases import empty_database

STORES = ("sqlite", "postgres")
WHOLE = os.environ.get("WHENCE_LOAN_LOG")
SIZES = {"sample": (15_700, 785), "whole": (262_200, 13_087)}
KINDS = {"total", "aggregate", "actors", "flow", "resource", "window", "page"}


@dataclass
class Loaded:
    """An imported log: its file, the server that holds it, the import program, and the count."""

    name: str
    path: Path
    serving: Serving
    user: Cli
    api: httpx2.Client
    rows: list[Row]


def imported(user: Cli, path: Path) -> tuple[str, float, int]:
    """Run the import. Returns its stdout, its duration in seconds, and its peak memory in KiB."""
    output = user.home / "import.out"
    start = time.monotonic()
    with output.open("wb") as out:
        process = user.start("import", path, stdout=out)
    memory = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, AssertionError):  # it may have ended meanwhile
            memory = peak_memory_kib(process.pid)
        time.sleep(0.02)
    assert process.returncode == 0
    return output.read_text(), time.monotonic() - start, memory


@contextlib.contextmanager
def served(store: str, cli: Cli) -> Iterator[Serving]:
    """A server on an empty log of this kind of store, and a key for it."""
    if store == "sqlite":
        with running(cli, "serve", "--port", "0") as serving:
            yield serving
        return
    url = asyncio.run(empty_database())
    cli.ok("migrate", "--store", url)
    key = cli.ok("key", "create", "--scope", "events:read", "--scope", "events:write", "--store", url).lines[0]
    with running(cli, "serve", "--store", url, "--port", "0") as serving:
        serving.key = key
        yield serving


def _log(name: str, store: str) -> Any:
    whole = pytest.mark.skipif(not WHOLE, reason="WHENCE_LOAN_LOG names none")
    return pytest.param((name, store), id=f"{name}-{store}", marks=whole if name == "whole" else ())


@pytest.fixture(scope="module", params=[_log(name, store) for name in SIZES for store in STORES])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """The log, imported once into a separate server."""
    name, store = request.param
    path = Path(WHOLE) if name == "whole" and WHOLE else SAMPLE
    cli = Cli(tmp_path_factory.mktemp("loan"))
    size = SIZES[name][0]
    with served(store, cli) as serving:
        user = cli.given(url=serving.url, api_key=serving.key)
        said, seconds, memory = imported(user, path)
        assert said == f"{size:,} stored, 0 already there, 0 refused.\n"
        server = peak_memory_kib(serving.process.pid)
        rate = f"{size:,} events in {seconds:.1f} s, {size / seconds:,.0f} a second"
        print(f"\n{name}, {store}: {rate}; importer {memory} KiB, server {server} KiB")
        with httpx2.Client(base_url=serving.url, headers={"X-API-Key": serving.key}, timeout=60) as api:
            yield Loaded(name, path, serving, user, api, read(path))


def test_the_log_is_the_one_that_is_meant(loaded: Loaded) -> None:
    """The file has the numbers of events and flows that its source states, and every event has a unique id."""
    assert (len(loaded.rows), len({row.flow for row in loaded.rows})) == SIZES[loaded.name]
    assert len({row.line for row in loaded.rows}) == len(loaded.rows)


def test_every_answer_equals_the_count(loaded: Loaded) -> None:
    """Total, aggregates, all actors, ten flows, ten resources, windows and deep pages equal a plain count."""
    asked = list(questions(loaded.rows, loaded.rows))
    assert Counter(question.kind for question in asked).keys() == KINDS
    assert len({question.path for question in asked if question.kind == "flow"}) == 10
    assert len({question.path for question in asked if question.kind == "resource"}) == 10
    filled = [question for question in asked if question.kind == "window" and question.answer.get("total")]
    assert len({str(question.parameters) for question in filled}) >= 10
    assert wrong(loaded.api, iter(asked)) == []


def test_the_walk_meets_every_event_once(loaded: Loaded) -> None:
    """Following the links from the newest page returns all events in order, each equal to its line."""
    assert walk(loaded.api, loaded.rows) == len(loaded.rows)


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_count_that_is_wrong_by_one_is_told(loaded: Loaded, which: str) -> None:
    """When one event is left out of the count, the comparison fails for every kind of request."""
    place = {"first": 0, "middle": len(loaded.rows) // 2, "last": len(loaded.rows) - 1}[which]
    short = [row for number, row in enumerate(loaded.rows) if number != place]
    kinds = {question.kind for question in wrong(loaded.api, questions(loaded.rows, short))}
    assert kinds >= {"total", "aggregate", "actors", "window", "page"}
    assert which != "first" or kinds == KINDS
    assert walk(loaded.api, short) < len(short)


def test_a_second_import_stores_nothing(loaded: Loaded) -> None:
    """Importing the same file again adds no event, and the program reports that."""
    size = len(loaded.rows)
    said, seconds, memory = imported(loaded.user, loaded.path)
    assert said == f"Nothing was stored: all {size:,} events were already there.\n"
    assert loaded.api.get("/api/v1/events", params={"limit": 1}).json()["total"] == size
    server = peak_memory_kib(loaded.serving.process.pid)
    print(f"\n{loaded.name}: again in {seconds:.1f} s; importer {memory} KiB, server {server} KiB")


def test_the_sample_is_a_part_of_the_whole(loaded: Loaded) -> None:
    """The sample has every line of its flows, in the order of the file."""
    if loaded.name == "sample":
        assert len({row.flow for row in loaded.rows}) == SIZES["sample"][1]
        assert list(sampled(SAMPLE)) == [row.line for row in sorted(loaded.rows, key=lambda row: row.number)]
    else:
        in_sample = sorted(read(SAMPLE), key=lambda row: row.number)
        assert list(sampled(loaded.path)) == [row.line for row in in_sample]
