"""What somebody changes by SQL in a log from which much was removed, or a bit that flips there, is found and named."""

import asyncio
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import pytest

from tests.acceptance.running import seed
from tests.contract.made import TENANT
from tests.databases import asyncpg, fetch, fresh_database
from tests.examples import soak
from tests.storage.removal_histories import Fuse, KilledHistory, in_process
from tests.unit.mutants import catches, replaced
from whence.storage import create_store, verify_store
from whence.storage.announced import Announced
from whence.storage.removals import LASTING_TYPES
from whence.storage.verification import Chain, Report

pytestmark = pytest.mark.slow

TRIALS = {"sqlite": 200 if soak() else 40, "postgres": 200 if soak() else 8}

TABLES = (
    *("event", "event", "event", "event", "kind", "actor", "flow", "resource", "tile"),
    *("bucket", "rollup_kind", "rollup_actor", "transition", "removed_transition", "actor_total"),
)
"""The tables of a log. Most changes are of events."""

NOT_PROVEN = {
    ("event", "erased_at"),  # when a payload was erased: its announcement has the time
    ("actor", "erased_at"),
    ("transition", "up_to"),  # how far parts of the counts were folded, of which only the sum means something
    ("removed_transition", "up_to"),
}

UNPROVEN = {"event": "position", "flow": "flow", "resource": "resource", "kind": "kind"}
"""What events whose actor was replaced say is not proven any more, and is left alone here: the tables that have it, and
the columns of an event that name it."""

THEFTS = {
    "a payload nulled with its hash kept": (
        "UPDATE event SET payload_hash = x'{hash}', payload = NULL, salt = NULL WHERE key & 0xFFFFFF = {position}",
        "UPDATE whence.event SET payload_hash = sha256(salt || payload), payload = NULL, salt = NULL"
        " WHERE position = {position}",
        "the payload is missing, and no event says that it was erased",
    ),
    "retained_from raised": (
        "UPDATE tenant SET retained_from = retained_from + 2",
        "UPDATE whence.head SET retained_from = retained_from + 2",
        "the tiles have another leaf of the event, or none",
    ),
    "an announcement erased": (
        "UPDATE event SET payload_hash = x'00', payload = NULL, salt = NULL WHERE key & 0xFFFFFF = {announced}",
        "UPDATE whence.event SET payload_hash = sha256(salt || payload), payload = NULL, salt = NULL"
        " WHERE position = {announced}",
        "",
    ),
    "an announcement deleted": (
        "DELETE FROM event WHERE key & 0xFFFFFF = {announced}",
        "DELETE FROM whence.event WHERE position = {announced}",
        "",
    ),
    "a name replaced": (
        "UPDATE actor SET actor_id = 'erased-0', erased_at = 5 WHERE actor_id = '{name}'",
        "UPDATE whence.actor SET actor_id = 'erased-0', erased_at = 5 WHERE actor_id = '{name}'",
        "the id of the actor was replaced, and no event says so",
    ),
    "the time of what was removed forgotten": (
        "UPDATE tenant SET removed_recorded_at = 5",
        "UPDATE whence.head SET removed_recorded_at = 5",
        "the time of the last event that was removed is wrong",
    ),
    "leaves beside those of events": (
        "INSERT INTO tile (tenant_no, level, number, hashes)"
        " SELECT tenant_no, 0, number + 1000, hashes FROM tile WHERE level = 0 LIMIT 1",
        "INSERT INTO whence.tile (tenant_no, level, number, hashes)"
        " SELECT tenant_no, 0, number + 1000, hashes FROM whence.tile WHERE level = 0 LIMIT 1",
        "the tiles do not belong to the leaves",
    ),
    "an event given to an actor whose id was replaced": (
        "UPDATE event SET actor = (SELECT min(key & 0xFFFFFF) FROM actor WHERE erased_at IS NOT NULL)"
        " WHERE key & 0xFFFFFF = {position}",
        "UPDATE whence.event SET actor = (SELECT min(actor) FROM whence.actor WHERE erased_at IS NOT NULL)"
        " WHERE position = {position}",
        "the id of the actor was replaced, and no event says so",
    ),
}
"""What somebody may take away, by SQL for each store, and what verify then says; empty where that differs."""


class Rotting:
    """A log that went through a random history of removals, and is changed for one check at a time."""

    def __init__(self, url: str) -> None:
        self.url = url

    def make(self, first_seed: int) -> None:
        """Let histories happen until one has left a bit of everything."""
        for number in itertools.count(first_seed):
            history = KilledHistory(self.url, number)
            history.seals = True
            for sent in (100, 200, 300):
                assert in_process(partial(history._happen, history.random.randrange(10**9), sent))
                assert in_process(partial(history._work, Fuse(10**9)))
            if all(asyncio.run(self.rows(sql)) for sql in self.left()):
                return
            self.clear()

    def left(self) -> tuple[str, ...]:
        """What has to be in the log: an erased payload, a replaced name, and an event before the first that is kept."""
        return (
            f"SELECT 1 FROM {self.name('event')} WHERE payload IS NULL",
            f"SELECT 1 FROM {self.name('actor')} WHERE erased_at IS NOT NULL",
            self.kept_before,
        )

    unproven = (
        "SELECT {} FROM (SELECT *, key & 0xFFFFFF AS position FROM event) e"
        " JOIN actor a ON a.key & 0xFFFFFF = e.actor WHERE a.erased_at IS NOT NULL"
    )

    kept_before = "SELECT 1 FROM event WHERE key & 0xFFFFFF < (SELECT retained_from FROM tenant)"

    def clear(self) -> None:
        """Forget the log."""
        path = Path(self.url.removeprefix("sqlite:///"))
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()

    def name(self, table: str) -> str:
        """A table, as SQL names it."""
        return table

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        connection = apsw.Connection(self.url.removeprefix("sqlite:///"))
        found = connection.execute(sql).fetchall()
        connection.close()
        return found

    async def values(self) -> dict[str, object]:
        """What somebody may aim at: the position of an event with a payload, with its hash; that of an announcement;
        and the id of an actor."""
        store = create_store(self.url)
        log = await store.read_log(TENANT, (await store.head(TENANT)).retained_from - 1, 100)
        await store.close()
        plain = [each for each in log if each.event.event_type not in LASTING_TYPES and each.event.payload is not None]
        return {
            "announced": next(each.event.position for each in log if each.event.event_type in LASTING_TYPES),
            "hash": plain[0].payload_hash.hex(),
            "name": plain[-1].event.actor_id,
            "position": plain[0].event.position,
        }

    async def table(self, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns of a table and its rows, of which the first value names the row."""
        connection = apsw.Connection(self.url.removeprefix("sqlite:///"))
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        named = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
        name = " || ' ' || ".join(named)
        rows = connection.execute(f"SELECT {name}, {', '.join(columns)} FROM {table}").fetchall()
        connection.close()
        return [name, *columns], rows

    async def after(self, sql: str, values: tuple[Any, ...] = ()) -> Report | None:
        """What verify says after a change; None when the store does not take it, or it changes nothing."""
        path = Path(self.url.removeprefix("sqlite:///"))
        changed = path.with_name("changed.db")
        shutil.copy(path, changed)
        connection = apsw.Connection(str(changed))
        try:
            connection.execute(sql, values)
            if not connection.total_changes():
                return None
        except apsw.ConstraintError:
            return None
        finally:
            connection.close()
        return await verify_store(f"sqlite:///{changed}")


class RottingDatabase(Rotting):
    """The same on PostgreSQL, where a change is undone after the check."""

    unproven = (
        "SELECT {} FROM whence.event e JOIN whence.actor a USING (tenant_no, actor) WHERE a.erased_at IS NOT NULL"
    )

    kept_before = "SELECT 1 FROM whence.event e JOIN whence.head h USING (tenant_no) WHERE e.position < h.retained_from"

    def clear(self) -> None:
        """Forget the log."""
        self.url = asyncio.run(fresh_database())

    def name(self, table: str) -> str:
        """A table, as SQL names it."""
        return f"whence.{table}"

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return await fetch(self.url, sql)

    async def table(self, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns of a table and its rows, of which the first value names the row."""
        connection = await asyncpg.connect(self.url)
        rows = await connection.fetch(f"SELECT ctid::text, * FROM whence.{table}")
        await connection.close()
        return ["ctid::text", *list(rows[0].keys())[1:]] if rows else [], [tuple(row) for row in rows]

    async def after(self, sql: str, values: tuple[Any, ...] = ()) -> Report | None:
        """What verify says after a change; None when the store does not take it, or it changes nothing."""
        table = next(word for word in sql.split() if word.startswith("whence."))
        for number in range(len(values), 0, -1):
            sql = sql.replace("?", f"${len(values) - number + 1}", 1)
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"DROP TABLE IF EXISTS saved; CREATE TABLE saved AS SELECT * FROM {table}")
            if (await connection.execute(sql, *values)).endswith(" 0"):
                return None
            return await verify_store(self.url)
        except asyncpg.IntegrityConstraintViolationError:
            return None
        finally:
            await connection.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved; DROP TABLE saved")
            await connection.close()


def changed(value: Any, draw: random.Random) -> Any:
    """Another value; of bytes, the same with one bit flipped."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + draw.choice((-1, 1))
    if isinstance(value, UUID):
        return UUID(int=value.int ^ 1 << draw.randrange(128))
    if isinstance(value, str):
        return value + "x"
    at = draw.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << draw.randrange(8)]) + value[at + 1 :]


async def change(log: Rotting, draw: random.Random) -> tuple[str, Report, int | None] | None:
    """One change somewhere in the log: what was changed, what verify says of it, and the position of an event."""
    table = draw.choice(TABLES)
    columns, rows = await log.table(table)
    if not rows:
        return None
    row = draw.choice(rows)
    values = dict(zip(columns, row, strict=True))
    where = f" WHERE {columns[0]} = ?"
    number = values.get(table, values.get("position", values.get("key", 0))) & 0xFFFFFF if table in UNPROVEN else 0
    if table in UNPROVEN and (number,) in await log.rows(log.unproven.format(UNPROVEN[table])):
        return None
    position = number if table == "event" else None
    if draw.random() < 0.15:
        report = await log.after(f"DELETE FROM {log.name(table)}{where}", row[:1])
        return None if report is None else (f"a row of {table} deleted", report, position)
    column = draw.choice(columns[1:])
    if (table, column) in NOT_PROVEN or values[column] in (None, b""):
        return None
    sql = f"UPDATE {log.name(table)} SET {column} = ?{where}"
    report = await log.after(sql, (changed(values[column], draw), row[0]))
    return None if report is None else (f"{table}.{column}", report, position)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rotting:
    """A log of each kind, which is sound. Each check leaves it as it was."""
    if request.param == "sqlite":
        made = Rotting(f"sqlite:///{tmp_path_factory.mktemp('rotting')}/log.db")
        made.make(15)
    else:
        made = RottingDatabase(asyncio.run(fresh_database()))
        made.make(15)
    assert asyncio.run(verify_store(made.url)).findings == []
    return made


def test_every_change_is_found(log: Rotting, record_property: Callable[[str, object], None]) -> None:
    """Of an event, at its position."""
    chosen, kind = seed(), "sqlite" if log.url.startswith("sqlite") else "postgres"
    counts: Counter[str] = Counter()
    missed, events, named = [], 0, 0
    draw = random.Random(chosen)
    while counts.total() < TRIALS[kind]:
        tried = asyncio.run(change(log, draw))
        if tried is None:
            continue
        what, report, position = tried
        counts[what] += 1
        events += position is not None
        named += position is not None and any(each.position == position for each in report.findings)
        if not report.findings:
            missed.append((what, position))
    figures = f"rot after removals: {kind} changes={counts.total()} of={len(counts)} events={events} named={named}"
    record_property("figures", figures)
    print(figures)
    assert missed == [], f"WHENCE_TEST_SEED={chosen}"
    # The others name an earlier position, which lost its announcement, or a count: the event itself says the same.
    assert named >= events * 0.8 - 2
    assert asyncio.run(verify_store(log.url)).findings == []


@catches(
    replaced(Announced, "first_unannounced", lambda *_: None, "nothing_is_missed"),
    replaced(Announced, "first_not_renamed", lambda *_: None, "any_event_may_have_another_actor"),
    replaced(Chain, "_removed_in_time", lambda *_: True, "the_time_is_not_checked"),
    replaced(Chain, "end", lambda *_: None, "the_end_is_not_checked"),
)
def test_nothing_can_be_taken_away_unannounced(log: Rotting) -> None:
    """Whatever else is left as it was."""
    values = asyncio.run(log.values())
    missed = {}
    for name, (sqlite, postgres, wanted) in THEFTS.items():
        sql = sqlite if log.url.startswith("sqlite") else postgres
        report = asyncio.run(log.after(sql.format(**values)))
        assert report is not None, f"{name} changes nothing"
        said = [each.what for each in report.findings]
        if not said or (wanted and wanted not in said):
            missed[name] = said
    assert missed == {}
