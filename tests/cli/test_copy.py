"""`copy` from SQLite to PostgreSQL and back, also when it is killed halfway."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli, running
from tests.contract.made import add, new
from tests.databases import empty_database
from whence.storage import create_store
from whence.storage.sqlite.verify import verify

pytestmark = pytest.mark.slow

EVENTS = 3_500

DIES = """
import os, signal
import whence.copying
from whence.storage.postgres import engine as postgres
from whence.storage.sqlite import engine as sqlite
parts = []
def dying(real):
    async def import_log(self, tenant, events):
        parts.append(tenant)
        if len(parts) == 3 and BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        await real(self, tenant, events)
        if len(parts) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return import_log
for store in (postgres.PostgresStore, sqlite.SQLiteStore):
    store.import_log = dying(store.import_log)
"""
"""Kills the program at its third part: before the part is stored, or right after."""

FORGETS_KEYS = Mutant(
    "forgets_keys",
    "import whence.copying\nasync def forget(target, key): pass\nwhence.copying._copy_key = forget",
)
SKIPS_HIGH_WATER = Mutant(
    "ignores_the_high_water_record",
    "import whence.storage.sqlite.backup as backup\nbackup.refuse_behind = lambda path: None",
)
MAKES_A_SOURCE = Mutant(
    "makes_its_source",
    "import whence.storage.sqlite.backup as backup\nbackup.refuse_behind = lambda path: None",
)
SHOWS_PASSWORD = Mutant(
    "shows_the_whole_url",
    "from whence.settings import Settings\nSettings.shown_store = property(lambda self: self.store)",
)


def on(url: str, work: Any) -> Any:
    """The result of `work(store)`."""

    async def asked() -> Any:
        store = create_store(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(asked())


def log_of(url: str) -> Any:
    """The head and all events of the tenant, with their hashes."""

    async def read(store: Any) -> Any:
        head = await store.head("acme")
        parts = [await store.read_log("acme", after, 500) for after in range(0, head.size, 500)]
        return head, [each for part in parts for each in part]

    return on(url, read)


@pytest.fixture
def source(tmp_path: Path) -> str:
    """The URL of a SQLite file with a log."""
    url = f"sqlite:///{tmp_path}/source.db"

    async def fill(store: Any) -> None:
        for start in range(0, EVENTS, 1_000):
            await add(store, *[new(n) for n in range(start, min(start + 1_000, EVENTS))])

    on(url, fill)
    return url


def database(cli: Cli) -> str:
    """The URL of a PostgreSQL database with an empty log."""
    url = asyncio.run(empty_database())
    cli.ok("migrate", "--store", url)
    return url


@catches(FORGETS_KEYS)
def test_a_log_moves_to_postgresql_and_back(cli: Cli, source: str) -> None:
    """The program reports what it copied. A server of the copy accepts the old key and returns the same events. The
    file that is copied back is sound and the same."""
    key = cli.ok("key", "create", "--tenant", "acme", "--scope", "events:read", "--store", source).lines[0]
    url, back = database(cli), f"sqlite:///{cli.home}/back.db"
    said = cli.ok("copy", "--from", source, "--to", url).err
    assert said.startswith("3,500 events, 1 tenant, 1 key in postgresql://")
    assert said.endswith("verified; 0 of the events were already there.\n")
    with running(cli, "serve", "--store", url, "--port", "0") as serving:
        found = httpx2.get(f"{serving.url}/api/v1/events", headers={"X-API-Key": key})
        assert (found.status_code, found.json().get("total")) == (200, EVENTS)
    cli.ok("copy", "--from", url, "--to", back)
    assert log_of(source) == log_of(url) == log_of(back)
    report = verify(back.removeprefix("sqlite:///"))
    assert (report.sound, report.events) == (True, EVENTS)
    assert "3,500 of the events were already there" in cli.ok("copy", "--from", url, "--to", back).err


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("to", ["sqlite", "postgres"])
def test_a_killed_copy_continues(cli: Cli, source: str, to: str, before: bool) -> None:
    """After SIGKILL at the third part, before or after its commit, the next run copies the rest."""
    url = database(cli) if to == "postgres" else f"sqlite:///{cli.home}/target.db"
    dying = Cli(cli.home, DIES.replace("BEFORE", str(before)))
    assert dying.run("copy", "--from", source, "--to", url).code == -signal.SIGKILL
    there = 2_000 if before else 3_000
    assert f"{there:,} of the events were already there" in cli.ok("copy", "--from", source, "--to", url).err
    assert log_of(source) == log_of(url)


def test_the_source_may_be_served_meanwhile(cli: Cli, source: str) -> None:
    """The copy has the events from its start, and the server continues. A target that is served is refused."""
    target = f"sqlite:///{cli.home}/target.db"
    with running(cli, "serve", "--store", source, "--port", "0") as serving:
        cli.ok("copy", "--from", source, "--to", target)
        assert httpx2.get(f"{serving.url}/readyz").status_code == 200
        assert "serves" in cli.fails(1, "copy", "--from", target, "--to", source)


def test_a_foreign_target_is_refused(cli: Cli, source: str) -> None:
    """A target with other events is refused with a sentence, and nothing is written to it."""
    target = f"sqlite:///{cli.home}/target.db"
    on(target, lambda store: add(store, new(4)))
    assert "other events" in cli.fails(1, "copy", "--from", source, "--to", target)
    assert log_of(target)[0].size == 1


def test_an_altered_source_ends_with_the_code_of_verification(cli: Cli, source: str) -> None:
    """The position is reported, and the exit code is 5."""

    def alter(connection: Any) -> None:
        connection.execute("UPDATE event SET payload = x'7b7d20' WHERE key & 0xFFFF = 1500")

    on(source, lambda store: store._writer.submit(alter))
    said = cli.fails(5, "copy", "--from", source, "--to", f"sqlite:///{cli.home}/target.db")
    assert "acme, position 1500" in said


@catches(SKIPS_HIGH_WATER)
def test_a_source_that_lost_events_is_refused(cli: Cli, source: str) -> None:
    """A file that lacks acknowledged events is not copied; the exit code is 5."""
    path = Path(source.removeprefix("sqlite:///"))
    older = path.read_bytes()
    on(source, lambda store: add(store, new(9_999)))
    path.write_bytes(older)
    assert cli.run("copy", "--from", source, "--to", f"sqlite:///{cli.home}/target.db").code == 5


@catches(MAKES_A_SOURCE)
def test_a_missing_source_is_reported(cli: Cli) -> None:
    """And it is not created."""
    nowhere = cli.home / "nowhere.db"
    said = cli.run("copy", "--from", f"sqlite:///{nowhere}", "--to", f"sqlite:///{cli.home}/target.db")
    assert (said.code, nowhere.exists()) == (1, False)
    assert "no SQLite file" in said.err


def test_a_database_without_a_log_is_refused(cli: Cli, source: str) -> None:
    """The message names the command that makes a log."""
    url = asyncio.run(empty_database())
    assert "whence migrate" in cli.fails(1, "copy", "--from", source, "--to", url)


@catches(SHOWS_PASSWORD)
def test_a_password_is_not_shown(cli: Cli, source: str) -> None:
    """The URL of the target is shown without its password."""
    url = database(cli).replace("postgres:@", "postgres:made-up-password@")
    said = cli.ok("copy", "--from", source, "--to", url).err
    assert "postgresql://" in said
    assert "made-up-password" not in said
