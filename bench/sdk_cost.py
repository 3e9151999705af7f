"""What an SDK costs the program that it lives in: time of emit, memory, processor time, import and size.

python -m bench.sdk_cost            writes results/sdk and docs/sdk-comparison.md
python -m bench.sdk_cost --quick    few events and imports; writes nothing
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.peers.sdks.record import RECORD_BYTES
from bench.result import commit, machine, new_run
from bench.sdk_page import PAGE, render
from bench.sdk_result import Cost, Costs, load_scenes, save
from bench.sdk_scenes import versions
from bench.sdk_servers import Collector, Server, WhenceServer
from bench.servers import ROOT, peer_python

__all__ = ["main", "run_program"]

_PROGRAM = Path(__file__).parent / "peers" / "sdks" / "cost.py"
_LIMIT_S = 600
QUEUE_EVENTS = 10_000
_OTLP = "opentelemetry.exporter.otlp.proto.http._log_exporter"

IMPORTS = {
    "whence": "from whence import Whence",
    "sentry_messages": "import sentry_sdk",
    "sentry_logs": "import sentry_sdk",
    "posthog": "from posthog import Posthog",
    "langfuse": "from langfuse import Langfuse",
    "opentelemetry": f"import opentelemetry.sdk._logs, opentelemetry.sdk._logs.export, {_OTLP}",
}
"""What a program imports to emit."""

PACKAGES = {
    "whence": "whence",
    "sentry_messages": "sentry-sdk",
    "sentry_logs": "sentry-sdk",
    "posthog": "posthog",
    "langfuse": "langfuse",
    "opentelemetry": "opentelemetry-exporter-otlp-proto-http",
}
"""What is installed; the exporter brings the SDK of OpenTelemetry."""


def _python(library: str) -> str:
    return sys.executable if library == "whence" else str(peer_python("sdks"))


def run_program(library: str, folder: Path, *arguments: str) -> Mapping[str, Any]:
    """What a program of `cost.py` prints. Raises CalledProcessError."""
    record = folder / "record"
    record.write_bytes(bytes(RECORD_BYTES))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WHENCE_")}
    environment |= {"SCENE_RECORD": str(record), "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    done = subprocess.run(
        [_python(library), str(_PROGRAM), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_LIMIT_S,
        check=True,
        text=True,
    )
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _emits(library: str, emits: int) -> Mapping[str, Any]:
    """The times of emit against the library's server on loopback."""
    with tempfile.TemporaryDirectory(prefix="whence-cost-") as name:
        folder = Path(name)
        server: Server = WhenceServer(folder) if library == "whence" else Collector()
        server.start()
        try:
            return run_program(library, folder, "emit", library, server.url, server.key, str(emits))
        finally:
            server.stop()


def _queue_mb() -> float:
    """The memory of Whence's full queue, while a server that never answers keeps its sender waiting."""
    with tempfile.TemporaryDirectory(prefix="whence-cost-") as name, socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = run_program("whence", Path(name), "queue", "whence", url, "key", str(QUEUE_EVENTS - 1))
        return round(float(found["queue_mb"]), 2)


def _import_ms(library: str, bytecode: Path) -> float:
    """The time of one import in a fresh process, in ms.

    The bytecode of every library is kept in that folder, as an installer or the first import keeps it. Otherwise an
    environment that writes none would have the sources of a checkout compiled in each import.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    program = f"import time; began = time.perf_counter(); {IMPORTS[library]}; print(time.perf_counter() - began)"
    command = [_python(library), "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", env=environment)
    return round(float(done.stdout) * 1_000, 1)


def _imports_ms(rounds: int) -> dict[str, list[float]]:
    """The times of one import of each library in each round, in turns."""
    found: dict[str, list[float]] = {library: [] for library in IMPORTS}
    with tempfile.TemporaryDirectory(prefix="whence-bytecode-") as name:
        for library in IMPORTS:
            _import_ms(library, Path(name))  # fills the cache
        for number in range(rounds):
            for library in list(IMPORTS)[:: 1 if number % 2 == 0 else -1]:
                found[library].append(_import_ms(library, Path(name)))
    return found


def main() -> None:
    """Measure all libraries and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    emits, imports = (1_000, 3) if given.quick else (20_000, 15)
    run = new_run("sdk", {})
    import_ms = _imports_ms(imports)
    costs = []
    for library in IMPORTS:
        with tempfile.TemporaryDirectory(prefix="whence-cost-") as name:
            source = str(ROOT / "src" / "whence") if library == "whence" else ""
            size = run_program(library, Path(name), "size", PACKAGES[library], source)
        found = {**_emits(library, emits), **size}
        costs.append(
            msgspec.convert({"library": library, "emits": emits, "import_ms": import_ms[library], **found}, Cost)
        )
        print(costs[-1], flush=True)
    here = msgspec.structs.replace(run.machine, load_after=machine().load_before)
    result = Costs(run.date, commit(), here, versions(), costs, QUEUE_EVENTS, _queue_mb())
    if given.quick:
        print(render(None, result))
        return
    save("cost", result)
    PAGE.write_text(render(load_scenes(), result), encoding="utf-8")


if __name__ == "__main__":
    main()
