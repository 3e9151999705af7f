"""The index of payload fields on SQLite."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import apsw
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
    PayloadRow,
    ValuesOf,
    entries_of,
    match_payload,
    next_slice,
)
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.sqlite.credentials import Read, Write
from whence.storage.sqlite.resolve import conditions, events_led_by, json_list, resolve_names
from whence.storage.sqlite.rows import head_row, key_of, number_of
from whence.storage.walks import run_walk

__all__ = ["SQLitePayloadIndex", "answer_payload", "forget_payload_values", "match", "resolve"]

_SQL = load_blocks("whence.storage.sqlite")


def match(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, bounded: bool = False
) -> ResolvedQuery:
    """The query with its payload values found; see `match_payload`."""
    return run_walk(
        match_payload(snapshot, resolved, bounded=bounded),
        lambda question: answer_payload(connection, snapshot, question),
    )


def resolve(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> ResolvedQuery:
    """A whole query in numbers."""
    return match(connection, snapshot, resolve_names(connection, snapshot, query))


def answer_payload(connection: apsw.Connection, snapshot: Snapshot, question: PayloadQuestion) -> Any:
    """The answer to a question about the index, in the transaction of a query."""
    match question:
        case FieldRows():
            return _field_rows(connection, snapshot.tenant_no)
        case ValuesOf(values):
            rows: list[Any] = []
            for field, text in values:
                rows += connection.execute(_SQL["payload_value"], (snapshot.tenant_no, field, text))
            return rows
        case CountsOfField(resolved, field):
            return _counts_of_field(connection, snapshot, resolved, field)
        case EachPayload(resolved, after, upto, take):
            return take(_payloads(connection, snapshot, resolved, after, upto))


def _field_rows(connection: apsw.Connection, tenant_no: int) -> list[FieldRow]:
    return [FieldRow(*row) for row in connection.execute(_SQL["payload_fields"], (tenant_no,))]


def _counts_of_field(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, field: int) -> list[Any]:
    if resolved.nothing:
        return []
    if sets_only(frozenset(), resolved):
        return connection.execute(_SQL["counts_of_field"], (snapshot.tenant_no, field, FACET_VALUES_MAX + 1)).fetchall()
    where, bindings = conditions(resolved, snapshot)
    failing = json_list(tuple(kind.number for kind in snapshot.kinds.values() if kind.outcome == "failure"))
    text = (
        "SELECT v.text, count(*), sum(m.kind IN (SELECT value FROM json_each(?)))"
        " FROM payload_value v CROSS JOIN payload_entry p ON p.value = v.key"
        f" CROSS JOIN (SELECT key AS event_key, kind FROM {events_led_by(resolved)} WHERE tenant_no = ?{where}) m"
        " ON m.event_key = p.key WHERE v.tenant_no = ? AND v.field = ? GROUP BY v.key LIMIT ?"
    )
    values = (failing, snapshot.tenant_no, *bindings, snapshot.tenant_no, field, FACET_VALUES_MAX + 1)
    found: list[Any] = connection.execute(text, values).fetchall()
    return found


def _payloads(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, after: int, upto: int
) -> Iterable[PayloadRow]:
    """Position, kind and payload of each matching event, in any order, as they are read."""
    if resolved.nothing:
        return
    where, bindings = conditions(resolved, snapshot)
    keys = (key_of(snapshot.tenant_no, after), key_of(snapshot.tenant_no, upto))
    # A short part at the end of the log is read by its keys. Otherwise SQLite chooses, by the filters.
    source = "event NOT INDEXED" if after or not where else "event"
    text = f"SELECT key, kind, payload FROM {source} WHERE tenant_no = ? AND key > ? AND key <= ?{where}"
    for key, kind, payload in connection.execute(text, (snapshot.tenant_no, *keys, *bindings)):
        yield number_of(key), kind, payload


class SQLitePayloadIndex:
    """The index of payload fields in one file; see `PayloadIndex`."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def unindexed(self, paths: Sequence[str]) -> list[str]:
        """The tenants whose index is not as it should be."""
        asked = msgspec.json.encode(paths).decode()
        rows = await self._read("", lambda connection: connection.execute(_SQL["unindexed"], (asked,)).fetchall())
        return [name for (name,) in rows]

    async def advance(self, tenant: str, paths: Sequence[str]) -> bool:
        """Take one step."""
        more: bool = await self._write(lambda connection: _advance(connection, tenant, paths))
        return more

    async def list_fields(self, tenant: str) -> list[FieldRow]:
        """The paths that are indexed."""

        def ask(connection: apsw.Connection) -> list[FieldRow]:
            number: int | None = connection.execute(_SQL["tenant_no"], (tenant,)).get
            return [] if number is None else _field_rows(connection, number)

        found: list[FieldRow] = await self._read(tenant, ask)
        return found


def _advance(connection: apsw.Connection, tenant: str, paths: Sequence[str]) -> bool:
    head = head_row(connection, tenant)
    if head is None:
        return False
    tenant_no = head.tenant_no
    rows = _field_rows(connection, tenant_no)
    for row in rows:
        if row.path not in paths:
            _remove_part(connection, tenant_no, row)
            return True
    known = {row.path: row for row in rows}
    for path in paths:
        if path not in known:
            number = 1 + max((row.field for row in known.values()), default=0)
            known[path] = FieldRow(path, number, 0)
            connection.execute(_SQL["add_payload_field"], (tenant_no, number, path))
    part = next_slice(known.values(), head.size)
    if part is None:
        return False
    events, upto = _events(connection, tenant_no, part.after, part.upto)
    fields = [msgspec.structs.replace(row, indexed_to=upto) for row in part.fields]
    number = connection.execute(_SQL["last_payload_value"], (tenant_no,)).get
    added: list[tuple[int, int, int]] = []
    for (field, text), entries in entries_of(fields, events).items():
        failures = sum(entry.failed for entry in entries)
        values = (key_of(tenant_no, number + 1), tenant_no, field, text, len(entries), failures)
        key: Any = connection.execute(_SQL["add_to_payload_value"], values).get
        number = max(number, number_of(key))
        added += [(key, entry.occurred_at, key_of(tenant_no, entry.position)) for entry in entries]
    connection.executemany(_SQL["add_payload_entry"], added)
    connection.executemany(_SQL["move_payload_field"], [(upto, tenant_no, row.field) for row in fields])
    return upto < head.size or len(fields) < len(known)


def _events(connection: apsw.Connection, tenant_no: int, after: int, upto: int) -> tuple[list[IndexedEvent], int]:
    """The next events, and the position up to which they are all that there are: fewer than asked for if their payloads
    are large."""
    events: list[IndexedEvent] = []
    size = 0
    for position, occurred_at, failed, payload in connection.execute(_SQL["payload_part"], (tenant_no, after, upto)):
        events.append(IndexedEvent(position, occurred_at, bool(failed), payload))
        size += len(payload or b"")
        if size >= SLICE_BYTES:
            return events, position
    return events, upto


def _remove_part(connection: apsw.Connection, tenant_no: int, row: FieldRow) -> None:
    """Remove entries of a path that is not to be indexed any more, and the path with the last of them."""
    # It covers nothing from now on: it lacks some of its entries.
    connection.execute(_SQL["empty_payload_field"], (tenant_no, row.field))
    left = REMOVED_AT_ONCE
    while left > 0:
        value = connection.execute(_SQL["any_payload_value"], (tenant_no, row.field)).get
        if value is None:
            connection.execute(_SQL["delete_payload_field"], (tenant_no, row.field))
            return
        connection.execute(_SQL["delete_payload_entries"], (value, left))
        left -= max(connection.changes(), 1)
        connection.execute(_SQL["delete_payload_value"], (value,))


def forget_payload_values(connection: apsw.Connection, tenant_no: int, positions: Sequence[int]) -> None:
    """Remove the events at some positions from the index, with the values that no other event has. Call it in the
    transaction that removes the payloads, before that: the entries are found by them."""
    rows = _field_rows(connection, tenant_no)
    if not rows or not positions:
        return
    keys = array("q", [key_of(tenant_no, position) for position in positions])
    found: Any = connection.execute(_SQL["payloads_to_forget"], (apsw.carray(keys),))
    events = [IndexedEvent(position, at, bool(failed), payload) for position, at, failed, payload in found]
    for (field, text), entries in entries_of(rows, events).items():
        key = connection.execute(_SQL["payload_value_key"], (tenant_no, field, text)).get
        if key is None:
            continue
        failures = []
        for entry in entries:
            connection.execute(
                _SQL["delete_payload_entry"], (key, entry.occurred_at, key_of(tenant_no, entry.position))
            )
            if connection.changes():
                failures.append(entry.failed)
        connection.execute(_SQL["take_from_payload_value"], (len(failures), sum(failures), key))
        connection.execute(_SQL["delete_payload_value"], (key,))
