"""What was erased is erased again when a backup that still has it is restored."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.contract.made import TENANT, new, stored
from tests.databases import copied_database, execute, fetch, fresh_database
from tests.storage.removal_work import announced, done_already, done_by, hold, later, retained
from tests.storage.test_alerting import COUNT, begun, run
from tests.storage.test_alerting import made as made_rule
from tests.unit.mutants import catches, replaced
from whence import erasing_again
from whence.erasing_again import erase_again, finish_restore
from whence.errors import StoreRefused
from whence.events import Query, Viewer
from whence.storage import backend_for, create_store, verify_store
from whence.storage.deletions import TenantDeletion
from whence.storage.postgres import deletions as postgres_deletions
from whence.storage.postgres import engine as postgres_engine
from whence.storage.postgres import removals as postgres_removals
from whence.storage.removals import Erased
from whence.storage.sqlite import erasure_ledger
from whence.storage.sqlite.erasure_ledger import ErasureLedger

pytestmark = pytest.mark.anyio

WORD = b"zanzibar"
MALLORY = Query(actors=("user/mallory",))


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/log.db"


def files_with(folder: Path, word: bytes) -> set[str]:
    """The names of the files that have a word in them."""
    return {path.name for path in folder.iterdir() if path.is_file() and word in path.read_bytes()}


async def restored(folder: Path) -> tuple[Any, int]:
    """The store after its backup was put in its place, and how much was erased again."""
    result = backend_for(url_of(folder)).restore(url_of(folder), str(folder / "backup.db"), force=True, progress=None)
    assert result.report.sound
    store = create_store(url_of(folder), restoring=True)
    return store, await finish_restore(store, result.erased, time.time_ns() // 1_000)


async def made(folder: Path) -> Any:
    """A store with a backup that has three payloads of mallory, and one event that came after it."""
    store = create_store(url_of(folder))
    await stored(store, *(new(number, actor_id="mallory", payload=b'{"a":"zanzibar"}') for number in (1, 2, 3)))
    backend_for(url_of(folder)).backup(url_of(folder), str(folder / "backup.db"), force=False, progress=None)
    await stored(store, new(4, actor_id="mallory", payload=b'{"b":"zanzibar"}'))
    return store


def nothing_noted(*_: Any, **_more: Any) -> None:
    """Mutant: the ledger stays empty."""


@catches(replaced(ErasureLedger, "add", nothing_noted, "nothing_noted"))
async def test_a_restored_backup_has_nothing_that_was_erased(tmp_path: Path) -> None:
    """Neither payloads nor the name; both are announced again, and the store is sound."""
    store = await made(tmp_path)
    await done_by(store, query=MALLORY, pseudonym="erased-1")
    await store.close()
    store, again = await restored(tmp_path)
    assert again == 4
    page = await store.read_feed(Viewer(TENANT), Query(resource_types=("action_run",)), 0, 10)
    assert [(event.actor_id, event.payload) for event in page.events] == [("erased-1", None)] * 3
    assert await announced(store) == [[1, 2, 3], [1, 2, 3]]
    await store.close()
    assert (await verify_store(url_of(tmp_path))).sound
    assert files_with(tmp_path, WORD) == files_with(tmp_path, b"mallory") == {"backup.db"}


@catches(replaced(erasing_again, "forget_at_rest", done_already, "rules_remember"))
async def test_a_restored_alert_rule_has_forgotten_an_erased_name(tmp_path: Path) -> None:
    """It was erased after the backup, which has it in what the rule remembers."""
    store = create_store(url_of(tmp_path))
    rule = await begun(store, await made_rule(store, COUNT, Query()))
    await stored(store, new(1, actor_id="mallory"))
    await run(rule)
    await rule._save()
    backend_for(url_of(tmp_path)).backup(url_of(tmp_path), str(tmp_path / "backup.db"), force=False, progress=None)
    await store.removals.erase_actor(TENANT, ("user", "mallory"), "erased-1", 5, ())
    await store.close()
    store, again = await restored(tmp_path)
    await store.close()
    assert again == 1
    assert files_with(tmp_path, b"mallory") == {"backup.db"}


async def test_only_announced_removals_are_sound(tmp_path: Path) -> None:
    """A log from whose beginning retention has dropped all but what is held verifies. A payload that somebody takes
    away is found."""
    store = create_store(url_of(tmp_path))
    await stored(store, *(new(number, correlation_id=f"flow {number}") for number in range(1, 6)))
    await hold(store, Query(correlation_ids=("flow 2", "flow 4")))
    assert (await retained(store)).events == 3
    await stored(store, new(9, occurred_at=later()))
    await store.close()
    assert (await verify_store(url_of(tmp_path))).sound
    connection = apsw.Connection(str(tmp_path / "log.db"))
    connection.execute("UPDATE event SET payload = NULL, salt = NULL WHERE payload = x'7b7d'")
    connection.close()
    assert not (await verify_store(url_of(tmp_path))).sound


async def test_another_event_in_the_same_place_is_left_alone(tmp_path: Path) -> None:
    """After a restore the log goes on differently. What was erased at a later position is another event by then."""
    store = await made(tmp_path)
    await done_by(store, query=MALLORY)
    await store.close()
    store, again = await restored(tmp_path)
    assert again == 3
    backend_for(url_of(tmp_path)).backup(url_of(tmp_path), str(tmp_path / "backup.db"), force=True, progress=None)
    await stored(store, new(5, payload=b'{"another":1}'))
    await store.close()
    store, again = await restored(tmp_path)
    assert again == 0
    await store.close()


async def test_a_ledger_survives_a_crash_and_no_other_damage(tmp_path: Path) -> None:
    """A line that was torn was never acted on. A line that was changed is refused."""
    ledger = ErasureLedger(str(tmp_path / "log.db"))
    assert ledger.read() == []
    ledger.add("acme", [(1, bytes(32)), (7, bytes(range(32)))])
    file = tmp_path / "log.db.erased"
    whole = file.read_bytes()
    first = Erased("acme", ((1, bytes(4)), (7, bytes(range(4)))))
    for cut in range(len(whole)):
        file.write_bytes(whole + whole[:cut])
        assert ledger.read() == [first]
        ledger.add("acme", [(3, bytes(32))], "erased-1")
        assert ledger.read() == [first, Erased("acme", ((3, bytes(4)),), "erased-1")]
    for at in range(len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StoreRefused, match="is damaged"):
            ledger.read()


def test_a_line_is_whole_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gets full takes a part of a line without an error. Nothing may be erased after that: the line would
    be passed over."""
    ledger, real, room = ErasureLedger(str(tmp_path / "log.db")), os.write, [40, 0]

    def write(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        return real(fd, data[: room.pop(0)])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space"):
            ledger.add("acme", [(position, bytes(32)) for position in range(1, 20)])
    assert ledger.read() == []
    ledger.add("acme", [(3, bytes(32))])
    assert ledger.read() == [Erased("acme", ((3, bytes(4)),))]


@catches(replaced(erasure_ledger.fcntl, "flock", lambda *_: None, "nobody_has_the_lock"))
def test_two_threads_spoil_no_line_on_a_disk_that_gets_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes a part of one line. Another thread, for whose line there is room again, does not go on in it."""
    real, begun, full = os.write, threading.Event(), threading.Event()

    def write(fd: int, data: bytes) -> int:
        if threading.current_thread() is not first:
            return real(fd, data)
        if begun.is_set():
            full.wait(10)
            raise OSError(28, "No space left on device")
        written = real(fd, data[:40])
        begun.set()
        return written

    def add_many() -> None:
        with pytest.raises(OSError, match="No space"):
            ErasureLedger(str(tmp_path / "log.db")).add("acme", [(position, bytes(32)) for position in range(1, 20)])

    ledger = ErasureLedger(str(tmp_path / "log.db"))
    first = threading.Thread(target=add_many)
    second = threading.Thread(target=ledger.add, args=("acme", [(3, bytes(32))]))
    end_torn_line, looked = erasure_ledger._end_torn_line, threading.Event()

    def look_and_wait(fd: int) -> None:
        """The second thread looks at the end of the file before the first writes a part of its line."""
        end_torn_line(fd)
        if threading.current_thread() is second:
            looked.set()
            begun.wait(0.3)
        elif second.ident is None:
            second.start()
            looked.wait(0.3)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(erasure_ledger, "_end_torn_line", look_and_wait)
    first.start()
    assert begun.wait(10)
    second.join(0.3)
    full.set()
    first.join(10)
    second.join(10)
    assert ledger.read() == [Erased("acme", ((3, bytes(4)),))]


async def let_go(store: Any, tenant: str = TENANT) -> None:
    """Delete a tenant as it is."""
    size = (await store.head(tenant)).size
    await store.deletions.delete_tenant(tenant, TenantDeletion(size=size, deleted_at=time.time_ns() // 1_000))


@catches(replaced(ErasureLedger, "_add", nothing_noted, "nothing_noted"))
async def test_a_restored_backup_has_no_tenant_that_was_deleted(tmp_path: Path) -> None:
    """It is deleted again, also from the file. A later one of the same name, and other tenants, stay."""
    store = await made(tmp_path)
    await stored(store, new(1), tenant="other")
    await let_go(store)
    await store.close()
    store, again = await restored(tmp_path)
    assert again == 1
    assert await store.tenants() == []
    assert files_with(tmp_path, WORD) == {"backup.db"}
    await stored(store, new(7))
    backend_for(url_of(tmp_path)).backup(url_of(tmp_path), str(tmp_path / "backup.db"), force=True, progress=None)
    await store.close()
    store, again = await restored(tmp_path)
    assert again == 0
    assert (await store.head(TENANT)).size == 1
    await store.close()
    assert (await verify_store(url_of(tmp_path))).sound


async def dumped_and_restored(url: str, dump: str) -> Any:
    """A store on an earlier copy of a database, in which the schema of the ledger is that of today: so a restore of the
    schema `whence` leaves it."""
    rows = await fetch(url, "SELECT entry, deleted_at, tenant, new_id, positions, leaves FROM whence_signed.erased")
    assert await fetch(dump, "SELECT 1 FROM whence_signed.erased") == []
    for entry, deleted_at, tenant, new_id, positions, leaves in rows:
        texts = ["NULL" if each is None else f"'{each}'" for each in (deleted_at, tenant, new_id)]
        found = ", ".join(f"'\\x{leaf.hex()}'::bytea" for leaf in leaves)
        await execute(
            dump,
            "INSERT INTO whence_signed.erased (entry, deleted_at, tenant, new_id, positions, leaves) OVERRIDING SYSTEM "
            f"VALUE VALUES ({entry}, {', '.join(texts)}, ARRAY{list(positions)}::bigint[], ARRAY[{found}]::bytea[])",
        )
    await execute(dump, "SELECT setval(pg_get_serial_sequence('whence_signed.erased', 'entry'), 100)")
    with pytest.raises(StoreRefused, match="whence migrate"):
        await create_store(dump).check_servable()
    return create_store(dump, serving=False)


async def not_noted(*_: Any) -> None:
    """Mutant: the ledger stays empty, or nobody looks at it."""


@catches(
    replaced(postgres_removals.erasure_ledger, "note", not_noted, "nothing_noted"),
    replaced(postgres_deletions, "note", not_noted, "no_deletion_noted"),
    replaced(postgres_engine, "refuse_unseen", not_noted, "served_as_it_is"),
)
async def test_a_restored_dump_has_nothing_that_was_erased() -> None:
    """On PostgreSQL the ledger is beside the schema of the log. Until its entries are done again, the log is not
    served."""
    url = await fresh_database()
    store = create_store(url)
    await stored(store, *(new(number, actor_id="mallory", payload=b'{"a":"zanzibar"}') for number in (1, 2, 3)))
    await stored(store, new(1), tenant="other")
    await store.close()
    dump = await copied_database(url)
    store = create_store(url)
    await done_by(store, query=MALLORY, pseudonym="erased-1")
    await let_go(store, "other")
    assert await store.removals.unseen_erasures() == []
    await store.close()
    store = await dumped_and_restored(url, dump)
    assert await erase_again(store, await store.removals.unseen_erasures(), time.time_ns() // 1_000) == 5
    assert await store.removals.unseen_erasures() == []
    page = await store.read_feed(Viewer(TENANT), Query(resource_types=("action_run",)), 0, 10)
    assert [(event.actor_id, event.payload) for event in page.events] == [("erased-1", None)] * 3
    assert await store.tenants() == [TENANT]
    await store.close()
    await create_store(dump).check_servable()
    assert (await verify_store(dump)).sound
