"""Stores that are each broken in one way, to show that the tests detect it.

The oracle finds all of these too. Faults that it does not test for are in `rarer_mutants.py`, broken models in
`broken_models.py`. A mutant breaks both stores if both have the part that it breaks; `ONE_STORE` in `test_mutants.py`
lists the others, each with its reason.
"""

import re
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tests.contract.faults import (
    around,
    breaks,
    everywhere,
    restate,
    returning,
    reword,
    without_row_security,
)
from whence import rollups
from whence.errors import Invalid, WhenceError
from whence.events import Event, PageRequest, Query, Viewer
from whence.merkle import HASH_SIZE
from whence.storage import Write, aggregates, base, sequencing
from whence.storage import resolve as matching
from whence.storage.postgres import append as postgres_append
from whence.storage.postgres import engine as postgres_engine
from whence.storage.postgres import pages as postgres_pages
from whence.storage.resolve import Snapshot
from whence.storage.sqlite import append, counts, engine, pages
from whence.storage.sqlite.rows import event_from, uuid_bytes

Patch = pytest.MonkeyPatch

ANY_TENANT = ("tenant_no = $1", "$1::int IS NOT NULL")
"""A condition of PostgreSQL without its tenant."""


def _recondition(patch: Patch, old: str, new: str) -> None:
    """Change the text of SQLite's conditions on single events."""

    def make(real: Any) -> Any:
        def conditions(resolved: Any, snapshot: Any, **options: Any) -> tuple[str, list[Any]]:
            text, bindings = real(resolved, snapshot, **options)
            return text.replace(old, new), bindings

        return conditions

    for module in (counts, pages):
        around(patch, module, "conditions", make)


def reword_pages(
    patch: Patch,
    *,
    sqlite: Callable[[str], str] = str,
    postgres: Callable[[str], str] = str,
) -> None:
    """Change the text of the statements that find the sort keys of a page. PostgreSQL's reads the events as well."""

    def make(real: Any) -> Any:
        def sort_keys_sql(*args: Any, **named: Any) -> list[tuple[str, list[Any]]]:
            return [(sqlite(sql), bindings) for sql, bindings in real(*args, **named)]

        return sort_keys_sql

    around(patch, pages, "sort_keys_sql", make)
    restate(patch, lambda text: postgres(text) if "AS sort_key" in text else text)


def _requery(patch: Patch, part: str, change: Callable[[Any], Any], changed: type = Query) -> None:
    """Change the query, or the viewer, that is passed to one function, in every module of the stores that has it."""

    def make(real: Any) -> Any:
        def part_of(*args: Any, **named: Any) -> Any:
            return real(*(change(each) if isinstance(each, changed) else each for each in args), **named)

        return part_of

    everywhere(patch, part, make)


def _swapped(text: str, one: str, other: str) -> str:
    """The text with each of two words replaced by the other."""
    return re.sub(f"{one}|{other}", lambda found: other if found[0] == one else one, text)


# --- time ------------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def pages_until_included(patch: Patch) -> None:
    _recondition(patch, "occurred_at < ?", "occurred_at <= ?")
    reword_pages(patch, postgres=lambda text: text.replace(" occurred_at < $", " occurred_at <= $"))


@breaks("sqlite", "postgres")
def pages_since_excluded(patch: Patch) -> None:
    _recondition(patch, "occurred_at >= ?", "occurred_at > ?")
    reword_pages(patch, postgres=lambda text: text.replace(" occurred_at >= $", " occurred_at > $"))


@breaks("sqlite", "postgres")
def edges_until_included(patch: Patch) -> None:
    for block in ("edge", "edge_total", "edge_of_kind"):
        reword(patch, block, sqlite=("occurred_at < ?", "occurred_at <= ?"))
    reword(patch, "edge", postgres=("occurred_at < edge.until", "occurred_at <= edge.until"))


@breaks("sqlite", "postgres")
def edges_since_excluded(patch: Patch) -> None:
    for block in ("edge", "edge_total", "edge_of_kind"):
        reword(patch, block, sqlite=("occurred_at >= ?", "occurred_at > ?"))
    reword(patch, "edge", postgres=("occurred_at >= edge.since", "occurred_at > edge.since"))


@breaks("sqlite", "postgres")
def buckets_towards_zero(patch: Patch) -> None:
    patch.setattr(
        rollups,
        "bucket_of",
        lambda level, time: (abs(time) // rollups.WIDTHS_US[level] * (-1 if time < 0 else 1)) if level else 0,
    )


@breaks("sqlite", "postgres")
def division_towards_zero(patch: Patch) -> None:
    for block in ("divide_bucket", "divide_rollup_kind", "divide_rollup_actor"):
        reword(
            patch,
            block,
            sqlite=(":first + (occurred_at - :start) / :width", "occurred_at / :width"),
            postgres=("$3::bigint + (occurred_at - $4::bigint)", "0 * ($3::bigint + $4::bigint) + occurred_at"),
        )


@breaks("sqlite", "postgres")
def division_loses_edges(patch: Patch) -> None:
    for block in ("divide_bucket", "divide_rollup_kind", "divide_rollup_actor"):
        reword(
            patch,
            block,
            sqlite=("occurred_at >= :since", "occurred_at > :since"),
            postgres=("occurred_at >= $6", "occurred_at > $6"),
        )


@breaks("sqlite", "postgres")
def late_events_not_rolled_up(patch: Patch) -> None:
    latest: dict[int, int] = {}

    def in_time(head: Any, occurrences: list[Any]) -> list[Any]:
        known = latest.get(head.tenant_no, occurrences[0][0])
        latest[head.tenant_no] = max(known, *(time for time, _, _ in occurrences))
        return [each for each in occurrences if each[0] >= known]

    def roll_up_in_time(real: Any) -> Any:
        def roll_up(connection: Any, head: Any, occurrences: list[Any], **how: Any) -> Any:
            kept = in_time(head, occurrences)
            return real(connection, head, kept, **how) if kept else None

        return roll_up

    def counted_in_time(real: Any) -> Any:
        async def counted(connection: Any, head: Any, log: Any, occurrences: list[Any]) -> Any:
            kept = in_time(head, occurrences)
            return await real(connection, head, log, kept) if kept else ([], [])

        return counted

    around(patch, append, "_roll_up", roll_up_in_time)
    around(patch, postgres_append, "_counted", counted_in_time)


# --- tenants ---------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def tenant_dropped_in_get(patch: Patch) -> None:
    async def get_event(self: Any, viewer: Viewer, event_id: str) -> Event | None:
        def find(connection: Any) -> Event | None:
            row = connection.execute(engine._SQL["full_event"] + " WHERE e.id = ?", (uuid_bytes(event_id),)).fetchone()
            event = None if row is None else event_from(viewer.tenant, row)
            return event if event is not None and viewer.may_see(event.resource_type) else None

        found: Event | None = await self._readers.read(viewer.tenant, find)
        return found

    patch.setattr(engine.SQLiteStore, "get_event", get_event)
    without_row_security(patch)
    reword(
        patch, "one_event", postgres=lambda text: _of_any_tenant(text).replace("WHERE e.tenant_no = $1 AND", "WHERE")
    )


def _any_tenant(sql: str) -> str:
    """Remove the condition on the tenant from a statement of SQLite."""
    return sql.replace("tenant_no = ?", "? IS NOT NULL")


def _of_any_tenant(text: str) -> str:
    """A statement of PostgreSQL that finds events of all tenants, each with its own names."""
    anyone = re.sub(r"FROM event( e)?\s+WHERE (e\.)?tenant_no = \$1", r"FROM event\1 WHERE $1::int IS NOT NULL", text)
    return re.sub(r"\b([arf])\.tenant_no = \$1", r"\1.tenant_no = e.tenant_no", anyone)


@breaks("sqlite", "postgres")
def tenant_dropped_in_list(patch: Patch) -> None:
    without_row_security(patch)
    reword_pages(
        patch,
        sqlite=lambda sql: _any_tenant(sql) if "event_time" in sql else sql,
        postgres=lambda text: text if "asked.value" in text else _of_any_tenant(text),
    )


@breaks("sqlite", "postgres")
def tenant_dropped_in_causes(patch: Patch) -> None:
    without_row_security(patch)
    reword_pages(
        patch,
        sqlite=lambda sql: _any_tenant(sql).replace("INDEXED BY event_cause", "") if "event_cause" in sql else sql,
        postgres=lambda text: _of_any_tenant(text) if re.search(r"caus\w+ = asked\.value", text) else text,
    )


@breaks("sqlite", "postgres")
def tenant_dropped_in_correlation(patch: Patch) -> None:
    without_row_security(patch)
    reword(patch, "flow_by_correlation", sqlite=("tenant_no = ?", "? IS NOT NULL"), postgres=ANY_TENANT)


@breaks("sqlite", "postgres")
def tenant_dropped_in_totals(patch: Patch) -> None:
    without_row_security(patch)
    reword(patch, "span_total", sqlite=("tenant_no = ?", "? IS NOT NULL"), postgres=ANY_TENANT)
    of_tenant, of_any = (
        "SELECT events FROM bucket WHERE tenant_no = $1",
        "SELECT sum(events)::bigint FROM bucket WHERE $1 > 0",
    )
    reword(patch, "head", postgres=(of_tenant, of_any))


@breaks("postgres")
def all_events_are_of_another_bucket(patch: Patch) -> None:
    reword(patch, "head", postgres=("bucket = 0", "bucket = 1"))


@breaks("sqlite", "postgres")
def tenant_dropped_in_repeats(patch: Patch) -> None:
    without_row_security(patch)
    reword(patch, "keys_of_ids", sqlite=("tenant_no = ?", "? IS NOT NULL"))
    for block in ("stored_ids", "full_event"):
        reword(patch, block, postgres=("e.tenant_no = $1", "$1::int IS NOT NULL"))


@breaks("sqlite", "postgres")
def tenant_dropped_in_inheritance(patch: Patch) -> None:
    def of_any_tenant(text: str) -> str:
        anyone = text.replace("e.tenant_no = $1", "$1::int IS NOT NULL")
        return anyone.replace("f.tenant_no = $1", "f.tenant_no = e.tenant_no")

    without_row_security(patch)
    reword(patch, "correlation_of", sqlite=("e.tenant_no = ?", "? IS NOT NULL"))
    reword(patch, "stored_ids", postgres=of_any_tenant)


# --- filters ---------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def prefix_without_its_dot(patch: Patch) -> None:
    def change(query: Query) -> Query:
        prefixes = tuple(prefix.rstrip(".") for prefix in query.event_type_prefixes)
        return msgspec.structs.replace(query, event_type_prefixes=prefixes)

    _requery(patch, "has_type", change)


@breaks("sqlite", "postgres")
def first_value_only(patch: Patch) -> None:
    def change(query: Query) -> Query:
        cut = {name: getattr(query, name)[:1] for name in Query.__struct_fields__ if name.endswith("s")}
        return msgspec.structs.replace(query, **cut)

    _requery(patch, "kinds_of", change)
    for part in ("_actors", "_flows", "_resources"):
        _requery(patch, part, change)
    for block, type_ in (("actors_by_id", "text"), ("flow_by_correlation", "text"), ("resources_by_id", "uuid")):
        reword(patch, block, postgres=(f"ANY($2::{type_}[])", f"($2::{type_}[])[1]"))


def _sees_all(viewer: Viewer) -> Viewer:
    return Viewer(viewer.tenant)


@breaks("sqlite", "postgres")
def readable_ignored(patch: Patch) -> None:
    _requery(patch, "kinds_of", _sees_all, Viewer)


@breaks("sqlite", "postgres")
def readable_ignored_by_resource(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def resolved_query(snapshot: Snapshot, query: Query, *found: Any) -> Any:
            if query.resource_ids:
                snapshot = msgspec.structs.replace(snapshot, viewer=_sees_all(snapshot.viewer))
            return real(snapshot, query, *found)

        return resolved_query

    everywhere(patch, "resolved_query", make)


@breaks("sqlite", "postgres")
def readable_ignored_by_id(patch: Patch) -> None:
    def make(real: Any) -> Any:
        async def get_event(self: Any, viewer: Viewer, event_id: str) -> Any:
            return await real(self, _sees_all(viewer), event_id)

        return get_event

    for store in (engine.SQLiteStore, postgres_engine.PostgresStore):
        around(patch, store, "get_event", make)


@breaks("sqlite", "postgres")
def readable_ignored_by_reference(patch: Patch) -> None:
    def make(real: Any) -> Any:
        async def find_ids(self: Any, viewer: Viewer, reference: Any) -> Any:
            return await real(self, _sees_all(viewer), reference)

        return find_ids

    for store in (engine.SQLiteStore, postgres_engine.PostgresStore):
        around(patch, store, "find_ids", make)


@breaks("sqlite", "postgres")
def tenant_dropped_in_references(patch: Patch) -> None:
    without_row_security(patch)
    reword(
        patch,
        "ids_in_range",
        sqlite=lambda text: re.sub(r"e\.tenant_no = \(SELECT.*?\?1\)", "?1 IS NOT NULL", text),
        postgres=lambda text: text.replace("e.tenant_no = $1", "$1::bigint IS NOT NULL"),
    )


@breaks("sqlite", "postgres")
def references_are_half_open(patch: Patch) -> None:
    reword(
        patch,
        "ids_in_range",
        sqlite=lambda text: text.replace("BETWEEN ?2 AND ?3", ">= ?2 AND e.id < ?3"),
        postgres=lambda text: text.replace("BETWEEN $2 AND $3", ">= $2 AND e.id < $3"),
    )


@breaks("sqlite", "postgres")
def a_reference_names_one_event(patch: Patch) -> None:
    reword(patch, "ids_in_range", sqlite=_first_alone, postgres=_first_alone)


def _first_alone(text: str) -> str:
    return text.replace("LIMIT 2", "LIMIT 1")


@breaks("sqlite", "postgres")
def causes_respelled(patch: Patch) -> None:
    def respelled(text: str | None) -> UUID | None:
        try:
            return UUID(text or "")
        except ValueError:
            return None

    def as_bytes(text: str | None) -> bytes | str | None:
        found = respelled(text)
        return text if found is None else found.bytes

    def as_text(text: str | None) -> str | None:
        found = respelled(text)
        return None if found is None else str(found)

    everywhere(patch, "cause_from", lambda _real: as_bytes)
    everywhere(patch, "cause_id_from", lambda _real: as_text)


# --- pages -----------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def ties_turned_round(patch: Patch) -> None:
    patch.setattr(
        pages,
        "_order",
        lambda ascending: f" ORDER BY occurred_at {'ASC, key DESC' if ascending else 'DESC, key ASC'}",
    )
    reword_pages(patch, postgres=lambda text: _swapped(text, "position ASC", "position DESC"))


@breaks("sqlite", "postgres")
def order_always_descending(patch: Patch) -> None:
    around(patch, pages, "_order", lambda real: lambda _ascending: real(False))
    reword_pages(patch, postgres=lambda text: text.replace(" ASC", " DESC"))


@breaks("sqlite", "postgres")
def walk_one_short(patch: Patch) -> None:
    def shorter(value: Any) -> Any:
        if not isinstance(value, PageRequest):
            return value
        return msgspec.structs.replace(value, offset=max(0, value.offset - 1))

    for module in (pages, postgres_pages):
        around(patch, module, "_start_at_offset", lambda real: lambda *args: real(*map(shorter, args)))


@breaks("sqlite", "postgres")
def walk_forgets_as_of(patch: Patch) -> None:
    for module in (pages, postgres_pages):
        around(patch, module, "newer_times", lambda real: lambda *_: returning(real, []))


@breaks("sqlite", "postgres")
def page_repeats_its_last(patch: Patch) -> None:
    def including(text: str) -> str:
        return re.sub(r"(\(occurred_at, (?:key|position)\) [<>]) \(", r"\1= (", text)

    reword_pages(patch, sqlite=including, postgres=including)


@breaks("sqlite", "postgres")
def merge_skips_twice(patch: Patch) -> None:
    """The offset of a page is also skipped in each run, before the runs are merged."""

    def make(real: Any) -> Any:
        def places(connection: Any, snapshot: Any, asked: Any, start: Any, request: PageRequest) -> Any:
            found = real(connection, snapshot, asked, start, request)
            statements = pages.sort_keys_sql(snapshot, asked, start, ascending=request.ascending)
            return found if len(statements) == 1 else found[min(start.skip, 1) :]

        return places

    def skip_in_runs(text: str) -> str:
        skipped = re.findall(r"OFFSET (\$\d+)\)", text)
        return re.sub(r"(LIMIT \$\d+)\) one\b", rf"\1 OFFSET {skipped[-1]}) one", text) if skipped else text

    around(patch, pages, "sort_keys", make)
    reword_pages(patch, postgres=skip_in_runs)


@breaks("sqlite", "postgres")
def as_of_ignored(patch: Patch) -> None:
    patch.setattr(matching.ResolvedQuery, "up_to", lambda self, _position: self)


@breaks("sqlite", "postgres")
def total_forgets_as_of(patch: Patch) -> None:
    patch.setattr(counts, "newer_times", lambda *_: [])
    newer = "SELECT count(*) FROM event WHERE tenant_no = $1 AND position > $2"
    restate(patch, lambda text: text.replace(newer, f"{newer} AND false"))


@breaks("sqlite", "postgres")
def as_of_span_off_by_one(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def pinned(size: int, as_of: int | None) -> Any:
            oldest = size - base.AS_OF_SPAN
            return oldest - 1 if as_of == oldest - 1 else real(size, as_of)

        return pinned

    everywhere(patch, "pinned", make)


# --- counts ----------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def flow_counted_anew(patch: Patch) -> None:
    reword(
        patch,
        "add_to_flow",
        sqlite=("events + excluded.events", "excluded.events"),
        postgres=("flow.events + excluded.events", "excluded.events"),
    )


@breaks("sqlite", "postgres")
def resource_counted_anew(patch: Patch) -> None:
    reword(
        patch,
        "add_to_resource",
        sqlite=("events + excluded.events", "excluded.events"),
        postgres=("resource.events + excluded.events", "excluded.events"),
    )


@breaks("sqlite", "postgres")
def aggregate_in_order_of_kinds(patch: Patch) -> None:
    patch.setattr(aggregates, "sorted", lambda items, key: list(items), raising=False)


@breaks("sqlite", "postgres")
def statistics_in_order_of_names(patch: Patch) -> None:
    def make(real: Any) -> Any:
        return lambda *args: sorted(real(*args), key=lambda stat: (stat.actor_type, stat.actor_id))

    everywhere(patch, "ranked", make)


@breaks("sqlite", "postgres")
def actor_types_are_one(patch: Patch) -> None:
    """Two actors with the same id and different types share a number."""
    reword(
        patch,
        "actor_number",
        sqlite=("AND actor_type = ?", "AND ? IS NOT NULL"),
        postgres=lambda text: text.replace("SELECT a.actor", "SELECT min(a.actor)").replace(
            "AND a.actor_type = asked.actor_type", ""
        ),
    )


# --- appending -------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def replay_overwrites(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def sequence(log: Any, head: Any, batch: Any, new: Any, *more: Any) -> Any:
            receipt = real(log, head, batch, new, *more)
            if receipt.replayed and new.id not in batch.by_id and hasattr(log, "connection"):
                update = "UPDATE event SET payload = ?, recorded_at = ? WHERE tenant_no = ? AND id = ?"
                log.connection.execute(update, (new.payload, head.recorded_at, head.tenant_no, uuid_bytes(new.id)))
                changed = msgspec.structs.replace(receipt.event, payload=new.payload, recorded_at=head.recorded_at)
                return msgspec.structs.replace(receipt, event=changed)
            return receipt

        return sequence

    def make_append(real: Any) -> Any:
        async def append_(connection: Any, tenant: Any, writes: Any, **how: Any) -> Any:
            results = await real(connection, tenant, writes, **how)
            update = "UPDATE event SET payload = $3, recorded_at = $4 WHERE tenant_no = $1 AND id = $2"
            for write, receipts in zip(writes, results, strict=True):
                if isinstance(receipts, WhenceError):
                    continue
                for new, receipt in zip(write.events, receipts, strict=True):
                    if receipt.replayed:
                        now = time.time_ns() // 1_000
                        await connection.execute(update, tenant.number, new.id, new.payload, now)
            return results

        return append_

    without_row_security(patch)  # without the role, whose rights do not include changing events
    everywhere(patch, "differing_fields", lambda _real: lambda _new, _stored: [])
    around(patch, sequencing, "_sequence", make)
    around(patch, postgres_engine, "append", make_append)


@breaks("sqlite", "postgres")
def conflicts_ignored(patch: Patch) -> None:
    everywhere(patch, "differing_fields", lambda _real: lambda _new, _stored: [])


@breaks("sqlite", "postgres")
def atomic_keeps_the_first(patch: Patch) -> None:
    """The error is returned, and the events before it are stored anyway."""

    def make(real: Any) -> Any:
        def place_all(log: Any, head: Any, batch: Any, write: Write) -> Any:
            receipts = real(log, head, batch, Write(write.events))
            bad = next((at for at, receipt in enumerate(receipts) if receipt.error is not None), None)
            if not write.atomic or bad is None:
                return receipts
            error = receipts[bad].error
            return Invalid.at(("body", bad, "id"), str(error), error.code)

        return place_all

    around(patch, sequencing, "_sequence_all", make)


@breaks("sqlite", "postgres")
def correlation_never_inherited(patch: Patch) -> None:
    everywhere(patch, "_inherited_correlation", lambda _real: lambda _log, _batch, new: new.id)


@breaks("sqlite", "postgres")
def correlation_from_the_batch_only(patch: Patch) -> None:
    reword(patch, "correlation_of", sqlite=("e.id = ?", "e.id = ? AND false"))
    reword(patch, "stored_ids", postgres=("f.flow = e.flow", "f.flow = e.flow AND false"))


@breaks("sqlite", "postgres")
def kinds_limit_off_by_one(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def kind(*args: Any) -> Any:
            with pytest.MonkeyPatch.context() as patched:
                everywhere(patched, "KINDS_MAX", lambda limit: limit + 1)
                return real(*args)

        return kind

    around(patch, sequencing, "_kind_number", make)


@breaks("sqlite", "postgres")
def positions_with_gaps(patch: Patch) -> None:
    """A request with a refused event uses up one more position."""

    def make(real: Any) -> Any:
        def place_request(log: Any, head: Any, batch: Any, write: Write) -> Any:
            result = real(log, head, batch, write)
            if isinstance(result, WhenceError) or any(receipt.error is not None for receipt in result):
                head.size += 1
                head.tree.append(bytes(HASH_SIZE))
            return result

        return place_request

    around(patch, sequencing, "_sequence_write", make)


@breaks("sqlite", "postgres")
def outcome_never_derived(patch: Patch) -> None:
    everywhere(patch, "outcome_of", lambda _real: lambda _event_type: "none")


@breaks("sqlite", "postgres")
def batch_in_order_of_time(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def place_all(log: Any, head: Any, batch: Any, write: Write) -> Any:
            events = tuple(sorted(write.events, key=lambda event: event.occurred_at))
            return real(log, head, batch, Write(events, write.atomic))

        return place_all

    around(patch, sequencing, "_sequence_all", make)


ALL: tuple[Callable[[Patch], None], ...] = tuple(
    each for each in list(globals().values()) if callable(each) and hasattr(each, "breaks")
)
"""All of the above."""
