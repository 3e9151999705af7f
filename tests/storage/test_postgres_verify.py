"""A whole log on PostgreSQL is verified against its hashes and counts, also during writes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.made import NOON, add, new, uuid
from tests.databases import copied_database, empty_database, execute, fresh_database
from whence import rollups
from whence.errors import StoreRefused, Unavailable
from whence.events import EVENT_LOG, NewEvent
from whence.storage import create_store, sequencing, verification, verify_store
from whence.storage.postgres import replication, verify
from whence.storage.removals import PAYLOAD_ERASED


def _event(number: int) -> NewEvent:
    cause = uuid(1_000 + number // 2) if number else None
    return new(1_000 + number, actor_id=f"a{number % 3}", occurred_at=NOON + number * 977_000_000, causation_id=cause)


@pytest.fixture(scope="module")
async def filled(anyio_backend: str) -> AsyncIterator[str]:
    """A database of two tenants, with 60 and 5 events, with divided buckets and folded transitions. It has no
    connections, so that it can be copied."""
    url = await fresh_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollups, "DIVIDE_AT", 8)
        patch.setattr(sequencing, "FOLD_AT", 30)
        store = create_store(url)
        events = [_event(number) for number in range(60)]
        await add(store, *events[:30], tenant="t")
        await add(store, *events[30:], tenant="t")
        await add(store, *[new(number, causation_id="no uuid") for number in range(5)], tenant="u")
        await store.close()
    yield url


@pytest.fixture
async def url(filled: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of that database. It is read in small parts, so that their borders are tested too."""
    monkeypatch.setattr(verify, "_PART_EVENTS", 7)
    monkeypatch.setattr(verify, "_PART_ROWS", 11)
    return await copied_database(filled)


async def _roots(url: str) -> dict[str, str]:
    store = create_store(url)
    found = {tenant: (await store.head(tenant)).root.hex() for tenant in await store.tenants()}
    await store.close()
    return found


async def test_a_sound_log_has_no_findings(url: str) -> None:
    """Every event is read, and each tenant's root equals that of the store."""
    report = await verify_store(url)
    assert report.findings == []
    assert (report.tenants, report.events) == (2, 65)
    assert report.roots == await _roots(url)


T = "tenant_no = (SELECT tenant_no FROM whence.tenant WHERE tenant = 't')"

DAMAGES: list[tuple[str, int | None, str]] = [
    (f"UPDATE whence.event SET payload = '\\x7b2261223a317d' WHERE position = 41 AND {T}", 41, "its hash"),
    (f"UPDATE whence.event SET payload = NULL WHERE position = 41 AND {T}", 41, "payload is missing"),
    (f"UPDATE whence.event SET occurred_at = occurred_at + 1 WHERE position = 7 AND {T}", 7, "its hash"),
    (f"UPDATE whence.event SET recorded_at = recorded_at + 1 WHERE position = 8 AND {T}", 8, "its hash"),
    (f"UPDATE whence.event SET recorded_at = 1 WHERE position = 8 AND {T}", 8, "in front of it"),
    (f"UPDATE whence.event SET causation_id = 'other' WHERE position = 9 AND {T}", 9, "its hash"),
    (f"UPDATE whence.event SET cause_id = NULL WHERE position = 10 AND {T}", 10, "another cause"),
    (f"UPDATE whence.event SET cause_id = id WHERE position = 10 AND {T}", 10, "another cause"),
    (f"UPDATE whence.event SET cause_id = id WHERE position = 1 AND {T}", 1, "another cause"),
    (f"UPDATE whence.event SET actor = 1 WHERE position = 5 AND {T}", 5, "its hash"),
    (f"UPDATE whence.event SET actor = 99 WHERE position = 5 AND {T}", 5, "names of the event"),
    ("UPDATE whence.actor SET actor_id = 'other' WHERE actor_id = 'a2'", 3, "its hash"),
    (f"UPDATE whence.event SET leaf = '\\x00' WHERE position = 60 AND {T}", 60, "its hash"),
    (f"DELETE FROM whence.event WHERE position = 30 AND {T}", 30, "is missing"),
    (f"DELETE FROM whence.event WHERE position BETWEEN 3 AND 40 AND {T}", 3, "is missing"),
    (f"DELETE FROM whence.event WHERE position > 50 AND {T}", 51, "is missing"),
    (f"UPDATE whence.event SET position = 5000 WHERE position = 60 AND {T}", 60, "is missing"),
    (f"UPDATE whence.head SET size = 59 WHERE {T}", 61, "more events"),
    (f"DELETE FROM whence.head WHERE {T}", 61, "more events"),
    (f"UPDATE whence.head SET compact_range = decode(repeat('00', 128), 'hex') WHERE {T}", None, "the head"),
    (f"UPDATE whence.head SET recorded_at = recorded_at + 1 WHERE {T}", None, "the head"),
    (f"UPDATE whence.head SET actors = actors - 1 WHERE {T}", None, "names are counted"),
    (f"UPDATE whence.bucket SET events = events + 1 WHERE {T} AND level = 2", None, "by time"),
    (f"UPDATE whence.rollup_kind SET events = events + 1 WHERE {T} AND level = 1", None, "by time"),
    (f"UPDATE whence.rollup_actor SET events = events + 1 WHERE {T} AND level = 0 AND actor = 2", None, "by time"),
    (f"DELETE FROM whence.rollup_actor WHERE {T} AND level = 1", None, "by time"),
    ("UPDATE whence.flow SET events = events + 1", None, "flows are"),
    ("UPDATE whence.flow SET last_at = last_at + 1", None, "flows are"),
    ("UPDATE whence.resource SET events = events + 1", None, "resources are"),
    ("UPDATE whence.resource SET resource_type = 'other'", None, "resources are"),
    ("UPDATE whence.actor SET actor_type = 'other'", None, "names are counted"),
    ("UPDATE whence.actor_total SET counts = counts || '\\x00'", None, ""),
    ("UPDATE whence.actor_total SET counts = set_byte(counts, octet_length(counts) - 1, 9)", None, "what actors did"),
    ("UPDATE whence.actor_total SET counts = '\\x08010101ffffffffffffff7f010000'", None, ""),
    ("UPDATE whence.actor_total SET bucket = bucket + 1 WHERE level = 1", None, "what actors did"),
    ("DELETE FROM whence.actor_total WHERE level = 1", None, "what actors did"),
    ("UPDATE whence.transition SET counts = counts || counts", None, "causes and effects"),
    ("UPDATE whence.transition SET counts = counts || '\\x00'", None, ""),
    ("UPDATE whence.transition SET counts = substr(counts, 9)", None, "causes and effects"),
    ("UPDATE whence.transition SET counts = '\\xffff'; DELETE FROM whence.bucket", None, "by time"),
    ("UPDATE whence.transition SET bucket = bucket + 100", None, "causes and effects"),
    ("DELETE FROM whence.transition", None, "causes and effects"),
    (f"UPDATE whence.head SET folded_to = folded_to - 1 WHERE {T}", None, "counted wrong"),
    (f"UPDATE whence.head SET folded_to = size + 1 WHERE {T}", None, "causes and effects"),
    (f"UPDATE whence.head SET payload_bytes = payload_bytes + 1 WHERE {T}", None, "the bytes of the payloads"),
    (f"UPDATE whence.head SET measured_to = measured_to - 1 WHERE {T}", None, "the bytes of the payloads"),
    (f"UPDATE whence.head SET measured_to = size + 1 WHERE {T}", None, "the bytes of the payloads"),
    ("UPDATE whence.event SET tenant_no = 77 WHERE position = 5 AND NOT " + T, 5, "is missing"),
]


@pytest.mark.parametrize(("sql", "position", "what"), DAMAGES)
async def test_a_change_is_found_at_its_first_position(url: str, sql: str, position: int | None, what: str) -> None:
    """Changed, swapped, removed or moved events, wrong heads and wrong counts are found at their first position."""
    await execute(url, sql)
    report = await verify_store(url)
    assert not report.sound
    assert report.findings[0].position == position
    assert what in report.findings[0].what


async def test_events_of_no_tenant_are_found(url: str) -> None:
    """A row whose tenant does not exist is found."""
    columns = "position, occurred_at, recorded_at, actor, flow, resource, kind, id, leaf, salt, payload"
    copied = f"SELECT 77, {columns} FROM whence.event WHERE {T}"
    await execute(url, f"INSERT INTO whence.event (tenant_no, {columns}) {copied}")
    report = await verify_store(url)
    assert [(each.tenant, each.what) for each in report.findings] == [("", "there are events of no tenant")]


async def test_an_erased_payload_is_no_finding(url: str) -> None:
    """When payload and salt are erased, the stored hash of the payload still proves the event. An event has to say that
    it was erased."""
    store = create_store(url)
    said = {"event_type": PAYLOAD_ERASED, "resource_type": EVENT_LOG}
    await add(store, new(2_000, **said, payload=b'{"ranges":[[4,4]]}'), tenant="t")
    await store.close()
    erase = (
        "UPDATE whence.event SET payload_hash = sha256(salt || payload), payload = NULL, salt = NULL "
        f"WHERE position = 4 AND {T}"
    )
    subtract = (
        "UPDATE whence.head SET payload_bytes = payload_bytes - (SELECT octet_length(payload) FROM whence.event e "
        f"WHERE e.position = 4 AND e.tenant_no = head.tenant_no) WHERE {T}"
    )
    await execute(url, subtract, erase)
    assert (await verify_store(url)).findings == []


async def test_a_database_without_a_log_is_refused() -> None:
    """An empty database and an unreachable server are errors with a message, and not findings."""
    with pytest.raises(StoreRefused):
        await verify_store(await empty_database())
    with pytest.raises(Unavailable):
        await verify_store("postgresql://postgres@127.0.0.1:1/none")


async def _written_beside(url: str) -> tuple[int, list[Any]]:
    """Verify while a writer appends between any two parts. Returns the number of events read, and the findings."""
    store = create_store(url)
    count = 0
    real = replication.part_rows

    async def part_rows(*given: Any) -> Any:
        nonlocal count
        count += 1
        await add(store, new(count, correlation_id="beside"), tenant="t")
        return await real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "part_rows", part_rows)
        report = await verify_store(url)
    await store.close()
    assert count > 10
    return report.events, report.findings


async def test_it_may_run_beside_writers(url: str) -> None:
    """Each tenant's events are read in one snapshot: events that are stored meanwhile are neither read nor reported."""
    assert await _written_beside(url) == (65, [])


async def test_a_check_without_a_snapshot_would_be_seen(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above fails when each part is read in its own snapshot."""
    begin = verify.begin_statements
    monkeypatch.setattr(
        verify,
        "begin_statements",
        lambda *a, **k: [text.replace("REPEATABLE READ READ ONLY", "READ COMMITTED") for text in begin(*a, **k)],
    )
    events, findings = await _written_beside(url)
    assert (events, findings) != (65, [])


@pytest.mark.parametrize("rule", ["_fault", "end", "agrees"])
async def test_a_rule_that_is_left_out_would_be_seen(url: str, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    """Without the rule, some damage in the table above is not found."""
    owner = verification.Level if rule == "agrees" else verification.Chain
    monkeypatch.setattr(owner, rule, lambda *_: {"_fault": "", "end": None, "agrees": True}[rule])
    damage = {"_fault": 0, "end": 19, "agrees": 22}[rule]
    await execute(url, DAMAGES[damage][0])
    findings = (await verify_store(url)).findings
    assert DAMAGES[damage][2] not in "".join(each.what for each in findings)


async def test_a_large_log_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of events in memory at once is limited, independent of the size of the log."""
    url = await fresh_database()
    store = create_store(url)
    for first in range(0, 2_500, 500):
        await add(store, *[new(number) for number in range(first, first + 500)])
    await store.close()
    sizes = []
    real = verify.part_rows

    async def part_rows(*given: Any) -> Any:
        hashes, full = await real(*given)
        sizes.append(len(hashes))
        return hashes, full

    monkeypatch.setattr(verify, "part_rows", part_rows)
    report = await verify_store(url)
    assert (report.events, report.findings) == (2_500, [])
    assert sizes == [1_000, 1_000, 500, 0]
