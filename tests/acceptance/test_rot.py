"""Damage to a store's files is refused at opening, found by `whence verify`, or changes no result."""

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from tests.acceptance.running import seed
from tests.acceptance.tools import in_memory
from tests.contract.made import HOUR, add, new, page, stored, uuid
from tests.examples import soak
from whence import rollups
from whence.errors import RolledBack, StoreRefused, WhenceError
from whence.events import Query, Viewer
from whence.storage.sqlite import engine
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.verify import verify

CASES = 20_000 if soak() else 120
TENANTS = ("acme", "globex")
EVENTS = 240
PAGE = 8_192
LAST = 10

FILES = ("log.db", "log.db-wal", "log.db.high")
"""The files of a store. The first two together are the log."""

Harm = Callable[[Path, random.Random], None]


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of a store after a crash, with commits in the write-ahead log, and an older copy of them."""
    with in_memory() as folder:
        serving, older, crashed = folder / "serving", folder / "older", folder / "crashed"
        for made in (serving, older, crashed):
            made.mkdir()
        monkeypatch.setattr(rollups, "DIVIDE_AT", 16)
        asyncio.run(_fill(serving, older, crashed))
        yield folder


async def _fill(serving: Path, older: Path, crashed: Path) -> None:
    store = SQLiteStore(str(serving / "log.db"))
    for first in range(0, EVENTS, 8):
        if first in (EVENTS - 9 * 8, EVENTS - 5 * 8):
            store._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if first == EVENTS - 7 * 8:
            for name in FILES:
                shutil.copy(serving / name, older / name)
        for tenant in TENANTS:
            await stored(store, *(_event(number) for number in range(first, first + 8)), tenant=tenant)
    for name in FILES:
        shutil.copy(serving / name, crashed / name)
    await store.close()


def _event(number: int) -> Any:
    words = ("action_run.completed", "action_run.failed", "decision.approved")
    return new(
        number,
        event_type=words[number % 3],
        actor_id=f"agent-{number % 5}",
        resource_id=uuid(number % 4),
        correlation_id=f"flow-{number % 9}",
        causation_id=uuid(number - 1) if number % 2 else None,
        occurred_at=number * 7 * HOUR,
        payload=b'{"number":%d,"more":"%s"}' % (number, b"x" * (5_000 if number % 40 == 0 else number)),
    )


async def _answers(path: Path) -> list[Any]:
    """The results of every query, and of storing two more events."""
    store = SQLiteStore(str(path))
    said: list[Any] = []
    try:
        for tenant in TENANTS:
            for offset in range(0, EVENTS + 100, 100):
                said.append(await page(store, tenant, offset=offset))
            for asked in ({}, {"since": 0, "until": 900 * HOUR}, {"actor_ids": ("agent-1",)}):
                said.append(await store.count_events(Viewer(tenant), Query(**asked)))
                said.append(await store.actor_stats(Viewer(tenant), Query(**asked)))
                said.append((await page(store, tenant, limit=3, **asked)).total)
            for number in range(9):
                said.append((await page(store, tenant, correlation_ids=(f"flow-{number}",))).total)
                said.append((await page(store, tenant, resource_ids=(uuid(number),))).total)
                said.append((await page(store, tenant, causation_ids=(uuid(number),))).total)
            said.append(
                await asyncio.gather(*(store.get_event(Viewer(tenant), uuid(number)) for number in range(EVENTS)))
            )
            said.append(await store.head(tenant))
        for tenant in TENANTS:
            known, fresh = await add(store, _event(3), new(10**6, actor_id="newcomer"), tenant=tenant)
            assert fresh.event is not None
            said.append((known, msgspec.structs.replace(fresh.event, recorded_at=0)))
    finally:
        await store.close()
    return said


def answers(path: Path) -> list[Any] | str:
    """All results, or the error. The store must still verify after the append."""
    try:
        said = asyncio.run(_answers(path))
    except WhenceError as error:
        return type(error).__name__
    return said if verify(str(path)).sound else "unsound when it was added to"


# --- what may happen to a store ------------------------------------------------------------------------------------


def flip_a_bit(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(FILES[:2])
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def zero_a_page(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(FILES[:2])
    content = bytearray(path.read_bytes())
    first = rng.randrange(len(content) // PAGE) * PAGE
    content[first : first + PAGE] = bytes(PAGE)
    path.write_bytes(content)


def truncate(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(FILES[:2])
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def put_back(folder: Path, rng: random.Random) -> None:
    """Replace one of the two files, or both, by an older copy; the high-water record is kept."""
    older = folder.parent / "older"
    for name in rng.choice((FILES[:1], FILES[1:2], FILES[:2])):
        shutil.copy(older / name, folder / name)


def swap_two_rows(folder: Path, rng: random.Random) -> None:
    first, second = rng.sample(range(1, EVENTS + 1), 2)
    columns = rng.choice(("salt, payload", "salt, payload, leaf", "id", "occurred_at", "recorded_at", "kind, actor"))
    rows = "SELECT key & 0xFFFF, %s FROM event WHERE tenant_no = 1 AND key & 0xFFFF IN (%d, %d)"

    def swap(connection: apsw.Connection) -> None:
        held = {key: values for key, *values in connection.execute(rows % (columns, first, second)).fetchall()}
        if columns == "id":
            connection.execute("UPDATE event SET id = x'00' WHERE tenant_no = 1 AND key & 0xFFFF = ?", (second,))
        for key, values in ((first, held[second]), (second, held[first])):
            marks = ", ".join("?" * len(values))
            connection.execute(
                f"UPDATE event SET ({columns}) = ({marks}) WHERE tenant_no = 1 AND key & 0xFFFF = ?",
                (*values, key),
            )

    _by_sql(folder, swap)


def delete_the_last(folder: Path, rng: random.Random) -> None:
    """Delete the last ten events, and possibly adjust the head."""
    tenant_no, whole = rng.randint(1, 2), rng.random() < 0.5

    def delete(connection: apsw.Connection) -> None:
        kept = EVENTS - LAST
        connection.execute("DELETE FROM event WHERE tenant_no = ? AND key & 0xFFFF > ?", (tenant_no, kept))
        if whole:
            connection.execute("UPDATE tenant SET size = ? WHERE tenant_no = ?", (kept, tenant_no))

    _by_sql(folder, delete)


def change_a_count(folder: Path, rng: random.Random) -> None:
    table, column = rng.choice(
        (
            ("bucket", "events"),
            ("bucket", "divided"),
            ("rollup_kind", "events"),
            ("rollup_actor", "events"),
            ("flow", "events"),
            ("flow", "failures"),
            ("flow", "last_at"),
            ("resource", "events"),
            ("tenant", "size"),
            ("tenant", "kinds"),
            ("tenant", "actors"),
            ("tenant", "flows"),
            ("tenant", "resources"),
            ("tenant", "recorded_at"),
        )
    )
    by = rng.choice((-1, 1, 100))

    def change(connection: apsw.Connection) -> None:
        rows: Any = connection.execute(f"SELECT count(*) FROM {table}").get
        value = f"1 - {column}" if column == "divided" else f"{column} + {by}"
        where = "(tenant_no, level, bucket)" if table == "bucket" else "tenant_no" if table == "tenant" else "key"
        if table.startswith("rollup"):
            where = "(tenant_no, level, bucket, kind)"
        names = where.strip("()")
        connection.execute(
            f"UPDATE {table} SET {column} = {value} WHERE {where} = (SELECT {names} FROM {table} LIMIT 1 OFFSET ?)",
            (rng.randrange(rows),),
        )

    _by_sql(folder, change)


def _by_sql(folder: Path, change: Callable[[apsw.Connection], None]) -> None:
    connection = apsw.Connection(str(folder / "log.db"))
    with connection:
        change(connection)
        assert connection.total_changes()
    connection.close()


HARMS: tuple[Harm, ...] = (
    flip_a_bit,
    flip_a_bit,
    zero_a_page,
    truncate,
    put_back,
    swap_two_rows,
    delete_the_last,
    change_a_count,
)
"""The kinds of damage. A flipped bit is the most common and the hardest to find, so it is listed twice."""


def harmed(sound: Path, name: str, harm: Harm, chosen: str) -> Path:
    """A copy of the crashed store with this damage."""
    folder = sound / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound / "crashed", folder)
    harm(folder, random.Random(chosen))
    return folder / "log.db"


def outcome(sound: Path, harm: Harm, chosen: str, intact: list[Any] | str) -> str:
    """How a damage is handled: refused at opening, found by verify, harmless, or missed."""
    path = harmed(sound, "harmed", harm, chosen)
    report = verify(str(path))
    try:
        asyncio.run(SQLiteStore(str(path)).close())
    except StoreRefused:
        return "refused"
    if not report.sound:
        return "found"
    return "harmless" if answers(path) == intact else "missed"


def says_ok(path: Path) -> bool:
    """Whether SQLite's own integrity check passes."""
    try:
        connection = apsw.Connection(str(path))
        said = connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
    except apsw.Error:
        return False
    return said == [("ok",)]


def bytes_after(sound: Path, look: Callable[[str], object]) -> tuple[bool, bool]:
    """Whether the file and its write-ahead log are unchanged after reading a store with a flipped bit."""

    def flip(folder: Path, _rng: random.Random) -> None:
        log = folder / "log.db-wal"
        content = bytearray(log.read_bytes())
        content[200_000] ^= 1
        log.write_bytes(content)

    path = harmed(sound, "looked-at", flip, "")
    before = [(path.parent / name).read_bytes() for name in FILES[:2]]
    look(str(path))
    log = path.with_name(FILES[1])
    return path.read_bytes() == before[0], log.exists() and log.read_bytes() == before[1]


def refused(path: str) -> None:
    with pytest.raises(RolledBack):
        SQLiteStore(path)


def test_a_look_at_a_damaged_store_changes_nothing(sound: Path) -> None:
    """Refused opening and verification leave a damaged store unchanged, so that data after the damage can be
    recovered."""
    assert bytes_after(sound, refused) == (True, True)
    assert bytes_after(sound, verify) == (True, True)


def test_mutant_a_look_that_folds_the_log_is_caught(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed normally checkpoints the readable part of the log into the file and deletes the
    rest."""
    monkeypatch.setattr(engine, "close_untouched", apsw.Connection.close)
    assert bytes_after(sound, refused) == (False, False)


def test_no_rot_goes_unnoticed(sound: Path, record_property: Callable[[str, object], None]) -> None:
    """No damage changes a result without being found, while SQLite's own check misses most."""
    chosen = seed()
    intact = answers(harmed(sound, "intact", lambda _folder, _rng: None, ""))
    assert isinstance(intact, list)
    counts: Counter[str] = Counter()
    by_sqlite = missed_by_sqlite = 0
    missed = []
    for number in range(CASES):
        harm = HARMS[number % len(HARMS)]
        met = outcome(sound, harm, f"{chosen}/{number}", intact)
        counts[met] += 1
        if met == "missed":
            missed.append((harm.__name__, number))
        elif met != "harmless":
            ok = says_ok(harmed(sound, "harmed", harm, f"{chosen}/{number}"))
            by_sqlite += not ok
            missed_by_sqlite += ok
    figures = f"rot: trials={CASES} {dict(counts)} integrity_check alone: found={by_sqlite} missed={missed_by_sqlite}"
    record_property("figures", figures)
    print(figures)
    assert missed == []
    assert counts["found"] + counts["refused"] > CASES // 2
    assert missed_by_sqlite > by_sqlite, "the mutant, a check by SQLite alone, was as good"
