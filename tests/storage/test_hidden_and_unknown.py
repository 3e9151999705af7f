"""A name that only hidden events have and one that does not exist take the same work, so no clock tells them apart.

What is compared is the work itself: the statements that a store executes, and the pages that it reads for a payload.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from tests.contract.made import add, new, uuid
from tests.databases import fresh_database
from tests.storage.statements import listen
from whence.events import PageRequest, Query, Viewer
from whence.histograms import HistogramRequest
from whence.names import NameRange, NameSearch
from whence.storage import create_store, resolve
from whence.storage.sqlite.engine import SQLiteStore
from whence.trace import TraceRequest

TENANT = "acme"
NARROW = Viewer(TENANT, ("decision",))
HIDDEN, UNKNOWN = 7, 8
PAYLOAD = b'{"text":"' + b"x" * 250_000 + b'"}'

Ask = Callable[[Any, int], Awaitable[Any]]


async def summary_of(store: Any, number: int) -> Any:
    """The summary of an actor, but for its name."""
    found = await store.actor_summary(NARROW, ("user", f"actor {number}"), None, None)
    stat = msgspec.structs.replace(found.activity.stat, actor_id="")
    return msgspec.structs.replace(found, activity=msgspec.structs.replace(found.activity, stat=stat))


QUESTIONS: dict[str, Ask] = {
    "event": lambda store, n: store.get_event(NARROW, uuid(n)),
    "trace": lambda store, n: store.trace(NARROW, uuid(n), TraceRequest()),
    "page of an actor": lambda store, n: store.list_events(NARROW, Query(actor_ids=(f"actor {n}",)), PageRequest()),
    "page of a flow": lambda store, n: store.list_events(NARROW, Query(correlation_ids=(f"flow {n}",)), PageRequest()),
    "page of a resource": lambda store, n: store.list_events(NARROW, Query(resource_ids=(uuid(n),)), PageRequest()),
    "page of a cause": lambda store, n: store.list_events(NARROW, Query(causation_ids=(uuid(n),)), PageRequest()),
    "page from a time on": lambda store, n: store.list_events(
        NARROW, Query(actor_ids=(f"actor {n}",), since=1), PageRequest()
    ),
    "counts of an actor": lambda store, n: store.count_events(NARROW, Query(actor_ids=(f"actor {n}",))),
    "counts of a flow": lambda store, n: store.count_events(NARROW, Query(correlation_ids=(f"flow {n}",))),
    "histogram of an actor": lambda store, n: store.histogram(
        NARROW, Query(actor_ids=(f"actor {n}",)), HistogramRequest()
    ),
    "histogram of a flow": lambda store, n: store.histogram(
        NARROW, Query(correlation_ids=(f"flow {n}",)), HistogramRequest()
    ),
    "facets of an actor": lambda store, n: store.facets(NARROW, Query(actor_ids=(f"actor {n}",)), 5),
    "facets of a flow": lambda store, n: store.facets(NARROW, Query(correlation_ids=(f"flow {n}",)), 5),
    "summary of an actor": summary_of,
    "summary of a resource": lambda store, n: store.resource_summary(NARROW, ("artifact", uuid(n)), 5),
    "page without an actor": lambda store, n: store.list_events(
        NARROW, Query(excluded_actors=(f"*/actor {n}",)), PageRequest()
    ),
    "page without a flow": lambda store, n: store.list_events(
        NARROW, Query(excluded_correlation_ids=(f"flow {n}",)), PageRequest()
    ),
    "page without a resource": lambda store, n: store.list_events(
        NARROW, Query(excluded_resources=(f"*/{uuid(n)}",)), PageRequest()
    ),
    "page of an actor with a type": lambda store, n: store.list_events(
        NARROW, Query(actors=(f"user/actor {n}",)), PageRequest()
    ),
    "page of a resource with a type": lambda store, n: store.list_events(
        NARROW, Query(resources=(f"artifact/{uuid(n)}",)), PageRequest()
    ),
    "names": lambda store, n: store.find_names(
        NARROW,
        NameSearch(
            limit=10,
            events=NameRange(uuid(n), uuid(n)),
            actors=(NameRange(f"actor {n}", f"actor {n}"),),
            flows=(NameRange(f"flow {n}", f"flow {n}"),),
            resources=(NameRange(uuid(n), uuid(n)),),
        ),
    ),
    "statistics of an actor": lambda store, n: store.actor_stats(NARROW, Query(actor_ids=(f"actor {n}",))),
}


async def filled(url: str) -> Any:
    """A store with an event that may be read, and one that may not."""
    connections: list[apsw.Connection] = []
    apsw.connection_hooks.append(connections.append)
    try:
        store: Any = create_store(url)
    finally:
        apsw.connection_hooks.remove(connections.append)
    store.connections = [connection for connection in connections if is_open(connection)]
    names = {"actor_id": f"actor {HIDDEN}", "correlation_id": f"flow {HIDDEN}", "resource_id": uuid(HIDDEN)}
    await add(
        store,
        new(1, resource_type="decision"),
        new(HIDDEN, **names, resource_type="artifact", payload=PAYLOAD),
        new(9, **names, resource_type="artifact", causation_id=uuid(HIDDEN)),
        tenant=TENANT,
    )
    return store


def is_open(connection: apsw.Connection) -> bool:
    try:
        return bool(connection.filename)
    except apsw.ConnectionClosedError:
        return False


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Any]:
    sqlite = request.param == "sqlite"
    made = await filled(f"sqlite:///{tmp_path}/log.db" if sqlite else await fresh_database())
    yield made
    await made.close()


async def statements(store: Any, patch: pytest.MonkeyPatch, ask: Ask, number: int) -> list[str]:
    """The statements of a question, in order. Asked once before, so that caches are filled."""
    await ask(store, number)
    if isinstance(store, SQLiteStore):
        store._pages.forget()  # of which both would be answered, without any statement about them
    said: list[str] = []
    if not isinstance(store, SQLiteStore):

        async def hear(_connection: Any, text: str, _values: tuple[Any, ...]) -> None:
            said.append(text)

        with patch.context() as listening:
            listen(listening, hear)
            await ask(store, number)
        return said

    def trace(_cursor: Any, text: str, _bindings: Any) -> bool:
        said.append(text)
        return True

    for connection in store.connections:
        connection.exec_trace = trace
    await ask(store, number)
    for connection in store.connections:
        connection.exec_trace = None
    return said


async def differences(store: Any, patch: pytest.MonkeyPatch) -> set[str]:
    """The questions whose answers or statements differ between a hidden name and one that does not exist."""
    found = set()
    for name, ask in QUESTIONS.items():
        if await ask(store, HIDDEN) != await ask(store, UNKNOWN):
            found.add(f"{name}: answer")
        hidden, unknown = [await statements(store, patch, ask, number) for number in (HIDDEN, UNKNOWN)]
        assert hidden
        if hidden != unknown:
            found.add(f"{name}: statements")
    return found


async def test_hidden_and_unknown_names_take_the_same_statements(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events, actors, flows, resources and causes; on each route that takes them."""
    assert await differences(store, monkeypatch) == set()


async def test_mutant_an_unknown_name_ends_the_question(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that asks no further once a name is unknown is caught."""
    monkeypatch.setattr(resolve.ResolvedQuery, "nothing", property(ends_early))
    found = await differences(store, monkeypatch)
    assert {"page of an actor: statements", "page of a flow: statements"} <= found


def ends_early(resolved: Any) -> bool:
    return () in (resolved.kinds, resolved.resources) or (0,) in (resolved.actors, resolved.flows)


# --- payloads --------------------------------------------------------------------------------------------------


def pages_read(store: Any) -> int:
    """The pages that the store's connections have fetched, from their cache or the file."""
    kinds = (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS)
    return sum(each.status(kind)[0] for each in store.connections for kind in kinds)


async def pages_for(store: Any, number: int, viewer: Viewer = NARROW) -> int:
    before = pages_read(store)
    await store.get_event(viewer, uuid(number))
    return pages_read(store) - before


async def test_the_payload_of_a_hidden_event_is_not_read(tmp_path: Path) -> None:
    """On SQLite, 250 KB are some thirty pages. Who may read the event reads them, and a narrowed key does not."""
    store = await filled(f"sqlite:///{tmp_path}/log.db")
    await pages_for(store, HIDDEN)
    hidden, unknown = await pages_for(store, HIDDEN), await pages_for(store, UNKNOWN)
    assert abs(hidden - unknown) < 10
    assert await pages_for(store, HIDDEN, Viewer(TENANT)) > hidden + 25
    await store.close()


async def test_mutant_the_event_is_read_before_it_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that reads the whole event and then decides is caught."""
    real = SQLiteStore.get_event

    async def late(store: SQLiteStore, viewer: Viewer, event_id: str) -> Any:
        event = await real(store, Viewer(viewer.tenant), event_id)
        return event if event is not None and viewer.may_see(event.resource_type) else None

    monkeypatch.setattr(SQLiteStore, "get_event", late)
    with pytest.raises(AssertionError):
        await test_the_payload_of_a_hidden_event_is_not_read(tmp_path)


async def test_on_postgresql_no_row_of_a_hidden_event_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition is part of the statement, so the server neither reads nor sends the payload."""
    store = await filled(await fresh_database())
    rows: list[Any] = []

    async def hear(connection: Any, text: str, values: tuple[Any, ...]) -> None:
        if "e.payload" in text:
            rows.extend(await connection.fetch(text, *values))

    with monkeypatch.context() as listening:
        listen(listening, hear)
        assert await store.get_event(NARROW, uuid(HIDDEN)) is None
        assert rows == []
        assert await store.get_event(NARROW, uuid(1)) is not None
        assert len(rows) == 1
    await store.close()
