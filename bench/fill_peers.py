"""Fill the peers' databases with a log of the workload, with their own models and in their own environments.

That takes less time than over HTTP. A database that was filled by the same code from the same shape is reused. A server
always gets a copy.
"""

import contextlib
import hashlib
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bench.servers import ROOT, fastapi_environment, peer_python, prefect_environment
from bench.stage import STORES
from bench.workload import Shape, batched, ndjson, of_one_tenant
from whence.events import NewEvent
from whence.wire.times import format_time

__all__ = ["fastapi_filled", "file_bytes", "prefect_event", "prefect_filled"]

_EMPTY = "empty"


class Filled(msgspec.Struct, frozen=True):
    """What a database was filled with. `made_by` is a hash of the code of the peer and the workload."""

    shape: Shape | None
    made_by: str


def fastapi_filled(shape: Shape) -> Path:
    """The database of the FastAPI peer with these events."""
    path = STORES / f"fastapi-{shape.events}-{shape.days}.db"
    return _filled("fastapi_sqlalchemy", path, shape, fastapi_environment, ndjson)


def prefect_filled(shape: Shape | None) -> Path:
    """The database of Prefect with these events, or without events when `shape` is None."""

    def lines(some: Iterable[NewEvent]) -> bytes:
        return b"".join(msgspec.json.encode(prefect_event(event)) + b"\n" for event in some)

    path = STORES / f"prefect-{_EMPTY if shape is None else f'{shape.events}-{shape.days}'}.db"
    with tempfile.TemporaryDirectory(prefix="whence-bench-prefect-") as home:
        return _filled("prefect", path, shape, lambda file: prefect_environment(Path(home), file), lines)


def prefect_event(event: NewEvent) -> dict[str, object]:
    """An event as Prefect represents it."""
    follows = {} if event.causation_id is None else {"follows": event.causation_id}
    return {
        "id": event.id,
        "event": event.event_type,
        "occurred": format_time(event.occurred_at),
        "resource": {"prefect.resource.id": f"{event.resource_type}.{event.resource_id}"},
        "related": [{"prefect.resource.id": f"{event.actor_type}.{event.actor_id}", "prefect.resource.role": "actor"}],
        "payload": msgspec.Raw(event.payload),
        **follows,
    }


def file_bytes(path: Path) -> int:
    """The size of a SQLite file after a checkpoint. No other process may have it open."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return path.stat().st_size


def _filled(
    peer: str,
    path: Path,
    shape: Shape | None,
    environment: Callable[[Path], dict[str, str]],
    lines: Callable[[Iterable[NewEvent]], bytes],
) -> Path:
    """The file at `path`, filled unless it exists already. Raises RuntimeError when the peer fails."""
    note = path.with_suffix(".json")
    place = ROOT / "bench" / "peers" / peer
    wanted = Filled(shape, _made_by(place))
    if path.exists() and note.exists() and msgspec.json.decode(note.read_bytes(), type=Filled) == wanted:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f"{path.name}*"):
        stale.unlink()
    partial = path.with_name(path.name + ".partial")
    command = [str(peer_python(peer)), "fill.py"]
    with subprocess.Popen(command, cwd=place, env=environment(partial), stdin=subprocess.PIPE) as filling:
        assert filling.stdin is not None
        for some in batched(() if shape is None else of_one_tenant(shape)):
            filling.stdin.write(lines(some))
    if filling.returncode:
        raise RuntimeError(f"The database of {peer} was not filled.")
    file_bytes(partial)
    os.rename(partial, path)
    note.write_bytes(msgspec.json.encode(wanted))
    return path


def _made_by(place: Path) -> str:
    digest = hashlib.sha256((ROOT / "bench" / "workload.py").read_bytes())
    for path in sorted([*place.glob("*.py"), *place.glob("*.txt")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
