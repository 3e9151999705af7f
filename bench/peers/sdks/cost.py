"""What emitting costs in a program of its own, for one library. Prints JSON.

python cost.py emit LIBRARY URL KEY EMITS     times of emit, and processor time of the other threads
python cost.py queue LIBRARY URL KEY EVENTS   resident memory that a queue of unsent events takes
python cost.py size PACKAGE FOLDER            size of a package and what it depends on; FOLDER is its source, or ""
"""

import gc
import json
import re
import sys
import time
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PAYLOADS = {"small": "", "2 KB": "text of a prompt, " * 114}
WARM_UP = 500
COMPUTE_S = 200e-6


def emit(library: str, url: str, key: str, emits: str) -> dict[str, object]:
    """Percentiles of emit in µs by payload, and processor time per event in µs."""
    adapter = import_module(f"use_{library}").Adapter(url, key)
    for number in range(WARM_UP):
        adapter.emit(f"warm-{number}")
    adapter.flush(30)
    others = time.process_time() - time.thread_time()
    taken = {}
    for name, text in PAYLOADS.items():
        times = []
        for number in range(int(emits)):
            began = time.perf_counter_ns()
            adapter.emit(f"cost-{number}", text)
            times.append(time.perf_counter_ns() - began)
            _compute()
        taken[name] = _percentiles(times)
    adapter.flush(60)
    cpu_s = time.process_time() - time.thread_time() - others
    events = int(emits) * len(PAYLOADS)
    return {"emit_us": taken, "cpu_us": cpu_s / events * 1e6, "cpu_events": events}


def _compute() -> None:
    """Keep the thread busy, as a program does that has other work than to emit."""
    until = time.perf_counter() + COMPUTE_S
    while time.perf_counter() < until:
        sum(range(50))


def _percentiles(nanoseconds: Iterable[int]) -> list[float]:
    ordered = sorted(nanoseconds)
    return [round(ordered[int((len(ordered) - 1) * share)] / 1e3, 2) for share in (0.5, 0.99, 1)]


def queue(library: str, url: str, key: str, events: str) -> dict[str, float]:
    """Resident memory in MB. The server accepts a connection and never answers."""
    adapter = import_module(f"use_{library}").Adapter(url, key)
    adapter.emit("first")
    time.sleep(1)  # the threads run, and wait for the server
    gc.collect()
    before = _resident_mb()
    for number in range(int(events)):
        adapter.emit(f"queued-{number}")
    gc.collect()
    return {"queue_mb": _resident_mb() - before}


def _resident_mb() -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1_000 if found else 0.0


def size(package: str, source: str) -> dict[str, object]:
    """The size in MB, and the number of packages. No extras are counted."""
    found: dict[str, int] = {}
    waiting = [package]
    while waiting:
        name = waiting.pop()
        plain = name.lower().replace("_", "-")
        if plain in found:
            continue
        try:
            files = distribution(name)
        except PackageNotFoundError:
            continue
        paths = Path(source).rglob("*.py") if source and name == package else map(files.locate_file, files.files or ())
        found[plain] = sum(Path(str(path)).stat().st_size for path in paths if Path(str(path)).is_file())
        needed = map(Requirement, files.requires or ())
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return {"installed_mb": sum(found.values()) / 1e6, "packages": len(found)}


if __name__ == "__main__":
    print(json.dumps({"emit": emit, "queue": queue, "size": size}[sys.argv[1]](*sys.argv[2:])))
