"""What comes between the reads of a purge and its transaction, on SQLite. Each interleaving is forced."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import DAY, NOON, TENANT, new, stored, uuid
from tests.unit.mutants import catches, replaced
from whence import rollups
from whence.events import EVENT_LOG
from whence.storage import sequencing, verify_store
from whence.storage.removals import RETENTION_APPLIED, Purge
from whence.storage.sqlite import purge
from whence.storage.sqlite.engine import SQLiteStore

EVENTS = 10
LATER = NOON + 400 * DAY
"""When an event occurs that can be told from those that were removed."""


async def _purge(
    folder: Path,
    patch: pytest.MonkeyPatch,
    meanwhile: Callable[[SQLiteStore], Awaitable[object]],
    divide_at: int = 1_000,
) -> None:
    """A purge of nine of ten events, all folded, that has read what it needs when something else is done."""
    patch.setattr(rollups, "DIVIDE_AT", divide_at)
    patch.setattr(sequencing, "FOLD_AT", 5)
    store = SQLiteStore(f"{folder}/log.db")
    announced = new(
        99, event_type=RETENTION_APPLIED, resource_type=EVENT_LOG, payload=b'{"ranges":[[1, 9]]}', occurred_at=LATER
    )
    await stored(store, *map(new, range(1, EVENTS + 1)), announced)
    read = store.removals._read

    async def read_then_wait(tenant: str, question: Any) -> Any:
        found = await read(tenant, question)
        await meanwhile(store)
        return found

    with patch.context() as patched:
        patched.setattr(store.removals, "_read", read_then_wait)
        assert await store.removals.purge(TENANT, Purge(1, EVENTS), []) == EVENTS - 1
    await store.close()
    assert (await verify_store(f"sqlite:///{folder}/log.db")).findings == []


def _effects(store: SQLiteStore) -> Awaitable[object]:
    return stored(store, *(new(number, causation_id=uuid(number - 59), occurred_at=LATER) for number in range(60, 66)))


@catches(replaced(purge, "_is_stale", lambda *_: False, "what_was_read_is_never_stale"))
async def test_effects_that_are_folded_meanwhile(
    anyio_backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their transitions go too."""
    await _purge(tmp_path, monkeypatch, _effects)


@catches(replaced(purge, "_is_stale", lambda *_: False, "what_was_read_is_never_stale"))
async def test_a_payload_that_is_erased_meanwhile(
    anyio_backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are subtracted once."""
    await _purge(tmp_path, monkeypatch, lambda store: store.removals.erase_payloads(TENANT, [3], NOON, []))


@catches(replaced(purge, "_subtracted", lambda *_: b"", "totals_of_a_new_division_go"))
async def test_a_bucket_that_is_divided_meanwhile(
    anyio_backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The totals of its actors lose the events too."""
    await _purge(tmp_path, monkeypatch, lambda store: stored(store, new(60, occurred_at=LATER)), EVENTS + 1)


async def test_the_transaction_reads_nothing_again(
    anyio_backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before is used when nothing has come in between but an append."""

    def again(*_: Any) -> None:
        pytest.fail("The batch is read in the writer's transaction.")

    monkeypatch.setattr(purge, "prepare_purge", again)
    await _purge(tmp_path, monkeypatch, lambda store: stored(store, new(60, occurred_at=LATER)))
