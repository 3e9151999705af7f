"""A log is copied from store to store unchanged: its results, hashes, roots and keys."""

import gzip
import itertools
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from copy import copy
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.made import add, new, stored
from tests.data.sample import SAMPLE
from tests.databases import execute, fresh_database
from whence import copying
from whence.copying import copy_log
from whence.demo import recording
from whence.errors import Invalid, PositionGone, StoreRefused, Unavailable, Unsound
from whence.events import Event, NewEvent, PageRequest, PartRequest, Query, Viewer, Vocabulary
from whence.merkle_proofs import LeafRange
from whence.permissions import new_api_key, new_operator_key
from whence.storage import HashedEvent, Session, Write, create_store, verify_store
from whence.storage.base import READ_BYTES
from whence.storage.followers import Definition
from whence.storage.postgres import append as postgres_append
from whence.storage.postgres import rows as postgres_rows
from whence.storage.removals import HOLD, PAYLOAD_ERASED, POLICY, REMOVAL, RETENTION_APPLIED, Purge
from whence.storage.sqlite import append as sqlite_append
from whence.storage.sqlite import rows as sqlite_rows
from whence.storage.sqlite.verify import verify
from whence.wire.event import IngestContext, parse_batch
from whence.wire.ids import new_uuid7
from whence.wire.log_events import log_event

pytestmark = pytest.mark.slow

TENANT = "acme"
OTHER = "other"
KINDS = ("sqlite", "postgres")
WHOLE = os.environ.get("WHENCE_LOAN_LOG")


async def opened(kind: str, folder: Path, *, importing: bool = True) -> Any:
    """An empty store of a kind."""
    url = f"sqlite:///{folder}/{time.monotonic_ns()}.db" if kind == "sqlite" else await fresh_database()
    store: Any = create_store(url, importing=importing)
    store.url, store.kind = url, kind
    return store


def lines_of(name: str) -> Iterator[list[bytes]]:
    """The lines of a recorded log, in chunks of a thousand."""
    if name == "airline":
        lines: Iterator[bytes] = iter(recording().splitlines())
    else:
        path = Path(WHOLE) if name == "whole" and WHOLE else SAMPLE
        lines = gzip.open(path)  # noqa: SIM115  (the run is short)
    while part := list(itertools.islice(lines, 1_000)):
        yield part


async def fill(store: Any, name: str) -> None:
    """Store a recorded log, and a small log of another tenant."""
    context = IngestContext(tenant=TENANT, vocabulary=Vocabulary(), now=time.time_ns() // 1_000)
    for part in lines_of(name):
        events = tuple(each for each in parse_batch(b"\n".join(part), True, context) if isinstance(each, NewEvent))
        assert len(events) == len(part)
        await store.append(TENANT, [Write(events, atomic=True)])
    await add(store, *[new(number, actor_id=f"a{number % 3}", occurred_at=number % 5) for number in range(40)])
    await add(store, *[new(number) for number in range(500, 507)], tenant=OTHER)


async def log(store: Any, tenant: str = TENANT) -> list[HashedEvent]:
    """Every event of a log, with its hashes."""
    found: list[HashedEvent] = []
    while part := await store.read_log(tenant, len(found), 1_000):
        found += part
    return found


# --- the recorded logs, there and back -------------------------------------------------------------------------


class Trip:
    """A log in a file, its copy in PostgreSQL, and the copy of that in a file again."""

    def __init__(self, first: Any, second: Any, third: Any) -> None:
        self.stores = (first, second, third)
        self.first, self.second, self.third = self.stores


@pytest.fixture(
    scope="module",
    params=[
        "airline",
        "sample",
        pytest.param("whole", marks=pytest.mark.skipif(not WHOLE, reason="WHENCE_LOAN_LOG names none")),
    ],
)
async def trip(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[Trip]:
    folder = tmp_path_factory.mktemp("trip")
    made = Trip(*[await opened(kind, folder) for kind in ("sqlite", "postgres", "sqlite")])
    await fill(made.first, request.param)
    for source, target in itertools.pairwise(made.stores):
        begun = time.monotonic()
        copied = await copy_log(source, target)
        seconds = time.monotonic() - begun
        print(f"\n{request.param}: {copied.events} events in {seconds:.1f} s, {copied.events / seconds:,.0f} a second")
        assert (copied.tenants, copied.before) == (2, 0)
    yield made
    for store in made.stores:
        await store.close()


def questions(events: list[HashedEvent]) -> list[Query]:
    """No filter, and each filter with frequent and rare values of this log."""
    filters: list[dict[str, Any]] = [{}]
    fields = ("event_type", "resource_type", "actor_type", "actor_id", "outcome", "correlation_id", "causation_id")
    for field in fields:
        values = [value for value, _ in Counter(getattr(each.event, field) for each in events).most_common() if value]
        filters += [{f"{field}s": (value,)} for value in {*values[:2], *values[-1:]}]
    for each in (events[0], events[len(events) // 3], events[-60]):
        filters.append({"resource_ids": (each.event.resource_id,), "resource_types": (each.event.resource_type,)})
    times = sorted(each.event.occurred_at for each in events)
    cuts = [times[len(times) * part // 6] for part in range(6)]
    filters += [{"since": since + 1, "until": until} for since, until in itertools.combinations(cuts, 2)]
    filters += [{"since": cuts[2], "outcomes": ("failure",)}, {"until": cuts[4], "actor_types": ("agent", "user")}]
    return [Query(**each) for each in filters]


async def answers(store: Any, query: Query, size: int) -> list[Any]:
    """The results of a query: pages of the list, the aggregate and the statistics."""
    pages = [
        await store.list_events(Viewer(TENANT), query, PageRequest(limit=20, offset=offset, ascending=ascending))
        for ascending in (False, True)
        for offset in (0, 13, size // 3, size - 30)
    ]
    pages = [msgspec.structs.replace(page, state=None) for page in pages]  # which only some stores name
    return [*pages, await store.count_events(Viewer(TENANT), query), await store.actor_stats(Viewer(TENANT), query)]


async def test_every_answer_is_the_same(trip: Trip) -> None:
    """Pages with all fields, aggregates and statistics under every filter, and single events by id, are equal."""
    events = await log(trip.first)
    asked = questions(events)
    for query in asked:
        first = await answers(trip.first, query, len(events))
        assert first == await answers(trip.second, query, len(events)), query
        assert first == await answers(trip.third, query, len(events)), query
    assert sum([(await trip.third.count_events(Viewer(TENANT), query)).total > 0 for query in asked]) > len(asked) // 2
    maps = [await store.process_map(Viewer(TENANT), None, None) for store in trip.stores]
    assert maps[0] == maps[1] == maps[2]
    for each in events[:: len(events) // 50]:
        for store in trip.stores:
            assert await store.get_event(Viewer(TENANT), each.event.id) == each.event
            assert await store.get_event(Viewer(OTHER), each.event.id) is None


async def test_every_hash_is_the_same(trip: Trip) -> None:
    """Leaves, salts, payload hashes, and the head of each tenant with its root and time, are equal."""
    for tenant in (TENANT, OTHER):
        first = await log(trip.first, tenant)
        assert first == await log(trip.second, tenant) == await log(trip.third, tenant)
        heads = [await store.head(tenant) for store in trip.stores]
        assert heads[0] == heads[1] == heads[2]
        assert heads[0].size == len(first) > 0


async def test_the_files_are_sound(trip: Trip) -> None:
    """`verify` finds no fault in the file that was copied twice; it checks every count at every level."""
    reports = [verify(store.url.removeprefix("sqlite:///")) for store in (trip.first, trip.third)]
    assert [report.findings for report in reports] == [[], []]
    assert reports[0].roots == reports[1].roots


async def test_a_copy_takes_new_events(trip: Trip) -> None:
    """New events take the next positions, repeats are replays, and the counts include both old and new events."""
    for number, store in enumerate(trip.stores):
        head = await store.head(OTHER)
        (receipt,) = await add(store, new(503), tenant=OTHER)
        assert receipt.replayed
        (event,) = await stored(store, new(1_000 + number), tenant=OTHER)
        assert event.position == head.size + 1
        assert (await store.count_events(Viewer(OTHER), Query())).total == head.size + 1


# --- small logs ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite-postgres", "postgres-sqlite"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[tuple[Any, Any]]:
    """A store with two small logs, and an empty store of the other kind."""
    source, target = [await opened(kind, tmp_path) for kind in request.param.split("-")]
    await add(source, *[new(n, actor_id=f"a{n % 3}", causation_id="x" if n % 4 else None) for n in range(2_500)])
    await add(source, *[new(n) for n in range(7)], tenant=OTHER)
    yield source, target
    await source.close()
    await target.close()


async def test_keys_come_along_and_sessions_do_not(pair: tuple[Any, Any]) -> None:
    """Keys keep hash, scopes, expiry, revocation and last use, also those of a tenant without events and of operators.

    The next copy revokes the keys that were revoked since the first one. A key that was revoked in the target stays
    revoked.
    """
    source, target = pair
    keys = [new_api_key(tenant, ("events:read",), number, name="k")[1] for number, tenant in enumerate((TENANT, "new"))]
    revoked = new_api_key(TENANT, ("admin", "events:read:decision"), 5, expires_at=9)[1]
    operators = new_operator_key(("events:read",), 6)[1]
    for key in (*keys, revoked, operators):
        await source.credentials.put_key(key)
    await source.credentials.put_session(Session(b"s" * 32, keys[0].id, 1 << 60))
    await source.credentials.revoke_key(TENANT, revoked.id, 77)
    await source.credentials.touch_keys({keys[0].id: 123})
    assert (await copy_log(source, target)).keys == 4
    assert await target.credentials.find_key(operators.hash) == operators
    for tenant in (TENANT, OTHER, "new"):
        assert await target.credentials.list_keys(tenant) == await source.credentials.list_keys(tenant)
    assert (await target.credentials.find_key(revoked.hash)).revoked_at == 77
    assert (await target.credentials.find_key(keys[0].hash)).last_used_at == 123
    assert await target.credentials.find_session(b"s" * 32) is None
    await source.credentials.revoke_key(TENANT, keys[0].id, 88)
    await source.credentials.touch_keys({keys[0].id: 124})
    await target.credentials.revoke_key("new", keys[1].id, 99)
    await copy_log(source, target)
    assert await target.credentials.find_key(keys[0].hash) == await source.credentials.find_key(keys[0].hash)
    assert (await target.credentials.find_key(keys[1].hash)).revoked_at == 99


async def test_another_key_of_the_same_id_is_refused(pair: tuple[Any, Any]) -> None:
    """A copy never replaces a key that differs."""
    source, target = pair
    key = new_api_key(TENANT, ("events:read",), 1)[1]
    await source.credentials.put_key(key)
    await target.credentials.put_key(msgspec.structs.replace(key, scopes=("admin",)))
    with pytest.raises(StoreRefused, match="another key"):
        await copy_log(source, target)
    assert (await target.credentials.get_key(key.id)).scopes == ("admin",)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_copy_that_broke_off_goes_on(pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """A copy that failed at its second part, before or after that was stored, resumes and copies nothing twice."""
    source, target = pair
    real, parts = target.import_log, []

    async def breaking(tenant: str, events: list[HashedEvent]) -> None:
        parts.append(len(events))
        if len(parts) != 2 or when == "after":
            await real(tenant, events)
        if len(parts) == 2:
            raise Unavailable("The server is gone.")

    monkeypatch.setattr(target, "import_log", breaking)
    with pytest.raises(Unavailable):
        await copy_log(source, target)
    there = (await target.head(TENANT)).size
    assert there == (1_000 if when == "before" else 2_000)
    copied = await copy_log(source, target)
    assert (copied.before, sum(parts)) == (there, 2_507 + (1_000 if when == "before" else 0))
    assert await log(source) == await log(target)
    assert (await copy_log(source, target)).before == 2_507


@pytest.mark.parametrize("pair", ["sqlite-sqlite", "postgres-postgres"], indirect=True)
async def test_a_log_may_go_to_a_store_of_its_own_kind(pair: tuple[Any, Any]) -> None:
    """Everything is copied to a store of the same kind, and a second run finds nothing to copy."""
    source, target = pair
    key = new_api_key(TENANT, ("events:read",), 1)[1]
    await source.credentials.put_key(key)
    assert (await copy_log(source, target)).before == 0
    assert (await copy_log(source, target)).before == 2_507
    assert await log(source) == await log(target)
    assert await target.credentials.get_key(key.id) == key


async def test_what_came_meanwhile_is_copied_by_the_next_run(pair: tuple[Any, Any]) -> None:
    """The source may be in use: each run copies the events that are stored when it begins."""
    source, target = pair
    await copy_log(source, target)
    await add(source, *[new(n) for n in range(5_000, 5_040)])
    assert (await copy_log(source, target)).before == 2_507
    assert await log(source) == await log(target)
    assert await target.count_events(Viewer(TENANT), Query()) == await source.count_events(Viewer(TENANT), Query())


async def _retained_from(store: Any, position: int) -> None:
    """Set the first position that a store keeps of a log, as if earlier ones had been removed."""
    change = f"SET retained_from = {position} WHERE tenant = '{OTHER}'"
    await alter(store, f"UPDATE tenant {change}", f"UPDATE whence.head {change}")


async def _copies_what_is_kept(source: Any, target: Any) -> None:
    await copy_log(source, target)
    await _retained_from(source, 3)
    await copy_log(source, target)
    assert await target.head(OTHER) == await source.head(OTHER)
    assert (await target.head(OTHER)).retained_from == 3
    assert (await target.head(TENANT)).retained_from == 1
    with pytest.raises(PositionGone):
        await target.read_feed(Viewer(OTHER), Query(), 0, 10)
    await _retained_from(target, 5)
    await copy_log(source, target)
    assert (await target.head(OTHER)).retained_from == 5


async def test_the_first_position_that_is_kept_comes_along(pair: tuple[Any, Any]) -> None:
    """Also when it has moved since the first run. It never goes back in the target."""
    await _copies_what_is_kept(*pair)


@pytest.mark.parametrize("wrong", ["left out", "set back"])
async def test_mutant_a_first_position_that_is_not_copied_is_caught(
    pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """A copy without it does not pass its own verification; one that sets it back fails the test."""
    source, target = pair

    async def nothing(_tenant: str, _position: int) -> None:
        return None

    if wrong == "left out":
        monkeypatch.setattr(target, "import_retained_from", nothing)
        with pytest.raises(Unsound, match="no longer keeps"):
            await _copies_what_is_kept(source, target)
        return
    replication = sys.modules[f"whence.storage.{target.kind}.replication"]
    text = re.sub(r"(?:max|greatest)\(retained_from, (\$2|\?)\)", r"\1", replication._SQL["retain_from"])
    assert text != replication._SQL["retain_from"]
    monkeypatch.setattr(replication, "_SQL", {**replication._SQL, "retain_from": text})
    with pytest.raises((AssertionError, Unsound)):
        await _copies_what_is_kept(source, target)


@pytest.mark.parametrize("foreign", ["other events", "the same events of another store", "more events"])
async def test_a_foreign_target_is_refused(pair: tuple[Any, Any], foreign: str) -> None:
    """A target whose log is not a prefix of the source is unchanged, and no other tenant is copied either."""
    source, target = pair
    if foreign == "more events":
        await target.import_log(OTHER, await log(source, OTHER))
        await add(target, new(900), tenant=OTHER)
    else:
        await add(target, *[new(n + 50 * (foreign == "other events")) for n in range(7)], tenant=OTHER)
    before = await target.head(OTHER)
    with pytest.raises(StoreRefused, match="Nothing was copied"):
        await copy_log(source, target)
    assert await target.head(OTHER) == before
    assert (await target.head(TENANT)).size == 0


async def test_a_store_that_serves_cannot_be_restored(tmp_path: Path, anyio_backend: str) -> None:
    """Only a store that was opened for import accepts events with their positions and hashes."""
    for kind in KINDS:
        store = await opened(kind, tmp_path, importing=False)
        await add(store, new(1))
        with pytest.raises(StoreRefused, match="opened"):
            await store.import_log(OTHER, await log(store))
        await store.close()


async def test_large_events_are_read_in_smaller_parts(pair: tuple[Any, Any]) -> None:
    """A part exceeds its limit of bytes by at most one event, and all events are copied."""
    source, target = pair
    await add(source, *[new(n, payload=b'{"a":"%s"}' % (b"x" * 250_000)) for n in range(9_000, 9_040)])
    part = await source.read_log(TENANT, 2_490, 1_000)
    sizes = [len(each.event.payload) for each in part]
    assert READ_BYTES <= sum(sizes) < READ_BYTES + max(sizes)
    assert len(part) < 50
    await copy_log(source, target)
    assert (await target.head(TENANT)).root == (await source.head(TENANT)).root


async def alter(store: Any, sqlite_sql: str, postgres_sql: str) -> None:
    """Change rows of a store from outside."""
    if store.url.startswith("sqlite"):
        await store._writer.submit(lambda connection: connection.execute(sqlite_sql).fetchall())
    else:
        await execute(store.url, postgres_sql)


async def purged(source: Any, end: int, keep: list[int]) -> None:
    """Remove the events before a position but for some, as retention does: after an event that says so."""
    await announced(source, RETENTION_APPLIED, [[1, end - 1]])
    for since in range(1, end, 400):
        await source.removals.purge(TENANT, Purge(since, min(since + 400, end), keep), [])


async def announced(source: Any, type_: str, ranges: list[list[int]]) -> None:
    body = log_event(TENANT, type_, {"ranges": ranges}, event_id=new_uuid7(), at=time.time_ns() // 1_000)
    assert (await add(source, body))[0].error is None


async def test_a_purged_log_is_copied(pair: tuple[Any, Any]) -> None:
    """Its leaves come along, so the root is the same and the copy verifies, and so does one that broke off. Events that
    are held come too. What is as old as those that were removed is refused by the target as well."""
    source, target = pair
    await purged(source, 1_600, [3, 4, 700, 1_050, 1_098, 1_099, 1_599])
    for kind, id_ in ((HOLD, "hold"), (POLICY, POLICY)):
        await source.followers.put_definition(Definition(TENANT, kind, id_, 1, b'{"a": 1}'))
    real = target.import_log

    async def breaking(tenant: str, events: list[HashedEvent]) -> None:
        if events[0].event.position == 1_599:
            raise Unavailable("The server is gone.")
        await real(tenant, events)

    target.import_log = breaking
    with pytest.raises(Unavailable):
        await copy_log(source, target)
    target.import_log = real
    assert (await copy_log(source, target)).before == 1_598
    assert await target.head(TENANT) == await source.head(TENANT)
    assert (await target.head(TENANT)).retained_from == 1_600
    assert await every_event(target) == await every_event(source)
    assert await target.actor_stats(Viewer(TENANT), Query()) == await source.actor_stats(Viewer(TENANT), Query())
    assert await target.process_map(Viewer(TENANT), None, None) == await source.process_map(Viewer(TENANT), None, None)
    for kind in (HOLD, POLICY):
        listed = [await store.followers.list_definitions(kind) for store in pair]
        assert listed[0] == listed[1] != []
    leaves = LeafRange(0, 2_501)
    assert await target.seals.read_leaves(TENANT, leaves) == await source.seals.read_leaves(TENANT, leaves)
    [receipt] = await add(target, new(5))
    assert isinstance(receipt.error, Invalid)
    assert (await verify_store(target.url)).sound


async def every_event(store: Any) -> list[Event]:
    part = await store.list_part(Viewer(TENANT), Query(), PartRequest(limit=5_000, as_of=2_501))
    found: list[Event] = part.events
    return found


@pytest.mark.parametrize("removal", ["erasure", "retention", "unannounced"])
async def test_nothing_that_was_removed_stays_in_a_copy(pair: tuple[Any, Any], removal: str) -> None:
    """A copy that began before a removal does not go on after it. While a removal is not done, none begins."""
    source, target = pair
    await copy_log(source, target)
    if removal == "erasure":
        await announced(source, PAYLOAD_ERASED, [[7, 7]])
        await source.removals.erase_payloads(TENANT, [7], 5, [])
    elif removal == "retention":
        await purged(source, 10, [])
    else:
        await source.removals.purge(TENANT, Purge(1, 10, []), [])
    with pytest.raises(StoreRefused, match="new, empty store"):
        await copy_log(source, target)
    await source.followers.put_definition(Definition(TENANT, REMOVAL, "removal", 1, b"{}"))
    with pytest.raises(StoreRefused, match="not done"):
        await copy_log(source, target)


@pytest.mark.parametrize("wrong", ["leaves are not kept", "erased payloads stay"])
async def test_mutant_a_copy_that_leaves_removals_out_is_caught(
    pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """A copy without the leaves of what was removed does not pass its verification, and one that goes on after an
    erasure fails the test."""

    async def nothing(*_values: Any) -> None:
        return None

    if wrong == "erased payloads stay":
        monkeypatch.setattr(copying, "_refuse_unerased", nothing)
        with pytest.raises(pytest.fail.Exception):
            await test_nothing_that_was_removed_stays_in_a_copy(pair, "erasure")
        return
    replication = sys.modules[f"whence.storage.{pair[1].kind}.replication"]
    monkeypatch.setattr(replication, "tile_leaves", nothing if pair[1].kind == "postgres" else lambda *_values: None)
    with pytest.raises((AssertionError, Unsound)):
        await test_a_purged_log_is_copied(pair)


async def test_an_erased_payload_stays_erased_and_proven(pair: tuple[Any, Any]) -> None:
    """The hash of the erased payload is copied, so the leaf still proves the event."""
    source, target = pair
    (third,) = await source.read_log(TENANT, 2, 1)
    digest = sha256(third.salt + third.event.payload).hexdigest()
    erased = "SET payload = NULL, salt = NULL, payload_hash ="
    await alter(
        source,
        f"UPDATE event {erased} x'{digest}' WHERE key & 0xFFFF = 3 AND tenant_no = 1",
        f"UPDATE whence.event {erased} '\\x{digest}' WHERE position = 3 AND tenant_no = 1",
    )
    await copy_log(source, target)
    (copied,) = await target.read_log(TENANT, 2, 1)
    assert (copied.salt, copied.event.payload, copied.payload_hash.hex()) == (None, None, digest)
    assert copied.leaf == third.leaf
    assert (await target.head(TENANT)).root == (await source.head(TENANT)).root


# --- mutants of the checks -------------------------------------------------------------------------------------


def _event(**change: Any) -> Callable[[list[HashedEvent]], list[HashedEvent]]:
    """A function that alters the seventh event of a part."""

    def altered(part: list[HashedEvent]) -> list[HashedEvent]:
        event = msgspec.structs.replace(part[6].event, **change)
        return [*part[:6], msgspec.structs.replace(part[6], event=event), *part[7:]]

    return altered


ON_THE_WAY: dict[str, Callable[[list[HashedEvent]], list[HashedEvent]]] = {
    "another actor": _event(actor_id="eve"),
    "another time": _event(occurred_at=1),
    "recorded at another time": _event(recorded_at=1),
    "another outcome": _event(outcome="failure"),
    "another flow": _event(correlation_id="x"),
    "no cause": _event(causation_id="y"),
    "another id": _event(id="00000000-0000-4000-8000-000000000009"),
    "another payload": lambda part: [
        *part[:6],
        msgspec.structs.replace(part[6], payload_hash=sha256(b"other").digest()),
        *part[7:],
    ],
    "another leaf": lambda part: [*part[:6], msgspec.structs.replace(part[6], leaf=part[7].leaf), *part[7:]],
    "one left out": lambda part: [*part[:6], *part[7:]],
    "one twice": lambda part: [*part[:7], *part[6:]],
    "two changed places": lambda part: [*part[:6], part[7], part[6], *part[8:]],
    "the first left out": lambda part: part[1:],
}
"""Alterations of events between source and target."""


async def test_an_event_that_is_altered_on_the_way_is_found(
    pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy stops before the part with the altered event, and reports its position."""
    source, target = pair
    real = source.read_log
    for befallen, change in ON_THE_WAY.items():

        async def altering(tenant: str, after: int, limit: int, change: Any = change) -> list[HashedEvent]:
            part = await real(tenant, after, limit)
            return change(part) if after == 1_000 else part

        monkeypatch.setattr(source, "read_log", altering)
        with pytest.raises(StoreRefused, match=r"position 100[178]"):
            await copy_log(source, target)
        assert (await target.head(TENANT)).size == 1_000, befallen
    monkeypatch.setattr(source, "read_log", real)
    await copy_log(source, target)


def _imported_otherwise(change: Callable[[Event], Event]) -> Callable[[pytest.MonkeyPatch], None]:
    """A store that alters rows when it imports them."""

    def mutant(patch: pytest.MonkeyPatch) -> None:
        for module in (sqlite_append, postgres_append):
            real = module.event_values

            def event_values(*args: Any, real: Any = real) -> Any:
                *tenant_no, batch, hashed = args
                other = copy(batch)
                other.events = list(map(change, batch.events))
                return real(*tenant_no, other, hashed)

            patch.setattr(module, "event_values", event_values)

    return mutant


def _counted_otherwise(patch: pytest.MonkeyPatch) -> None:
    """A store that leaves one event out of its counts by time."""
    real, real_postgres = sqlite_append._roll_up, postgres_append._counted
    patch.setattr(
        sqlite_append, "_roll_up", lambda connection, no, placed, **how: real(connection, no, placed[1:], **how)
    )
    patch.setattr(
        postgres_append,
        "_counted",
        lambda connection, head, log, occurrences: real_postgres(connection, head, log, occurrences[1:]),
    )


def _salted_anew(patch: pytest.MonkeyPatch) -> None:
    """A store that keeps a salt other than that of the leaf."""
    for module, columns in ((sqlite_append, sqlite_rows.EVENT_COLUMNS), (postgres_append, postgres_rows.EVENT_COLUMNS)):
        real, at = module.event_values, columns.index("salt")
        patch.setattr(
            module,
            "event_values",
            lambda *args, real=real, at=at: [(*row[:at], bytes(16), *row[at + 1 :]) for row in real(*args)],
        )


IN_THE_TARGET: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a payload is written otherwise": _imported_otherwise(lambda event: msgspec.structs.replace(event, payload=b"{ }")),
    "the time of recording is new": _imported_otherwise(
        lambda event: msgspec.structs.replace(event, recorded_at=event.recorded_at + 1)
    ),
    "causes are lost": _imported_otherwise(lambda event: msgspec.structs.replace(event, causation_id=None)),
    "salts are new": _salted_anew,
    "an event is left out of the counts": _counted_otherwise,
}
"""Ways in which a target may write something else than it was given."""


@pytest.mark.parametrize("wrong", IN_THE_TARGET)
async def test_a_target_that_writes_something_else_is_found(
    pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """The whole target is read back: a copy with a changed event or count is not reported as complete."""
    IN_THE_TARGET[wrong](monkeypatch)
    with pytest.raises(Unsound):
        await copy_log(*pair)


async def test_a_target_that_others_write_to_is_told(pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A write to the target by another process, between two parts or after the last one, is reported."""
    source, target = pair
    real = target.import_log

    async def with_others(tenant: str, events: list[HashedEvent]) -> None:
        await real(tenant, events)
        if tenant == OTHER:
            await add(target, new(7_000), tenant=OTHER)

    monkeypatch.setattr(target, "import_log", with_others)
    with pytest.raises(StoreRefused, match="Another process"):
        await copy_log(source, target)


async def test_a_source_that_was_altered_is_not_copied(pair: tuple[Any, Any]) -> None:
    """A row that was changed by hand does not match its hash, and the copy reports which."""
    source, target = pair
    await alter(
        source,
        "UPDATE event SET occurred_at = 1 WHERE key & 0xFFFF = 1234 AND tenant_no = 1",
        "UPDATE whence.event SET occurred_at = 1 WHERE position = 1234 AND tenant_no = 1",
    )
    with pytest.raises(Unsound, match="position 1234"):
        await copy_log(source, target)
    assert (await target.head(TENANT)).size == 1_000
