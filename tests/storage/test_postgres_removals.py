"""Removals on PostgreSQL beside other transactions: each interleaving is forced.

What a removal takes out of every count is tested by the contract, on each store.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from tests.contract.faults import reword
from tests.contract.made import DAY, SECOND, TENANT, add, new, page, stored, uuid
from tests.databases import copied_database, execute, fetch, fresh_database
from tests.storage.statements import listen
from whence import rollups
from whence.errors import Invalid, Unavailable, WhenceError
from whence.events import EVENT_LOG, Viewer
from whence.storage import create_store, sequencing, verify_store
from whence.storage.followers import Definition
from whence.storage.postgres import append_function, connections, purge
from whence.storage.removals import HOLD, PAYLOAD_ERASED, RETENTION_APPLIED, HoldsChanged, Purge
from whence.storage.sql import load_blocks
from whence.wire.event import FUTURE_MAX_US

BLOCKS = load_blocks("whence.storage.postgres")

EVENTS = 10
KEPT = 2
"""The events that a purge leaves: the last of them, and the one that announces it."""

PURGE = Purge(1, EVENTS)

HOUR = 3_600 * SECOND

LATER = time.time_ns() // 1_000 + DAY
"""When an event occurs that can be told from those that were removed."""


class Gate:
    """Stops the first transaction that is about to send a statement, until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch, block: str) -> None:
        self.reached = asyncio.Event()
        self.pid = 0
        self._opened = asyncio.Event()

        async def hear(connection: Any, text: str, _values: tuple[Any, ...]) -> None:
            if not self.pid and any(each in _unnumbered(text) for each in texts_of(block)):
                self.pid = connection.get_server_pid()
                self.reached.set()
                await self._opened.wait()

        listen(patch, hear)

    def open(self) -> None:
        self._opened.set()


def texts_of(block: str) -> set[str]:
    """The text of a block, and what a mutant has made of it, as they are also in a statement that joins several."""
    return {_unnumbered(BLOCKS[block]), _unnumbered(purge._SQL[block])}


def _unnumbered(text: str) -> str:
    return re.sub(r"\$\d+", "$", text)


@dataclass
class Stores:
    """Two processes of one log. Gates are open at the end, whatever a test finds, or no store could close."""

    first: Any
    second: Any
    url: str
    gates: list[Gate] = field(default_factory=list)

    def gate(self, patch: pytest.MonkeyPatch, block: str) -> Gate:
        self.gates.append(Gate(patch, block))
        return self.gates[-1]


@pytest.fixture
async def stores(anyio_backend: str) -> AsyncIterator[Stores]:
    """A log of ten events, with an eleventh that announces the removal of the first nine."""
    url = await fresh_database()
    made = Stores(create_store(url), create_store(url), url)
    kinds = ("action_run.completed", "action_run.failed")
    events = [new(number, event_type=kinds[number == EVENTS], actor_id=f"a{number}") for number in range(1, EVENTS + 1)]
    ranges = msgspec.json.encode({"ranges": [[1, EVENTS - 1]]})
    announced = new(99, event_type=RETENTION_APPLIED, resource_type=EVENT_LOG, payload=ranges)
    await add(made.first, *events, announced)
    yield made
    for gate in made.gates:
        gate.open()
    await made.first.close()
    await made.second.close()


async def waits(task: "asyncio.Task[Any]") -> bool:
    """Whether a task is still running after a while in which it could have ended."""
    await asyncio.wait({task}, timeout=0.3)
    return not task.done()


async def _is_sound(url: str) -> None:
    assert (await verify_store(url)).findings == []


async def append_beside_a_purge(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """An append of another process waits for the purge. It then gives a kind and an actor that are gone new numbers."""
    first, second, url = stores.first, stores.second, stores.url
    for number in (50, 51):  # after which the process knows the kinds
        await add(second, new(number, event_type="action_run.cancelled"))
    gate = stores.gate(patch, "save_purge")
    purging = asyncio.create_task(first.removals.purge(TENANT, PURGE, []))
    await gate.reached.wait()
    appending = asyncio.create_task(stored(second, new(60, actor_id="a1", occurred_at=LATER)))
    assert await waits(appending)
    gate.open()
    assert await purging == EVENTS - 1
    [appended] = await appending
    assert appended.position == EVENTS + 4
    event = await second.get_event(Viewer(TENANT), new(60).id)
    assert event is not None
    assert (event.event_type, event.actor_id) == ("action_run.completed", "a1")
    assert await fetch(url, "SELECT kind FROM whence.kind WHERE event_type = 'action_run.completed'") == [(5,)]
    await _is_sound(url)


async def replay_beside_a_purge(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """An event that is purged at the moment when it is sent again is refused, and is never a new one."""
    first, second, url = stores.first, stores.second, stores.url
    await stored(second, new(50))
    gate = stores.gate(patch, "save_purge")
    purging = asyncio.create_task(first.removals.purge(TENANT, PURGE, []))
    await gate.reached.wait()
    sent = asyncio.create_task(add(second, new(1, event_type="action_run.completed", actor_id="a1")))
    assert await waits(sent)
    gate.open()
    await purging
    [receipt] = await sent
    assert isinstance(receipt.error, Invalid)
    assert receipt.error.problems[0].type == "older_than_retention"
    [kept] = await add(second, new(EVENTS, event_type="action_run.failed", actor_id=f"a{EVENTS}"))
    assert kept.replayed
    await _is_sound(url)


async def two_purges_at_once(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and finds nothing left to remove."""
    first, second, url = stores.first, stores.second, stores.url
    gate = stores.gate(patch, "save_purge")
    one = asyncio.create_task(first.removals.purge(TENANT, PURGE, []))
    await gate.reached.wait()
    other = asyncio.create_task(second.removals.purge(TENANT, PURGE, []))
    assert await waits(other)
    gate.open()
    assert [await one, await other] == [EVENTS - 1, 0]
    assert (await first.head(TENANT)).retained_from == EVENTS
    await _is_sound(url)


async def a_hold_beside_a_removal(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """A hold that is stored while a removal runs is in force once `settle` returns, which waits for the removal. One
    that is there is refused, or has to be known, and then what it does not hold can go."""
    first, second, url = stores.first, stores.second, stores.url
    gate = stores.gate(patch, "save_erasure")
    erasing = asyncio.create_task(first.removals.erase_payloads(TENANT, [1], 5, []))
    await gate.reached.wait()
    assert await second.followers.put_definition(Definition(TENANT, HOLD, "held", 1, b"{}"))
    settling = asyncio.create_task(second.removals.settle(TENANT))
    assert await waits(settling)
    gate.open()
    assert await erasing == 1
    await settling
    for known in ([], [("another", 1)], [("held", 2)]):
        with pytest.raises(HoldsChanged):
            await first.removals.erase_payloads(TENANT, [2], 5, known)
        with pytest.raises(HoldsChanged):
            await first.removals.purge(TENANT, PURGE, known)
    assert await first.removals.erase_payloads(TENANT, [2], 5, [("held", 1), ("gone", 7)]) == 1
    erased = await fetch(url, "SELECT position FROM whence.event WHERE payload IS NULL ORDER BY position")
    assert erased == [(1,), (2,)]


async def a_snapshot_across_a_purge(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """A transaction that reads sees the log as it was when it began, in every table, while a purge is committed."""
    first, second = stores.first, stores.second
    count = "SELECT count(*), (SELECT events FROM bucket WHERE level = 0), (SELECT sum(events) FROM flow) FROM event"
    seen: list[tuple[int, ...]] = []

    async def across(connection: Any, _owner: Any) -> None:
        seen.append(tuple(await connection.fetchrow(count)))
        await second.removals.purge(TENANT, PURGE, [])
        seen.append(tuple(await connection.fetchrow(count)))

    await first._read_as(TENANT, across)
    assert seen == [(EVENTS + 1,) * 3] * 2
    assert (await page(first)).total == KEPT


async def a_connection_lost_in_a_purge(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """Nothing of the batch is left, and it can be done again."""
    first, url = stores.first, stores.url
    gate = stores.gate(patch, "save_purge")
    purging = asyncio.create_task(first.removals.purge(TENANT, PURGE, []))
    await gate.reached.wait()
    await fetch(url, "SELECT pg_terminate_backend($1, 5000)", gate.pid)
    gate.open()
    with pytest.raises(Unavailable):
        await purging
    assert (await page(first)).total == EVENTS + 1
    await _is_sound(url)
    assert await first.removals.purge(TENANT, PURGE, []) == EVENTS - 1
    await _is_sound(url)


async def _purge_with(
    stores: Stores,
    patch: pytest.MonkeyPatch,
    meanwhile: Callable[[], Awaitable[object]],
    divide_at: int,
    batch: Purge = PURGE,
    events: int = EVENTS - 1,
) -> None:
    """A purge that has read and deleted its events, and then waits for the row lock while something else is done."""
    patch.setattr(rollups, "DIVIDE_AT", divide_at)
    patch.setattr(sequencing, "FOLD_AT", 5)
    await stored(stores.second, new(50, occurred_at=LATER), new(51, occurred_at=LATER))  # folds all of them
    gate = stores.gate(patch, "lock_head")
    purging = asyncio.create_task(stores.first.removals.purge(TENANT, batch, []))
    await gate.reached.wait()
    await meanwhile()
    gate.open()
    assert await purging == events
    await stored(stores.first, new(80, event_type="action_run.cancelled", occurred_at=LATER))
    await _is_sound(stores.url)


async def effects_beside_a_purge(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """Effects of the events that go come after the purge has read these, and are folded before it has the row lock."""
    effects = [new(number, causation_id=uuid(number - 59), occurred_at=LATER) for number in range(60, 66)]
    await _purge_with(stores, patch, lambda: stored(stores.second, *effects), 1_000)


async def a_kind_beside_a_purge(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """A kind that is added after the purge has read them is not added again by the process that purges."""
    added = new(60, event_type="action_run.cancelled", occurred_at=LATER)
    await _purge_with(stores, patch, lambda: stored(stores.second, added), 1_000)
    assert await fetch(stores.url, "SELECT count(*) FROM whence.kind WHERE event_type = 'action_run.cancelled'") == [
        (1,)
    ]


async def a_division_beside_a_purge(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """A bucket that is divided after the purge has read it loses the totals of the actors of its events too."""
    await _purge_with(stores, patch, lambda: stored(stores.second, new(60, occurred_at=LATER)), EVENTS + 3)


async def a_refill_beside_a_purge(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """A bucket that the purge was to empty gets an event after it was read. Its rows stay, and count that."""
    earlier = new(1).occurred_at - 40 * DAY
    ranges = msgspec.json.encode({"ranges": [[EVENTS + 2, EVENTS + 3]]})
    said = new(98, event_type=RETENTION_APPLIED, resource_type=EVENT_LOG, payload=ranges)
    await stored(stores.second, new(40, occurred_at=earlier), new(41, occurred_at=earlier), said)
    added = new(60, occurred_at=earlier)
    batch = Purge(1, EVENTS + 4, (EVENTS,))
    await _purge_with(stores, patch, lambda: stored(stores.second, added), 5, batch, EVENTS + 1)


async def a_replay_within_the_hour(stores: Stores, patch: pytest.MonkeyPatch) -> None:
    """A purge that leaves the kinds their version is unknown to another process. Its function refuses what was removed
    all the same, also what may not be older than what that process knows to be removed."""
    first, second, url = stores.first, stores.second, stores.url
    await add(first, new(40), new(41))
    await first.removals.purge(TENANT, PURGE, [])
    await stored(second, new(50, occurred_at=LATER))  # after which the process knows what was removed
    [(known, version)] = await fetch(url, "SELECT removed_recorded_at, kinds_version FROM whence.head")
    await asyncio.sleep(0.05)
    late = new(60, occurred_at=known + FUTURE_MAX_US + 1)
    ranges = msgspec.json.encode({"ranges": [[EVENTS + 2, EVENTS + 5]]})
    said = new(98, event_type=RETENTION_APPLIED, resource_type=EVENT_LOG, payload=ranges, occurred_at=LATER)
    await add(first, late, said, new(70, occurred_at=LATER))
    assert await first.removals.purge(TENANT, Purge(EVENTS, EVENTS + 6, (EVENTS,)), []) == 4
    hours = {each[0] // HOUR for each in await fetch(url, "SELECT removed_recorded_at FROM whence.head")}
    if hours == {known // HOUR}:
        assert await fetch(url, "SELECT kinds_version FROM whence.head") == [(version,)]
    [receipt] = await add(second, late)
    assert isinstance(receipt.error, Invalid)
    await _is_sound(url)


Race = Callable[[Stores, pytest.MonkeyPatch], Awaitable[None]]

RACES: tuple[Race, ...] = (
    append_beside_a_purge,
    replay_beside_a_purge,
    two_purges_at_once,
    a_hold_beside_a_removal,
    a_snapshot_across_a_purge,
    a_connection_lost_in_a_purge,
    effects_beside_a_purge,
    a_kind_beside_a_purge,
    a_division_beside_a_purge,
    a_refill_beside_a_purge,
    a_replay_within_the_hour,
)


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
async def test_races(stores: Stores, race: Race, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what holds."""
    await race(stores, monkeypatch)


def unlocked_head(patch: pytest.MonkeyPatch) -> None:
    reword(patch, "lock_head", postgres=("FOR UPDATE", ""))


def version_that_stays(patch: pytest.MonkeyPatch) -> None:
    reword(patch, "save_purge", postgres=("kinds_version = $8", "kinds_version = kinds_version + 0 * $8::bigint"))


def forgotten_time(patch: pytest.MonkeyPatch) -> None:
    reword(patch, "save_purge", postgres=("removed_recorded_at = $6", "removed_recorded_at = 0 * $6::bigint"))


def unread_holds(patch: pytest.MonkeyPatch) -> None:
    reword(patch, "hold_versions", postgres=("tenant = $2", "tenant = $2 AND false"))


def read_committed(patch: pytest.MonkeyPatch) -> None:
    real = connections.begin_statements

    def begin(*args: Any, **options: Any) -> tuple[str, ...]:
        return tuple(text.replace("REPEATABLE READ", "READ COMMITTED") for text in real(*args, **options))

    patch.setattr(connections, "begin_statements", begin)


def unseen_folds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(purge, "_is_overtaken", lambda _read, _locked, *, begun: False)


def unseen_kinds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(purge, "_has_new_kinds", lambda _read, _locked: False)


def unseen_divisions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(purge, "_left", lambda _head, totals, _stored: dict.fromkeys(totals, b""))


def unseen_refills(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(purge._Plan, "holds_for", lambda _plan, _found: True)


def exact_removals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(append_function, "latest_removal", lambda removed_recorded_at: removed_recorded_at)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("race", "mutant"),
    [
        (append_beside_a_purge, unlocked_head),
        (append_beside_a_purge, version_that_stays),
        (replay_beside_a_purge, version_that_stays),
        (replay_beside_a_purge, forgotten_time),
        (a_hold_beside_a_removal, unlocked_head),
        (a_hold_beside_a_removal, unread_holds),
        (a_snapshot_across_a_purge, read_committed),
        (effects_beside_a_purge, unseen_folds),
        (a_kind_beside_a_purge, unseen_kinds),
        (a_division_beside_a_purge, unseen_divisions),
        (a_division_beside_a_purge, unseen_refills),
        (a_refill_beside_a_purge, unseen_refills),
        (a_replay_within_the_hour, exact_removals),
    ],
)
async def test_a_race_can_be_lost(
    stores: Stores, race: Race, mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what prevents it, each of them is."""
    mutant(monkeypatch)
    with pytest.raises((AssertionError, WhenceError, TimeoutError, pytest.fail.Exception)):
        async with asyncio.timeout(10):
            await race(stores, monkeypatch)


async def test_few_round_trips_under_the_row_lock(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch, what no append writes is sent before it takes the row lock, and the rest in few statements."""
    monkeypatch.setattr(sequencing, "FOLD_AT", 5)
    await stored(stores.first, new(50))  # folds all of them
    sent: list[str] = []

    async def hear(_connection: Any, text: str, _values: tuple[Any, ...]) -> None:
        if "pg_notify" not in text:  # it wakes readers, in a transaction of its own
            sent.append(text)

    with monkeypatch.context() as patch:
        listen(patch, hear)
        await stores.first.removals.purge(TENANT, PURGE, [])
    locked = sent.index(BLOCKS["lock_head"])
    assert sent.index(BLOCKS["delete_event"]) < locked
    assert sent.index(BLOCKS["put_tile"]) < locked
    # The holds, the counts and what else is read, what is subtracted, and the names with the head.
    assert len(sent[locked + 1 :]) == 4
    assert "UPDATE head" in sent[-1]


# --- rot --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def removed(anyio_backend: str) -> str:
    """A database with forty events, from which all but the fifth of the first twenty were removed, and a payload."""
    url = await fresh_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollups, "DIVIDE_AT", 8)
        patch.setattr(sequencing, "FOLD_AT", 30)
        store = create_store(url)
        caused = {number: uuid(number // 2) if number > 1 else None for number in range(1, 41)}
        await stored(store, *(new(number, causation_id=cause) for number, cause in caused.items()))
        said = {"resource_type": EVENT_LOG, "event_type": RETENTION_APPLIED}
        await stored(store, new(41, **said, payload=b'{"ranges":[[1, 20]]}'))
        await stored(store, new(42, **said | {"event_type": PAYLOAD_ERASED}, payload=b'{"ranges":[[31, 31]]}'))
        assert await store.removals.purge(TENANT, Purge(1, 21, [5]), []) == 19
        assert await store.removals.erase_payloads(TENANT, [31], 5, []) == 1
        await store.close()
    await _is_sound(url)
    return url


def of_kind(event_type: str) -> str:
    return f"DELETE FROM event WHERE kind = (SELECT kind FROM kind WHERE event_type = '{event_type}')"


ZEROS = "decode(repeat('00', 32), 'hex')"

ROT: dict[str, tuple[str, int | None, str]] = {
    "a payload is nulled, and its hash kept": (
        "UPDATE event SET payload_hash = sha256(salt || payload), payload = NULL, salt = NULL, erased_at = 5"
        " WHERE position = 35",
        35,
        "no event says that it was erased",
    ),
    "an event is deleted": ("DELETE FROM event WHERE position = 33", 33, "the event is missing"),
    "the first position that is kept is raised": ("UPDATE head SET retained_from = 25", 21, "another leaf"),
    "the first position that is kept is lowered": ("UPDATE head SET retained_from = 10", 10, "the event is missing"),
    "what announced a purge is deleted": (of_kind(RETENTION_APPLIED), 41, "the event is missing"),
    "what announced an erasure is deleted": (of_kind(PAYLOAD_ERASED), 42, "the event is missing"),
    "a leaf in a tile is another": (
        f"UPDATE tile SET hashes = overlay(hashes PLACING {ZEROS} FROM 65 FOR 32) WHERE level = 0",
        None,
        "the head",
    ),
    "a tile is shorter": ("UPDATE tile SET hashes = substr(hashes, 1, 64) WHERE level = 0", 3, "missing"),
    "a tile above the leaves is made up": (
        f"INSERT INTO tile (tenant_no, level, number, hashes) VALUES (1, 1, 0, {ZEROS})",
        None,
        "the tiles",
    ),
    "removed transitions come back": ("DELETE FROM removed_transition", None, "causes and effects"),
    "kinds are fewer than it says": ("UPDATE head SET kinds_removed = kinds_removed + 1", None, "names"),
    "a number of a name could be given again": ("UPDATE head SET actors = actors - 1", None, "names"),
    "a count is as before": ("UPDATE rollup_actor SET events = events + 1 WHERE level = 0", None, "by time"),
    "a flow is as before": ("UPDATE flow SET first_at = first_at - 1", None, "flows"),
}
"""What is changed from outside, where it is found, and what is said of it."""


@pytest.mark.slow
@pytest.mark.parametrize("rot", ROT)
async def test_whatever_is_changed_is_found(removed: str, rot: str) -> None:
    """By verify, which names what is wrong."""
    change, position, what = ROT[rot]
    url = await copied_database(removed)
    await execute(url, "SET search_path TO whence", change)
    findings = (await verify_store(url)).findings
    assert [each for each in findings if each.position == position and what in each.what], findings
