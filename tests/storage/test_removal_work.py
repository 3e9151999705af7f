"""The work of removals on each store: everything is announced before it goes, nothing that is held goes, and whatever
interrupts it, it ends as it would have."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import apsw
import msgspec
import pytest

from tests.contract.made import NOON, TENANT, new, stored, uuid
from tests.contract.test_removals import url_of
from tests.databases import execute
from tests.storage.removal_work import (
    AGED,
    BY,
    MALLORY,
    SECRET,
    announced,
    announcements,
    asked,
    done,
    done_already,
    done_by,
    events,
    filled,
    hold,
    holds_are_ignored,
    kept,
    later,
    retained,
    store,
    until,
    until_done,
    with_payload,
)
from tests.unit.mutants import catches, replaced
from whence import removal, removal_parts
from whence.announcements import announcement, announcement_id
from whence.errors import Conflict, WhenceError
from whence.events import Query
from whence.followers import Definitions
from whence.removal import DONE, RemovalWork, list_requests, request_of
from whence.sealer import Sealing
from whence.storage import Write, verify_store
from whence.storage import announced as announced_module
from whence.storage.removals import HOLD, PAYLOAD_ERASED, REMOVAL

__all__ = ["store"]

pytestmark = pytest.mark.anyio


async def _at_once(self: Any) -> None:
    """Mutant: goes on without waiting for anything."""
    await self._save(state="removing", sealed=True)


unannounced = replaced(removal._Run, "_announce", done_already, "unannounced")
uncovered = replaced(removal._Run, "_cover_announcement", _at_once, "uncovered")
unclean = replaced(removal._Run, "_clean", done_already, "unclean")
remembers_what_was_asked = replaced(removal._Run, "_forget_what_was_asked", done_already, "remembers_what_was_asked")


@catches(unannounced, remembers_what_was_asked)
async def test_an_erasure_is_announced_and_takes_the_payloads(store: Any) -> None:
    """The payloads of the matching events go; the announcement names exactly these positions, and no actor."""
    await filled(store)
    request = await done_by(store, query=MALLORY)
    assert await kept(store) == [1, 2, 3, 4, 5, 6]
    assert await with_payload(store) == [1, 3, 5]
    assert await announced(store) == [[2, 4, 6]]
    [event] = await announcements(store)
    payload = msgspec.json.decode(event.payload or b"")
    assert (payload["events"], payload["reason"], payload["checkpoint"]) == (3, "because", None)
    assert (event.actor_type, event.actor_id) == BY
    assert b"mallory" not in (event.payload or b"")
    assert (request.state, request.payloads, request.held, request.sealed) == ("done", 3, 0, False)
    assert (request.query, request.event_ids) == (None, ())


async def test_an_erasure_names_events_by_their_ids(store: Any) -> None:
    """What is erased already is announced no second time, and an unknown id is passed over."""
    await filled(store)
    request = await done_by(store, event_ids=(uuid(1), uuid(5), uuid(99)))
    assert (await with_payload(store), request.payloads) == ([2, 3, 4, 6], 2)
    again = await done_by(store, event_ids=(uuid(1), uuid(2)))
    assert (await announced(store), again.payloads) == ([[1, 5], [2]], 1)


async def test_an_erasure_leaves_what_came_after_it(store: Any) -> None:
    """It is about the log as it was when it was asked for."""
    await filled(store)
    request_id = await asked(store, query=MALLORY)
    await stored(store, new(7, actor_id="mallory", payload=b'{"new":1}'))
    await done(store, request_id)
    assert await with_payload(store) == [1, 3, 5, 7]


@catches(holds_are_ignored)
async def test_what_is_held_is_not_erased(store: Any) -> None:
    """By any filter; the request says how many there were."""
    await filled(store)
    await hold(store, Query(correlation_ids=("flow 4",)))
    request = await done_by(store, query=MALLORY)
    assert await with_payload(store) == [1, 3, 4, 5]
    assert (await announced(store), request.payloads, request.held) == ([[2, 6]], 2, 1)


async def test_announcements_are_not_erased(store: Any) -> None:
    """Nor removed, by whatever asks for them."""
    await filled(store)
    await done_by(store, query=MALLORY)
    await done_by(store, query=Query(actors=("/".join(BY),)))
    await retained(store)
    assert await kept(store) == []
    assert len(await announced(store)) == 2
    assert all(event.payload is not None for event in await announcements(store))


@pytest.mark.parametrize("kind", ["erasure", "retention"])
async def test_a_hold_between_announcement_and_removal_is_respected(
    store: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holds of a removal are those of the moment at which it happens."""
    await filled(store)
    method = "erase_payloads" if kind == "erasure" else "purge"
    remove, calls = getattr(store.removals, method), []

    async def slow(*arguments: Any) -> int:
        if not calls:
            await hold(store, Query(correlation_ids=("flow 4",)))
        calls.append(arguments)
        result: int = await remove(*arguments)
        return result

    monkeypatch.setattr(store.removals, method, slow)
    if kind == "erasure":
        request = await done_by(store, query=MALLORY)
        assert await with_payload(store) == [1, 3, 4, 5]
        assert (request.payloads, request.held) == (2, 1)
    else:
        request = await retained(store)
        assert await kept(store) == [4]
        assert (request.events, request.held) == (5, 1)


THEFTS = {
    "erasure": (
        "UPDATE event SET payload_hash = x'{hash}', payload = NULL, salt = NULL WHERE key & 0xFFFF = 4",
        "UPDATE whence.event SET payload_hash = sha256(salt || payload), payload = NULL, salt = NULL"
        " WHERE position = 4",
        4,
        "the payload is missing, and no event says that it was erased",
    ),
    "retention": (
        "DELETE FROM event WHERE key & 0xFFFF = 4",
        "DELETE FROM whence.event WHERE position = 4",
        4,
        "the event is missing, and no event says that it was removed",
    ),
    "name": (
        "UPDATE actor SET actor_id = 'erased-1', erased_at = 5 WHERE actor_id = 'mallory'",
        "UPDATE whence.actor SET actor_id = 'erased-1', erased_at = 5 WHERE actor_id = 'mallory'",
        2,
        "the id of the actor was replaced, and no event says so",
    ),
}
"""What somebody could take away later under an announcement, and what verify then says, of which position."""

nothing_withdrawn = replaced(removal._Run, "_withdraw", done_already, "nothing_withdrawn")
withdrawals_are_ignored = replaced(announced_module, "REMOVAL_WITHDRAWN", "never.seen", "withdrawals_are_ignored")


def held_from(store: Any, announcements_before: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have a hold placed once there are so many announcements. Returns the list that gets its id."""
    real, holds = removal.holds_of, list[str]()

    async def late(*arguments: Any) -> Any:
        if not holds and len(await announcements(store)) >= announcements_before:
            holds.append(await hold(store, Query(correlation_ids=("flow 4",))))
        return await real(*arguments)

    monkeypatch.setattr(removal, "holds_of", late)
    return holds


@catches(nothing_withdrawn, withdrawals_are_ignored)
@pytest.mark.parametrize("kind", list(THEFTS))
async def test_what_a_hold_has_kept_cannot_be_taken_away_later(
    store: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was announced and then held is taken back, so verify misses it when it is gone, also after the hold."""
    await filled(store)
    holds = held_from(store, 2 if kind == "name" else 1, monkeypatch)
    if kind == "retention":
        await retained(store)
    else:
        await done_by(store, query=MALLORY, pseudonym="erased-1" if kind == "name" else None)
    await store.followers.delete_definition(TENANT, HOLD, holds[0])
    assert (await verify_store(url_of(store))).findings == []
    [hashed] = [each for each in await store.read_log(TENANT, 3, 1) if each.event.position == 4]
    sqlite, postgres, position, what = THEFTS[kind]
    await altered(store, sqlite.replace("{hash}", hashed.payload_hash.hex()), postgres)
    found = [(each.position, each.what) for each in (await verify_store(url_of(store))).findings]
    assert (position, what) in found


async def test_what_was_held_is_removed_by_a_later_request(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under an announcement of its own. The log is sound."""
    await filled(store)
    holds = held_from(store, 1, monkeypatch)
    request = await done_by(store, query=MALLORY)
    assert (request.payloads, request.held, await with_payload(store)) == (2, 1, [1, 3, 4, 5])
    await store.followers.delete_definition(TENANT, HOLD, holds[0])
    assert (await done_by(store, query=MALLORY)).payloads == 1
    assert (await announced(store), await with_payload(store)) == ([[2, 4, 6], [4]], [1, 3, 5])
    assert (await verify_store(url_of(store))).findings == []


async def altered(store: Any, sqlite_sql: str, postgres_sql: str) -> None:
    """Change rows of a store from outside."""
    url = url_of(store)
    if url.startswith("postgres"):
        await execute(url, postgres_sql)
        return
    connection = apsw.Connection(url.removeprefix("sqlite:///"))
    connection.execute(sqlite_sql)
    connection.close()


class _Killed(WhenceError):
    """Stands for the end of the process."""


def killed_at(store: Any, step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Have the process end at one of the steps that change the store: before it for even numbers, after it for odd
    ones. Returns a function that says whether it came so far."""
    count = 0

    def killing(method: Any) -> Any:
        async def call(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == step // 2 + 1 and step % 2 == 0:
                raise _Killed
            result = await method(*arguments)
            if count == step // 2 + 1:
                raise _Killed
            return result

        return call

    for owner, name in (
        *((store.followers, name) for name in ("put_definition", "delete_definition")),
        *((store.removals, name) for name in ("erase_payloads", "purge", "erase_actor", "scrub")),
        (store, "append"),
    ):
        monkeypatch.setattr(owner, name, killing(getattr(owner, name)))
    return lambda: count > step // 2


@pytest.mark.slow
@pytest.mark.parametrize("store", ["postgres"], indirect=True)  # SQLite has test_removal_kills.py
@pytest.mark.parametrize("kind", ["erasure", "retention"])
async def test_a_removal_that_was_killed_anywhere_ends_as_any_other(
    store: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends before and after each change in turn, and the next one goes on: the same events are left, and
    each part is announced once."""
    monkeypatch.setattr(removal_parts, "ERASED_AT_ONCE", 2)
    monkeypatch.setattr(removal_parts, "PURGED_AT_ONCE", 2)
    monkeypatch.setattr(removal_parts, "_PART", 1)
    step, position = 0, 0
    while True:
        first = (await store.head(TENANT)).size + 1
        await stored(
            store,
            *(
                new(position + number, actor_id=f"mallory {step}", payload=b'{"a":1}', occurred_at=later())
                for number in range(4)
            ),
        )
        position += 4
        before = len(await announcements(store))
        query = Query(actors=(f"user/mallory {step}",))
        values = {"query": query} if kind == "erasure" else {"kind": "retention", "policy": AGED}
        request_id = await asked(store, **values)
        with monkeypatch.context() as patch:
            came = killed_at(store, step, patch)
            with contextlib.suppress(_Killed):
                await RemovalWork(store, seals=False, clock=later).finish(TENANT, request_id)
            is_over = not came()
        await RemovalWork(store, seals=False, clock=later).finish(TENANT, request_id)
        definition = await store.followers.get_definition(TENANT, DONE, request_id)
        request = request_of(definition)
        assert (request.payloads + request.events, request.held) == (4, 0), step
        named = sorted(each for part in (await announced(store))[before:] for each in part)
        assert named == [*range(first, first + 4)], step
        assert len(await announcements(store)) == before + 2
        assert await with_payload(store) == []
        if is_over:
            break
        step += 1
    assert step > 15


@catches(uncovered)
async def test_nothing_is_removed_before_a_checkpoint_covers_its_announcement(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where logs are sealed the removal waits, and says so; the next announcement names the checkpoint before it."""
    monkeypatch.setattr(removal, "_PATIENCE_S", 0.0)
    await filled(store)
    sealing = Sealing(store, SECRET, "log.example")
    await sealing.seal(TENANT)
    request_id = await asked(store, query=MALLORY)
    work = RemovalWork(store, seals=True, clock=later)
    task = asyncio.create_task(work.finish(TENANT, request_id))
    await until(lambda: bool(work.waiting) or task.done())
    [(_, request)] = await list_requests(store, TENANT)
    assert (request.state, request.sealed) == ("announced", None)
    assert "checkpoint" in (request.waits_for or "")
    assert await with_payload(store) == [1, 2, 3, 4, 5, 6]
    [checkpoint] = await store.seals.list_checkpoints(TENANT, None, 1)
    await sealing.seal(TENANT)
    async with asyncio.timeout(10):
        await task
    [(_, request)] = await list_requests(store, TENANT)
    assert (request.state, request.sealed, request.waits_for) == ("done", True, None)
    assert await with_payload(store) == [1, 3, 5]
    [event] = await announcements(store)
    assert msgspec.json.decode(event.payload or b"")["checkpoint"] == checkpoint.note


@catches(unclean)
async def test_it_is_done_only_when_the_store_has_overwritten_it(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open reader prevents that; until it has gone, the request says what it waits for."""
    monkeypatch.setattr(removal, "_PATIENCE_S", 0.0)
    await filled(store)
    answers = [False, False, True]

    async def scrub() -> bool:
        if len(answers) == 1:
            [(_, request)] = await list_requests(store, TENANT)
            assert request.state == "cleaning"
            assert "readers" in (request.waits_for or "")
            assert request.query is None
        return answers.pop(0)

    monkeypatch.setattr(store.removals, "scrub", scrub)
    assert (await done_by(store, query=MALLORY)).payloads == 3
    assert answers == []


async def test_the_name_of_an_actor_is_replaced(store: Any) -> None:
    """In every event that it has, after an announcement of its own; the pseudonym is known once it is done."""
    await filled(store)
    request = await done_by(store, query=MALLORY, pseudonym="erased-1")
    assert [event.actor_id for event in await events(store)] == ["ada", "erased-1"] * 3
    assert (request.renamed, request.pseudonym) == (3, "erased-1")
    assert await announced(store) == [[2, 4, 6], [2, 4, 6]]
    assert [msgspec.json.decode(event.payload or b"")["actors"] for event in await announcements(store)] == [0, 1]
    assert not any(b"mallory" in (event.payload or b"") for event in await announcements(store))


_rename = removal._Run._rename


async def rename_whatever_came(run: Any, _upto: int) -> int | None:
    """Mutant: events that came after the announcement are not named."""
    return await _rename(run, 2**39)


later_events_go_unnamed = replaced(removal._Run, "_rename", rename_whatever_came, "later_events_go_unnamed")


@catches(later_events_go_unnamed)
async def test_each_event_whose_actor_is_replaced_is_named(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In as many announcements as that takes, also if it was stored after one. Nothing else tells it from others."""
    monkeypatch.setattr(removal_parts, "_PART", 1)
    monkeypatch.setattr(removal_parts, "ERASED_AT_ONCE", 2)
    await filled(store)
    erase_actor = store.removals.erase_actor

    async def slow(*arguments: Any) -> int:
        monkeypatch.setattr(store.removals, "erase_actor", erase_actor)
        await stored(store, new(9, actor_id="mallory"))
        return int(await erase_actor(*arguments))

    monkeypatch.setattr(store.removals, "erase_actor", slow)
    assert (await done_by(store, query=MALLORY, pseudonym="erased-1")).renamed == 4
    said = [msgspec.json.decode(each.payload or b"") for each in await announcements(store)]
    late = next(event.position for event in await events(store) if event.id == new(9).id)
    named = [each["ranges"] for each in said if each["pseudonym"]]
    assert named == [[[4, 4], [6, 6]], [[2, 2]], [[late, late]]]
    assert (await verify_store(url_of(store))).findings == []


@catches(holds_are_ignored)
async def test_the_name_of_an_actor_stays_while_one_of_its_events_is_held(store: Any) -> None:
    """A hold keeps who did it too."""
    await filled(store)
    await hold(store, Query(correlation_ids=("flow 4",)))
    request = await done_by(store, query=MALLORY, pseudonym="erased-1")
    assert {event.actor_id for event in await events(store)} == {"ada", "mallory"}
    assert request.renamed is None


async def test_a_hold_placed_during_it_keeps_the_name(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even between the last look at the holds and the removal."""
    await filled(store)
    erase_actor = store.removals.erase_actor

    async def slow(*arguments: Any) -> int:
        monkeypatch.undo()
        await hold(store, Query(correlation_ids=("flow 4",)))
        renamed: int = await erase_actor(*arguments)
        return renamed

    monkeypatch.setattr(store.removals, "erase_actor", slow)
    request = await done_by(store, query=MALLORY, pseudonym="erased-1")
    assert request.renamed is None
    assert {event.actor_id for event in await events(store)} == {"ada", "mallory"}


async def test_another_event_in_the_place_of_an_announcement_stops_the_removal(store: Any) -> None:
    """Nothing is removed that no event of the right type announces."""
    await filled(store)
    request_id = await asked(store, query=MALLORY)
    await stored(store, msgspec.structs.replace(new(7), id=announcement_id(TENANT, request_id, 1)))
    for _ in range(2):
        with pytest.raises(Conflict):
            await RemovalWork(store, seals=False, clock=later).finish(TENANT, request_id)
    assert await with_payload(store) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_part_that_another_process_announced_is_removed_as_announced(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as this process would have: what it found may differ by then."""
    await filled(store)
    request_id = await asked(store, query=MALLORY)
    append, other = store.append, []

    async def slow(tenant: str, writes: Any) -> Any:
        if not other:
            other.append(True)
            ranges = ((2, 2), (6, 6))
            [(_, request)] = await list_requests(store, TENANT)
            event = announcement(TENANT, request_id, request, PAYLOAD_ERASED, ranges, None, NOON)
            await append(tenant, [Write((event,))])
        return await append(tenant, writes)

    monkeypatch.setattr(store, "append", slow)
    assert (await done(store, request_id)).payloads == 2
    assert await with_payload(store) == [1, 3, 4, 5]


async def test_the_latest_requests_are_kept(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a tenant may have; the oldest goes when another one is done."""
    monkeypatch.setattr(removal, "DEFINITIONS_MAX", 3)
    await filled(store)
    ids: list[str] = []
    for number in range(1, 6):
        ids.append(await asked(store, event_ids=(uuid(number),)))
        await done(store, ids[-1])
        assert [id_ for id_, _ in await list_requests(store, TENANT)] == ids[-3:][::-1]


async def test_requests_are_finished_one_after_the_other(store: Any) -> None:
    """The worker takes the oldest first, and goes on with those that come meanwhile."""
    await filled(store)
    ids = [await asked(store, event_ids=(uuid(number),)) for number in (1, 2)]
    definitions = Definitions(await store.followers.list_definitions(REMOVAL, TENANT))
    task = asyncio.create_task(RemovalWork(store, seals=False, clock=later).follow(TENANT, definitions))
    await until_done(store, 2)
    ids.append(await asked(store, event_ids=(uuid(3),)))
    definitions.replace(await store.followers.list_definitions(REMOVAL, TENANT))
    await until_done(store, 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await announced(store) == [[1], [2], [3]]
    assert [id_ for id_, _ in await list_requests(store, TENANT)] == ids[::-1]
