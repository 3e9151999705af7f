"""The results of `sdk_scenes` and `sdk_cost` as a page of Markdown.

python -m bench.sdk_page     writes docs/sdk-comparison.md from the last results
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from bench.measure import spread
from bench.result import Machine
from bench.sdk_result import Cost, Costs, Outcome, Scenes, load_costs, load_scenes

__all__ = ["IMPORT_BAR_MS", "LIBRARIES", "ONLY_IN", "PAGE", "SCENES", "Scene", "render", "row_of"]

PAGE = Path(__file__).parents[1] / "docs" / "sdk-comparison.md"
IMPORT_BAR_MS = 120

LIBRARIES = {
    "whence": "Whence",
    "whence_signals": "Whence, `flush_on_signals`",
    "sentry_messages": "sentry-sdk, messages",
    "sentry_logs": "sentry-sdk, logs",
    "posthog": "posthog",
    "langfuse": "langfuse",
    "opentelemetry": "opentelemetry-sdk",
}
"""The titles of the ways to emit, by the names of `peers/sdks/use_*.py`."""


ONLY_IN = {"whence_signals": ("sigterm",)}
"""The scenes of a library that is not in all of them."""


class Scene(msgspec.Struct, frozen=True):
    """A scene: what happens in it, and whether the server is up. A program that is not done after `limit_s` hangs."""

    title: str
    what: str
    server_up: bool = True
    limit_s: float = 60.0
    trials_max: int = 100


SCENES = {
    "exit": Scene("Normal exit", "The program emits 100 events at once and ends. It calls neither flush nor close."),
    "fork": Scene(
        "Fork",
        "The program emits 50 events, forks four times and emits 50 more. Each child emits 50 events and ends by "
        "`sys.exit()`.",
    ),
    "prefork": Scene(
        "Prefork recycle",
        "A Celery worker with the prefork pool, two processes and `worker_max_tasks_per_child=1` runs 32 tasks. Each "
        "emits one event. Its processes end by `os._exit`. Each library is set up as its documentation says for "
        "Celery. For Whence that is `instrument()`, for posthog `PosthogCeleryIntegration`, and for opentelemetry-sdk "
        "a provider made in `worker_process_init`. sentry-sdk integrates itself, and langfuse has nothing for Celery.",
        limit_s=120,
    ),
    "signal": Scene(
        "Signal handler",
        "For five seconds, 100 times a second, the main thread emits ten events, and SIGALRM arrives while it does. "
        "The handler emits one event.",
        limit_s=40,
    ),
    "away": Scene(
        "Server away",
        "Nothing listens while the program emits 100,000 events over at least five seconds, waits 15 s and ends "
        "normally. Then the server comes, and the program starts once more. "
        "This stands for an hour. posthog tries a batch four times within 7 s. opentelemetry-sdk and langfuse try it "
        "for at most 10 s, and sentry-sdk once. If the program outlives the outage, the last events that their queues "
        "hold are still sent.",
        server_up=False,
        limit_s=400,
        trials_max=1,
    ),
    "full_disk": Scene(
        "Full disk",
        "As before with 20,000 events, and the home and temporary folders on a disk of 2 MiB. Only Whence writes to "
        "disk, so this is the scene before at another size for the others.",
        server_up=False,
        limit_s=400,
        trials_max=1,
    ),
    "clock": Scene(
        "Clock ahead",
        "The program's clock is six minutes ahead. It emits 100 events, flushes for at most 100 s, and "
        "ends. The collector of the peers takes any time; what their services do with such times was not measured.",
        limit_s=180,
        trials_max=1,
    ),
    "sigterm": Scene(
        "SIGTERM without a handler",
        "The program emits 100 events within a second, then 100 at once, and gets SIGTERM.",
    ),
}

_HEADER = (
    "library | trials | emitted | arrived | after the next start | lost | counted | only logged | silent | "
    "longest call | exit | memory"
)
_COLUMNS = (
    "*Emitted*: calls of `emit` that returned or raised an error, in all trials together.",
    "*Arrived*: events that the server had when the program had ended. *After the next start*: when the same program "
    "had then run once more, with the server up, an event and a flush.",
    "*Lost*: emitted and never arrived. *Counted*: the library said how many, by an error or a result of `emit`, a "
    "callback, or a report to the server. *Only logged*: its output says that something is wrong, but not of which "
    "events. *Silent*: nothing said so.",
    "*Longest call*: of `emit`, in any thread. *Exit*: from the last statement of the program, or from SIGTERM, to the "
    "end of its process. **Hangs**: it did not end by itself, and was killed.",
    "*Memory*: VmHWM, the highest resident memory of the first process.",
)
_DESIGN = (
    "The peers never promised to keep an event. They are made for telemetry of which some may be lost, keep it in "
    "memory only, and bound that memory: 100 messages or 1,000 logs (sentry-sdk), 10,000 events (posthog), 2,048 spans "
    "or log records (langfuse, opentelemetry-sdk). What is over is dropped.",
    "Whence keeps events on disk while the server is away, so it needs a disk.",
    "The services of the peers sort out events that come twice by their ids, as Whence's server does.",
    "Each library is used with default settings and as its documentation says; "
    "[bench/peers/sdks](../bench/peers/sdks) has the code. Whence sends to `whence serve` with default settings. "
    "The peers send to a collector, which answers 200 to every request and counts the events in it: it is faster than "
    "any real service.",
)


def render(scenes: Scenes | None, costs: Costs | None) -> str:
    """The whole page, of what was measured."""
    parts = [
        "# SDKs compared",
        "Made by `make bench-sdk` (see [bench/README.md](../bench/README.md)); do not edit.",
    ]
    if scenes is not None:
        parts += [_made(scenes.date, scenes.commit, scenes.machine, scenes.versions)]
        parts += ["\n".join(f"- {line}" for line in (*_DESIGN, *scenes.remarks)), "## Eight scenes"]
        parts += ["\n".join(f"- {line}" for line in _COLUMNS)]
        for name, outcomes in groupby(scenes.outcomes, key=lambda outcome: outcome.scene):
            parts += [_scene(SCENES[name], list(outcomes))]
    if costs is not None:
        parts += ["## What it costs", _made(costs.date, costs.commit, costs.machine, costs.versions), *_costs(costs)]
    return "\n\n".join(parts) + "\n"


def _made(date: str, commit: str, machine: Machine, versions: dict[str, str]) -> str:
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"Measured {date}, commit {commit}, {machine.cpu}, {machine.cores} cores, {machine.memory_gb} GiB, "
        f"{machine.system}, Python {machine.python}; {numbers}. Load average {machine.load_before} before and "
        f"{machine.load_after} after."
    )


def _scene(scene: Scene, outcomes: Sequence[Outcome]) -> str:
    by_library = {name: [each for each in outcomes if each.library == name] for name in LIBRARIES}
    lines = [f"### {scene.title}", "", scene.what, "", *_table_head(_HEADER)]
    lines += [_row(row_of(each)) for each in by_library.values() if each]
    said = [f"- {LIBRARIES[name]}: {_quoted(each)}" for name, each in by_library.items() if _quoted(each)]
    if said:
        lines += ["", "Output of the first trial with losses:", "", *said]
    return "\n".join(lines)


def row_of(outcomes: Sequence[Outcome]) -> list[str]:
    """A row of the table: sums of counts and the worst of the times of one library's trials."""

    def total(name: str) -> int:
        return sum(getattr(outcome, name) for outcome in outcomes)

    lost, said, silent, repeated = (total(name) for name in ("lost", "said", "silent", "repeated"))
    exits = f"{max(outcome.exit_s for outcome in outcomes):.1f} s"
    hung = sum(outcome.hung for outcome in outcomes)
    arrived = f"{total('arrived'):,}" + (f" ({repeated:,} twice)" if repeated else "")
    return [
        LIBRARIES[outcomes[0].library],
        str(len(outcomes)),
        f"{total('emitted'):,}",
        arrived,
        f"{total('arrived_later'):,}",
        f"{lost:,}",
        f"{said:,}",
        f"{lost - said - silent:,}",
        f"{silent:,}",
        _seconds(max(outcome.worst_call_s for outcome in outcomes)),
        f"**hangs** in {hung} of {len(outcomes)}" if hung else exits,
        f"{max(outcome.memory_mb for outcome in outcomes):.0f} MB",
    ]


def _quoted(outcomes: Sequence[Outcome]) -> str:
    """A line of what a library printed, when it lost something."""
    for outcome in outcomes:
        if outcome.lost and outcome.lines:
            return "`" + outcome.lines[0].replace("`", "'").strip()[:160] + "`"
    return ""


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value * 1_000:.1f} ms"


def _costs(costs: Costs) -> list[str]:
    own = next((cost for cost in costs.costs if cost.library == "whence"), None)
    payloads = list(costs.costs[0].emit_us) if costs.costs else []
    lines = [
        "*emit*: in a thread that computes for 200 µs between two calls, while the library sends to its server on "
        "loopback. p50 / p99 in µs. *CPU*: of all threads but the emitting one, per event, in µs. *Import*: of what a "
        "program imports to emit, median and range of fresh processes. *Size*: the installed library with its "
        "dependencies.",
    ]
    head = " | ".join(["library", *(f"emit, {name}" for name in payloads), "CPU per event", "import", "size"])
    lines += ["\n".join([*_table_head(head), *(_row(_cost_row(cost)) for cost in costs.costs)])]
    if own is not None:
        imported = spread(own.import_ms)
        met = "reached" if imported.median <= IMPORT_BAR_MS else "not reached"
        lines += [
            f"- {own.emits:,} calls of emit of each payload; CPU over {own.cpu_events:,} events.\n"
            f"- A queue of {costs.queue_events:,} events takes {costs.queue_mb:.1f} MB of memory in Whence "
            f"({costs.queue_mb * 1e6 / max(costs.queue_events, 1):,.0f} bytes per event).\n"
            f"- Importing Whence takes {imported.median:.0f} ms (at most {IMPORT_BAR_MS} ms wanted: {met}). "
            f"The base install is {own.installed_mb:.1f} MB in {own.packages} packages."
        ]
    return lines


def _cost_row(cost: Cost) -> list[str]:
    imported = spread(cost.import_ms)
    return [
        LIBRARIES[cost.library],
        *(f"{p50:.0f} / {p99:.0f}" for p50, p99, _ in cost.emit_us.values()),
        f"{cost.cpu_us:.0f} µs",
        f"{imported.median:.0f} ms ({imported.least:.0f} to {imported.most:.0f}, n = {len(cost.import_ms)})",
        f"{cost.installed_mb:.1f} MB in {cost.packages}",
    ]


def _table_head(header: str) -> list[str]:
    columns = header.split(" | ")
    return [_row(columns), _row(["---"] * len(columns))]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(render(load_scenes(), load_costs()), encoding="utf-8")
