"""The SQLite versions, files and processes that may serve a log."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from whence.errors import StoreRefused, Unavailable
from whence.events import NewEvent
from whence.permissions import new_api_key
from whence.storage import Write, create_store
from whence.storage.migrations import Migration, load_migrations
from whence.storage.sqlite.backup import backup, refuse_behind
from whence.storage.sqlite.connection import connect, migrate, refuse_unsafe_sqlite
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.verify import verify


@pytest.mark.parametrize("version", [3_006_999, 3_007_000, 3_044_005, 3_050_006, 3_051_002])
def test_a_sqlite_that_can_corrupt_a_wal_is_refused(version: int) -> None:
    """Versions up to 3.51.2 are refused, except the two with the backported fix."""
    with pytest.raises(StoreRefused):
        refuse_unsafe_sqlite(version)


@pytest.mark.parametrize("version", [3_044_006, 3_050_007, 3_051_003, 3_054_001])
def test_a_safe_sqlite_is_taken(version: int) -> None:
    """Versions with the fix are accepted."""
    refuse_unsafe_sqlite(version)


def test_the_file_is_set_up_for_durability(tmp_path: Path) -> None:
    """WAL, synchronous=FULL, secure_delete and incremental vacuum are set, and only the owner may read the file."""
    path = tmp_path / "log.db"
    connection = connect(str(path), 1_000)
    migrate(connection)
    settings = {
        name: connection.pragma(name)
        for name in ("journal_mode", "synchronous", "secure_delete", "auto_vacuum", "mmap_size")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "auto_vacuum": 2, "mmap_size": 0}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file of a later release is refused, and its version is unchanged."""
    connection = connect(str(tmp_path / "log.db"), 1_000)
    migrate(connection)
    connection.execute("PRAGMA user_version = 999")
    with pytest.raises(StoreRefused, match="later release"):
        migrate(connection)
    assert connection.pragma("user_version") == 999
    connection.close()


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    """A SQLite file with other tables is refused."""
    connection = apsw.Connection(str(tmp_path / "log.db"))
    connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreRefused, match="another program"):
        migrate(connection)
    connection.close()


def test_a_failed_migration_leaves_the_schema_as_it_was(tmp_path: Path) -> None:
    """All steps run in one transaction: after an error none of them is applied."""
    steps = load_migrations("whence.storage.sqlite")
    broken = Migration(len(steps) + 1, "broken", "CREATE TABLE half (x); SELECT * FROM nowhere;")
    connection = connect(str(tmp_path / "log.db"), 1_000)
    migrate(connection)
    with pytest.raises(apsw.SQLError):
        migrate(connection, (*steps, broken))
    assert connection.pragma("user_version") == len(steps)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").get == 0
    connection.close()


_SERVE = """
import asyncio, sys
from whence.errors import StoreRefused
from whence.storage import create_store
try:
    store = create_store(sys.argv[1])
except StoreRefused as error:
    print(error)
else:
    asyncio.run(store.close())
"""


def refusal(path: str, folder: Path, mutant: str = "") -> str:
    """What a second server of the file says that is started in a folder; empty if it serves the file."""
    command = [sys.executable, "-c", mutant + _SERVE, f"sqlite:///{path}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=True).stdout


def test_a_second_server_is_refused_by_a_sentence(tmp_path: Path) -> None:
    """Another process cannot serve the file, until the first one let go."""
    path = str(tmp_path / "log.db")
    store = create_store(f"sqlite:///{path}")
    assert "one server" in refusal(path, tmp_path)
    asyncio.run(store.close())
    assert refusal(path, tmp_path) == ""


def other_names(folder: Path) -> dict[str, str]:
    """Other paths that lead to `real/log.db`, by what they are."""
    (folder / "link.db").symlink_to(folder / "real" / "log.db")
    (folder / "again.db").symlink_to("link.db")
    (folder / "linked").symlink_to("real", target_is_directory=True)
    (folder / "other").mkdir()
    return {
        "link": str(folder / "link.db"),
        "link of a link": str(folder / "again.db"),
        "link of the folder": str(folder / "linked" / "log.db"),
        "relative": "real/log.db",
        "relative link": "linked/../real/./log.db",
        "dots": str(folder / "other" / ".." / "real" / "log.db"),
    }


_BY_NAME = """
import whence.storage.sqlite.connection as connection, whence.storage.sqlite.engine as engine
connection.real_path = engine.real_path = lambda path: path
connection._lock_database = lambda fd: None
"""
"""A mutant that locks by name."""


def test_a_second_server_by_another_path_is_refused(tmp_path: Path) -> None:
    """Symbolic links of the file or of its folder and relative paths lead to the one lock of the file."""
    store = create_store(f"sqlite:///{tmp_path}/real/log.db")
    names = other_names(tmp_path)
    for what, name in names.items():
        assert "one server" in refusal(name, tmp_path), what
    assert refusal(names["link"], tmp_path, _BY_NAME) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again.db", "link.db", "link.db.high", "link.db.lock", "linked", "other", "real",
    ]  # fmt: skip
    asyncio.run(store.close())
    for what, name in names.items():
        assert refusal(name, tmp_path) == "", what


def test_a_file_of_several_names_is_refused(tmp_path: Path) -> None:
    """A hard link is refused with the way out, by every command and under both names, also while none serves it."""
    path, other = tmp_path / "log.db", tmp_path / "other.db"
    store = create_store(f"sqlite:///{path}")
    os.link(path, other)
    assert "hard links" in refusal(str(other), tmp_path)
    assert refusal(str(other), tmp_path, _BY_NAME) == ""
    asyncio.run(store.close())
    assert "Remove the other names" in refusal(str(path), tmp_path)
    for act in (verify, refuse_behind, lambda name: backup(name, str(tmp_path / "copy.db"))):
        with pytest.raises(StoreRefused, match="hard links"):
            act(str(other))
    other.unlink()
    assert refusal(str(path), tmp_path) == ""


def test_the_database_itself_is_locked(tmp_path: Path) -> None:
    """Where the lock file is gone, or lies elsewhere as by a bind mount, a second server is refused all the same."""
    path = tmp_path / "log.db"
    store = create_store(f"sqlite:///{path}")
    (tmp_path / "log.db.lock").unlink()
    assert "one server" in refusal(str(path), tmp_path)
    assert refusal(str(path), tmp_path, _BY_NAME) == ""
    asyncio.run(store.close())


def posix_locks(path: Path) -> int:
    """The POSIX locks on a file, which are SQLite's."""
    inode = str(path.stat().st_ino)
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return sum("POSIX" in line and any(word.endswith(f":{inode}") for word in line) for line in lines)


def test_sqlites_own_locks_outlive_a_refused_server(tmp_path: Path) -> None:
    """In the process that serves a file, a second server is refused before it opens the file, whose closing would drop
    the locks of SQLite.
    """
    path = tmp_path / "log.db"
    (tmp_path / "link.db").symlink_to(path)
    store = create_store(f"sqlite:///{path}")
    assert (kept := posix_locks(path)) > 0
    for name in ("log.db", "link.db"):
        with pytest.raises(StoreRefused, match="one server"):
            create_store(f"sqlite:///{tmp_path / name}")
    assert posix_locks(path) == kept
    os.close(os.open(path, os.O_RDONLY))  # the mutant
    assert posix_locks(path) == 0
    asyncio.run(store.close())


def test_commands_by_a_link_work_beside_the_server(tmp_path: Path) -> None:
    """Keys, verification and backups find a served file by a symbolic link, and see the same records."""
    path, link = tmp_path / "real" / "log.db", tmp_path / "link.db"
    store = create_store(f"sqlite:///{path}")
    link.symlink_to(path)
    kept = posix_locks(path)
    command = "import sys; from whence.cli import main; sys.exit(main())"
    for words in (("key", "create", "--scope", "admin"), ("verify",), ("backup", str(tmp_path / "copy.db"))):
        whence = [sys.executable, "-c", command, *words, "--store", f"sqlite:///{link}"]
        done = subprocess.run(whence, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    assert posix_locks(path) == kept
    asyncio.run(store.close())
    assert verify(str(tmp_path / "copy.db")).sound


def test_a_key_made_beside_the_server_is_known_to_it_at_once(tmp_path: Path) -> None:
    """A second process may store keys, and may not append."""

    async def scenario() -> None:
        url = f"sqlite:///{tmp_path / 'log.db'}"
        server, beside = create_store(url), create_store(url, serving=False)
        _, key = new_api_key("t", ("events:read",), 1)
        await beside.credentials.put_key(key)
        assert await server.credentials.find_key(key.hash) == key
        assert await beside.credentials.revoke_key("t", key.id, 5)
        assert not await beside.credentials.revoke_key("other", key.id, 6)
        found = await server.credentials.find_key(key.hash)
        assert found is not None
        assert found.revoked_at == 5
        with pytest.raises(Unavailable):
            await beside.append("t", [Write(())])
        await beside.close()
        await server.close()

    asyncio.run(scenario())


def test_the_view_for_people_shows_an_event_as_it_is_answered(tmp_path: Path) -> None:
    """The view `event_log` joins the names and formats ids and times."""

    async def scenario() -> None:
        store = SQLiteStore(str(tmp_path / "log.db"))
        event = NewEvent(
            id="0190b5a0-0000-7000-8000-00000000abcd",
            event_type="decision.approved",
            actor_type="user",
            actor_id="ana",
            resource_type="decision",
            resource_id="00000000-0000-4000-8000-000000000007",
            occurred_at=1_700_000_000_123_000,
            payload=b'{"a":1E2}',
            causation_id="0190b5a0-0000-7000-8000-00000000abce",
        )
        await store.append("acme", [Write((event,))])
        row = store._writing.execute(
            "SELECT tenant, position, id, event_type, actor_id, resource_id, correlation_id, causation_id, outcome, "
            "occurred_at, payload FROM event_log"
        ).fetchall()
        await store.close()
        assert row == [
            (
                "acme",
                1,
                event.id,
                "decision.approved",
                "ana",
                event.resource_id,
                event.id,
                event.causation_id,
                "success",
                "2023-11-14T22:13:20.123Z",
                '{"a":1E2}',
            )
        ]

    asyncio.run(scenario())
