"""The index of payload fields on PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from whence.events import Query, sets_only
from whence.storage.payload_index import (
    FACET_VALUES_MAX,
    REMOVED_AT_ONCE,
    SLICE_BYTES,
    CountsOfField,
    EachPayload,
    FieldRow,
    FieldRows,
    IndexedEvent,
    PayloadQuestion,
    ValueEntry,
    ValuesOf,
    entries_of,
    match_payload,
    next_slice,
)
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.credentials import Run
from whence.storage.postgres.followers import RunAs, WriteAs
from whence.storage.postgres.resolve import Bindings, conditions, resolve_names
from whence.storage.postgres.tenants import Tenant, head_row, refuse_renumbered
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.walks import run_walk_async

__all__ = ["PostgresPayloadIndex", "answers_of", "forget_payload_values", "match", "resolve"]

_SQL = load_blocks("whence.storage.postgres")

_AT_ONCE = 4
"""Tenants that are asked at the same time whether their log has grown."""

_PART_EVENTS = 64
"""Events whose payloads are read at once: 16 MiB at most."""


async def match(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, bounded: bool = False
) -> ResolvedQuery:
    """The query with its payload values found; see `match_payload`."""
    found: ResolvedQuery = await run_walk_async(
        match_payload(snapshot, resolved, bounded=bounded), answers_of(connection, snapshot)
    )
    return found


async def resolve(connection: Connection, snapshot: Snapshot, query: Query) -> ResolvedQuery:
    """A whole query in numbers."""
    return await match(connection, snapshot, await resolve_names(connection, snapshot, query))


def answers_of(connection: Connection, snapshot: Snapshot) -> Callable[[PayloadQuestion], Awaitable[Any]]:
    """The answers to questions about the index, in the transaction of a query."""

    async def answer(question: PayloadQuestion) -> Any:
        match question:
            case FieldRows():
                return await _field_rows(connection, snapshot.tenant_no)
            case ValuesOf(values):
                fields, texts = zip(*values, strict=True)
                return await connection.fetch(_SQL["payload_value"], snapshot.tenant_no, fields, texts)
            case CountsOfField(resolved, field):
                return await _counts_of_field(connection, snapshot, resolved, field)
            case EachPayload():
                return await _each_payload(connection, snapshot, question)

    return answer


async def _field_rows(connection: Connection, tenant_no: int) -> list[FieldRow]:
    return [FieldRow(*row) for row in await connection.fetch(_SQL["payload_fields"], tenant_no)]


async def _counts_of_field(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, field: int
) -> list[Any]:
    found: list[Any] = []
    if resolved.nothing:
        return found
    if sets_only(frozenset(), resolved):
        found = await connection.fetch(_SQL["counts_of_field"], snapshot.tenant_no, field, FACET_VALUES_MAX + 1)
        return found
    failing = [kind.number for kind in snapshot.kinds.values() if kind.outcome == "failure"]
    bindings = Bindings(snapshot.tenant_no, field, failing, FACET_VALUES_MAX + 1)
    where = conditions(resolved, bindings)
    text = (
        "SELECT v.text, count(*), count(*) FILTER (WHERE m.kind = ANY($3::int[]))"
        " FROM payload_value v JOIN payload_entry p ON p.value = v.value"
        f" JOIN (SELECT position, kind FROM event WHERE tenant_no = $1{where}) m ON m.position = p.position"
        " WHERE v.tenant_no = $1 AND p.tenant_no = $1 AND v.field = $2 GROUP BY v.text LIMIT $4"
    )
    found = await connection.fetch(text, *bindings.values)
    return found


async def _each_payload(connection: Connection, snapshot: Snapshot, asked: EachPayload) -> None:
    if asked.resolved.nothing:
        return
    bindings = Bindings(snapshot.tenant_no, asked.after, asked.upto)
    where = conditions(asked.resolved, bindings)
    text = f"SELECT position, kind, payload FROM event WHERE tenant_no = $1 AND position > $2 AND position <= $3{where}"
    cursor = await connection.cursor(text, *bindings.values)
    while part := await cursor.fetch(_PART_EVENTS):
        asked.take(part)


class PostgresPayloadIndex:
    """The index of payload fields in one database; see `PayloadIndex`."""

    def __init__(self, read: Run, read_as: RunAs, write_as: WriteAs) -> None:
        self._read = read
        self._read_as = read_as
        self._write_as = write_as

    async def unindexed(self, paths: Sequence[str]) -> list[str]:
        """The tenants whose index is not as it should be. Row-level security shows a transaction the log of one tenant,
        so each of them is asked."""
        rows = await self._read(lambda connection: connection.fetch(_SQL["tenant_names"], "", None), "")
        names = [name for (name,) in rows]
        places = asyncio.Semaphore(_AT_ONCE)

        async def lacks(connection: Connection, owner: Tenant) -> bool:
            head = await head_row(connection, owner)
            if head is None:
                return False
            found = {row.path: row.indexed_to for row in await _field_rows(connection, owner.number)}
            return not found.keys() <= set(paths) or any(found.get(path, 0) < head.size for path in paths)

        async def ask(tenant: str) -> bool:
            async with places:
                found: bool = await self._read_as(tenant, lacks)
                return found

        behind = await asyncio.gather(*map(ask, names))
        return [name for name, is_behind in zip(names, behind, strict=True) if is_behind]

    async def advance(self, tenant: str, paths: Sequence[str]) -> bool:
        """Take one step."""
        more: bool = await self._write_as(tenant, lambda connection, owner: _advance(connection, owner, paths))
        return more

    async def list_fields(self, tenant: str) -> list[FieldRow]:
        """The paths that are indexed."""

        async def ask(connection: Connection, owner: Tenant) -> list[FieldRow]:
            await refuse_renumbered(connection, owner)
            return await _field_rows(connection, owner.number)

        found: list[FieldRow] = await self._read_as(tenant, ask)
        return found


async def _advance(connection: Connection, owner: Tenant, paths: Sequence[str]) -> bool:
    """Take one step. The lock on the head keeps appends and removals away, so that no payload is removed between its
    reading and the commit of its entries."""
    head = await head_row(connection, owner, "lock_head")
    if head is None:
        return False
    tenant_no = head.tenant_no
    rows = await _field_rows(connection, tenant_no)
    for row in rows:
        if row.path not in paths:
            await _remove_part(connection, tenant_no, row)
            return True
    known = {row.path: row for row in rows}
    for path in paths:
        if path not in known:
            number = 1 + max((row.field for row in known.values()), default=0)
            known[path] = FieldRow(path, number, 0)
            await connection.execute(_SQL["add_payload_field"], tenant_no, number, path)
    part = next_slice(known.values(), head.size)
    if part is None:
        return False
    events, upto = await _events(connection, tenant_no, part.after, part.upto)
    fields = [msgspec.structs.replace(row, indexed_to=upto) for row in part.fields]
    await _add(connection, tenant_no, entries_of(fields, events))
    await connection.execute(_SQL["move_payload_field"], tenant_no, upto, [row.field for row in fields])
    return upto < head.size or len(fields) < len(known)


async def _events(connection: Connection, tenant_no: int, after: int, upto: int) -> tuple[list[IndexedEvent], int]:
    """The next events, and the position up to which they are all that there are: fewer than asked for if their payloads
    are large."""
    events: list[IndexedEvent] = []
    size = 0
    cursor = await connection.cursor(_SQL["payload_part"], tenant_no, after, upto)
    while part := await cursor.fetch(_PART_EVENTS):
        events += [IndexedEvent(*row) for row in part]
        size += sum(len(row[3] or b"") for row in part)
        if size >= SLICE_BYTES:
            return events, events[-1].position
    return events, upto


async def _add(connection: Connection, tenant_no: int, added: dict[tuple[int, str], list[ValueEntry]]) -> None:
    if not added:
        return
    first = 1 + await connection.fetchval(_SQL["last_payload_value"], tenant_no)
    names = sorted(added)
    values = (
        list(range(first, first + len(names))),
        [field for field, _ in names],
        [text for _, text in names],
        [len(added[name]) for name in names],
        [sum(entry.failed for entry in added[name]) for name in names],
    )
    numbers = {
        (field, text): number
        for number, field, text in await connection.fetch(_SQL["add_to_payload_value"], tenant_no, *values)
    }
    entries = [
        (numbers[name], entry.occurred_at, entry.position) for name, entries in added.items() for entry in entries
    ]
    await connection.execute(_SQL["add_payload_entry"], tenant_no, *zip(*entries, strict=True))


async def _remove_part(connection: Connection, tenant_no: int, row: FieldRow) -> None:
    """Remove entries of a path that is not to be indexed any more, and the path with the last of them."""
    # It covers nothing from now on: it lacks some of its entries.
    await connection.execute(_SQL["move_payload_field"], tenant_no, 0, [row.field])
    left = REMOVED_AT_ONCE
    while left > 0:
        value = await connection.fetchval(_SQL["any_payload_value"], tenant_no, row.field)
        if value is None:
            await connection.execute(_SQL["delete_payload_field"], tenant_no, row.field)
            return
        removed = await connection.fetch(_SQL["delete_payload_entries"], tenant_no, value, left)
        left -= max(len(removed), 1)
        await connection.execute(_SQL["delete_payload_value"], tenant_no, [value])


async def forget_payload_values(connection: Connection, tenant_no: int, positions: Sequence[int]) -> None:
    """Remove the events at some positions from the index, with the values that no other event has. Call it in the
    transaction that removes the payloads, under the lock on the head and before that: the entries are found by them."""
    rows = await _field_rows(connection, tenant_no)
    if not rows or not positions:
        return
    found = await connection.fetch(_SQL["payloads_to_forget"], tenant_no, list(positions))
    taken = entries_of(rows, [IndexedEvent(*row) for row in found])
    if not taken:
        return
    fields, texts = zip(*taken, strict=True)
    known: Iterable[Any] = await connection.fetch(_SQL["payload_value"], tenant_no, fields, texts)
    numbers = {(field, text): number for field, text, number, _ in known}
    failed = {
        (numbers[name], entry.occurred_at, entry.position): entry.failed
        for name, entries in taken.items()
        if name in numbers
        for entry in entries
    }
    if not failed:
        return
    removed = await connection.fetch(_SQL["delete_payload_entry"], tenant_no, *zip(*failed, strict=True))
    values = Counter(value for value, _, _ in removed)
    failures = Counter(value for value, *at in removed if failed[value, *at])
    counts = [list(values), list(values.values()), [failures[value] for value in values]]
    await connection.execute(_SQL["take_from_payload_value"], tenant_no, *counts)
    await connection.execute(_SQL["delete_payload_value"], tenant_no, list(numbers.values()))
