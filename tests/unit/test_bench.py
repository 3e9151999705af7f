"""The benchmark is reproducible, and its report and its check are correct."""

import ast
import asyncio
import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from bench.bars import DROP_MAX, bars_of, fallen, median_ratios
from bench.build_store import TENANT, build, line_length
from bench.limits import disk_of, final_rows, raw_insert
from bench.measure import interleaved, ratios, times_of
from bench.report import render
from bench.result import Run, Traced, last_of_machine, load, save
from bench.scenarios import questions_of, traces_in_process
from bench.workload import FORMS, STORY_EVENTS, Shape, events, hot_resource, ndjson, of_one_tenant, story_id
from whence.events import Viewer, Vocabulary
from whence.storage import create_store
from whence.storage.base import Write
from whence.storage.sqlite.verify import verify
from whence.wire.event import IngestContext, parse_new_event

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "bench-result.json"
SHAPE = Shape(events=6_000, days=5)


def test_a_shape_is_the_same_log_in_every_process() -> None:
    """The bytes do not depend on PYTHONHASHSEED; another seed of the shape gives other bytes."""
    code = (
        "import hashlib; from bench.workload import *;"
        "print(hashlib.sha256(ndjson(of_one_tenant(Shape(events=500)))).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = hashlib.sha256(ndjson(of_one_tenant(Shape(events=500)))).hexdigest()
    assert digests == {here}
    assert here != hashlib.sha256(ndjson(of_one_tenant(Shape(events=500, seed=2)))).hexdigest()


def test_a_workload_is_shaped_as_it_says() -> None:
    """2 % of events are late, 5 % concern one resource, and the median payload has 300 bytes."""
    made = list(of_one_tenant(Shape(events=20_000)))
    ids = {event.id: number for number, event in enumerate(made)}
    assert len(ids) == len(made)
    assert all(ids[event.causation_id] < ids[event.id] for event in made if event.causation_id)
    late = sum(after.occurred_at < before.occurred_at for before, after in pairwise(made))
    assert 0.015 < late / len(made) < 0.025
    hot = sum(event.resource_id == hot_resource(Shape()) for event in made)
    assert 0.04 < hot / len(made) < 0.06
    sizes = sorted(len(event.payload) for event in made)
    assert 250 < sizes[len(sizes) // 2] < 350
    assert sizes[0] >= 100
    assert sizes[-1] <= 20_100
    assert len({(event.actor_id, event.actor_type) for event in made}) == len({event.actor_id for event in made})


def test_few_tenants_have_most_of_the_events() -> None:
    """The first five of fifty tenants have more than half of the events, and every tenant has some."""
    shares: dict[str, int] = {}
    for tenant, _ in events(Shape(events=20_000, tenants=50)):
        shares[tenant] = shares.get(tenant, 0) + 1
    assert sum(sorted(shares.values())[-5:]) > 10_000
    assert len(shares) > 40


def test_a_line_is_the_event_that_it_was_made_of() -> None:
    """The NDJSON parses to the same events, and has the length that is computed without building it."""
    context = IngestContext("bench", Vocabulary(), 1 << 62)
    for event in of_one_tenant(Shape(events=300)):
        line = ndjson([event])
        assert parse_new_event(line, context) == event
        assert len(line) == line_length(event)


def test_stories_are_whole_and_of_their_form() -> None:
    """Each story has 500 events, each after its cause, with the depth of its form, interleaved with other events."""
    shape = Shape(events=12_000, days=5, stories=2)
    made = list(of_one_tenant(shape))
    usual = [event for event in made if not str(event.correlation_id).startswith("story ")]
    assert usual == list(of_one_tenant(Shape(events=12_000, days=5)))
    assert len(made) == len({event.id for event in made}) == len(usual) + 2 * len(FORMS) * STORY_EVENTS
    depths: dict[str | None, int] = {None: -1}
    deepest: dict[str, int] = {}
    for event in made:
        if str(event.correlation_id).startswith("story "):
            depths[event.id] = depths[event.causation_id] + 1
            form = str(event.correlation_id).split()[1]
            deepest[form] = max(deepest.get(form, 0), depths[event.id])
    assert deepest == {"chain": 499, "tree": 8, "star": 1, "run": 50}
    assert depths[story_id(shape, "chain", 1, 499)] == 499


def test_traces_find_the_stories_whole(tmp_path: Path) -> None:
    """Each graph is requested once per round, and a graph with a missing event is reported."""
    shape = Shape(events=6_000, days=5, stories=1)
    path = build(tmp_path / "stories.db", shape).path
    assert {len(taken) for taken in asyncio.run(_traced(path, shape)).values()} == {2}
    connection = apsw.Connection(path)
    connection.execute(
        "UPDATE event SET cause = NULL WHERE flow = (SELECT key & 0xFFFFFFFFFF FROM flow WHERE "
        "correlation_id = 'story tree 0') AND cause IS NOT NULL"
    )
    connection.close()
    with pytest.raises(RuntimeError, match="tree"):
        asyncio.run(_traced(path, shape))


async def _traced(path: str, shape: Shape) -> dict[str, list[float]]:
    store = create_store(f"sqlite:///{path}", serving=False)
    try:
        return await traces_in_process(store, shape, rounds=2)
    finally:
        await store.close()


def test_the_slowest_form_of_each_store_is_held_to_the_bar(sample: Run) -> None:
    """The slowest form of each store decides; a log of another size is noted, and an unused store is not measured."""
    slow, quick = times_of([0.021]), times_of([0.004])
    traces = [Traced("SQLite", "star", 5_000_000, quick), Traced("SQLite", "chain", 5_000_000, slow)]
    run = msgspec.structs.replace(sample, traces=traces)
    sqlite, postgres = (bar for bar in bars_of(run) if "trace of 500" in bar.what)
    assert (sqlite.met, sqlite.measured, sqlite.remark, postgres.met) == (False, 21.0, "", None)
    assert "chain" in sqlite.what and "| SQLite | chain | 5,000,000 |" in render(run)
    smaller = msgspec.structs.replace(run, traces=[Traced("PostgreSQL", "run", 20_000, quick)])
    sqlite, postgres = (bar for bar in bars_of(smaller) if "trace of 500" in bar.what)
    assert (sqlite.met, postgres.met) == (None, True) and "20,000" in postgres.remark


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was built in large batches."""
    path = tmp_path_factory.mktemp("built") / "built.db"
    build(path, SHAPE, batch=2_500)
    return path


def test_a_built_store_is_sound(built: Path) -> None:
    """Verification of every event, hash and count succeeds."""
    report = verify(str(built))
    assert report.sound, report.findings
    assert report.events == SHAPE.events


def test_a_built_store_has_the_rows_of_normal_appends(built: Path, tmp_path: Path) -> None:
    """Every row of every table is equal, except recordedAt, salts and the hashes over them.

    Transitions and actor totals are folded at the end of an append, so the process map is compared instead of rows.
    """
    normal = tmp_path / "normal.db"
    asyncio.run(_append_normally(normal))
    assert _comparable(built) == _comparable(normal)
    assert asyncio.run(_map_of(built)) == asyncio.run(_map_of(normal))
    connection = apsw.Connection(str(normal))
    connection.execute("UPDATE bucket SET events = events + 1 WHERE level = 0")
    connection.close()
    assert _comparable(built) != _comparable(normal)


async def _append_normally(path: Path) -> None:
    store = create_store(f"sqlite:///{path}")
    made = list(of_one_tenant(SHAPE))
    for at in range(0, len(made), 700):
        await store.append(TENANT, [Write(tuple(made[at : at + 700]))])
    await store.close()


async def _map_of(path: Path) -> Any:
    store = create_store(f"sqlite:///{path}", serving=False)
    try:
        return await store.process_map(Viewer(TENANT), None, None)
    finally:
        await store.close()


def _comparable(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of a store without the values that differ from run to run."""
    connection = apsw.Connection(str(path))
    own = {"recorded_at", "leaf", "salt", "compact_range", "folded_to"}
    rows = {}
    for table in final_rows(path).keys() - {"transition", "actor_total"}:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})") if name not in own]
        rows[table] = sorted(connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall(), key=repr)
    connection.close()
    return rows


def test_raw_has_the_same_rows(built: Path, tmp_path: Path) -> None:
    """The raw-insert benchmark writes every row of the store that it copies, and the result passes verification."""
    rows = final_rows(built)
    assert raw_insert(tmp_path / "raw.db", rows) > 0
    assert final_rows(tmp_path / "raw.db") == rows
    assert verify(str(tmp_path / "raw.db")).sound


def test_every_byte_of_a_file_has_a_part(built: Path) -> None:
    """Tables and indexes add up to the size of the file, and the payload is the largest column of an event."""
    disk = disk_of(built, "workload", 1)
    assert disk.events == SHAPE.events
    pages = sum(part.bytes for part in disk.parts if part.kind in ("table", "index"))
    assert 0.97 * disk.file_bytes < pages <= disk.file_bytes
    columns = {part.name: part.bytes for part in disk.parts if part.kind == "column of event"}
    assert max(columns, key=lambda name: columns[name]) == "payload"
    assert columns["salt"] == 16 * SHAPE.events


def test_every_question_finds_something(built: Path) -> None:
    """Each variant of each query has a non-empty result, except ranges and deep offsets."""

    async def ask() -> dict[str, int]:
        store = create_store(f"sqlite:///{built}", serving=False)
        try:
            asked = await questions_of(store, SHAPE)
            pages = {name: some[0] for name, some in asked.items() if some[0].page is not None}
            return {
                name: len((await store.list_events(Viewer(TENANT), each.query, each.page)).events)
                for name, each in pages.items()
                if each.page is not None and "range" not in name and "offset of a hundredth" not in name
            }
        finally:
            await store.close()

    found = asyncio.run(ask())
    assert len(found) >= 7
    assert all(found.values()), found


def test_trials_take_turns() -> None:
    """Every second round has the reverse order, and a ratio pairs the trials of one round."""
    order: list[str] = []
    speeds = {"a": iter((10.0, 20.0, 30.0)), "b": iter((5.0, 5.0, 10.0))}

    def trial(name: str) -> float:
        order.append(name)
        return next(speeds[name])

    rates = interleaved(3, {"a": lambda _: trial("a"), "b": lambda _: trial("b")}, "events/s")
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert ratios(rates, "a", "b") == [2, 4, 3]


def test_percentiles_are_of_the_times_themselves() -> None:
    """Percentiles are measured times, by rank: of a hundred the 96th is the 95th percentile."""
    times = times_of([number / 1_000 for number in range(1, 101)])
    assert (times.p50_ms, times.p95_ms, times.p99_ms) == (51, 96, 100)


@pytest.fixture
def sample() -> Run:
    """A result of a quick run."""
    return load(SAMPLE)


def test_a_result_renders(sample: Run) -> None:
    """The page names the machine, every target, every measure and every query."""
    page = render(sample)
    assert sample.machine.cpu in page
    assert all(bar.what in page for bar in bars_of(sample))
    assert all(f"| {each.question} |" in page for each in sample.indexed)
    assert page.count("### ") >= len(sample.rates) + len(sample.disks)
    assert "This was a quick run" in page


def test_a_demand_is_met_or_not_or_not_measured(sample: Run) -> None:
    """A value on the wrong side of its bar fails, and a part that did not run is not counted as met."""
    quick = msgspec.structs.replace(sample, start_s={"an empty log": 1.4})
    assert {bar.what: bar.met for bar in bars_of(quick)}["start to first answer"] is True
    slow = msgspec.structs.replace(sample, start_s={"an empty log": 1.6})
    assert {bar.what: bar.met for bar in bars_of(slow)}["start to first answer"] is False
    nothing = msgspec.structs.replace(sample, rates={}, loads={}, indexed=[], disks=[], memory=None, start_s={})
    assert {bar.met for bar in bars_of(nothing)} == {None}


def test_the_check_sees_a_ratio_that_fell(sample: Run) -> None:
    """A ratio that fell by more than 15 % is reported; the same run, a smaller fall and a rise are not."""
    assert fallen(sample, sample) == []
    assert fallen(_slower(sample, 1 - DROP_MAX + 0.01), sample) == []
    assert fallen(_slower(sample, 1.5), sample) == []
    named = fallen(_slower(sample, 1 - DROP_MAX - 0.01), sample)
    assert len(named) == len(median_ratios(sample)) >= 4


def test_a_run_is_checked_against_the_last_of_its_kind_and_machine(sample: Run, tmp_path: Path) -> None:
    """Later runs, full runs and runs on other machines are skipped."""
    run = msgspec.structs.replace(sample, date="2026-06-05T10:00Z")
    other = msgspec.structs.replace(run.machine, cores=run.machine.cores + 1)
    for changes in (
        {"date": "2026-06-01T10:00Z"},
        {"date": "2026-06-02T10:00Z"},
        {"date": "2026-06-03T10:00Z", "mode": "full"},
        {"date": "2026-06-04T10:00Z", "machine": other},
        {"date": "2026-06-06T10:00Z"},
    ):
        save(msgspec.structs.replace(run, **changes), tmp_path)
    found = last_of_machine(run, tmp_path)
    assert found is not None
    assert found.date == "2026-06-02T10:00Z"
    assert last_of_machine(found, tmp_path / "nothing") is None


def _slower(run: Run, factor: float) -> Run:
    """The same run, with the speed of Whence multiplied by this factor."""
    changed = {
        name: msgspec.structs.replace(
            rates, trials=rates.trials | {"whence": [rate * factor for rate in rates.trials["whence"]]}
        )
        for name, rates in run.rates.items()
    }
    return msgspec.structs.replace(run, rates=changed)


@pytest.mark.parametrize(
    "path", sorted([*(ROOT / "bench").glob("*.py"), *(ROOT / "bench" / "peers").rglob("*.py")]), ids=str
)
def test_the_house_rules_hold_here_too(path: Path) -> None:
    """No function is longer than 60 lines, no file longer than 700, and every module has a docstring."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 700
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
