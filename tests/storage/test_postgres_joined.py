"""By statements, a small append takes six round trips, and stores the same rows as one that sends them one by one. A
purge reduces counts alike."""

import re
from typing import Any

import pytest

from tests.contract.faults import by_statements
from tests.contract.made import HOUR, NOON, TENANT, add, new, uuid
from tests.databases import fetch, fresh_database
from tests.storage.statements import listen
from whence import rollups
from whence.storage import create_store, sequencing, verify_store
from whence.storage.postgres import append, purge
from whence.storage.postgres.joined_statements import Statement, run_statements
from whence.storage.removals import Purge

ROWS = """SELECT (SELECT array_agg((position, id, occurred_at, kind, actor, flow, resource, cause_id) ORDER BY position)
                    FROM whence.event)::text,
                 (SELECT array_agg(flow ORDER BY flow) FROM whence.flow)::text,
                 (SELECT array_agg(resource ORDER BY resource) FROM whence.resource)::text,
                 (SELECT array_agg(bucket ORDER BY level, bucket) FROM whence.bucket)::text,
                 (SELECT array_agg(k ORDER BY level, bucket, kind) FROM whence.rollup_kind k)::text,
                 (SELECT array_agg(a ORDER BY level, bucket, actor, kind) FROM whence.rollup_actor a)::text,
                 (SELECT (size, kinds, actors, flows, resources, folded_to, payload_bytes)::text FROM whence.head)"""
"""Everything that an append writes and a purge reduces, but for times, salts and hashes."""

_UNANNOUNCED = "the event is missing, and no event says that it was removed"


def _event(number: int) -> Any:
    cause = uuid(number // 2) if number > 1 else None
    return new(
        number,
        actor_id=f"a{number % 5}",
        resource_id=uuid(number % 7),
        event_type=f"action_run.{'failed' if number % 3 else 'completed'}",
        occurred_at=NOON + number * HOUR,
        causation_id=cause,
    )


async def _filled(patch: pytest.MonkeyPatch, *, joined: bool) -> str:
    """A log of appends of many sizes, with repeated events, divided buckets and folded transitions."""

    async def run(*statements: Any, **_how: Any) -> Any:
        return await run_statements(*statements, joined=joined)

    with patch.context() as patched:
        by_statements(patched)
        for module in (append, purge):
            patched.setattr(module, "run_statements", run)
        patched.setattr(rollups, "DIVIDE_AT", 20)
        patched.setattr(sequencing, "FOLD_AT", 150)
        url = await fresh_database()
        store = create_store(url)
        first = 1
        for size in (1, 1, 5, 99, 100, 101, 3, 1):
            await add(store, *[_event(number) for number in range(max(1, first - 1), first + size)])
            first += size
        assert await store.removals.purge(TENANT, Purge(1, 121, [7]), []) == 119
        await store.close()
    return url


@pytest.mark.slow
async def test_joined_statements_store_the_same_rows(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appends with joined statements and with separate ones, as on Citus, lead to equal tables, which are sound."""
    joined, separate = await _filled(monkeypatch, joined=True), await _filled(monkeypatch, joined=False)
    # Nothing but that no event announced the purge.
    assert [found.what for found in (await verify_store(joined)).findings] == [_UNANNOUNCED]
    assert await fetch(joined, ROWS) == await fetch(separate, ROWS)


async def test_a_small_append_takes_six_round_trips(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between BEGIN and COMMIT: the head's row lock, the lookups, the names, and the rows with the head."""
    by_statements(monkeypatch)
    store = create_store(await fresh_database())
    await add(store, *[_event(number) for number in range(1, 29)])
    await add(store, _event(29))  # reads the kinds
    sent: list[str] = []

    async def hear(_connection: Any, text: str, _values: tuple[Any, ...]) -> None:
        if "pg_notify" not in text:  # it wakes readers, in a transaction of its own
            sent.append(text)

    listen(monkeypatch, hear)
    await add(store, _event(30))
    await store.close()
    first_words = [re.sub(r"--.*\n", "", text).split()[0] for text in sent]
    assert first_words == ["SELECT", "WITH", "WITH", "WITH"]
    assert "FOR UPDATE" in sent[0]
    assert "UPDATE head" in sent[-1]


async def test_each_statement_gets_its_own_values_and_rows(anyio_backend: str) -> None:
    """The first parameter is shared, and the others are numbered anew. Only what answers has rows."""
    sent: list[tuple[str, tuple[Any, ...]]] = []

    class Connection:
        async def fetchrow(self, text: str, *values: Any) -> Any:
            sent.append((text, values))
            return [["a"], ["c"]]

    statements = [
        Statement("SELECT $1, $2, $3", (2, 3), answers=True),
        Statement("INSERT $1, $2", (4,)),
        Statement("SELECT $2, $1, $12", tuple(range(5, 16)), answers=True),
    ]
    assert await run_statements(Connection(), 1, statements, joined=True) == [["a"], (), ["c"]]
    [(text, values)] = sent
    assert values == tuple(range(1, 16))
    assert [re.findall(r"\$\d+", part) for part in text.split("\n)")][:3] == [
        ["$1", "$2", "$3"],
        ["$1", "$4"],
        ["$5", "$1", "$15"],
    ]
