"""While one tenant attacks, another is served as usual: every request is answered, soon, and memory stays bounded.

Each attack runs as a process of its own beside a real server; `attacks.py` says what they do. The long form has the
numbers with which each attack once stopped the server, for all attacks on both stores, and prints a table.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import msgspec
import pytest

from tests.acceptance.attacks import ATTACKS, anonymous_event, filled, new_event
from tests.acceptance.running import MORE_MIB, ONE_PROCESS, Running, running, tell
from tests.databases import fresh_database
from tests.examples import soak
from whence.permissions import ADMIN, READ, WRITE

SECONDS = 15.0 if soak() else 1.5
MUTANT_S = 20.0
"""The longest time for the other tenant to feel an attack."""
ACTORS = 60_000 if soak() else 10_000
MEMORY_MAX_MIB = 512
SOON_S = 0.25 if soak() else 5.0
"""The 95th percentile of the others' answers. Short runs share a busy machine with other tests, and are lenient."""

ON_POSTGRES = tuple(ATTACKS) if soak() else ("abandoned_traces", "by_actor", "narrowed_flows", "full_batches")
ON_SQLITE = tuple(attack for attack in ATTACKS if soak() or attack not in ON_POSTGRES)

TRACED = new_event(1)["id"]
PLAIN = {
    "post": ("POST", "/api/v1/events"),
    "page": ("GET", "/api/v1/events?limit=10"),
    "livez": ("GET", "/livez"),
}
CAUSES = {"trace": ("GET", f"/api/v1/events/{TRACED}/trace"), "flows": ("GET", "/api/v1/flows")}
BESIDE = {
    "abandoned_traces": CAUSES,
    "by_actor": CAUSES,
    "narrowed_flows": {"narrowed flows": ("GET", "/api/v1/flows")},
    "slow_readers": {"large page": ("GET", "/api/v1/events?event_type=analytics.computed")},
    "stalled_bodies": {"batch": ("POST", "/api/v1/events/batch")},
}
"""What else the other tenant asks for during some attacks."""

NARROW = f"{READ}:action_run"

NO_SHARES = """
import sys
from contextlib import nullcontext
from whence.cli import main
from whence.errors import Busy
from whence.fairness import FairBudget, FairQueue
from whence.ingest import Ingest

def take(self, tenant, amount):
    if self.used + amount > self.total:
        raise Busy("full")
    self.add(tenant, amount)

FairBudget.take = take
FairQueue._may_enter = lambda self, tenant: self._free > 0
Ingest.parsing = lambda self, tenant: nullcontext()
sys.exit(main())
"""
"""Mutant: first come, first served, and long batches are parsed at once."""

COPYING = """
import sys
import zstandard
from whence.api import decompress, request_body
from whence.cli import main

def unzstd(raw):
    context = zstandard.ZstdDecompressor()
    while raw:
        frame = context.decompressobj()
        yield frame.decompress(raw)
        raw = frame.unused_data

decompress.DECOMPRESSORS["zstd"] = unzstd
request_body._ON_LOOP_MAX = 1 << 30
request_body._FIRST_SLICE = (1 << 40, 1 << 40)
sys.exit(main())
"""
"""Mutant: each frame of a body copies what follows, any number may be empty, and all of it is on the event loop."""


ALL_AT_ONCE = """
import sys
from whence.api import http_protocol, listener
from whence.cli import main
from whence.fairness import LoopTurns

LoopTurns.has_time = lambda self, later_s=0.0: True
http_protocol._LINES_AT_ONCE = 1 << 30
listener._ACCEPTED_AT_ONCE = 1
sys.exit(main())
"""
"""Mutant: whatever connections have sent is parsed and begun in one round, and one connection is accepted in it."""


class Answers(msgspec.Struct):
    """Seconds that the answers took, by the name of the request, and every answer that was a failure."""

    seconds: dict[str, list[float]] = {}
    failed: list[str] = []

    @property
    def felt(self) -> bool:
        """Whether a request failed, or took too long."""
        return bool(self.failed) or any(max(taken) >= SOON_S for taken in self.seconds.values())

    def figures(self) -> str:
        return " ".join(
            f"{name}: n={len(all_)} p50={quantile(all_, 0.5):.0f} p95={quantile(all_, 0.95):.0f} "
            f"max={max(all_) * 1000:.0f} ms;"
            for name, all_ in self.seconds.items()
        )


def quantile(seconds: list[float], part: float) -> float:
    """In milliseconds."""
    return sorted(seconds)[min(int(part * len(seconds)), len(seconds) - 1)] * 1000


class Other:
    """The tenant that is not attacking: one client for each kind of request, which sends one after the other."""

    def __init__(self, server: Running, attack: str) -> None:
        self.server = server
        self.requests = PLAIN | BESIDE.get(attack, {})
        self.key = server.key(tenant="other")
        self.narrow = server.key(NARROW, tenant="other")
        self.answers = Answers()

    def prepare(self) -> None:
        """Store an event to trace, and a large page."""
        with self._client(self.key) as client:
            large = [anonymous_event(eventType="analytics.computed", payload={"a": "x" * 200_000}) for _ in range(20)]
            for events in ([new_event(1)], [anonymous_event() for _ in range(1000)], large, large, large):
                assert client.post("/api/v1/events/batch", json=events).status_code == 201

    async def ask(self, seconds: float, *, until_felt: bool) -> None:
        """Send requests for this time, or until one fails or takes too long."""
        asked = (self._repeat(name, *request, seconds, until_felt) for name, request in self.requests.items())
        await asyncio.gather(*asked)

    async def _repeat(self, name: str, method: str, path: str, seconds: float, until_felt: bool) -> None:
        key = self.narrow if name.startswith("narrowed") else self.key
        body = [anonymous_event()] * 500 if path.endswith("batch") else anonymous_event()
        content = json.dumps(body).encode() if method == "POST" else None
        until = time.monotonic() + seconds
        limits = httpx2.Limits(max_keepalive_connections=0 if until_felt else 1)  # so that new ones are tried too
        async with httpx2.AsyncClient(
            base_url=self._url, headers=self._headers(key), timeout=3 * SOON_S, limits=limits
        ) as client:
            while time.monotonic() < until and not (until_felt and self.answers.felt):
                began = time.monotonic()
                try:
                    status = (await client.request(method, path, content=content)).status_code
                except httpx2.HTTPError as error:
                    status = 0
                    self.answers.failed.append(f"{name}: {error!r}")
                self.answers.seconds.setdefault(name, []).append(time.monotonic() - began)
                if status not in (0, 200, 201):
                    self.answers.failed.append(f"{name}: {status}")
                await asyncio.sleep(0.02)

    def _client(self, key: str) -> httpx2.Client:
        return httpx2.Client(base_url=self._url, headers=self._headers(key), timeout=60)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.server.address[1]}"

    def _headers(self, key: str) -> dict[str, str]:
        return {"X-API-Key": key, "Content-Type": "application/json"}


def attacked(server: Running, attack: str, *, until_felt: bool = False) -> tuple[Answers, dict[str, int]]:
    """What another tenant's requests took during an attack, and how many answers of each status the attacker got.

    `until_felt` ends the attack with the first request that fails or takes too long; then the answers are not known.
    """
    seconds = MUTANT_S if until_felt else SECONDS
    keys = [server.key(tenant="attacker"), server.key(tenant="attacker 2")]
    writing = keys[0]
    if attack == "narrowed_flows":
        filling, keys = keys, [server.key(NARROW, tenant=tenant) for tenant in ("attacker", "attacker 2")]
    elif attack == "sessions_and_keys":
        filling, keys = [], [server.key(READ, ADMIN, tenant="attacker")]
    elif attack == "costly_json":
        filling = keys = [server.key(READ, WRITE, ADMIN, tenant="attacker")]
    else:
        filling = [writing]
    server.start()
    for key in filling:
        filled(server.address[1], key, attack, ACTORS)
    other = Other(server, attack)
    other.prepare()
    command = [
        sys.executable,
        "-m",
        "tests.acceptance.attacks",
        attack,
        str(server.address[1]),
        str(seconds + 1),
        *keys,
    ]
    process = subprocess.Popen(["nice", "-n", "5", *command], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        time.sleep(0.5)
        asyncio.run(other.ask(seconds, until_felt=until_felt))
        output = b"{}" if until_felt else process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.communicate()
    return other.answers, json.loads(output)


@pytest.mark.parametrize(
    ("attack", "engine"),
    [*((attack, "sqlite") for attack in ON_SQLITE), *((attack, "postgres") for attack in ON_POSTGRES)],
)
def test_others_are_served_during_an_attack(
    attack: str, engine: str, record_property: Callable[[str, object], None]
) -> None:
    """Each request of another tenant succeeds, and soon; the process stays small."""
    store = asyncio.run(fresh_database()) if engine == "postgres" else None
    with running(url=store) as server:
        answers, got = attacked(server, attack)
        memory = server.memory()
        figures = f"{answers.figures()} attacker: {got}; VmHWM={memory} MiB; cpus={os.cpu_count()}"
        tell(record_property, figures)
        assert not answers.failed
        for name, seconds in answers.seconds.items():
            assert quantile(seconds, 0.95) < SOON_S * 1000, name
        assert memory <= MEMORY_MAX_MIB + MORE_MIB
        assert server.terminate()[0] == 0


@pytest.mark.parametrize(
    ("attack", "mutant"),
    [
        ("full_batches", NO_SHARES),
        ("unfinished_heads", NO_SHARES),
        ("empty_frames", COPYING),
        ("crowded_connections", ALL_AT_ONCE),
    ],
    ids=["no shares of the queue", "no shares of the connections", "a walk by copying", "no turns of connections"],
)
def test_without_its_protection_an_attack_is_felt(attack: str, mutant: str, tmp_path: Path) -> None:
    """Requests of the other tenant fail, or take long."""
    script = tmp_path / "mutant.py"
    script.write_text(mutant)
    with running(mutant=script, **ONE_PROCESS) as server:
        answers, _ = attacked(server, attack, until_felt=True)
        print(answers.figures(), answers.failed[:3])
        assert answers.felt
