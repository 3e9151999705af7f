"""A power loss at any moment loses no acknowledged event, and the store can be served again."""

import asyncio
import itertools
import math
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from tests.acceptance.disk import MODES, Disk, Note, Recording, put, recording
from tests.acceptance.history import Found, History, Verdict
from tests.acceptance.running import seed
from tests.acceptance.tools import in_memory
from tests.examples import soak
from whence import durable_files
from whence.errors import StoreRefused, WhenceError
from whence.events import NewEvent
from whence.permissions import READ, new_api_key
from whence.storage import Write
from whence.storage.migrations import load_migrations
from whence.storage.sqlite import highwater
from whence.storage.sqlite.connection import connect, migrate
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.highwater import HighWater
from whence.storage.sqlite.rows import POSITION_MASK, uuid_text
from whence.storage.sqlite.verify import verify
from whence.storage.sqlite.writer import Writer

STATES = 1_000_000 if soak() else 6_000
STATES_OF_RECORDING = 2_000
FULL_EVERY = 40
"""Interval, in states, at which the whole file is verified and served."""

KEYS = "keys"
"""The name of the history of API keys, among those of the tenants."""

TENANTS = ("acme", "globex")
SESSIONS = 3
ROUNDS = 12
NOON = 1_700_000_000_000_000
STEPS = load_migrations("whence.storage.sqlite")

Broken = Callable[[SQLiteStore], None]
Recorded = tuple[Recording, dict[str, History]]


class Figures(msgspec.Struct):
    """The results of the tried states."""

    states: int = 0
    refused: int = 0
    unsound: int = 0
    lost: int = 0
    phantom: int = 0
    duplicated: int = 0
    altered: int = 0
    gaps: int = 0
    acknowledged: int = 0
    indeterminate: int = 0
    checkpoints: int = 0

    def add(self, verdicts: list[Verdict] | None, sound: bool) -> None:
        """Count one state; without verdicts its store was refused."""
        self.states += 1
        self.refused += verdicts is None
        self.unsound += not sound
        for verdict in verdicts or ():
            for name in verdict.__struct_fields__:
                setattr(self, name, getattr(self, name) + len(getattr(verdict, name)))

    @property
    def wrong(self) -> int:
        """The number of broken promises."""
        return self.refused + self.unsound + self.lost + self.phantom + self.duplicated + self.altered + self.gaps

    def __str__(self) -> str:
        return " ".join(f"{name}={getattr(self, name)}" for name in self.__struct_fields__)


def write_log(path: Path, steps: Recording, rng: random.Random, broken: Broken) -> dict[str, History]:
    """Use a store as a server does, over several starts, and record what was sent and acknowledged."""
    histories = {name: History() for name in (*TENANTS, KEYS)}
    numbers = itertools.count()

    def note(act: Callable[[], None]) -> None:
        steps.steps.append(Note(act))

    async def append(store: SQLiteStore) -> None:
        tenant = rng.choice(TENANTS)
        events = tuple(made(rng, next(numbers)) for _ in range(rng.choice((1, 1, 2, 6))))
        note(partial(histories[tenant].sending, [(event.id, event.payload) for event in events]))
        [result] = await store.append(tenant, [Write(events)])
        assert not isinstance(result, WhenceError), result
        note(partial(histories[tenant].acknowledge, [event.id for event in events]))

    async def put_key(store: SQLiteStore) -> None:
        _, key = new_api_key("acme", (READ,), next(numbers))
        note(partial(histories[KEYS].sending, [(key.id, key.hash)]))
        await store.credentials.put_key(key)
        note(partial(histories[KEYS].acknowledge, [key.id]))

    async def session() -> None:
        store = SQLiteStore(str(path), readers=2)
        broken(store)
        store._writing.execute(f"PRAGMA wal_autocheckpoint = {rng.choice((20, 60, 150))}")
        for _ in range(ROUNDS):
            together = rng.choice((1, 1, 3))
            await asyncio.gather(*(append(store) for _ in range(together)))
            if rng.random() < 0.2:
                await put_key(store)
        await store.close()

    for _ in range(SESSIONS):
        asyncio.run(session())
    return histories


def made(rng: random.Random, number: int) -> NewEvent:
    """An event that is identified by its payload."""
    return NewEvent(
        id=f"00000000-0000-4000-8000-{number:012x}",
        event_type=rng.choice(("action_run.completed", "decision.approved")),
        actor_type="agent",
        actor_id=f"agent-{rng.randint(0, 3)}",
        resource_type="action_run",
        resource_id=f"00000000-0000-4000-8000-{rng.randint(0, 3):012x}",
        occurred_at=NOON + rng.randint(0, 10**9),
        payload=b'{"number":%d,"more":"%s"}' % (number, b"x" * rng.choice((0, 40, 40, 40, 6_000))),
    )


def reopened(path: Path) -> tuple[dict[str, list[Found]], bool]:
    """Open the file as a server does. Returns its content by history, and whether its counts are exact."""
    connection = connect(str(path), 1_000)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the state is discarded
    record = None
    try:
        migrate(connection, STEPS)
        record = HighWater(str(path))
        record.check(connection)
        exact = True
        found: dict[str, list[Found]] = {}
        for tenant, number, size, counted in connection.execute(
            "SELECT tenant, tenant_no, size, (SELECT sum(events) FROM bucket b WHERE b.tenant_no = t.tenant_no "
            "AND level = 0) FROM tenant t"
        ).fetchall():
            rows: list[Any] = connection.execute(
                "SELECT key, id, payload FROM event WHERE tenant_no = ? ORDER BY key", (number,)
            ).fetchall()
            found[tenant] = [Found(uuid_text(id_), key & POSITION_MASK, payload) for key, id_, payload in rows]
            exact = exact and size == (counted or 0) == len(rows)
        keys: Any = connection.execute("SELECT id, hash FROM api_key ORDER BY id").fetchall()
        found[KEYS] = [Found(id_, number, hash_) for number, (id_, hash_) in enumerate(keys, 1)]
        return found, exact
    finally:
        if record is not None:
            record.close()
        connection.close()


def served_and_sound(path: Path) -> bool:
    """Whether every hash and count of the file verifies, and the next event can be stored."""

    async def append() -> bool:
        store = SQLiteStore(str(path), readers=2)
        [result] = await store.append("acme", [Write((made(random.Random(0), 10**9),))])
        await store.close()
        return not isinstance(result, WhenceError)

    return verify(str(path)).sound and asyncio.run(append()) and verify(str(path)).sound


def try_states(
    folder: Path, recorded: Recorded, states: int, rng: random.Random, figures: Figures, enough: float
) -> None:
    """Simulate a power loss at this number of random moments and judge what is left, until enough faults are found."""
    steps, histories = recorded
    moments = sorted(rng.randrange(len(steps.steps)) for _ in range(states))
    disk, done = Disk(), 0
    for moment in moments:
        for step in steps.steps[done : moment + 1]:
            if isinstance(step, Note):
                step.happen()
            else:
                disk.do(step)
        done = moment + 1
        put(disk.after_power_loss(rng.choice(MODES), rng), folder)
        try:
            found, sound = reopened(folder / "log.db")
            if figures.states % FULL_EVERY == 0:
                sound = sound and served_and_sound(folder / "log.db")
        except StoreRefused:
            figures.add(None, sound=True)
        else:
            figures.add([history.judge(found.get(name, [])) for name, history in histories.items()], sound)
        if figures.wrong >= enough:
            return


def run(states: int, chosen: int, broken: Broken = lambda _store: None, enough: float = math.inf) -> Figures:
    """Record logs and try states of each, until `states` are tried or `enough` faults are found."""
    figures = Figures()
    with in_memory() as folder:
        for number in itertools.count():
            rng = random.Random(f"{chosen}/{number}")
            source, lost = folder / f"source-{number}", folder / "lost"
            source.mkdir()
            lost.mkdir(exist_ok=True)
            with recording(highwater, durable_files) as steps:
                histories = write_log(source / "log.db", steps, rng, broken)
            figures.checkpoints += checkpoints(steps)
            todo = min(STATES_OF_RECORDING, states - figures.states)
            try_states(lost, (steps, histories), todo, rng, figures, enough)
            figures.acknowledged += sum(len(history.acknowledged) for history in histories.values())
            figures.indeterminate += sum(len(history.indeterminate) for history in histories.values())
            if figures.states >= states or figures.wrong >= enough:
                return figures
    raise AssertionError


def checkpoints(steps: Recording) -> int:
    """The number of times that the main file was written and synced within the recording."""
    return sum(step.kind == "sync" and step.name == "log.db" for step in steps.steps if not isinstance(step, Note))


@pytest.mark.parametrize("part", range(2))
def test_no_power_loss_loses_or_invents_an_event(part: int, record_property: Callable[[str, object], None]) -> None:
    """Every acknowledged event is stored, no unknown one is, positions and counts are exact, and the store is
    served."""
    figures = run(STATES // 2, seed() + part)
    record_property("figures", f"power loss: {figures}")
    print(figures)
    assert figures.checkpoints > figures.states // STATES_OF_RECORDING * SESSIONS
    assert figures.acknowledged > 0
    assert figures.wrong == 0, figures


def unsynced_commits(store: SQLiteStore) -> None:
    store._writing.execute("PRAGMA synchronous = NORMAL")


def answered_before_the_commit(store: SQLiteStore) -> None:
    def commit_group(self: Writer, group: list[Any]) -> None:
        assert self._high_water is not None
        self._run_group(group)
        self._resolve(group)
        self._connection.execute("COMMIT")
        self._listener.group_committed()
        self._high_water.record()

    store._writer._commit_group = partial(commit_group, store._writer)  # type: ignore[method-assign]  # the mutant


def recorded_before_the_commit(store: SQLiteStore) -> None:
    record = store._high_water
    assert record is not None

    def advance(connection: Any, advance: Callable[[Any], None] = record.advance) -> None:
        advance(connection)
        record.record()

    record.advance = advance  # type: ignore[method-assign]  # the mutant


@pytest.mark.parametrize(
    ("mutant", "seen_as"),
    [
        (unsynced_commits, "refused"),  # the record shows that the file lost a commit
        (answered_before_the_commit, "lost"),
        (recorded_before_the_commit, "refused"),
    ],
)
def test_mutants_are_caught(mutant: Broken, seen_as: str) -> None:
    """A store that syncs less, answers earlier or records earlier is caught within a few hundred states."""
    figures = run(2_000, seed(), mutant, enough=1)
    print(figures)
    assert getattr(figures, seen_as) > 0, figures
