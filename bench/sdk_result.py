"""The results of `sdk_scenes` and `sdk_cost`, as JSON in results/sdk."""

from pathlib import Path

import msgspec

from bench.result import RESULTS, Machine

__all__ = ["FOLDER", "Cost", "Costs", "Outcome", "Scenes", "load_costs", "load_scenes", "save"]

FOLDER = RESULTS / "sdk"


class Outcome(msgspec.Struct, frozen=True):
    """One trial of one scene by one library.

    `emitted` calls of emit returned or raised. `arrived` of them had arrived when the program had ended, and
    `arrived_later` when it had been started once more with the server up. `refused` raised an error or returned that
    the event was dropped; `reported` were named by a callback; `dropped` were named to the server. `lines` of output
    came from the library. `worst_call_s` is the longest call of emit, and `exit_s` the time from the end of the
    program's work to the end of its process, in seconds. `hung` means that it did not end by itself. `memory_mb` is
    VmHWM.
    """

    library: str
    scene: str
    emitted: int
    arrived: int
    arrived_later: int
    repeated: int
    refused: int
    reported: int
    dropped: int
    lines: list[str]
    worst_call_s: float
    exit_s: float
    hung: bool
    memory_mb: float

    @property
    def lost(self) -> int:
        """The events that never arrived."""
        return max(0, self.emitted - self.arrived_later)

    @property
    def said(self) -> int:
        """How many of the lost events the library counted: to the caller, to a callback or to the server."""
        return min(self.lost, self.refused + self.reported + self.dropped)

    @property
    def silent(self) -> int:
        """How many of the lost events nothing pointed to, not even a line of output."""
        return 0 if self.lines else self.lost - self.said


class Scenes(msgspec.Struct):
    """A run of scenes. `remarks` say what this machine could not do."""

    date: str
    commit: str
    machine: Machine
    versions: dict[str, str]
    outcomes: list[Outcome]
    remarks: list[str] = []


class Cost(msgspec.Struct, frozen=True):
    """What one library costs. Times of emit are in µs, by the payload's name: p50, p99, the most.

    `cpu_us` is processor time of the process per event, without that of the emitting thread. `import_ms` are the
    times of fresh processes. `installed_mb` is the library with its dependencies.
    """

    library: str
    emits: int
    emit_us: dict[str, tuple[float, float, float]]
    cpu_us: float
    cpu_events: int
    import_ms: list[float]
    installed_mb: float
    packages: int


class Costs(msgspec.Struct):
    """A run of costs. The queue is Whence's: `queue_mb` more resident memory with `queue_events` events in it."""

    date: str
    commit: str
    machine: Machine
    versions: dict[str, str]
    costs: list[Cost]
    queue_events: int
    queue_mb: float


def save(name: str, result: Scenes | Costs) -> None:
    """Write the result in place of the last one."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def load_scenes(folder: Path = FOLDER) -> Scenes | None:
    """The last result of the scenes, if there is one."""
    path = folder / "scenes.json"
    return msgspec.json.decode(path.read_bytes(), type=Scenes) if path.exists() else None


def load_costs(folder: Path = FOLDER) -> Costs | None:
    """The last result of the costs, if there is one."""
    path = folder / "cost.json"
    return msgspec.json.decode(path.read_bytes(), type=Costs) if path.exists() else None
