"""A backup during writes is an exact prefix, a restore brings it back complete, and a rollback is reported."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from tests.acceptance.driven import ROOT, TENANT
from tests.acceptance.history import Found, History, Verdict
from tests.acceptance.running import Running, seed
from tests.acceptance.traffic import Clients, found
from tests.contract.made import add, new, page, stored, uuid
from tests.examples import soak
from whence.cli import main
from whence.errors import RolledBack, StoreRefused
from whence.permissions import READ, new_api_key
from whence.storage import Session
from whence.storage.sqlite import backup as backups
from whence.storage.sqlite import connection
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.schema import SchemaDifference
from whence.storage.sqlite.verify import verify

ROUNDS = 200 if soak() else 5
UNSOUND = 5

Copy = Callable[[Path, Path], None]


def make(path: Path, *numbers: int, leave_log: bool = False) -> None:
    """A store with these events, one commit each; with `leave_log`, in the state after a crash, with a write-ahead
    log."""

    async def run() -> None:
        store = SQLiteStore(str(path))
        for number in numbers:
            await stored(store, new(number, payload=b'{"number":%d}' % number))
        if leave_log:
            for ending in ("", "-wal", ".high"):
                shutil.copy(f"{path}{ending}", f"{path}.crashed{ending}")
        await store.close()

    asyncio.run(run())
    if leave_log:
        for ending in ("", "-wal", ".high"):
            os.replace(f"{path}.crashed{ending}", f"{path}{ending}")


def held(path: Path) -> list[Found]:
    """All events of the tenant, by position, read through the store."""

    async def run() -> list[Any]:
        store = SQLiteStore(str(path))
        try:
            events: list[Any] = []
            while more := (await page(store, TENANT, offset=len(events))).events:
                events += more
            return events
        finally:
            await store.close()

    events = [Found(event.id, event.position, event.payload) for event in asyncio.run(run())]
    return sorted(events, key=lambda event: event.position)


def numbers(path: Path) -> list[int]:
    """The numbers of the events of a store, by position."""
    return [int(event.id[-12:], 16) for event in held(path)]


def url(path: Path) -> str:
    return f"sqlite:///{path}"


# --- a copy while writers run --------------------------------------------------------------------------------------


def online(source: Path, destination: Path) -> None:
    report = backups.backup(str(source), str(destination), force=True)
    assert report.sound


def plain(source: Path, destination: Path) -> None:
    """Mutant: the backup copies only the database file."""
    shutil.copy(source, destination)


async def copy_while_writing(
    folder: Path, copy: Copy, rng: random.Random, checkpoint_pages: int
) -> tuple[History, History, int]:
    """Copy a store while its writer commits and checkpoints. Returns the events acknowledged before and at the end of
    the copy, and the number of commits between."""
    before, after, numbered, commits = History(), History(), iter(range(1_000_000)), 0
    store = SQLiteStore(str(folder / "log.db"))
    store._writing.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")

    async def append(*histories: History) -> None:
        events = tuple(
            new(n, payload=b'{"number":%d,"more":"%s"}' % (n, b"x" * rng.choice((10, 3_000))))
            for n in (next(numbered) for _ in range(rng.randint(1, 5)))
        )
        for history in histories:
            history.sending((event.id, event.payload) for event in events)
        await add(store, *events)
        for history in histories:
            history.acknowledge(event.id for event in events)

    for _ in range(60):
        await append(before, after)
    copying = asyncio.create_task(asyncio.to_thread(copy, folder / "log.db", folder / "copy.db"))
    while not copying.done():
        await append(after)
        commits += 1
    await copying
    await store.close()
    return before, after, commits


def judge_copy(folder: Path, before: History, after: History) -> Verdict:
    """Check that the copy has all events that were acknowledged before it began, and is a prefix of the store's log."""
    copied, whole = held(folder / "copy.db"), held(folder / "log.db")
    assert copied == whole[: len(copied)], "the copy is no prefix of the log"
    lost = before.judge(copied).lost
    verdict = after.judge(copied)
    return msgspec.structs.replace(verdict, lost=lost)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_backup_beside_the_writer_is_an_exact_prefix(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """A copy that is made page by page, with commits between the pages, is the state of one commit, and verifies."""
    monkeypatch.setattr(backups, "_PAGES_A_STEP", 1)
    rng = random.Random(seed() + number)
    before, after, commits = asyncio.run(copy_while_writing(tmp_path, online, rng, rng.choice((10, 60, 400))))
    verdict = judge_copy(tmp_path, before, after)
    figures = f"backup: commits meanwhile={commits} {after} {verdict}"
    record_property("figures", figures)
    print(figures)
    assert commits > 0
    assert verdict.clean, verdict
    assert verify(str(tmp_path / "copy.db")).sound


def test_mutant_a_plain_copy_is_caught(tmp_path: Path) -> None:
    """A copy of the database file alone lacks the commits in the write-ahead log."""
    rng = random.Random(seed())
    before, after, _ = asyncio.run(copy_while_writing(tmp_path, plain, rng, 10_000))
    try:
        caught = not judge_copy(tmp_path, before, after).clean or not verify(str(tmp_path / "copy.db")).sound
    except (AssertionError, StoreRefused):
        caught = True
    assert caught


def test_the_command_copies_beside_a_server(tmp_path: Path) -> None:
    """`whence backup` while a server stores events: the copy has the events acknowledged before, and no unknown
    ones."""
    server = Running(tmp_path)
    key = server.key()
    server.start()
    history, earlier = History(), History()
    clients = Clients(server, key, history, seed(), threads=2)
    try:
        clients.start()
        while len(history.acknowledged) < 50:
            threading.Event().wait(0.01)
        earlier.acknowledge(set(history.acknowledged))
        assert main(["backup", str(tmp_path / "copy.db"), "--store", server.url]) == 0
        clients.stopping.set()
        clients.join()
        whole, _ = found(server, key)
    finally:
        server.kill()
    copied = held(tmp_path / "copy.db")
    assert earlier.acknowledged <= {event.id for event in copied} <= history.acknowledged | history.indeterminate
    assert copied == sorted(whole, key=lambda event: event.position)[: len(copied)]


# --- a restore -----------------------------------------------------------------------------------------------------


def test_a_restore_goes_on_where_the_backup_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a restore over a newer store with a write-ahead log, the backup's events are served and the next append
    continues at their last position."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    make(path, 0, 1, 2)
    assert main(["backup", str(copy), "--store", url(path)]) == 0
    make(path, 3, 4, 5, leave_log=True)
    assert main(["restore", str(copy), "--store", url(path)]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["restore", str(copy), "--store", url(path), "--force"]) == 0
    assert main(["verify", "--store", url(path)]) == 0
    assert numbers(path) == [0, 1, 2]
    make(path, 9)
    assert numbers(path) == [0, 1, 2, 9]
    assert not list(tmp_path.glob("*.partial*"))


def test_a_restore_over_what_a_deleted_file_left_behind(tmp_path: Path) -> None:
    """A restore over the write-ahead log and the high-water record of a deleted file removes both."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    make(path, 0, 1)
    online(path, copy)
    make(path, 2, 3, leave_log=True)
    path.unlink()
    assert main(["restore", str(copy), "--store", url(path)]) == 0
    assert numbers(path) == [0, 1]


def test_mutant_a_restore_that_leaves_the_log_is_caught(tmp_path: Path) -> None:
    """When a restore leaves the stale write-ahead log, the served events differ from the backup."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    make(path, 0, 1, 2)
    online(path, copy)
    make(path, 3, 4, 5, leave_log=True)
    os.replace(copy, path)
    Path(f"{path}.high").unlink()
    with pytest.raises((AssertionError, StoreRefused)):
        assert numbers(path) == [0, 1, 2]


def test_a_restore_that_broke_off_is_never_served_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash between removing the old store and renaming the new one, serving is refused, and the restore can be
    repeated."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    make(path, 0, 1)
    online(path, copy)
    make(path, 2, 3, leave_log=True)

    def fail(*_given: object) -> None:
        raise OSError(5, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(backups.os, "replace", fail)
        assert main(["restore", str(copy), "--store", url(path), "--force"]) == 1
    with pytest.raises(RolledBack):
        held(path)
    assert main(["restore", str(copy), "--store", url(path), "--force"]) == 0
    assert numbers(path) == [0, 1]


def test_what_a_restore_may_not_replace_stays_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A restore refuses a store that is served, a damaged backup, and a backup that is the store itself."""
    path, copy, bad = tmp_path / "log.db", tmp_path / "copy.db", tmp_path / "bad.db"
    make(path, *range(5))
    online(path, copy)
    damage(copy, bad)
    kept = path.read_bytes()
    assert main(["restore", str(bad), "--store", url(path), "--force"]) == UNSOUND
    assert "position 3" in capsys.readouterr().err
    assert main(["restore", str(path), "--store", url(path), "--force"]) == 1
    assert main(["restore", str(tmp_path / "none.db"), "--store", url(path), "--force"]) == 1
    assert path.read_bytes() == kept
    store = SQLiteStore(str(path))
    capsys.readouterr()
    assert main(["restore", str(copy), "--store", url(path), "--force"]) == 1
    assert "one server" in capsys.readouterr().err
    asyncio.run(store.close())
    assert numbers(path) == list(range(5))


def restore_by_link(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Restore by a symbolic link while a server runs on the real file, and after it has stopped."""
    path, copy, link = folder / "real" / "log.db", folder / "copy.db", folder / "link.db"
    path.parent.mkdir()
    make(path, 0)
    online(path, copy)
    make(path, 1)
    link.symlink_to(path)
    store = SQLiteStore(str(path))
    try:
        assert main(["restore", str(copy), "--store", url(link), "--force"]) == 1
        assert "one server" in capsys.readouterr().err
        assert main(["backup", str(link), "--store", url(copy), "--force"]) == 1
        assert link.is_symlink()
    finally:
        asyncio.run(store.close())
    assert main(["restore", str(copy), "--store", url(link), "--force"]) == 0
    assert link.is_symlink()
    assert numbers(path) == [0]


def test_a_restore_by_a_link_replaces_the_file_and_not_the_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused while a server runs on the real file; later it replaces that file, and the link stays."""
    restore_by_link(tmp_path, capsys)


def test_mutant_a_restore_that_locks_the_link_is_caught(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the path is taken as it is given, a second log comes into being beside the served one."""
    monkeypatch.setattr(backups, "real_path", str)
    monkeypatch.setattr(connection, "_lock_database", lambda _fd: None)
    with pytest.raises(AssertionError):
        restore_by_link(tmp_path, capsys)


def test_credentials_that_ended_do_not_come_back(tmp_path: Path) -> None:
    """A key that was revoked after the backup stays revoked, and the sessions of the backup are ended."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    (_, kept), (_, ended) = (new_api_key(TENANT, (READ,), at) for at in (1, 2))
    session = Session(hash=bytes(32), key_id=kept.id, expires_at=2**60)

    async def with_store(act: Callable[[SQLiteStore], Any]) -> Any:
        store = SQLiteStore(str(path))
        result = await act(store)
        await store.close()
        return result

    async def begin(store: SQLiteStore) -> None:
        await store.credentials.put_key(kept)
        await store.credentials.put_key(ended)
        await store.credentials.put_session(session)

    asyncio.run(with_store(begin))
    online(path, copy)
    asyncio.run(with_store(lambda store: store.credentials.revoke_key(TENANT, ended.id, 77)))
    assert backups.restore(str(copy), str(path), force=True).revoked == 1
    keys = asyncio.run(with_store(lambda store: store.credentials.list_keys(TENANT)))
    assert [(key.id, key.revoked_at) for key in keys] == [(kept.id, None), (ended.id, 77)]
    assert asyncio.run(with_store(lambda store: store.credentials.find_session(session.hash))) is None
    assert backups.restore(str(copy), str(tmp_path / "other.db")).revoked is None


GRANT = """
CREATE TRIGGER grant_all AFTER UPDATE ON api_key WHEN new.scopes <> 'admin'
BEGIN UPDATE api_key SET scopes = 'admin' WHERE id = new.id; END
"""


def test_a_backup_that_would_widen_keys_is_never_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trigger that turns a key of `events:read` into one of `admin` is named by verify, restore and serve, though
    every event is sound; and the store that was to be replaced stays.
    """
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    make(path, 0, 1)
    online(path, copy)
    database = apsw.Connection(str(copy))
    database.execute(GRANT)
    database.close()
    kept = path.read_bytes()
    for command, code in (
        (["verify", "--store", url(copy)], UNSOUND),
        (["restore", str(copy), "--store", url(path), "--force"], UNSOUND),
        (["backup", str(tmp_path / "again.db"), "--store", url(copy)], UNSOUND),
        (["key", "list", "--store", url(copy)], 1),
        (["serve", "--store", url(copy), "--port", "0"], 1),
    ):
        assert main(command) == code, command
        said = capsys.readouterr()
        assert "'grant_all' on 'api_key'" in said.out + said.err, command
    assert path.read_bytes() == kept


def test_mutant_a_backup_that_is_checked_by_its_hashes_alone_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only events and counts are compared, the trigger is restored, and the next use of a key makes it wider."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    _, key = new_api_key(TENANT, (READ,), 1)

    async def with_key(change: Callable[[SQLiteStore], Any]) -> tuple[str, ...]:
        store = SQLiteStore(str(path))
        await change(store)
        scopes = (await store.credentials.list_keys(TENANT))[0].scopes
        await store.close()
        return scopes

    asyncio.run(with_key(lambda store: store.credentials.put_key(key)))
    online(path, copy)
    database = apsw.Connection(str(copy))
    database.execute(GRANT)
    database.close()
    monkeypatch.setattr(connection, "compare_schema", lambda *_given: SchemaDifference())
    assert backups.restore(str(copy), str(path), force=True).report.sound
    assert asyncio.run(with_key(lambda store: store.credentials.revoke_key(TENANT, key.id, 5))) == ("admin",)


# --- what is told --------------------------------------------------------------------------------------------------


def damage(source: Path, bad: Path) -> None:
    """A copy of the store with a changed payload in the third event, of the same length."""
    shutil.copy(source, bad)
    connection = apsw.Connection(str(bad))
    connection.execute("UPDATE event SET payload = CAST(upper(CAST(payload AS TEXT)) AS BLOB) WHERE key & 0xFFFF = 3")
    connection.close()


def test_verify_names_the_first_bad_position(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` exits with 0 for a sound store; for a damaged one with 5, naming tenant and position, also as JSON."""
    path, bad = tmp_path / "log.db", tmp_path / "bad.db"
    make(path, *range(5))
    damage(path, bad)
    assert main(["verify", "--store", url(path)]) == 0
    assert capsys.readouterr().out == f"5 events of 1 tenant in {url(path)} verified, no errors found.\n"
    assert main(["verify", "--store", url(bad)]) == UNSOUND
    assert capsys.readouterr().out == f"{TENANT}: position 3: the event does not belong to its hash\n"
    assert main(["verify", "--store", url(bad), "--json"]) == UNSOUND
    said = msgspec.json.decode(capsys.readouterr().out)
    assert said["findings"] == [{"tenant": TENANT, "position": 3, "what": "the event does not belong to its hash"}]
    assert (said["sound"], said["tenants"]) == (False, 1)
    assert main(["verify", "--store", url(tmp_path / "none.db")]) == 1


def test_a_damaged_store_makes_no_backup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backup of a damaged store fails and leaves no file."""
    path, bad, copy = tmp_path / "log.db", tmp_path / "bad.db", tmp_path / "copy.db"
    make(path, *range(5))
    damage(path, bad)
    assert main(["backup", str(copy), "--store", url(bad)]) == UNSOUND
    assert "position 3" in capsys.readouterr().err
    assert not copy.exists()
    assert not list(tmp_path.glob("*.partial*"))
    online(path, copy)
    assert main(["backup", str(copy), "--store", url(path)]) == 1
    assert "--force" in capsys.readouterr().err


def test_a_store_that_went_backwards_is_told_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """serve, verify and backup exit with 5 and a message after a rollback; `serve --accept-rollback` serves the
    store."""
    path, older = tmp_path / "log.db", tmp_path / "older.db"
    make(path, 0, 1)
    shutil.copy(path, older)
    make(path, 2)
    shutil.copy(older, path)
    for command in (["serve", "--port", "0"], ["verify"], ["backup", str(tmp_path / "copy.db")]):
        assert main([*command, "--store", url(path)]) == UNSOUND, command
        said = capsys.readouterr()
        assert "behind what it has acknowledged" in said.out + said.err
        assert (said.out + said.err).count("\n") == 1
    accepting = [sys.executable, "-c", "import sys; from whence.cli import main; sys.exit(main())", "serve"]
    process = subprocess.Popen(
        [*accepting, "--store", url(path), "--port", "0", "--accept-rollback"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)},
    )
    assert process.stderr is not None
    assert "Serving" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert numbers(path) == [0, 1]
    assert uuid(0) == held(path)[0].id


def test_the_overview_loads_no_server() -> None:
    """`whence --help` lists these commands and imports neither SQLite nor the server."""
    code = (
        "import sys; from whence.cli import main; main(['--help'])\n"
        "print({'apsw', 'litestar', 'uvicorn', 'cyclopts'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert all(f"  {name} " in done.stdout for name in ("backup", "restore", "verify"))
    assert done.stdout.endswith("set()\n")
