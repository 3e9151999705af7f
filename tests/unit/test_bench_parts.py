"""Results of some parts are put into a result of all, and the targets and the page name what they are of."""

from pathlib import Path

import msgspec
import pytest

from bench.bars import bars_of
from bench.load import Result
from bench.measure import Rates
from bench.merge import merged, parts_of
from bench.report import render
from bench.result import Bar, Measured, Memory, Run, Scaled, load
from bench.run import PARTS, Plan, measured
from bench.scenarios import Generator
from bench.serving import AT_RATE, BESIDE
from bench.stage import QUICK, Bench

SAMPLE = Path(__file__).parents[1] / "data" / "bench-result.json"
OLD, NEW = "7c1018ec16+", "c46b49dd22"


@pytest.fixture
def base() -> Run:
    """An earlier result, which does not say when each of its parts was measured."""
    return msgspec.structs.replace(load(SAMPLE), notes=["It was noisy."])


def _result(p50_ms: float, p99_ms: float, busy: float = 0.1) -> Result:
    return Result(
        answered=1, bad=0, seconds=1, rate=1, p50_ms=p50_ms, p95_ms=1, p99_ms=p99_ms, max_ms=1, busy=busy, statuses={}
    )


def _new(base: Run, **others: object) -> Run:
    """A result of the part `post`, with an earlier commit beside it."""
    rates = {"post": Rates("requests/s", {"whence": [8_000.0], "earlier": [2_000.0], "static": [20_000.0]})}
    measured = Measured(date="2026-11-30T10:00Z", commit=NEW, load_before=0.1, generator="wrk", earlier="699b500a0f")
    empty = Run(
        mode="quick", date="2026-11-30T10:00Z", commit=NEW, machine=base.machine, versions={}, sizes={"trial_s": 1}
    )
    part = msgspec.structs.replace(empty, rates=rates, loads={AT_RATE: {"whence": _result(1.5, 4)}})
    return msgspec.structs.replace(part, parts={"post": measured}, **others)


def _bars(run: Run) -> dict[str, Bar]:
    return {bar.what: bar for bar in bars_of(run)}


def test_a_part_replaces_what_it_was_before_and_nothing_else(base: Run) -> None:
    """All numbers of that part are the new ones, even those that it no longer has; all others are the old ones."""
    whole = merged(base, _new(base))
    assert whole.rates["post"].trials["whence"] == [8_000.0]
    assert "post at half the rate" in base.loads and "post at half the rate" not in whole.loads
    assert {name: rates for name, rates in whole.rates.items() if name != "post"} == {
        name: rates for name, rates in base.rates.items() if name != "post"
    }
    assert (whole.indexed, whole.disks, whole.memory, whole.start_s) == (
        base.indexed,
        base.disks,
        base.memory,
        base.start_s,
    )
    assert (whole.date, whole.commit, whole.sizes["trial_s"]) == ("2026-11-30T10:00Z", NEW, 1)
    assert whole.notes == [f"{base.date}: It was noisy."]
    again = merged(whole, _new(base))
    assert msgspec.structs.replace(again, notes=[]) == msgspec.structs.replace(whole, notes=[])


def test_each_part_says_when_it_was_measured(base: Run) -> None:
    """The page has the date and commit of each part, and says at its top that they differ."""
    whole = merged(base, _new(base))
    parts = parts_of(whole)
    assert {"ingest", "append", "post", "page", "indexed", "disk", "server"} <= parts.keys()
    assert (parts["post"].commit, parts["page"].commit, parts["page"].date) == (NEW, OLD, base.date)
    page = render(whole)
    head, _, table = page.partition("## When each part was measured")
    assert f"| post | 2026-11-30T10:00Z | {NEW} | 1 | wrk | 699b500a0f |" in table
    assert f"| page | {base.date} | {OLD} | 1 | load.py | - |" in table
    assert "Not all parts were measured then" in head
    assert "Not all parts were measured then" not in render(base)


def test_a_part_that_was_measured_on_another_machine_names_it(base: Run) -> None:
    """So does what a user gains. A part that is measured again here is of this machine."""
    here = msgspec.structs.replace(base.machine, cpu="Another Processor")
    whole = merged(base, _new(base, machine=here))
    cpus = {name: part.cpu for name, part in whole.parts.items()}
    assert cpus.pop("post") == ""
    assert set(cpus.values()) == {base.machine.cpu}
    head, _, table = render(whole).partition("## When each part was measured")
    assert f"(Another Processor; for some parts {base.machine.cpu})" in head
    post, page = (
        next(line for line in table.splitlines() if line.startswith(f"| {name} |")) for name in ("post", "page")
    )
    assert post.endswith("| Another Processor |") and page.endswith(f"| {base.machine.cpu} |")
    assert {part.cpu for part in merged(whole, _new(base, machine=here)).parts.values()} == {"", base.machine.cpu}


def test_results_on_postgresql_are_of_their_own_parts(base: Run) -> None:
    """A new result of single events on SQLite leaves those on PostgreSQL, and the other way round."""
    rates = Rates("requests/s", {"whence": [3.0], "earlier": [1.0]})
    both = msgspec.structs.replace(base, rates=base.rates | {"post, PostgreSQL": rates})
    assert merged(both, _new(base)).rates["post, PostgreSQL"] == rates
    measured = Measured(date="2026-11-30T10:00Z", commit=NEW, load_before=0.1, earlier="699b500a0f")
    new = _new(base, rates={"post, PostgreSQL": rates}, loads={})
    whole = merged(both, msgspec.structs.replace(new, parts={"postgres": measured}))
    assert whole.rates["post"] == base.rates["post"]
    named = "PostgreSQL: single-event POST, 64 connections, each durable: times commit 699b500a0f"
    assert _bars(whole)[named].met is True


def test_a_target_beside_an_earlier_commit_names_it(base: Run) -> None:
    """The ratio is of the rounds of one run; without an earlier commit beside it nothing is claimed."""
    bars = _bars(merged(base, _new(base)))
    what = "single-event POST, 64 connections, each durable: times"
    assert (bars[f"{what} commit 699b500a0f"].measured, bars[f"{what} commit 699b500a0f"].met) == (4.0, True)
    assert bars["single-event POST at 2,000/s: p50"].met is True
    assert bars["page of 20: times an earlier commit"].met is None
    assert _bars(base)[f"{what} an earlier commit"].met is None
    page = render(merged(base, _new(base)))
    assert "| commit 699b500a0f | 2,000 |" in page
    assert "**Since commit 699b500a0f**: 4 times as many single events per second." in page


def test_pages_beside_batches_have_a_target(base: Run) -> None:
    """It is the p99 of the pages, whatever the batches do."""
    for p99, met in ((19.0, True), (21.0, False)):
        run = msgspec.structs.replace(base, loads={BESIDE: {"whence": _result(3, p99)}})
        assert _bars(run)["page of 20 beside saturating batches: p99"].met is met


def test_a_generator_without_time_left_is_named(base: Run) -> None:
    """When the load generator used a whole processor, the target says that it was the limit."""
    for busy, remark in ((0.5, ""), (0.97, "the load generator was the limit")):
        run = _new(base, loads={"post": {"whence": _result(1, 1, busy)}})
        [bar] = [bar for what, bar in _bars(run).items() if what.startswith("single-event POST, 64")]
        assert bar.remark == remark


def _scaled(number: int, pages: float, cpu_us: float, memory_mb: float) -> Scaled:
    return Scaled(
        acceptors=number,
        pages=[pages],
        posts=[pages / 3],
        events=[pages * 2],
        page_cpu_us=[cpu_us],
        post_cpu_us=[3 * cpu_us],
        event_cpu_us=[cpu_us / 2],
        memory_mb=[memory_mb],
        busy=[(0.2, 0.1, 0.05)],
    )


def _on(base: Run, cores: int) -> Run:
    scaling = [_scaled(1, 10_000, 50, 90), _scaled(2, 16_000, 55, 200), _scaled(3, 17_000, 80, 300)]
    return msgspec.structs.replace(base, machine=msgspec.structs.replace(base.machine, cores=cores), scaling=scaling)


def test_growth_is_judged_where_there_are_processors_for_it(base: Run) -> None:
    """With processors to spare it is the pages themselves; on two cores it is their processor time, and it says so."""
    what = "pages with more processes: share of as many times the pages of one"
    wide, narrow = _bars(_on(base, 8))[what], _bars(_on(base, 2))[what]
    assert (round(float(wide.measured or 0), 3), wide.met) == (0.567, False)
    assert "with 3" in wide.remark
    assert (round(float(narrow.measured or 0), 3), narrow.met) == (0.909, True)
    assert "processor time" in narrow.remark and "1.60 times" in narrow.remark
    memory = _bars(_on(base, 8))["memory for each process more that answers requests"]
    assert (memory.measured, memory.met) == (110.0, True)


def test_the_table_of_processes_marks_what_is_oversubscribed(base: Run) -> None:
    """A row has a star where the processes and the load generator are more than the processors."""
    rows = [line for line in render(_on(base, 2)).splitlines() if _is_row(line)]
    assert [row.rstrip(" |").rpartition("| ")[2] for row in rows] == ["2 / 2", "3* / 4*", "4* / 5*"]
    rows = [line for line in render(_on(base, 4)).splitlines() if _is_row(line)]
    assert [row.rstrip(" |").rpartition("| ")[2] for row in rows] == ["2 / 2", "3 / 4", "4 / 5*"]
    assert "| 2 | 16,000 | 1.6 | 5,333 | 1.6 | 32,000 | 1.6 | 55 / 165 / 27.5 | 200 |" in rows[1]


def _is_row(line: str) -> bool:
    """Whether this is a row of that table."""
    return line.startswith(("| 1 | ", "| 2 | ", "| 3 | "))


def test_memory_may_grow_with_the_processes_that_answer(base: Run) -> None:
    """300 MB for the first and 120 for each one more; a process alone has its own target."""
    memory = Memory(10_000_000, 3_600, 419.0, 2, "PSS")
    run = msgspec.structs.replace(base, memory=memory, memory_one=Memory(10_000_000, 3_600, 301.0, 1, "PSS"))
    found = {what: bar for what, bar in _bars(run).items() if what.startswith("memory of a server")}
    assert [(bar.bar, bar.met) for bar in found.values()] == [(300, False), (420, True)]


def test_the_page_opens_with_what_a_user_gains(base: Run) -> None:
    """The machine and the versions come after it."""
    sections = [line for line in render(base).splitlines() if line.startswith("#")]
    assert sections[:3] == ["# Performance", "## What you gain", "## How it was measured"]


def test_a_trial_that_failed_is_made_again_once(base: Run, tmp_path: Path) -> None:
    """The result notes it; a trial that fails twice fails the part."""
    bench = Bench(base, QUICK, tmp_path)
    answers = iter([RuntimeError("3 requests failed"), _result(1, 2)])

    def load() -> Result:
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    assert bench.again("page", "whence", load) == _result(1, 2)
    assert base.notes[-1] == "page: a trial of whence was made again, because 3 requests failed"
    answers = iter([RuntimeError("one"), RuntimeError("two")])
    with pytest.raises(RuntimeError, match="two"):
        bench.again("page", "whence", load)


def test_a_part_that_fails_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured before and after it is kept as soon as it is there, and a note says which part is missing."""

    def measure(bench: Bench) -> None:
        bench.run.start_s["an empty log"] = 0.5

    def fail(_: Bench) -> None:
        raise RuntimeError("no")

    for name, part in (("server", measure), ("page", fail), ("disk", lambda _: None)):
        monkeypatch.setitem(PARTS, name, part)
    kept: list[set[str]] = []
    plan = Plan(sizes=QUICK, mode="quick", parts=["server", "page", "disk"], generator=Generator(wrk=False))
    run = measured(plan, lambda run: kept.append(set(run.parts)), acceptors=2)
    assert kept == [{"server"}, {"server"}, {"server", "disk"}]
    assert run.start_s == {"an empty log": 0.5}
    assert [note for note in run.notes if "page" in note] == [f"The part page failed on {run.date}."]
    assert run.parts["server"].acceptors == 2
    assert "no" in capsys.readouterr().err
