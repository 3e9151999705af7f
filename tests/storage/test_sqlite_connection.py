"""The SQLite versions, files and processes that may serve a log."""

import asyncio
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
from whence.storage.sqlite.connection import connect, migrate, refuse_unsafe_sqlite
from whence.storage.sqlite.engine import SQLiteStore


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


def test_a_second_server_is_refused_by_a_sentence(tmp_path: Path) -> None:
    """Another process cannot serve the file until the first one has closed it."""
    url = f"sqlite:///{tmp_path / 'log.db'}"
    code = (
        "import asyncio, sys\n"
        "from whence.errors import StoreRefused\n"
        "from whence.storage import create_store\n"
        "try:\n"
        "    store = create_store(sys.argv[1])\n"
        "except StoreRefused as error:\n"
        "    print(error)\n"
        "else:\n"
        "    asyncio.run(store.close())\n"
    )
    store = create_store(url)
    refused = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=30, check=True)
    assert "one server" in refused.stdout
    asyncio.run(store.close())
    served = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=30, check=True)
    assert served.stdout == ""


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
