"""A small append goes by one call of the function `append_events`, and stores the rows that the statements store."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.contract.faults import by_statements, everywhere
from tests.contract.made import DAY, HOUR, NOON, TENANT, add, new, numbers, stored, uuid
from tests.databases import execute, fetch, fresh_database
from whence import rollups
from whence.errors import Unavailable, WhenceError
from whence.events import NewEvent
from whence.integrity import envelope_parts, envelope_v1
from whence.storage import Write, create_store, verify_store
from whence.storage.postgres import append_function, connections, engine
from whence.storage.postgres.append_function import AppendCall

TABLES = {
    "tenant": "1",
    "kind": "kind",
    "actor": "actor",
    "flow": "flow",
    "resource": "resource",
    "event": "position",
    "bucket": "level, bucket",
    "rollup_kind": "level, bucket, kind",
    "rollup_actor": "level, bucket, actor, kind",
    "transition": "level, bucket, up_to",
    "actor_total": "level, bucket, up_to",
}
"""Every table that an append writes, with its order, but for the head."""

HEAD = (
    "SELECT size, recorded_at, compact_range, kinds, actors, flows, resources, folded_to, payload_bytes, measured_to "
    "FROM whence.head"
)
"""The head without the version of its kinds, which is random."""

TEXTS = (
    *("ada", "Zoë Ω", "поток-流れ-🌊", 'a "quoted" \\ text', "a/b//c?d=%2F&e#f", "\u2028\u2029\ufeff", "\x7f\x85\xa0"),
    *('","recordedAt":"', '"correlationId":"', "\x01\x1f\t\n\r\b\f", "</script>", "\U0010ffff", "e\u0301", " "),
)
"""Texts that could be escaped in different ways, or be taken for a part of the envelope."""


class Calls:
    """Whether each append was stored by the function."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.stored: list[bool] = []
        real = AppendCall.run

        async def run(call: AppendCall, connection: Any) -> Any:
            results = await real(call, connection)
            self.stored.append(results is not None)
            return results

        patch.setattr(AppendCall, "run", run)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The calls of the function from now on."""
    return Calls(monkeypatch)


@pytest.fixture
async def store(anyio_backend: str) -> AsyncIterator[Any]:
    """A store that would use the function for the next small append of `TENANT`: it has two events."""
    made: Any = create_store(await fresh_database())
    made.url = made._target._dsn
    await stored(made, new(1))
    await stored(made, new(2))  # reads the kinds
    yield made
    await made.close()


# --- the same rows ---------------------------------------------------------------------------------------------


def _event(draw: random.Random, number: int) -> NewEvent:
    """An event with values that often repeat, some of which are hostile texts."""
    cause = draw.choice((None, uuid(draw.randint(1, number)), uuid(draw.randint(1, number)), draw.choice(TEXTS)))
    return new(
        number,
        actor_id=draw.choice(TEXTS) if draw.random() < 0.7 else f"a{number}",
        actor_type=draw.choice(("user", "agent")),
        resource_id=uuid(draw.randint(1, 9)),
        resource_type=draw.choice(("action_run", "artifact")),
        event_type=f"action_run.{draw.choice(('failed', 'completed'))}",
        occurred_at=NOON + draw.choice((number, number * HOUR // 7, -number * DAY, 5_000_000)),
        causation_id=None if cause == uuid(number) else cause,
        correlation_id=draw.choice((None, None, draw.choice(TEXTS), uuid(draw.randint(1, number)))),
        payload=json.dumps({"n": number, "text": draw.choice(TEXTS)}, ensure_ascii=False).encode(),
    )


def _requests(draw: random.Random) -> list[list[Write]]:
    """Appends of many sizes, of one or several requests, some with an event that was sent before."""
    appends: list[list[Write]] = []
    sent: list[NewEvent] = []
    for size in (1, 1, 20, 1, 1, 5, 1, 16, 1, 1, 2, 4, 30, 65, 1, 3, 5, 2, 4, *([1] * 20)):
        fresh = [_event(draw, len(sent) + at + 1) for at in range(size)]
        if size > 6 and draw.random() < 0.5:
            fresh.append(draw.choice(sent))
        cut = draw.randint(1, len(fresh))
        appends.append([Write(tuple(part), draw.random() < 0.5) for part in (fresh[:cut], fresh[cut:]) if part])
        sent += [event for event in fresh if event not in sent]
    return [*appends, [Write((sent[5],))]]


async def _filled(
    patch: pytest.MonkeyPatch, url: str, seed: int, prepare: Callable[[Any], None] = by_statements
) -> Any:
    """Store appends in an empty log, with a clock and salts that are the same each time. Returns all receipts, with the
    number of divided buckets and of folded events after each append."""
    results = []
    watching = await asyncpg.connect(url)
    with patch.context() as patched:
        prepare(patched)
        patched.setattr(rollups, "DIVIDE_AT", 14)
        everywhere(patched, "FOLD_AT", lambda _real: 12)
        now = [0]
        patched.setattr(time, "time_ns", lambda: now[0])
        everywhere(patched, "os", lambda real: SimpleNamespace(**{**vars(real), "urandom": lambda size: b"s" * size}))
        store = create_store(url)
        try:
            for at, writes in enumerate(_requests(random.Random(seed))):
                now[0] = (NOON + at * 1_234_567 if at % 5 else NOON) * 1_000  # the clock is set back now and then
                results.append((_comparable(await store.append(TENANT, writes)), *await watching.fetchrow(_STATE)))
        finally:
            await store.close()
            await watching.close()
    return results


_STATE = "SELECT (SELECT count(*) FROM whence.bucket WHERE divided), (SELECT max(folded_to) FROM whence.head)"


async def _rows(url: str) -> dict[str, Any]:
    tables = {
        name: await fetch(url, f"SELECT x.*::text FROM whence.{name} x ORDER BY {order}")
        for name, order in TABLES.items()
    }
    return {**tables, "head": await fetch(url, HEAD)}


def _comparable(results: list[Any]) -> list[Any]:
    return [
        str(result) if isinstance(result, WhenceError) else [(r.event, r.replayed, str(r.error)) for r in result]
        for result in results
    ]


def _nothing(_patch: pytest.MonkeyPatch) -> None:
    pass


@pytest.fixture(scope="module")
async def expected(anyio_backend: str) -> tuple[Any, dict[str, Any]]:
    """What the statements answer and store."""
    url = await fresh_database()
    with pytest.MonkeyPatch.context() as patch:
        results = await _filled(patch, url, 1)
    assert (await verify_store(url)).findings == []
    return results, await _rows(url)


async def test_the_function_stores_the_same_rows(
    expected: tuple[Any, dict[str, Any]], calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appends by the function, and by statements where it stores nothing, answer and store what statements alone do:
    rows of every table, leaves and compact range included."""
    url = await fresh_database()
    results = await _filled(monkeypatch, url, 1, _nothing)
    answers, rows = expected
    assert results == answers
    found = await _rows(url)
    assert {name: found[name] for name in rows if found[name] != rows[name]} == {}
    assert (await verify_store(url)).findings == []
    assert sum(calls.stored) > 12
    assert not all(calls.stored)


async def test_json_strings_are_those_of_the_envelope(anyio_backend: str) -> None:
    """PostgreSQL escapes every character of a text as `integrity.py` does."""
    characters = [chr(code) for code in range(1, 0x11_0000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(characters[at : at + 256]) for at in range(0, len(characters), 256)] + list(TEXTS)
    found = await fetch(
        await fresh_database(),
        "SELECT to_json(t)::text FROM unnest($1::text[]) WITH ORDINALITY AS u (t, at) ORDER BY at",
        texts,
    )
    assert [text for (text,) in found] == [msgspec.json.encode(text).decode() for text in texts]


@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_of_an_envelope_make_it_up(text: str) -> None:
    """Around the JSON string of the correlation and the text of the time, whatever the other values hold."""
    [event] = _sequenced(
        new(1, actor_id=text, causation_id=text, correlation_id=text, resource_type=text, event_type=text)
    )
    parts = envelope_parts(event, bytes(32), 1)
    assert parts is not None
    before, between, after = parts
    made = before + msgspec.json.encode(text) + between + b"1970-01-01T00:00:00.000007Z" + after
    assert made == envelope_v1(event, bytes(32).hex())


def _sequenced(*events: NewEvent) -> list[Any]:
    """Events of an empty log that were recorded 7 microseconds after 1970 began."""
    call = append_function.prepare_call(
        TENANT, 1, [Write(events)], 1, 0, {(e.event_type, e.resource_type, e.actor_type, "none"): 1 for e in events}
    )
    assert call is not None
    return [msgspec.structs.replace(event, recorded_at=7) for event in call._batch.events]


# --- mutants of the function -----------------------------------------------------------------------------------


MUTANTS = {
    "positions with a gap": ("size_before + e.at", "size_before + e.at + 1"),
    "positions in another order": ("size_before + e.at", "own.size + 1 - e.at"),
    "repeats are not looked for": ("AND e.id = asked.id OFFSET 0", "AND e.id = asked.id AND false OFFSET 0"),
    "the leaf is of another time": ("|| recorded_text ||", "||"),
    "the leaf has no prefix": ("'\\x00'::bytea ||", ""),
    "nodes have the prefix of leaves": ("'\\x01'::bytea", "'\\x00'::bytea"),
    "the tree does not grow": ("compact_range = subtrees", "compact_range = h.compact_range"),
    "subtrees are not merged": ("merging % 2 = 1", "false"),
    "the time follows the clock": ("greatest(own.recorded_at, now_us)", "now_us"),
    "no correlation is inherited": ("cause.id = asked.cause", "cause.id = asked.cause AND false"),
    "actors are one for all types": ("AND a.actor_type = asked.actor_type", "ORDER BY a.actor LIMIT 1"),
    "actors have gaps between their numbers": ("own.actors := own.actors + 1;", "own.actors := own.actors + 2;"),
    "flows are counted anew": ("events = flow.events + excluded.events", "events = excluded.events"),
    "failures are not counted": ("sum(e.failed)", "0"),
    "flows do not begin earlier": ("least(flow.first_at, excluded.first_at)", "flow.first_at"),
    "flows do not end later": ("greatest(flow.last_at, excluded.last_at)", "flow.last_at"),
    "flows in another order": (
        "own.flows + row_number() OVER (ORDER BY min(e.at))",
        "own.flows + row_number() OVER (ORDER BY min(e.at) DESC)",
    ),
    "resources are counted anew": ("events = resource.events + excluded.events", "events = excluded.events"),
    "buckets are counted anew": ("events = bucket.events + excluded.events", "events = excluded.events"),
    "kinds are counted anew": ("events = rollup_kind.events + excluded.events", "events = excluded.events"),
    "actors are counted anew": ("events = rollup_actor.events + excluded.events", "events = excluded.events"),
    "only undivided buckets count": ("WHERE b.parent = 0 OR divided[b.parent]", "WHERE b.parent = 0"),
    "all levels count": ("WHERE b.parent = 0 OR divided[b.parent]", ""),
    "full buckets are not divided": ("b.before + b.added > divide_at", "false"),
    "nothing is folded": ("own.folded_to >= fold_at", "own.folded_to < 0"),
    "payloads are not measured": ("own.payload_bytes + payload_bytes_added", "own.payload_bytes"),
}
"""Parts of the function, and what a broken one has instead."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Lets a store use a function that was changed. What fails then is not logged, since that takes seconds."""

    async def unchanged(_connection: Any) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr(engine, "refuse_changed_catalogue", unchanged)
    for module in (engine, connections):
        monkeypatch.setattr(module, "_log", SimpleNamespace(error=_unsaid, warning=_unsaid, info=_unsaid))
    return monkeypatch


def _unsaid(*_args: Any, **_how: Any) -> None:
    pass


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
async def test_a_broken_function_is_found(
    name: str, expected: tuple[Any, dict[str, Any]], broken: pytest.MonkeyPatch
) -> None:
    """A function that breaks one promise stores other rows, gives other answers, or fails."""
    url = await fresh_database()
    await _reword(url, *MUTANTS[name])
    results = await _filled(broken, url, 1, _nothing)
    assert (results, await _rows(url)) != expected


async def _reword(url: str, old: str, new_: str) -> None:
    [(text,)] = await fetch(
        url, "SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.oid = 'whence.append_events'::regproc"
    )
    assert old in str(text)
    await execute(url, str(text).replace(old, new_))


# --- when it is used -------------------------------------------------------------------------------------------


async def test_a_small_append_is_one_message(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither BEGIN nor COMMIT is sent, and the settings of the transaction are gone after it."""
    await asyncio.wait({store._listen_notify._sending})
    store._listen_notify.notify = lambda *_: None
    sent: list[str] = []
    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        real = getattr(asyncpg.Connection, name)

        async def send(connection: Any, text: str, *values: Any, real: Any = real, **how: Any) -> Any:
            sent.append(text)
            return await real(connection, text, *values, **how)

        monkeypatch.setattr(asyncpg.Connection, name, send)
    await stored(store, new(3), new(4))
    assert sent == [append_function._SQL["append_events"]]
    (idle,) = store._writing._idle
    left = await idle.fetchrow(
        "SELECT current_user = session_user, current_setting('whence.tenant_no', true), current_setting('lock_timeout')"
    )
    assert tuple(left) == (True, "", "0")


async def test_an_idle_connection_is_tried_by_begin(store: Any, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that has been idle for long may be broken, so no write is the first thing that it gets."""
    monkeypatch.setattr(connections, "_FRESH_S", 0.0)
    url = store._target._dsn
    for number in (3, 4):
        await stored(store, new(number))
        await execute(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()",
        )
    assert calls.stored == [True, True]
    await stored(store, new(5))
    assert calls.stored == [True, True, True]


async def test_a_login_that_does_not_inherit_takes_the_role_first(calls: Calls) -> None:
    """It may not use the schema before, so its transactions begin as all others do."""
    url = await fresh_database()
    login = "whence_test_noinherit"
    await execute(
        url,
        f"DO $$ BEGIN CREATE ROLE {login} LOGIN NOINHERIT PASSWORD 'made-up'; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT whence_app TO {login}",
    )
    store = create_store(url.replace("postgres:", f"{login}:", 1) if "postgres:" in url else url)
    for number in (1, 2, 3):
        await stored(store, new(number))
    assert calls.stored == [True]
    await store.close()


async def _sees_all(store: Any) -> None:
    assert await numbers(store) == list(range((await store.head(TENANT)).size, 0, -1))
    assert (await verify_store(store.url)).findings == []


async def test_a_repeat_and_a_conflict_are_left_to_the_statements(store: Any, calls: Calls) -> None:
    """They answer as ever, and the function has written nothing."""
    [again] = await add(store, new(2))
    assert (again.replayed, again.event and again.event.position) == (True, 2)
    [other] = await add(store, new(2, actor_id="eve"))
    assert other.error is not None
    assert calls.stored == [False, False]
    await _sees_all(store)


async def test_repeats_within_an_append_are_not_sent_to_the_function(store: Any, calls: Calls) -> None:
    """Sequencing finds them without the log."""
    [first, second, other] = await add(store, new(3), new(3), new(3, actor_id="eve"))
    assert (first.replayed, second.replayed, other.error is not None) == (False, True, True)
    assert calls.stored == []
    await _sees_all(store)


async def test_new_kinds_are_left_to_the_statements(store: Any, calls: Calls) -> None:
    """Also those that another process added since."""
    await stored(store, new(3, event_type="a.b"))
    assert calls.stored == []
    await stored(store, new(4))  # with the version of the kinds from before
    assert calls.stored == [False]
    other = create_store(store.url)
    await stored(other, new(5, event_type="c.d"))
    await other.close()
    await stored(store, new(6))
    await stored(store, new(7, event_type="c.d"))
    assert calls.stored == [False, False, True]
    await _sees_all(store)


@pytest.mark.parametrize("field", ["actor_id", "correlation_id"])
async def test_an_earlier_spelling_is_left_to_the_statements(store: Any, calls: Calls, field: str) -> None:
    """A UUID that an earlier release stored in upper case is continued under that text."""
    name = "ABCDEF00-0000-4000-8000-000000000000"
    await stored(store, new(3, **{field: name}))
    [event] = await stored(store, new(4, **{field: name.lower()}))
    assert getattr(event, field) == name
    [event] = await stored(store, new(5, **{field: name.lower().replace("f", "e")}))
    assert getattr(event, field) == name.lower().replace("f", "e")
    assert calls.stored == [True, False, True]


async def test_what_an_earlier_server_appended_is_measured_first(store: Any, calls: Calls) -> None:
    """A server of the release before migration 0003 does not count bytes of payload."""
    await execute(store.url, "UPDATE whence.head SET measured_to = 1, payload_bytes = 2")
    await stored(store, new(3))
    await stored(store, new(4))
    assert calls.stored == [False, True]
    assert (await store.head(TENANT)).payload_bytes == 8


async def test_a_tenant_under_another_number_is_left_to_the_statements(store: Any, calls: Calls) -> None:
    """A cached number is compared with the name under the row lock: no event goes to another tenant's log."""
    await stored(store, new(1), tenant="other")
    await stored(store, new(2), tenant="other")
    store._tenants["other"] = store._tenants[TENANT]
    assert [event.position for event in await stored(store, new(3), tenant="other")] == [3]
    assert calls.stored == [False]
    assert await numbers(store) == [2, 1]


async def test_another_isolation_is_left_to_the_statements(store: Any, calls: Calls) -> None:
    """In a snapshot from before the wait for the row lock, the last events would be missing."""
    name = store.url.partition("?")[0].rpartition("/")[2]
    await execute(store.url, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    fresh = create_store(store.url)
    fresh._numbers, fresh._tenants = store._numbers, store._tenants
    await stored(fresh, new(3))
    await fresh.close()
    assert calls.stored == [False]
    await _sees_all(store)


async def test_a_large_append_goes_by_statements(store: Any, calls: Calls) -> None:
    """A call for many events would take longer than statements."""
    await stored(store, *[new(number) for number in range(3, 3 + append_function.FUNCTION_EVENTS_MAX + 1)])
    assert calls.stored == []
    await _sees_all(store)


# --- the lock --------------------------------------------------------------------------------------------------


async def _two_at_once(url: str, prepare: Callable[[], None] = lambda: None) -> tuple[bool, list[int]]:
    """A call while another append of the tenant is held before its commit: whether it waited, and the positions."""
    store: Any = create_store(url)
    await stored(store, new(1))
    await stored(store, new(2))
    held = await asyncpg.connect(url)
    await held.execute("BEGIN")
    call = append_function.prepare_call(
        TENANT, store._tenants[TENANT], [Write((new(3),))], *store._numbers.last(TENANT)
    )
    assert call is not None
    assert await call.run(held) is not None
    prepare()
    calling = asyncio.create_task(stored(store, new(4)))
    done, _ = await asyncio.wait({calling}, timeout=0.3)
    await held.execute("COMMIT")
    await held.close()
    try:
        await calling
    except (AssertionError, Unavailable):
        return not done, []
    finally:
        await store.close()
    return not done, [position for (position,) in await fetch(url, "SELECT position FROM whence.event ORDER BY 1")]


async def test_a_call_waits_for_the_append_before_it(anyio_backend: str) -> None:
    """It takes the row lock on the tenant's head, and then sees what the other append committed."""
    assert await _two_at_once(await fresh_database()) == (True, [1, 2, 3, 4])


async def test_a_function_without_the_lock_would_be_found(anyio_backend: str, broken: pytest.MonkeyPatch) -> None:
    """It takes a position that the other append has taken, and both cannot be stored."""
    url = await fresh_database()
    await _reword(url, "FOR UPDATE", "")

    async def fail(*_args: Any, **_how: Any) -> Any:
        raise Unavailable("The statements are not what is tested here.")

    assert (await _two_at_once(url, lambda: broken.setattr(engine, "append", fail)))[1] != [1, 2, 3, 4]
