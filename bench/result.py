"""The result of a run: what was measured, on which machine, and which targets are met. Written as JSON."""

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import apsw
import msgspec

from bench.limits import Disk
from bench.load import Result
from bench.measure import Rates, Times

__all__ = [
    "RESULTS",
    "Asked",
    "Bar",
    "Footprint",
    "Indexed",
    "Machine",
    "Measured",
    "Memory",
    "Run",
    "Scaled",
    "Traced",
    "bar",
    "commit",
    "last_anywhere",
    "last_of_machine",
    "load",
    "machine",
    "new_run",
    "same_machine",
    "save",
    "versions",
]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
_PACKAGES = ("apsw", "httptools", "litestar", "msgspec", "uvicorn", "uvloop")


class Machine(msgspec.Struct, frozen=True):
    """The machine of a run. A `load_before`, the load average at the start, above 0.5 means that it was not idle."""

    cpu: str
    cores: int
    memory_gb: int
    system: str
    python: str
    load_before: float
    load_after: float = 0.0


class Bar(msgspec.Struct, frozen=True):
    """A target and what was measured. The bar is a minimum, or a maximum if `at_most`. `measured` is None when this run
    did not measure it.
    """

    what: str
    bar: float
    measured: float | None
    unit: str = ""
    at_most: bool = False
    remark: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when it was not measured."""
        if self.measured is None:
            return None
        return self.measured <= self.bar if self.at_most else self.measured >= self.bar


class Indexed(msgspec.Struct, frozen=True):
    """The times of one indexed query in a small and in a large log of one tenant, in process."""

    store: str
    question: str
    days: int
    small_events: int
    large_events: int
    small: Times
    large: Times

    @property
    def growth(self) -> float:
        """The p50 of the large log divided by that of the small one."""
        return self.large.p50_ms / self.small.p50_ms


class Traced(msgspec.Struct, frozen=True):
    """The times of traces of 500 events, of one shape, in a log of `events` events, in process."""

    store: str
    form: str
    events: int
    times: Times


class Memory(msgspec.Struct, frozen=True):
    """The highest memory of a server in MB, after `seconds` of load on a log of `events` events.

    It is the PSS of all processes, `acceptors` of which answer requests. In earlier results it is the RSS of one.
    """

    events: int
    seconds: float
    highest_mb: float
    acceptors: int = 1
    counted: str = "RSS"


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """What a server does with so many acceptors: a number for each round.

    Rates are per second. Processor time is that of all its processes, in µs. Memory is their PSS in MB after the load.
    `generators` is the share of a core that the load generator used, for pages, single events and batches.
    """

    acceptors: int
    pages: list[float] = []
    posts: list[float] = []
    events: list[float] = []
    page_cpu_us: list[float] = []
    post_cpu_us: list[float] = []
    event_cpu_us: list[float] = []
    memory_mb: list[float] = []
    busy: list[tuple[float, float, float]] = []


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """When, how and with what a part of the result was measured.

    `acceptors` is how many processes of the server answered requests by default. `earlier` names the commit beside it.
    `cpu` is that of another machine than the result's, if the part was measured there.
    """

    date: str
    commit: str
    load_before: float
    load_after: float = 0.0
    seconds: float = 0.0
    acceptors: int = 1
    generator: str = "load.py"
    earlier: str = ""
    cpu: str = ""


class Asked(msgspec.Struct, frozen=True):
    """The times of one query, sent over one HTTP connection to a server with a log of `events` events."""

    question: str
    who: str
    events: int
    times: Times


class Footprint(msgspec.Struct, frozen=True):
    """What a log of `events` events costs: the size of its file and of the NDJSON that it came from, the seconds from
    the start of the server to its first answer, and the highest PSS of its processes, in MB, during the queries. The
    last two are None for a library, which has no server.
    """

    who: str
    events: int
    file_bytes: int
    ndjson_bytes: int
    start_s: float | None = None
    highest_mb: float | None = None


class Run(msgspec.Struct, kw_only=True):
    """A whole run. `rates` has the trials of each measure; `loads` the last response times, by measure and server.

    `parts` says when each part was measured. Earlier results lack it; their parts are all of one date and commit.
    """

    mode: str
    date: str
    commit: str
    machine: Machine
    versions: dict[str, str]
    sizes: dict[str, int]
    rates: dict[str, Rates] = {}
    loads: dict[str, dict[str, Result]] = {}
    indexed: list[Indexed] = msgspec.field(default_factory=list, name="flat")  # the name in earlier results
    traces: list[Traced] = []
    disks: list[Disk] = []
    asked: list[Asked] = []
    footprints: list[Footprint] = []
    memory: Memory | None = None
    memory_one: Memory | None = None
    memory_postgres: Memory | None = None
    scaling: list[Scaled] = []
    start_s: dict[str, float] = {}
    bars: list[Bar] = []
    notes: list[str] = []
    parts: dict[str, Measured] = {}


def bar(what: str, least: float, measured: float | None, unit: str = "", remark: str = "") -> Bar:
    """A target of at least `least`."""
    return Bar(what, least, measured, unit, remark=remark)


def machine() -> Machine:
    """The machine that this runs on."""
    cpu = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8"), re.MULTILINE)
        cpu = found[1].strip() if found else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=cpu,
        cores=os.cpu_count() or 1,
        memory_gb=round(memory / 2**30),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_before=round(os.getloadavg()[0], 2),
    )


def versions() -> dict[str, str]:
    """The versions of the packages that influence the results."""
    return {"sqlite": apsw.sqlite_lib_version(), **{name: version(name) for name in _PACKAGES}}


def commit() -> str:
    """The commit that is measured, followed by a plus when the work tree has other changes."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    head = git("rev-parse", "--short=10", "HEAD") or "none"
    return head + ("+" if git("status", "--porcelain", "--", "src", "bench") else "")


def new_run(mode: str, sizes: dict[str, int]) -> Run:
    """A run that starts now."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return Run(mode=mode, date=now, commit=commit(), machine=machine(), versions=versions(), sizes=sizes)


def save(run: Run, folder: Path = RESULTS) -> Path:
    """Write the run as `DATE-COMMIT.json`, or as `DATE-COMMIT-quick.json` for a quick one."""
    folder.mkdir(exist_ok=True)
    mark = "" if run.mode == "full" else f"-{run.mode}"
    path = folder / f"{run.date.replace(':', '')}-{run.commit.rstrip('+')}{mark}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    return path


def load(path: Path) -> Run:
    """Read a run."""
    return msgspec.json.decode(path.read_bytes(), type=Run)


def same_machine(one: Machine, other: Machine) -> bool:
    """Whether results of the two machines may be compared."""
    return (one.cpu, one.cores, one.memory_gb) == (other.cpu, other.cores, other.memory_gb)


def last_of_machine(run: Run, folder: Path = RESULTS) -> Run | None:
    """The last run of the same mode on the same machine that is not later than this one."""
    earlier = [other for other in _earlier(run, folder) if same_machine(other.machine, run.machine)]
    return max(earlier, key=lambda other: other.date, default=None)


def last_anywhere(run: Run, folder: Path = RESULTS) -> Run | None:
    """The last run of the same mode on any machine that is not later than this one."""
    return max(_earlier(run, folder), key=lambda other: other.date, default=None)


def _earlier(run: Run, folder: Path) -> Iterator[Run]:
    for path in folder.glob("*.json"):
        other = load(path)
        if other.mode == run.mode and other.date <= run.date:
            yield other
