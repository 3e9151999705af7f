"""Webhooks of a real server: receivers that fail in every way, and a sender that is killed again and again."""

import asyncio
import contextlib
import os
import random
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.running import Running, running, seed, tell
from tests.api.conftest import event, wait_until
from tests.databases import fresh_database
from tests.delivery.receivers import OK, Received, Receiver, answering, endless, receiving_beside, resetting
from tests.examples import soak
from whence.permissions import ADMIN, READ, WRITE

EVENTS = 2_000 if soak() else 150
KILL_EVERY_S = 3.0 if soak() else 0.8
KILLS = 8 if soak() else 3
DONE_S = 240 if soak() else 60

FAST = """
import sys
from whence import delivery, followers
from whence.cli import main

real = delivery.WebhookDelivery.__init__
delivery.WebhookDelivery.__init__ = lambda self, *given, **named: real(self, *given, times=1 / 10_000, **named)
followers.LEASE_S, followers._KEEP_S = 1.0, 0.1
"""
"""The schedule of 27 hours in ten seconds, and leases that end soon."""

MARKS_FIRST = """
import msgspec
from whence.outbound import Answer
from whence.storage.followers import DELIVERED

async def deliver(self, due, real=delivery._Endpoint._deliver):
    done = msgspec.structs.replace(due, state=DELIVERED, attempts=1, attempts_in_all=1)
    await self._record(done, Answer(status=200), 0)
    await real(self, due)

delivery._Endpoint._deliver = deliver
"""
"""Mutant: a delivery is recorded as delivered before it is sent."""

MAIN = "\nsys.exit(main())\n"


class Faulty:
    """Answers most requests well, and the others in every other way. `taken` are the ids that got a 2xx, in order."""

    def __init__(self, draw: random.Random, faults: float) -> None:
        self.taken: list[str] = []
        self._draw, self._faults = draw, faults
        self._ways = (
            answering(500),
            answering(302, Location="http://127.0.0.1:1/"),
            answering(429, Retry_After="0"),
            resetting,
            self._hang,
            endless,
        )

    async def __call__(self, receiver: Receiver, request: Received, writer: asyncio.StreamWriter) -> None:
        if self._draw.random() < self._faults:
            way = self._draw.choice(self._ways)
            if way is endless:  # a 200, after which the rest does not matter
                self.taken.append(request.id)
            await way(receiver, request, writer)
        else:
            await OK(receiver, request, writer)
            self.taken.append(request.id)

    async def _hang(self, _receiver: Receiver, _request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.transport.abort()


def hook_of(api: httpx2.Client, receiver: Receiver, **fields: Any) -> str:
    """A new webhook. Returns its address."""
    made = api.post("/api/v1/webhooks", json={"url": receiver.url, **fields})
    assert made.status_code == 201, made.text
    return f"/api/v1/webhooks/{made.json()['id']}"


def kill_sender(server: Running) -> None:
    """Kill the process that sends; with one process, that is the server."""
    if server.variables["WHENCE_PROCESSES"] != "1":
        with contextlib.suppress(KeyError, ProcessLookupError):  # it is just being replaced
            os.kill(server.processes()["follower"], signal.SIGKILL)
        return
    server.kill()
    server.flags = ("--port", str(server.address[1]))
    server.start()


def delivered_despite_kills(server: Running, draw: random.Random) -> str:
    """Store events while the sender is killed. Every one must come to every webhook; one after the other with fifo."""
    server.start()
    key = server.key(READ, WRITE, ADMIN)
    url = f"http://127.0.0.1:{server.address[1]}"
    parallel, fifo, chosen = (Faulty(draw, faults) for faults in (0.3, 0.1, 0.0))
    with contextlib.ExitStack() as stack:
        receivers = [stack.enter_context(receiving_beside(each)) for each in (parallel, fifo, chosen)]
        api = stack.enter_context(httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=20))
        hooks = [
            hook_of(api, receivers[0]),
            hook_of(api, receivers[1], fifo=True),
            hook_of(api, receivers[2], filters={"eventType": "action_run.failed"}),
        ]
        ids: list[str] = []
        failed: set[str] = set()
        kills = 0
        began = time.monotonic()
        while len(ids) < EVENTS or kills < KILLS:
            if len(ids) < EVENTS:
                kind = draw.choice(("action_run.failed", "action_run.completed"))
                batch = [event(id=str(uuid.uuid4()), eventType=kind) for _ in range(draw.choice((1, 5, 20)))]
                assert api.post("/api/v1/events/batch", json=batch).status_code == 201
                ids += [each["id"] for each in batch]
                failed |= {each["id"] for each in batch if kind == "action_run.failed"}
            if time.monotonic() - began > (kills + 1) * KILL_EVERY_S:
                kill_sender(server)
                kills += 1
            time.sleep(0.02)

        def missing() -> int:
            wanted = ((parallel, {*ids}), (fifo, {*ids}), (chosen, failed))
            return sum(len(all_ - {*each.taken}) for each, all_ in wanted)

        with contextlib.suppress(AssertionError):
            wait_until(lambda: missing() == 0, DONE_S)
        states = [api.get(hook).json()["deliveries"] for hook in hooks]
        assert missing() == 0, (missing(), states)
    first_times = list(dict.fromkeys(fifo.taken))
    assert first_times == ids, "fifo is in order"
    assert {*chosen.taken} == failed
    sent = len(parallel.taken) + len(fifo.taken) + len(chosen.taken)
    return f"{len(ids)} events, {kills} kills, {sent} taken, 0 missing"


def script(folder: Path, *parts: str) -> Path:
    path = folder / "program.py"
    path.write_text("".join((*parts, MAIN)))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("store", "processes"), [("sqlite", 3), ("postgres", 3), ("sqlite", 1), ("postgres", 1)])
def test_a_killed_sender_skips_nothing(
    store: str, processes: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Every event comes at least once to each webhook that it matches, and in order where that was asked for."""
    draw = random.Random(seed())
    url = None if store == "sqlite" else asyncio.run(fresh_database())
    variables = {"WHENCE_PROCESSES": str(processes), "WHENCE_WEBHOOK_ALLOW": "127.0.0.0/8"}
    with running(url=url, mutant=script(tmp_path, FAST), **variables) as server:
        tell(record_property, f"{store}, {processes} processes: {delivered_despite_kills(server, draw)}")


@pytest.mark.slow
def test_a_sender_that_marks_first_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same test on the mutant."""
    monkeypatch.setattr(f"{__name__}.DONE_S", 3)
    variables = {"WHENCE_PROCESSES": "2", "WHENCE_WEBHOOK_ALLOW": "127.0.0.0/8"}
    with (
        running(mutant=script(tmp_path, FAST, MARKS_FIRST), **variables) as server,
        pytest.raises(AssertionError, match=r"pending|delivered"),
    ):
        delivered_despite_kills(server, random.Random(1))


@pytest.mark.slow
def test_another_server_takes_over_within_seconds(record_property: Callable[[str, object], None]) -> None:
    """Of two servers of one database one sends. When it is killed, the other does, once the lease has ended."""
    url = asyncio.run(fresh_database())
    variables = {"WHENCE_PROCESSES": "1", "WHENCE_WEBHOOK_ALLOW": "127.0.0.0/8"}
    with (
        running(url=url, **variables) as first,
        running(url=url, **variables) as second,
        receiving_beside(OK) as receiver,
    ):
        first.start()
        key = first.key(READ, WRITE, ADMIN)
        with httpx2.Client(base_url=f"http://127.0.0.1:{first.address[1]}", headers={"X-API-Key": key}) as api:
            hook_of(api, receiver)
            assert api.post("/api/v1/events", json=event()).status_code == 201
            wait_until(lambda: len(receiver.received) == 1)
        second.start()
        time.sleep(1.5)
        first.kill()
        killed = time.monotonic()
        address = f"http://127.0.0.1:{second.address[1]}/api/v1/events"
        assert httpx2.post(address, json=event(), headers={"X-API-Key": key}).status_code == 201
        wait_until(lambda: len(set(receiver.ids)) == 2, 20)
        taken_over_s = time.monotonic() - killed
        tell(record_property, f"taken over after {taken_over_s:.1f} s")
    assert len(receiver.ids) == 2
