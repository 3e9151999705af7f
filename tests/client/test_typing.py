"""What a type checker says of the client's calls."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = """
import datetime as dt
from dataclasses import dataclass
from uuid import uuid4
from whence import AsyncWhence, Whence
from whence.integrations.pytest_plugin import RecordingWhence

@dataclass
class Plan:
    steps: int

def right(log: Whence, recording: RecordingWhence) -> None:
    started = log.emit("action_run.started", actor=("agent", "a"), resource=("order", "8841"), payload={"a": 1})
    log.emit("action_run.started", resource=("order", uuid4()), cause=started, outcome="none", payload=Plan(1))
    log.emit({"eventType": "a.b"}, cause=None, occurred_at=dt.datetime.now(dt.UTC), correlation_id="f", id=uuid4())
    stored = log.emit("a.b", durable=True, actor=("user", "ana"))
    print((stored.event.payload or {})["a"], stored.event.payload_bytes.decode(), started.resource)
    for event in log.events(actor_id=["a", "b"], since="-7d", limit=10, order="asc", include="position"):
        print(None if event.payload is None else event.payload.get("a"))
    for event in log.follow(event_type="action_run.*", since="start", include="outcome"):
        print(event.position)
    for flow in log.flows(outcome="failure", since=dt.datetime.now(dt.UTC)):
        print(flow.events)
    print(log.aggregate(resource_type="order", resource_id="8841").total, log.actor_stats(until="-1d").actors)
    print(log.histogram(by="event_type", interval="1h", top=3, since="-1d").buckets[0].counts)
    print(log.facets(top=3, outcome="failure").facets.event_type.values[0].children)
    print(log.facets(payload_field=["tool"], payload={"tool": "a", "b.c": ["d"]}).facets.payload)
    print([actor.sparkline for actor in log.actors(since="-7d", limit=5)], log.actor("agent", uuid4()).first_times)
    print(log.resource_summary("order", "8841", top=3).last_event)
    print(log.list(offset=1).total, list(log.pages(event_type="a.*")), log.get(uuid4(), include=["position"]))
    print(log.trace(started, direction="up", depth=2, include="rows"), log.reach(started, "id")[0].failed_effects)
    print(log.process_map(since="-7d").pairs)
    with log.started("action_run", actor=("agent", "a")) as run:
        run.completed(payload={"a": 1})
    recording.emit("a.b", actor=("user", "ana"))

async def right_too(log: AsyncWhence) -> None:
    await log.emit("a.b", actor=("user", "ana"))
    async for event in log.events(actor_id="a"):
        print((event.payload or {})["a"])
    async for event in log.follow(after=5598):
        print(event.position)
"""

WRONG = """
log.emit("a.b", acter=("user", "ana"))
log.emit("a.b", durable=True, acter=("user", "ana"))
log.emit("a.b", actor="ana")
log.emit("a.b", outcome="maybe")
log.queue("a.b", acter=("user", "ana"))
log.new("a.b", acter=("user", "ana"))
log.list(acter_id="ana")
log.events(acter_id="ana")
log.pages(acter_id="ana")
log.follow(acter_id="ana")
log.aggregate(acter_id="ana")
log.actor_stats(acter_id="ana")
log.histogram(by="actor")
log.facets(acter_id="ana")
log.actors(actor_id="ana")
log.actor("agent")
log.flows(outcome="success")
log.trace("x", direction="sideways")
log.get("x", inclde="position")
log.started("action_run", acter=("user", "ana"))
log.started("action_run").failed("x", acter=("user", "ana"))
recording.emit("a.b", acter=("user", "ana"))
async_log.emit("a.b", acter=("user", "ana"))
async_log.events(acter_id="ana")
Whence(on_ful="drop")
log.traced("a.b", acter=("user", "ana"))
outbox(session).emit("a.b", acter=("user", "ana"))
"""

PRELUDE = """
from sqlalchemy.orm import Session
from whence import AsyncWhence, Whence
from whence.integrations.pytest_plugin import RecordingWhence
from whence.integrations.sqlalchemy import outbox
log: Whence = Whence()
async_log: AsyncWhence = AsyncWhence()
recording: RecordingWhence = RecordingWhence()
session: Session = Session()
"""


@pytest.mark.slow
def test_a_type_checker_refuses_unknown_keywords(tmp_path: Path) -> None:
    """`mypy --strict` accepts what works, and names each line with a misspelt or wrong keyword."""
    pytest.importorskip("sqlalchemy")
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(PRELUDE + WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [*command, "right.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    refused = {int(number) for number in re.findall(r"^wrong\.py:(\d+): error", done.stdout, re.MULTILINE)}
    first = PRELUDE.count("\n") + 2
    assert refused == set(range(first, first + WRONG.strip().count("\n") + 1)), done.stdout
    assert "right.py" not in done.stdout, done.stdout
