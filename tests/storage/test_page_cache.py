"""The same question of a log that has not changed is answered by the same page, and no other question is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.contract.made import NOON, TENANT, new, stored
from tests.storage.test_event_cache import ERASE
from tests.unit.mutants import catches, replaced
from whence.events import Keyset, Page, PageRequest, Query, Viewer
from whence.storage import create_store
from whence.storage.resolve import Snapshot
from whence.storage.sqlite import page_cache
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.page_cache import PageCache


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncIterator[SQLiteStore]:
    made = create_store(f"sqlite:///{tmp_path}/log.db")
    assert isinstance(made, SQLiteStore)
    await stored(made, new(1, event_type="order.placed"), new(2), new(3))
    yield made
    await made.close()


async def page_of(store: SQLiteStore, viewer: Viewer | None = None, query: Query | None = None, **page: Any) -> Page:
    return await store.list_events(viewer or Viewer(TENANT), query or Query(), PageRequest(**page))


def _without(*fields: str) -> Any:
    """A key that leaves something out of the state of the log or the question."""

    def key(snapshot: Snapshot, query: Query, request: PageRequest) -> tuple[Any, ...]:
        parts = {
            "tenant_no": snapshot.tenant_no,
            "size": snapshot.size,
            "removal_epoch": snapshot.removal_epoch,
            "viewer": snapshot.viewer,
            "query": query,
            "request": request,
        }
        return tuple(part for name, part in parts.items() if name not in fields)

    return key


def _mutant(*fields: str) -> Any:
    return replaced(page_cache, "_key", _without(*fields), f"key_without_{'_and_'.join(fields)}")


async def test_the_same_question_gets_the_same_page(store: SQLiteStore) -> None:
    """The same object, so what was made of it is still right."""
    assert await page_of(store) is await page_of(store)


@catches(_mutant("size"))
async def test_a_log_that_grew_gets_another_page(store: SQLiteStore) -> None:
    """With the new event, and its total."""
    before = await page_of(store)
    await stored(store, new(4))
    after = await page_of(store)
    assert (len(before.events), before.total, len(after.events), after.total) == (3, 3, 4, 4)


def _forgets_nothing(_self: PageCache) -> None:
    """Mutant: what was removed stays in memory."""


@catches(_mutant("removal_epoch"))
async def test_an_erasure_by_another_process_is_seen_at_once(store: SQLiteStore, tmp_path: Path) -> None:
    """The size of the log is the same then. A reader that began before may keep its page after the others are
    forgotten."""
    before = await page_of(store)
    kept = dict(store._pages._pages._young)
    with apsw.Connection(f"{tmp_path}/log.db") as other:
        other.execute(ERASE)
    assert before.events[0].payload is not None
    await page_of(store, limit=1)
    store._pages._pages._young |= kept
    assert [event.payload for event in (await page_of(store)).events] == [None] * 3


@catches(replaced(PageCache, "forget", _forgets_nothing, "forgets_nothing"))
async def test_what_was_removed_is_forgotten(store: SQLiteStore, tmp_path: Path) -> None:
    """By the first page of the log after that."""
    await page_of(store)
    with apsw.Connection(f"{tmp_path}/log.db") as other:
        other.execute(ERASE)
    await page_of(store, limit=1)
    assert [len(page.events) for page, _ in store._pages._pages._young.values()] == [1]


@catches(_mutant("viewer"), _mutant("query"), _mutant("request"), _mutant("tenant_no", "viewer"))
async def test_another_question_gets_another_page(store: SQLiteStore) -> None:
    """Whatever differs: who asks, for what, which part of it, and of which log."""
    await stored(store, *(new(number, actor_id="eve") for number in range(3)), tenant="other")
    whole = await page_of(store)
    others = [
        await page_of(store, Viewer(TENANT, ("artifact",))),
        await page_of(store, Viewer("other")),
        await page_of(store, query=Query(event_types=("order.placed",))),
        await page_of(store, query=Query(since=NOON + 1_000_000_000)),
        await page_of(store, limit=1),
        await page_of(store, offset=1),
        await page_of(store, ascending=True),
        await page_of(store, as_of=2),
        await page_of(store, after=Keyset(whole.events[0].occurred_at, whole.events[0].position), offset=1),
    ]
    assert whole not in others


async def test_large_pages_are_read_again(store: SQLiteStore) -> None:
    """What is kept stays small."""
    await stored(store, new(9, payload=b'{"text":"%s"}' % (b"x" * 70_000)))
    first, second = await page_of(store), await page_of(store)
    assert first == second and first is not second


def _always_short(_query: Query) -> int:
    """Mutant: questions take no memory."""
    return 1_024


@catches(replaced(page_cache, "_question_bytes", _always_short, "questions_weigh_nothing"))
async def test_long_questions_with_empty_pages_fit(store: SQLiteStore) -> None:
    """A client chooses how long a question is."""
    for number in range(300):
        await page_of(store, query=Query(correlation_ids=(f"{number}".zfill(30_000),)))
    pages = store._pages._pages
    kept = [key for generation in (pages._young, pages._old) for key in generation]
    assert 0 < len(kept) * 30_000 <= 8 * 1024 * 1024
