"""A store of an earlier release is migrated, returns the same results, accepts events, and passes verification.

The stores are in tests/data/stores, a folder for each schema. All checks use the public interface of a store; only the
mutants know its tables.
"""

import asyncio
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import apsw
import msgspec
import pytest

from tests.contract.faults import everywhere
from tests.data.stores import make_fixture
from tests.data.stores.made_events import id_of
from tests.data.stores.recorded import SEALER, Question, answer_to, is_same
from tests.databases import copied_database, empty_database, execute, fetch
from tests.examples import soak
from whence import integrity
from whence.errors import Conflict, StoreRefused, Unavailable, WhenceError
from whence.events import Event, NewEvent, Viewer, Vocabulary
from whence.permissions import key_hash, session_hash
from whence.storage import Store, Write, create_store, migrate_store, verify_store
from whence.storage.backends import engine_of
from whence.storage.migrations import Migration, load_migrations
from whence.storage.postgres import schema as postgres_schema
from whence.storage.sqlite import connection as sqlite_connection
from whence.storage.sqlite.backend import path_of
from whence.wire.query import parse_read

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("made_by_hand")]

STORES = Path(__file__).parents[1] / "data" / "stores"
FIXTURES = sorted(STORES.glob("*/sqlite.json.gz")) + sorted(STORES.glob("*/postgres.json.gz"))

ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'whence_app') THEN CREATE ROLE whence_app NOLOGIN; END IF;
END $$
"""

NOW_US = 1_800_000_000_000_000

FLOW = id_of("a flow")
"""A UUID, under whose upper case the fixtures have a flow of one event."""

IN_LOWER_CASE = Question(route="correlation", path={"correlation_id": FLOW})


class Kept:
    """A copy of a fixture as its release wrote it, and the results that the release returned."""

    def __init__(self, url: str, recorded: dict[str, Any]) -> None:
        self.url = url
        self.recorded = recorded


_databases: dict[Path, str] = {}


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.name.partition('.')[0]}"


def tried() -> list[Path]:
    """In the short form the oldest and the two newest fixtures of each engine; in the long form all."""
    engines = [[path for path in FIXTURES if name in path.name] for name in ("sqlite", "postgres")]
    return FIXTURES if soak() else [path for paths in engines for path in dict.fromkeys((*paths[:1], *paths[-2:]))]


@pytest.fixture(params=tried(), ids=name_of)
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """A fresh copy of each fixture."""
    return await copied(request.param, tmp_path)


async def copied(answers: Path, folder: Path) -> Kept:
    """A fresh copy of the store with these results; a file is copied into the folder."""
    recorded = json.loads(unpacked(answers))
    if answers.name.startswith("postgres"):
        if answers not in _databases:
            url = await empty_database()
            await execute(url, ROLE, unpacked(answers.parent / "postgres.sql.gz").decode())
            _databases[answers] = url
        return Kept(await copied_database(_databases[answers]), recorded)
    for name in ("sqlite.db", "sqlite.db.high"):
        (folder / name).write_bytes(unpacked(answers.parent / f"{name}.gz"))
    return Kept(f"sqlite:///{folder}/sqlite.db", recorded)


async def migrate(url: str) -> None:
    """Migrate a store to the schema of this release, as an operator does."""
    if engine_of(url).name == "PostgreSQL":
        await migrate_store(url)
    else:
        await create_store(url).close()


async def faults_of(kept: Kept) -> list[str]:
    """The differences between a migrated store and the results of its release, and the findings of verification."""
    store = create_store(kept.url, serving=False)
    try:
        await store.check_servable()
        faults = [*await _other_answers(store, kept.recorded), *await _other_credentials(store, kept.recorded)]
        if await make_fixture.followed(store) != kept.recorded.get("followers", []):  # of schema 6 and later
            faults.append("followers")
    finally:
        await store.close()
    report = await verify_store(kept.url)
    return faults + [f"verify: {finding.what}" for finding in report.findings]


async def _other_answers(store: Store, recorded: dict[str, Any]) -> list[str]:
    faults = [] if await store.tenants() == recorded["tenants"] else ["tenants"]
    for tenant, asked in recorded["answers"].items():
        for each in asked:
            question = msgspec.convert(each["question"], Question)
            if (tenant, question) == ("acme", IN_LOWER_CASE):
                continue  # releases with schema 1 did not find it; a test below says what is found today
            if not is_same(question.route, each["answer"], await answer_to(store, tenant, question)):
                faults.append(f"{question.route}: {tenant} {question}")
    return faults


async def _other_credentials(store: Store, recorded: dict[str, Any]) -> list[str]:
    faults = []
    for name, expected in recorded["keys"].items():
        key = await store.credentials.find_key(key_hash(expected["secret"]) or b"")
        found = None if key is None else (key.id, key.tenant, key.alive(NOW_US))
        if found != (expected["id"], expected["tenant"], expected["alive"]):
            faults.append(f"key: {name}")
    for name, expected in recorded["sessions"].items():
        session = await store.credentials.find_session(session_hash(expected["secret"]) or b"")
        found = (expected["keyId"], None) if session is None else (session.key_id, session.expires_at)
        if found != (expected["keyId"], expected["expiresAt"]):
            faults.append(f"session: {name}")
    return faults


def test_there_is_a_fixture_of_every_schema_but_the_newest_on_both_engines() -> None:
    """Each migration comes with a fixture of the schema before it."""
    steps = [f"{step.number:04}-{step.name}" for step in load_migrations("whence.storage.sqlite")]
    for engine in ("sqlite", "postgres"):
        assert {*(steps[:-1] or steps)} <= {path.parent.name for path in FIXTURES if path.name.startswith(engine)}


async def test_a_migrated_store_is_sound_and_says_what_it_said(kept: Kept) -> None:
    """Heads, events, filters, counts, actors, flows, traces, maps and credentials are equal, and verification
    succeeds."""
    assert {"acme", "globex.eu-1", "solo"} <= kept.recorded["answers"].keys()
    await migrate(kept.url)
    assert await faults_of(kept) == []


async def test_a_migrated_store_goes_on(kept: Kept) -> None:
    """A migrated store accepts new events up to the next fold, treats old events as repeats, and passes
    verification."""
    await migrate(kept.url)
    await go_on(kept)


def as_it_is(_patch: pytest.MonkeyPatch) -> None:
    """No mutant."""


def only_as_stored(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "spellings", lambda _real: lambda text: (text,))


def repeats_as_stored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(integrity, "canonical", lambda text: text)


def flows_by_text(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "earlier_spelling", lambda _real: lambda _text: None)


@pytest.mark.parametrize("kept", [path for path in FIXTURES if path.parent.name < "0003"], indirect=True, ids=name_of)
@pytest.mark.parametrize("mutant", [as_it_is, only_as_stored, repeats_as_stored, flows_by_text])
async def test_a_uuid_in_upper_case_is_met_by_either_form(
    kept: Kept, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that a release up to schema 2 stored with an upper-case UUID as its correlation is found by either form
    and stays as it is. It is repeated by either form, and the flow continues, also by inheritance."""
    await migrate(kept.url)
    mutant(monkeypatch)
    if mutant is as_it_is:
        await meet_either_form(kept)
        return
    with pytest.raises(AssertionError):
        await meet_either_form(kept)


async def meet_either_form(kept: Kept) -> None:
    store = create_store(kept.url)
    try:
        old = await store.get_event(Viewer("acme"), id_of("upper-case"))
        assert old is not None and old.correlation_id == FLOW.upper()
        assert await _of_flow(store, FLOW) == await _of_flow(store, FLOW.upper()) == [old]
        sent = NewEvent(**{name: getattr(old, name) for name in NewEvent.__struct_fields__})
        for spelling in (FLOW, FLOW.upper(), None):
            [[receipt]] = await _appended(store, "acme", msgspec.structs.replace(sent, correlation_id=spelling))
            assert receipt.replayed and receipt.event == old
        named, inheriting = _next(0, None), _next(1, old.id)
        [[one, other]] = await _appended(store, "acme", msgspec.structs.replace(named, correlation_id=FLOW), inheriting)
        for form in (FLOW, FLOW.upper()):
            assert {event.id for event in await _of_flow(store, form)} == {old.id, named.id, inheriting.id}
        assert one.event.correlation_id == other.event.correlation_id == FLOW.upper()
    finally:
        await store.close()
    assert (await verify_store(kept.url)).findings == []


async def _of_flow(store: Store, correlation_id: str) -> list[Event]:
    query = f"correlation_id={correlation_id}".encode()
    viewer = Viewer("acme")
    read = parse_read("list", query, viewer=viewer, now=NOW_US, vocabulary=Vocabulary(), sealer=SEALER, fixed={})
    page = await store.list_events(Viewer("acme"), read.query, read.page)
    assert page.total == len(page.events)
    return page.events


BREAKS = {
    "nothing is taken": (
        "CREATE TRIGGER broken BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'broken'); END",
        "UPDATE head SET tenant = tenant || '?'",
    ),
    "ids are no longer unique": (
        "UPDATE event SET id = randomblob(16)",
        "UPDATE event SET id = gen_random_uuid()",
    ),
    "kinds are numbered from 1 again": (
        "UPDATE tenant SET kinds = 0",
        "UPDATE head SET kinds = 0",
    ),
}
"""SQL of a last step, on SQLite and on PostgreSQL, after which a store no longer appends correctly."""


@pytest.mark.parametrize("name", BREAKS)
async def test_mutant_a_store_that_does_not_go_on_is_caught(
    kept: Kept, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append that fails, one that stores an event twice and one that assigns a number twice are each reported."""
    sqlite, postgres = BREAKS[name]
    add_step(monkeypatch, sqlite=sqlite, postgres=postgres)
    await migrate(kept.url)
    with pytest.raises(AssertionError):
        await go_on(kept)


async def go_on(kept: Kept) -> None:
    """Append to every log and to a new one, and verify all of it."""
    store = create_store(kept.url)
    try:
        await store.check_servable()
        for tenant in (*kept.recorded["tenants"], "newcomer"):
            await _go_on(store, tenant)
    finally:
        await store.close()
    report = await verify_store(kept.url)
    assert report.findings == []


async def _go_on(store: Store, tenant: str) -> None:
    """Append to one log, and repeat its first event."""
    before = await store.head(tenant)
    for first in await store.read_log(tenant, 0, 1):
        again = {name: getattr(first.event, name) for name in NewEvent.__struct_fields__}
        [[receipt]] = await _appended(store, tenant, NewEvent(**again))
        assert receipt.replayed
        [[receipt]] = await _appended(store, tenant, NewEvent(**again | {"actor_id": "another"}))
        assert isinstance(receipt.error, Conflict)
    cause = next((each.event.id for each in await store.read_log(tenant, before.size - 1, 1)), None)
    events = [_next(number, cause) for number in range(2_100)]
    [one, many] = await _appended(store, tenant, events[0]) + await _appended(store, tenant, *events[1:])
    assert [receipt.event.position for receipt in [*one, *many]] == [*range(before.size + 1, before.size + 2_101)]
    assert (await store.head(tenant)).size == before.size + 2_100


async def _appended(store: Store, tenant: str, *events: NewEvent) -> list[Any]:
    results = await store.append(tenant, [Write(events)])
    assert not [result for result in results if isinstance(result, WhenceError)]
    return results


def _next(number: int, cause: str | None) -> NewEvent:
    return NewEvent(
        id=str(uuid4()),
        event_type="action_run.completed",
        actor_type="agent",
        actor_id=f"after {number % 50}",
        resource_type="action_run",
        resource_id=str(uuid4()) if number % 100 == 0 else "00000000-0000-0000-0000-000000000001",
        occurred_at=1_741_953_600_000_000 + number * 40_000_000,
        causation_id=cause,
    )


async def test_this_release_can_make_a_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that makes the fixtures runs on the current code, and the tests above accept its output."""
    make_fixture.lower_thresholds(monkeypatch.setattr)
    made, work, copy = tmp_path / "made", tmp_path / "work", tmp_path / "copy"
    for folder in (made, work, copy):
        folder.mkdir()
    await make_fixture.make(made, work)
    for name in ("sqlite", "postgres"):
        kept = await copied(made / f"{name}.json.gz", copy)
        await migrate(kept.url)
        assert await faults_of(kept) == []
        assert len(kept.recorded["followers"]) == 8
        store = create_store(kept.url)
        await store.followers.delete_place("acme", "alerts")
        await store.close()
        assert await faults_of(kept) == ["followers"]


# --- migrations that harm --------------------------------------------------------------------------------------

MUTANTS = {
    "payloads are written anew": (
        "UPDATE event SET payload = CAST(replace(CAST(payload AS TEXT), '1E2', '100.0') AS BLOB)",
        "UPDATE event SET payload = convert_to(replace(convert_from(payload, 'UTF8'), '1E2', '100.0'), 'UTF8')",
        {"list", "event", "log", "verify"},
    ),
    "a revocation is lost": ("UPDATE api_key SET revoked_at = NULL", None, {"key", "keys"}),
    "an expiry is lost": ("UPDATE api_key SET expires_at = NULL", None, {"key", "keys"}),
    "sessions are lost": ("DELETE FROM session", None, {"session"}),
    "hashes of erased payloads are lost": (
        "UPDATE event SET payload_hash = x'00' WHERE payload_hash IS NOT NULL",
        r"UPDATE event SET payload_hash = '\x00' WHERE payload_hash IS NOT NULL",
        {"log", "verify"},
    ),
    "flows are counted anew": ("UPDATE flow SET events = events + 1", None, {"flows", "verify"}),
    "times are rounded": (
        "UPDATE event SET occurred_at = occurred_at / 1000000 * 1000000",
        None,
        {"list", "event", "trace", "verify"},
    ),
}
"""SQL of a last step, on SQLite and, when it differs, on PostgreSQL, and the checks that must report it."""


def add_step(patch: pytest.MonkeyPatch, *, sqlite: str, postgres: str) -> None:
    """Add one migration to both engines."""
    for module, sql in ((sqlite_connection, sqlite), (postgres_schema, postgres)):

        def loaded(package: str, sql: str = sql) -> tuple[Migration, ...]:
            steps = load_migrations(package)
            return (*steps, Migration(len(steps) + 1, "more", sql))

        patch.setattr(module, "load_migrations", loaded)


async def test_a_harmless_step_more_is_no_fault(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A harmless extra migration is not reported, so the mutants below are caught for their harm."""
    add_step(monkeypatch, sqlite="CREATE TABLE more (x)", postgres="CREATE VIEW more AS SELECT 1 AS x")
    await migrate(kept.url)
    assert await faults_of(kept) == []


@pytest.mark.parametrize("name", MUTANTS)
async def test_mutant_a_harmful_migration_is_caught(kept: Kept, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check reports the harm that it covers."""
    sqlite, postgres, wanted = MUTANTS[name]
    add_step(monkeypatch, sqlite=sqlite, postgres=postgres or sqlite)
    await migrate(kept.url)
    assert {fault.partition(":")[0] for fault in await faults_of(kept)} >= wanted


# --- migrations that are interrupted ---------------------------------------------------------------------------

HARM = "DELETE FROM session; CREATE TABLE half (x int); UPDATE api_key SET revoked_at = NULL; "
SPILL = "PRAGMA cache_size = 4; UPDATE event SET payload = zeroblob(20000); "
"""Writes more pages than SQLite's cache holds, so that some are in the write-ahead log before the commit."""


async def rows_of(url: str) -> dict[str, list[Any]]:
    """Every table of a store with all of its rows."""
    if engine_of(url).name == "PostgreSQL":
        names = await fetch(url, "SELECT relname FROM pg_class WHERE relnamespace = 'whence'::regnamespace")
        kinds = "SELECT relname FROM pg_class WHERE relnamespace = 'whence'::regnamespace AND relkind = 'r'"
        tables = [str(name) for (name,) in await fetch(url, kinds)]
        found = {name: await fetch(url, f"SELECT t::text FROM whence.{name} t ORDER BY 1") for name in tables}
        return {"": sorted(names), **found}
    connection = apsw.Connection(path_of(url))
    try:
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
        tables = [name for kind, name, _ in schema if kind == "table"]
        rows = {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}"))) for name in tables}
        return {"": [*schema, connection.pragma("user_version")], **rows}
    finally:
        connection.close()


@pytest.mark.parametrize("half", ["", "COMMIT; "], ids=["real", "mutant-each-step-is-committed"])
async def test_a_migration_that_fails_leaves_the_old_store(
    kept: Kept, half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When one step fails, no step is kept; without the broken step the store is migrated. A step with its own commit
    would fail this test."""
    before = await rows_of(kept.url)
    broken = HARM + half + "SELECT * FROM nowhere"
    with monkeypatch.context() as patch:
        add_step(patch, sqlite=broken, postgres=broken)
        with pytest.raises(StoreRefused):
            await migrate(kept.url)
    if half:
        assert await rows_of(kept.url) != before
        return
    assert await rows_of(kept.url) == before
    await migrate(kept.url)
    assert await faults_of(kept) == []


KILLED = """
import sys
import apsw
from whence.storage import create_store
from whence.storage.migrations import Migration, load_migrations
from whence.storage.sqlite import connection as module

def loaded(package):
    steps = load_migrations(package)
    return (*steps, Migration(len(steps) + 1, "more", sys.argv[2]))

def ready():
    print("ready", flush=True)
    sys.stdin.read()

apsw.connection_hooks.append(lambda connection: connection.create_scalar_function("ready", ready, 0))
module.load_migrations = loaded
create_store(sys.argv[1])
"""


def killed_in(url: str, sql: str) -> None:
    """Open a SQLite store in a process that is killed with SIGKILL in the last step of its migration, at `ready()`."""
    command = [sys.executable, "-c", KILLED, url, sql]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    assert line == b"ready\n"
    assert Path(path_of(url) + "-wal").stat().st_size > 1_000_000


async def ended_in(url: str, patch: pytest.MonkeyPatch, sql: str) -> None:
    """Migrate a PostgreSQL store on a connection that is closed in the last step."""
    add_step(patch, sqlite="", postgres=sql + "SELECT pg_sleep(60)")
    migrating = asyncio.create_task(migrate_store(url))
    until = time.monotonic() + 20
    sleeping = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    while not await fetch(url, f"SELECT pg_terminate_backend(pid) {sleeping}"):
        assert time.monotonic() < until
        await asyncio.sleep(0.02)
    with pytest.raises(Unavailable):
        await migrating


async def test_a_migration_that_is_killed_leaves_the_old_store(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL or a lost connection before the commit, the next migration starts from the unchanged old store."""
    before = await rows_of(kept.url)
    if engine_of(kept.url).name == "PostgreSQL":
        with monkeypatch.context() as patch:
            await ended_in(kept.url, patch, HARM)
    else:
        await asyncio.to_thread(killed_in, kept.url, HARM + SPILL + "SELECT ready()")
    assert await rows_of(kept.url) == before
    await migrate(kept.url)
    assert await faults_of(kept) == []
