"""A log in which the id of an actor was replaced is copied from store to store: its events go by their leaves."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.made import TENANT, add, new
from tests.storage.test_copy import alter, announced, log, opened
from tests.unit.mutants import catches, replaced
from whence import copying
from whence.copying import copy_log
from whence.errors import NotFound, StoreRefused, Unsound
from whence.events import Viewer
from whence.storage import HashedEvent, verify_store
from whence.storage.announced import Announced
from whence.storage.removals import PAYLOAD_ERASED
from whence.wire.ids import new_uuid7
from whence.wire.log_events import log_event

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite-postgres", "postgres-sqlite"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[tuple[Any, Any]]:
    """A store with a small log, and an empty store of the other kind."""
    source, target = [await opened(kind, tmp_path) for kind in request.param.split("-")]
    await add(source, *[new(number, actor_id=f"a{number % 3}") for number in range(20)])
    yield source, target
    await source.close()
    await target.close()


async def renamed(source: Any, actor_id: str, new_id: str) -> None:
    """Replace the id of an actor, as an erasure does: after an event that says so."""
    named = [[each.event.position] * 2 for each in await log(source) if each.event.actor_id == actor_id]
    payload = {"ranges": named, "pseudonym": new_id}
    await add(source, log_event(TENANT, PAYLOAD_ERASED, payload, event_id=new_uuid7(), at=time.time_ns() // 1_000))
    assert await source.removals.erase_actor(TENANT, ("user", actor_id), new_id, 5, [])


async def test_an_actor_whose_id_was_replaced_is_copied(pair: tuple[Any, Any]) -> None:
    """Its events come along by their leaves, and the target knows that, too. When a payload was erased comes along. The
    same event sent again is a replay, as in the source."""
    source, target = pair
    await add(source, new(3_001, actor_id="bob"), new(3_002, actor_id="bob"), new(3_003))
    await announced(source, PAYLOAD_ERASED, [[2, 2]])
    await source.removals.erase_payloads(TENANT, [2], 5, [])
    await renamed(source, "bob", "erased-1")
    await copy_log(source, target)
    copied = await log(target)
    assert copied == await log(source)
    assert [each.actor_erased_at for each in copied if each.event.actor_id == "erased-1"] == [5, 5]
    assert copied[1].event.erased_at == 5
    assert (await verify_store(target.url)).sound
    for store in pair:
        with pytest.raises(NotFound, match="actor was replaced"):
            await store.seals.get_evidence(TENANT, new(3_001).id)
        assert (await add(store, new(3_002, actor_id="bob")))[0].replayed
    await add(source, new(3_004))
    assert (await copy_log(source, target)).before == len(copied)


async def never_refused(*_values: Any) -> None:
    """Mutant: what the target has from before is not looked at."""


class Believing(Announced):
    """Mutant: every id was announced."""

    def first_not_renamed(self, *_values: Any) -> None:
        return None


@catches(
    replaced(copying, "_refuse_unerased", never_refused, "the_name_stays_in_the_target"),
    replaced(copying, "Announced", Believing, "whatever_id_is_believed"),
)
async def test_a_replaced_id_is_neither_undone_nor_believed(pair: tuple[Any, Any], tmp_path: Path) -> None:
    """A target that has events of the former id gets no more. An id that no event announces was replaced by somebody
    else, and a leaf has to be that of the source, also where nothing else tells of the event."""
    source, target = pair
    await add(source, new(3_001, actor_id="bob"))
    await copy_log(source, target)
    await add(source, new(3_002, actor_id="bob"))
    await renamed(source, "bob", "erased-1")
    with pytest.raises(StoreRefused, match="new, empty store"):
        await copy_log(source, target)
    assert (await target.get_event(Viewer(TENANT), new(3_002).id)) is None

    other = await opened(target.kind, tmp_path)
    real = other.import_log

    async def altering(tenant: str, events: list[HashedEvent]) -> None:
        altered = [
            msgspec.structs.replace(each, leaf=bytes(32)) if each.event.actor_id == "erased-1" else each
            for each in events
        ]
        await real(tenant, altered)

    other.import_log = altering
    with pytest.raises(Unsound, match="root"):
        await copy_log(source, other)

    statement = "UPDATE {}actor SET erased_at = 5, actor_id = 'erased-2' WHERE actor_id = 'a1'"
    await alter(source, statement.format(""), statement.format("whence."))
    with pytest.raises(Unsound, match="no event says so"):
        await copy_log(source, await opened(target.kind, tmp_path))
