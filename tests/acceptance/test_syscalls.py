"""An error or SIGKILL at any single system call loses no acknowledged event."""

import asyncio
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.acceptance.driven import Driven, driven, judge
from tests.acceptance.driver import leave_names_unsynced, swallow_commit_errors
from tests.acceptance.history import History
from tests.acceptance.running import seed
from tests.acceptance.tools import in_memory, missing, strace
from tests.examples import soak

ROUNDS = 10 if soak() else 1
POINTS_OF_STORE = 25
"""Number of points after which a fresh store is used."""

FAULTS = ("error=EIO", "error=ENOSPC", "signal=KILL")
LASTING = "error=ENOSPC"
"""The fault that lasts until it is removed; the others happen once."""

_MADE = re.compile(r'(openat\([^"]*"(?P<made>[^"]+)", [A-Z_|]*O_CREAT|mkdir\("(?P<folder>[^"]+)", [0-7]+\) = 0)')
_SYNCED = re.compile(r"(fsync|fdatasync)\(\d+<(?P<path>[^>]+)>")
_CALL = re.compile(r"^(\w+)\((\d+<[^>]*/log\.db(-wal|-shm|\.high)?>)?")


class Point(msgspec.Struct, frozen=True):
    """A fault at the n-th call of one system call by the writer."""

    call: str
    number: int
    fault: str

    @property
    def option(self) -> str:
        """The option of strace."""
        return f"inject={self.call}:{self.fault}:when={self.number}{'+' if self.fault == LASTING else ''}"


def points(driver: Driven, folder: Path) -> list[Point]:
    """Every system call on the store's files in one commit with its checkpoint, with every fault."""
    driver.open(folder / "log.db")
    assert driver.append() == "acknowledged"
    trace = folder / "trace"
    with strace(driver.writer, trace):
        assert driver.append() == "acknowledged"
    driver.close()
    counts: Counter[str] = Counter()
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        call = _CALL.match(line)
        if call:
            counts[call[1]] += 1
            if call[2]:
                faults = FAULTS[-1:] if call[1] == "fcntl" else FAULTS  # a faulty local disk does not affect locks
                found += [Point(call[1], counts[call[1]], fault) for fault in faults]
    names = {point.call for point in found}
    assert {"pwrite64", "pread64", "fdatasync", "ftruncate", "fcntl"} <= names, names
    assert all(any(name in line for line in trace.read_text().splitlines()) for name in ("-wal>", ".high>", "log.db>"))
    return found


class Tried(msgspec.Struct):
    """The results of the tried points."""

    points: int = 0
    errors: int = 0
    kills: int = 0
    acknowledged: int = 0
    indeterminate: int = 0
    lost: int = 0
    phantom: int = 0
    duplicated: int = 0
    altered: int = 0
    gaps: int = 0

    @property
    def wrong(self) -> int:
        """The number of broken promises."""
        return self.lost + self.phantom + self.duplicated + self.altered + self.gaps

    def __str__(self) -> str:
        return " ".join(f"{name}={getattr(self, name)}" for name in self.__struct_fields__)


def harm(driver: Driven, point: Point, trace: Path, size: int) -> str:
    """Append one event with the fault at its point. Returns the answer, or an empty text when the fault did not
    occur."""
    with strace(driver.writer, trace, "-e", point.option):
        answer = driver.append(size=size)
    happened = "(INJECTED)" in (said := trace.read_text(errors="replace")) or "killed by SIGKILL" in said
    return answer if happened else ""


def try_point(driver: Driven, path: Path, history: History, point: Point, size: int, tried: Tried) -> None:
    """Inject one fault, continue with the store, reopen it, and judge it."""
    driver.open(path, history)
    assert driver.append() == "acknowledged"
    answer = harm(driver, point, path.with_name("trace"), size)
    if answer:
        tried.points += 1
        tried.errors += answer == "failed Unavailable"
        tried.kills += answer.startswith("gone")
    assert answer.startswith(("acknowledged", "failed Unavailable", "gone 9")) or not answer, (point, answer)
    assert answer.startswith("gone") == (bool(answer) and point.fault == "signal=KILL"), (point, answer)
    if not answer.startswith("gone"):
        assert driver.append() == "acknowledged", f"after {point} the store does not go on"
        assert driver.read().startswith("found"), f"after {point} the store cannot be read"
        driver.close()
    verdict = asyncio.run(judge(path, history))
    for name in verdict.__struct_fields__:
        setattr(tried, name, getattr(tried, name) + len(getattr(verdict, name)))


def try_points(folder: Path, rng: random.Random, mutant: Callable[[], None] | None = None) -> Tried:
    """Try all points in random order, several on each store; for a mutant only until it is caught."""
    tried = Tried()
    with driven(mutant) as driver:
        every = points(driver, folder)
        rng.shuffle(every)
        history = History()
        for number, point in enumerate(every):
            if number % POINTS_OF_STORE == 0:
                tried.acknowledged += len(history.acknowledged)
                tried.indeterminate += len(history.indeterminate)
                home, history = folder / str(number), History()
                home.mkdir()
            try_point(driver, home / "log.db", history, point, rng.choice((10, 5_000)), tried)
            if mutant and tried.wrong:
                break
        tried.acknowledged += len(history.acknowledged)
        tried.indeterminate += len(history.indeterminate)
    return tried


@pytest.mark.parametrize("number", range(ROUNDS))
def test_no_single_call_can_cost_an_event(number: int, record_property: Callable[[str, object], None]) -> None:
    """After EIO, a full disk or SIGKILL at each call, every acknowledged event is stored and the store works again."""
    with in_memory() as folder:
        tried = try_points(folder, random.Random(seed() + number))
    record_property("figures", f"syscalls: {tried}")
    print(tried)
    assert tried.points >= 150
    assert tried.errors > 20
    assert tried.kills > 30
    assert tried.wrong == 0, tried


def unsynced_names(trace: Path, folder: Path) -> set[str]:
    """The new files and folders whose names were not synced when the first event was acknowledged."""
    made: set[str] = set()
    seen: set[str] = set()
    for line in trace.read_text(errors="replace").splitlines():
        if found := _MADE.search(line):
            name = found["made"] or found["folder"]
            if name.startswith(f"{folder}/") and not name.endswith(("-shm", ".lock")) and name not in seen:
                made.add(name)
            seen.add(name)  # a file that is reopened exists already
        elif found := _SYNCED.search(line):
            made = {name for name in made if str(Path(name).parent) != found["path"]}
        elif '"acknowledged' in line:
            return made
    raise AssertionError("nothing was acknowledged")


def first_event(folder: Path, mutant: Callable[[], None] | None = None) -> set[str]:
    """Store the first event of a log in a new folder. Returns the names that a power loss could remove."""
    trace = folder / "trace"
    program = shutil.which("strace") or missing("strace")
    options = ("-f", "-y", "-e", "trace=openat,mkdir,fsync,fdatasync,write", "-o", str(trace))
    with driven(mutant, around=(program, *options)) as driver:
        driver.open(folder / "new" / "deep" / "log.db")
        assert driver.append() == "acknowledged"
        driver.close()
    made = {found["made"] or found["folder"] for found in _MADE.finditer(trace.read_text(errors="replace"))}
    wanted = ("new", "new/deep", *(f"new/deep/log.db{ending}" for ending in ("", "-wal", ".high")))
    assert {str(folder / name) for name in wanted} <= made
    return unsynced_names(trace, folder)


def test_a_new_log_is_found_again_after_a_power_loss(tmp_path: Path) -> None:
    """Before the first event is acknowledged, the names of the files and of new folders are synced."""
    assert first_event(tmp_path) == set()


def test_mutant_names_left_unsynced_are_caught(tmp_path: Path) -> None:
    """When new folders are not synced, a power loss could remove the log with them."""
    assert str(tmp_path / "new") in first_event(tmp_path, leave_names_unsynced)


def test_mutant_a_swallowed_commit_error_is_caught() -> None:
    """A store that catches commit errors and reports success loses events within these points."""
    with in_memory() as folder:
        tried = try_points(folder, random.Random(seed()), swallow_commit_errors)
    print(tried)
    assert tried.lost > 0
