"""Order, cursors and recordedAt stay correct when the clock jumps in either direction while the server runs."""

import asyncio
import http.client
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.acceptance.running import Running, running, seed
from tests.acceptance.tools import libfaketime
from tests.acceptance.traffic import RUN_ID, get
from tests.databases import fresh_database
from tests.examples import soak

STEPS_S = (0, -3_600, 86_400, 0, 86_400, -3_600, 0) * (20 if soak() else 1)
"""The successive offsets of the server's clock in seconds."""

EVENTS_OF_STEP = 20
PAGE = 7
EARLY_S = 5 * 60

STORES = {"sqlite": ("rows", "head", "0"), "postgres": ("tenants", "lock_head", "0::bigint")}
"""The kinds of store, and the module, statement and replacement that make it ignore the last recordedAt."""

RAW_TIME = """
import sys
from whence.storage.{} import {} as module
from whence.cli import main
from whence.storage.postgres import append_function

append_function.FUNCTION_EVENTS_MAX = 0
module._SQL = {{**module._SQL, "{}": module._SQL["{}"].replace(" recorded_at", " {}")}}
sys.exit(main())
"""
"""Mutant: recordedAt is the current clock, even if it is earlier than the last one. Appends go by the statement that it
changes."""


class Stepped:
    """A server whose clock is controlled by a file, and a client."""

    def __init__(self, server: Running, clock: Path, rng: random.Random) -> None:
        self.server = server
        self.clock = clock
        self.rng = rng
        self.offset = 0
        self.sent = 0
        self.headers = {"X-API-Key": server.key(), "Content-Type": "application/json"}
        self.key = self.headers["X-API-Key"]
        self.connection: http.client.HTTPConnection = server.connect()

    def step(self, offset: int) -> None:
        """Set the server's clock."""
        self.offset = offset
        set_clock(self.clock, offset)

    def now(self) -> float:
        """The current time of the server's clock."""
        return time.time() + self.offset

    def post(self, occurred_at: float) -> tuple[int, Any]:
        """Send an event that occurred at this time."""
        when = datetime.fromtimestamp(occurred_at, UTC).isoformat()
        body = {
            "eventType": "action_run.completed",
            "actorType": "agent",
            "actorId": "planner",
            "resourceType": "action_run",
            "resourceId": RUN_ID,
            "occurredAt": when,
        }
        self.connection.request("POST", "/api/v1/events", msgspec.json.encode(body), self.headers)
        answer = self.connection.getresponse()
        said = msgspec.json.decode(answer.read())
        self.sent += answer.status == 201
        return answer.status, said

    def write(self) -> None:
        """Store events of now, of the past, and at the limit ahead; an event beyond the limit is refused."""
        for _ in range(EVENTS_OF_STEP):
            ago = self.rng.choice((0, 0, 1, 7_000, 10**8, -(EARLY_S - 60)))
            status, said = self.post(self.now() - ago)
            assert status == 201, said
        status, said = self.post(self.now() + EARLY_S + 60)
        assert (status, said["detail"][0]["loc"]) == (422, ["body", "occurredAt"])

    def page(self, path: str) -> tuple[list[Any], str]:
        """The events of a page, and the link to the next one."""
        body, link = get(self.connection, path, self.key)
        return msgspec.json.decode(body)["events"], link


def set_clock(clock: Path, offset: int) -> None:
    fresh = clock.with_suffix(".new")
    fresh.write_text(f"{offset:+d}\n")
    fresh.replace(clock)


def stepping(server: Running, clock: Path, rng: random.Random) -> Iterator[Any]:
    """Step the clock, write, and continue a walk that began before. Yields the results at the end."""
    stepped = Stepped(server, clock, rng)
    stepped.write()
    first = f"/api/v1/events?include=position,recordedAt&limit={PAGE}"
    walked, link = stepped.page(first)
    in_walk = stepped.sent
    for offset in STEPS_S:
        stepped.step(offset)
        stepped.write()
        if link:
            events, link = stepped.page(link)
            walked += events
        else:
            yield "walk", walked, in_walk
            in_walk = stepped.sent
            walked, link = stepped.page(first)
    while link:
        events, link = stepped.page(link)
        walked += events
    yield "walk", walked, in_walk
    everything, link = stepped.page("/api/v1/events?include=position,recordedAt&order=asc&limit=100")
    while link:
        events, link = stepped.page(link)
        everything += events
    yield "all", everything, stepped.sent


def url_of(store: str) -> str | None:
    """The URL of a server's store; None for a file in its folder."""
    return asyncio.run(fresh_database()) if store == "postgres" else None


@pytest.fixture
def clocked(tmp_path: Path) -> dict[str, str]:
    """Variables under which a server's clock follows the file in `FAKETIME_TIMESTAMP_FILE`."""
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    return {
        "LD_PRELOAD": libfaketime(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def judge(found: Iterator[Any]) -> dict[str, int]:
    """How often an event was out of order, skipped or returned twice."""
    wrong = {"skipped": 0, "repeated": 0, "disordered": 0, "fell": 0, "gaps": 0}
    for kind, events, expected in found:
        ids = {event["id"] for event in events}
        wrong["repeated"] += len(events) - len(ids)
        wrong["skipped"] += expected - len(ids)
        places = [(instant(event["occurredAt"]), event["position"]) for event in events]
        wrong["disordered"] += places != sorted(places, reverse=kind == "walk")
        if kind == "all":
            events.sort(key=lambda event: event["position"])
            wrong["gaps"] += [event["position"] for event in events] != list(range(1, len(events) + 1))
            times = [instant(event["recordedAt"]) for event in events]
            wrong["fell"] += sum(later < earlier for earlier, later in pairwise(times))
            assert max(times) - min(times) > timedelta(hours=1), "the clock was never set"
    return wrong


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("store", STORES)
def test_a_clock_that_jumps_disturbs_nothing(
    store: str, clocked: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    """Positions have no gaps, recordedAt never falls, a cursor continues, and the limit ahead follows the server's
    clock."""
    rng = random.Random(seed())
    with running(url=url_of(store), **clocked) as server:
        server.start()
        wrong = judge(stepping(server, Path(clocked["FAKETIME_TIMESTAMP_FILE"]), rng))
        assert server.terminate()[0] == 0
        figures = f"clock on {store}: steps={len(STEPS_S)} events={EVENTS_OF_STEP * (len(STEPS_S) + 1)} {wrong}"
        record_property("figures", figures)
        print(figures)
        assert not any(wrong.values()), wrong


@pytest.mark.parametrize("store", STORES)
def test_mutant_a_raw_clock_is_caught(store: str, clocked: dict[str, str], tmp_path: Path) -> None:
    """With recordedAt taken directly from the clock, it falls when the clock steps back."""
    script = tmp_path / "mutant.py"
    module, block, new = STORES[store]
    script.write_text(RAW_TIME.format(store, module, block, block, new))
    with running(url=url_of(store), mutant=script, **clocked) as server:
        server.start()
        wrong = judge(stepping(server, Path(clocked["FAKETIME_TIMESTAMP_FILE"]), random.Random(seed())))
        server.terminate()
        assert wrong["fell"]
