"""What is removed from a file: no byte of it stays, nobody can fake or undo it unseen, and a crash leaves it whole."""

import asyncio
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from tests.contract.histories import History
from tests.contract.made import TENANT, new, stored
from tests.unit.mutants import catches, replaced
from whence import rollups
from whence.events import EVENT_LOG
from whence.integrity import hash_payload
from whence.storage import sequencing
from whence.storage.announced import Announced
from whence.storage.removals import PAYLOAD_ERASED, RETENTION_APPLIED, Purge
from whence.storage.sqlite import connection as connections
from whence.storage.sqlite import removals
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.verify import verify

WORD = b"Ada Lovelace, 12 Saint James's Square"


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncIterator[SQLiteStore]:
    """A store with a payload that has the word, and one with a large one that has it many times."""
    made = SQLiteStore(f"{tmp_path}/log.db")
    large = b'{"text":"' + WORD * 2_000 + b'"}'
    await stored(made, new(1, payload=b'{"name":"%s"}' % WORD), new(2, payload=large), *map(new, range(3, 40)))
    yield made
    await made.close()


def bytes_of(folder: Path) -> bytes:
    """Everything in the files of a store."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def not_overwritten(path: str, cache_kib: int) -> apsw.Connection:
    made = connections.connect(path, cache_kib)
    made.execute("PRAGMA secure_delete = OFF").fetchall()
    return made


@catches(
    replaced(removals, "_truncate_log", lambda _path: True, "the_log_is_not_emptied"),
    replaced(sys.modules["whence.storage.sqlite.engine"], "connect", not_overwritten, "nothing_is_overwritten"),
)
async def test_a_word_is_nowhere(store: SQLiteStore, tmp_path: Path) -> None:
    """After an erasure, a purge and a scrub it is in none of the files, and neither is an id that was removed."""
    other = SQLiteStore(f"{tmp_path}/other/log.db")  # opened by this test, so that a mutant is in force
    await stored(
        other, *(new(n, payload=b'{"name":"%s"}' % WORD, correlation_id=f"flow {n} gone") for n in range(1, 30))
    )
    assert await other.removals.scrub()
    assert WORD in bytes_of(tmp_path / "other")
    await other.removals.erase_payloads(TENANT, range(1, 30), 5, [])
    await other.removals.purge(TENANT, Purge(1, 20), [])
    assert await other.removals.scrub()
    found = bytes_of(tmp_path / "other")
    await other.close()
    assert WORD not in found
    assert b"flow 7 gone" not in found
    assert b"flow 25 gone" in found


async def test_an_open_reader_keeps_the_log(
    store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody reads a state from before, nothing is reported as gone."""
    monkeypatch.setattr(removals, "_SCRUB_TRIES", 2)
    reader = apsw.Connection(f"{tmp_path}/log.db")
    reader.execute("BEGIN; SELECT count(*) FROM event").fetchall()
    await store.removals.erase_payloads(TENANT, [1, 2], 5, [])
    assert not await store.removals.scrub()
    assert WORD in bytes_of(tmp_path)
    reader.execute("COMMIT")
    assert await store.removals.scrub()
    reader.close()
    assert WORD not in bytes_of(tmp_path)


# ------------------------------------------------------------------------------------------------------------- rot


def erased(connection: apsw.Connection) -> None:
    """Null a payload and keep its hash, as an erasure does."""
    [(salt, payload)] = connection.execute("SELECT salt, payload FROM event WHERE key & 0xFFFF = 35")
    change = "UPDATE event SET payload = NULL, salt = NULL, payload_hash = ?, erased_at = 5 WHERE key & 0xFFFF = 35"
    connection.execute(change, (hash_payload(salt, payload),))
    connection.execute("UPDATE tenant SET payload_bytes = payload_bytes - ?", (len(payload),))


def of_kind(event_type: str) -> str:
    return f"DELETE FROM event WHERE kind = (SELECT kind FROM kind WHERE event_type = '{event_type}')"


def in_tile(index: int, hash_: str) -> str:
    """Put another hash into the tile of the leaves."""
    before, after = index * 32, index * 32 + 33
    changed = f"CAST(substr(hashes, 1, {before}) || {hash_} || substr(hashes, {after}) AS BLOB)"
    return f"UPDATE tile SET hashes = {changed} WHERE level = 0"


SAID = "UPDATE event SET payload = CAST(replace(payload, '[1, 20]', '[1, 9]') AS BLOB) WHERE key & 0xFFFF = 41"

ROT: dict[str, tuple[str | Callable[[apsw.Connection], None], int | None, str]] = {
    "a payload is nulled, and its hash kept": (erased, 35, "no event says that it was erased"),
    "an event is deleted": ("DELETE FROM event WHERE key & 0xFFFF = 33", 33, "the event is missing"),
    "the first position that is kept is raised": ("UPDATE tenant SET retained_from = 25", 21, "another leaf"),
    "and the event with it": (
        "UPDATE tenant SET retained_from = 22; DELETE FROM event WHERE key & 0xFFFF = 21",
        21,
        "the event is missing",
    ),
    "the first position that is kept is lowered": ("UPDATE tenant SET retained_from = 10", 10, "the event is missing"),
    "what announced a purge is deleted": (of_kind(RETENTION_APPLIED), 41, "the event is missing"),
    "what announced an erasure is deleted": (of_kind(PAYLOAD_ERASED), 42, "the event is missing"),
    "what announced a purge says less": (SAID, 41, "its hash"),
    "a leaf in a tile is another": (in_tile(2, "zeroblob(32)"), None, "the head"),
    "the leaf of a held event in a tile is another": (in_tile(4, "zeroblob(32)"), 5, "another leaf"),
    "a tile is shorter": ("UPDATE tile SET hashes = substr(hashes, 1, 64) WHERE level = 0", 3, "missing"),
    "a tile above the leaves is made up": ("INSERT INTO tile VALUES (1, 1, 0, zeroblob(32))", None, "the tiles"),
    "removed transitions come back": ("DELETE FROM removed_transition", None, "causes and effects"),
    "transitions are removed twice": (
        "INSERT INTO removed_transition SELECT tenant_no, level, bucket, up_to + 1, counts FROM removed_transition",
        None,
        "cannot be read",
    ),
    "kinds are fewer than it says": ("UPDATE tenant SET kinds_removed = kinds_removed + 1", None, "names"),
    "flows are fewer than it says": ("UPDATE tenant SET flows_removed = flows_removed + 1", None, "names"),
    "a count is as before": ("UPDATE rollup_actor SET events = events + 1 WHERE level = 0", None, "by time"),
    "a flow is as before": ("UPDATE flow SET first_at = first_at - 1", None, "flows"),
    "the payload of a held event is another": ("UPDATE event SET payload = x'7b7d' WHERE key & 0xFFFF = 5", 5, "hash"),
}
"""What is changed from outside, where it is found, and what is said of it."""


@pytest.fixture(scope="module")
async def removed(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> Path:
    """A file of forty events from which all but the fifth of the first twenty were removed, and a payload."""
    file = tmp_path_factory.mktemp("removed") / "log.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollups, "DIVIDE_AT", 8)
        patch.setattr(sequencing, "FOLD_AT", 30)
        store = SQLiteStore(str(file))
        caused = {n: new(n // 2).id for n in range(1, 41)}
        await stored(
            store, *(new(n, causation_id=caused[n] if n > 1 else None, payload=b'{"n":%d}' % n) for n in caused)
        )
        said = {"resource_type": EVENT_LOG, "event_type": RETENTION_APPLIED}
        await stored(store, new(41, **said, payload=b'{"ranges":[[1, 20]]}'))
        await stored(store, new(42, **said | {"event_type": PAYLOAD_ERASED}, payload=b'{"ranges":[[31, 31]]}'))
        assert await store.removals.purge(TENANT, Purge(1, 21, [5]), []) == 19
        assert await store.removals.erase_payloads(TENANT, [31], 5, []) == 1
        await store.close()
    assert verify(str(file)).findings == []
    return file


@pytest.mark.parametrize("rot", ROT)
async def test_whatever_is_changed_is_found(removed: Path, tmp_path: Path, rot: str) -> None:
    """By verify, which names what is wrong."""
    change, position, what = ROT[rot]
    file = Path(shutil.copy(removed, tmp_path / "log.db"))
    with apsw.Connection(str(file)) as connection:
        if callable(change):
            change(connection)
        else:
            connection.execute(change).fetchall()
        assert connection.total_changes()
    findings = verify(str(file)).findings
    assert [each for each in findings if each.position == position and what in each.what], findings


@catches(replaced(Announced, "first_unannounced", lambda *_: None, "nothing_has_to_be_announced"))
async def test_a_removal_has_to_be_announced(tmp_path: Path) -> None:
    """A removal that no event names is found, at its first position, although all else is as after any other."""
    store = SQLiteStore(f"{tmp_path}/log.db")
    await stored(store, *map(new, range(1, 20)))
    said = {"resource_type": EVENT_LOG, "payload": b'{"ranges":[[1,3],[5,6],[30,40]]}'}
    await stored(store, new(20, event_type=RETENTION_APPLIED, **said), new(21, event_type=PAYLOAD_ERASED, **said))
    await store.removals.purge(TENANT, Purge(1, 7, [2, 4]), [])
    await store.removals.erase_payloads(TENANT, [2], 5, [])
    await store.close()
    assert verify(f"{tmp_path}/log.db").findings == []
    store = SQLiteStore(f"{tmp_path}/log.db")
    await store.removals.purge(TENANT, Purge(1, 7, [2]), [])
    await store.close()
    [found] = verify(f"{tmp_path}/log.db").findings
    assert (found.position, "no event says" in found.what) == (4, True)


# ------------------------------------------------------------------------------------------------------------ crashes

PURGING = """
import asyncio, sys
from whence import rollups
from whence.integrity import hash_payload
from whence.storage import sequencing
from whence.storage.announced import Announced
from whence.storage.removals import Purge
from whence.storage.sqlite.engine import SQLiteStore

async def main():
    rollups.DIVIDE_AT, sequencing.FOLD_AT = 8, 30
    store = SQLiteStore(sys.argv[1])
    for since in range(1, 400, 7):
        await store.removals.purge("acme", Purge(since, since + 7, [since + 3]), [])
        print(since, flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_purge_that_was_killed_can_be_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL at any batch the log is whole, and the purge goes on where it was."""
    monkeypatch.setattr(rollups, "DIVIDE_AT", 8)
    monkeypatch.setattr(sequencing, "FOLD_AT", 30)
    path = f"{tmp_path}/log.db"
    store = SQLiteStore(path)
    history = History(store, 5)
    for _ in range(8):
        await history.add(50)
    await history.announce(RETENTION_APPLIED, [(1, 400)])
    await store.close()
    for batches in (3, 11):
        purging = await asyncio.create_subprocess_exec(sys.executable, "-c", PURGING, path, stdout=PIPE)
        assert purging.stdout is not None
        for _ in range(batches):
            assert await purging.stdout.readline()
        purging.kill()
        await purging.communicate()
        assert verify(path).findings == []
    purging = await asyncio.create_subprocess_exec(sys.executable, "-c", PURGING, path, stdout=DEVNULL)
    assert await purging.wait() == 0
    kept = {since + 3 for since in range(1, 400, 7)}
    history.left = [event for event in history.left if event.position in kept or event.position > 399]
    history.store, history.retained_from = SQLiteStore(path), 400
    await history.check()
    await history.store.close()
    assert verify(path).findings == []
