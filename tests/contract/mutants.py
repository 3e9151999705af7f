"""Stores that are broken in one way each, to show that the tests would see it.

All of these the oracle finds too; those that it does not look for are in `rarer_mutants.py`, and broken models in
`broken_models.py`.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tests.contract.faults import breaks, everywhere
from whence import rollups
from whence.errors import Invalid, WhenceError
from whence.events import Event, PageRequest, Query, Viewer
from whence.merkle import HASH_SIZE
from whence.storage import Write, aggregates, query_cost, sequencing
from whence.storage import resolve as matching
from whence.storage.postgres import tenants
from whence.storage.resolve import Snapshot
from whence.storage.sqlite import append, counts, engine, pages, resolve
from whence.storage.sqlite.rows import event_from, uuid_bytes

Patch = pytest.MonkeyPatch


def reword(patch: Patch, module: Any, block: str, old: str, new: str) -> None:
    """Change the text of a named SQL block, as one module sees it."""
    text = module._SQL[block]
    if old not in text:
        raise LookupError(f"The block {block} does not hold {old!r} any more.")
    patch.setattr(module, "_SQL", {**module._SQL, block: text.replace(old, new)})


def around(patch: Patch, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(the real function)` into its place."""
    patch.setattr(owner, name, make(getattr(owner, name)))


def _recondition(patch: Patch, old: str, new: str) -> None:
    """Change the text of the conditions on single events."""

    def make(real: Any) -> Any:
        def conditions(resolved: Any, snapshot: Any, *, omit: str = "") -> tuple[str, list[Any]]:
            text, bindings = real(resolved, snapshot, omit=omit)
            return text.replace(old, new), bindings

        return conditions

    for module in (counts, pages):
        around(patch, module, "conditions", make)


def _retell(patch: Patch, change: Callable[[str], str]) -> None:
    """Change the text of the statements that find the places of a page."""

    def make(real: Any) -> Any:
        def sort_keys_sql(*args: Any, **named: Any) -> list[tuple[str, list[Any]]]:
            return [(change(sql), bindings) for sql, bindings in real(*args, **named)]

        return sort_keys_sql

    around(patch, pages, "sort_keys_sql", make)


def _requery(
    patch: Patch, part: str, change: Callable[[Any], Any], module: Any = resolve, changed: type = Query
) -> None:
    """Change the query, or the viewer, before one part of it is looked up."""

    def make(real: Any) -> Any:
        def part_of(*args: Any, **named: Any) -> Any:
            return real(*(change(each) if isinstance(each, changed) else each for each in args), **named)

        return part_of

    around(patch, module, part, make)


# --- time ------------------------------------------------------------------------------------------------------


@breaks("sqlite")
def pages_until_included(patch: Patch) -> None:
    _recondition(patch, "occurred_at < ?", "occurred_at <= ?")


@breaks("sqlite")
def pages_since_excluded(patch: Patch) -> None:
    _recondition(patch, "occurred_at >= ?", "occurred_at > ?")


@breaks("sqlite")
def edges_until_included(patch: Patch) -> None:
    for block in ("edge", "edge_total", "edge_of_kind"):
        reword(patch, counts, block, "occurred_at < ?", "occurred_at <= ?")


@breaks("sqlite")
def edges_since_excluded(patch: Patch) -> None:
    for block in ("edge", "edge_total", "edge_of_kind"):
        reword(patch, counts, block, "occurred_at >= ?", "occurred_at > ?")


@breaks("sqlite")
def buckets_towards_zero(patch: Patch) -> None:
    patch.setattr(
        rollups,
        "bucket_of",
        lambda level, time: (abs(time) // rollups.WIDTHS_US[level] * (-1 if time < 0 else 1)) if level else 0,
    )


@breaks("sqlite")
def division_towards_zero(patch: Patch) -> None:
    for block in ("divide_bucket", "divide_rollup_kind", "divide_rollup_actor"):
        reword(patch, append, block, ":first + (occurred_at - :start) / :width", "occurred_at / :width")


@breaks("sqlite")
def division_loses_edges(patch: Patch) -> None:
    for block in ("divide_bucket", "divide_rollup_kind", "divide_rollup_actor"):
        reword(patch, append, block, "occurred_at >= :since", "occurred_at > :since")


@breaks("sqlite")
def late_events_not_rolled_up(patch: Patch) -> None:
    latest: dict[int, int] = {}

    def make(real: Any) -> Any:
        def roll_up(connection: Any, head: Any, placed: list[Any], **how: Any) -> None:
            known = latest.get(head.tenant_no, placed[0][0])
            latest[head.tenant_no] = max(known, *(time for time, _, _ in placed))
            real(connection, head, [each for each in placed if each[0] >= known], **how)

        return roll_up

    around(patch, append, "_roll_up", make)


# --- tenants ---------------------------------------------------------------------------------------------------


@breaks("sqlite")
def tenant_dropped_in_get(patch: Patch) -> None:
    async def get_event(self: Any, viewer: Viewer, event_id: str) -> Event | None:
        def find(connection: Any) -> Event | None:
            row = connection.execute(engine._SQL["full_event"] + " WHERE e.id = ?", (uuid_bytes(event_id),)).fetchone()
            event = None if row is None else event_from(viewer.tenant, row)
            return event if event is not None and viewer.may_see(event.resource_type) else None

        found: Event | None = await self._readers.read(find)
        return found

    patch.setattr(engine.SQLiteStore, "get_event", get_event)


def _any_tenant(sql: str) -> str:
    return sql.replace("tenant_no = ?", "? IS NOT NULL")


@breaks("sqlite")
def tenant_dropped_in_list(patch: Patch) -> None:
    _retell(patch, lambda sql: _any_tenant(sql) if "event_time" in sql else sql)


@breaks("sqlite")
def tenant_dropped_in_causes(patch: Patch) -> None:
    _retell(patch, lambda sql: _any_tenant(sql).replace("INDEXED BY event_cause", "") if "event_cause" in sql else sql)


@breaks("sqlite")
def tenant_dropped_in_correlation(patch: Patch) -> None:
    reword(patch, resolve, "flow_by_correlation", "tenant_no = ?", "? IS NOT NULL")


@breaks("sqlite")
def tenant_dropped_in_totals(patch: Patch) -> None:
    reword(patch, counts, "span_total", "tenant_no = ?", "? IS NOT NULL")


@breaks("postgres")
def all_events_are_of_another_bucket(patch: Patch) -> None:
    reword(patch, tenants, "head", "bucket = 0", "bucket = 1")


@breaks("sqlite")
def tenant_dropped_in_repeats(patch: Patch) -> None:
    reword(patch, append, "keys_of_ids", "tenant_no = ?", "? IS NOT NULL")


@breaks("sqlite")
def tenant_dropped_in_inheritance(patch: Patch) -> None:
    reword(patch, append, "correlation_of", "e.tenant_no = ?", "? IS NOT NULL")


# --- filters ---------------------------------------------------------------------------------------------------


@breaks("sqlite")
def prefix_without_its_dot(patch: Patch) -> None:
    def change(query: Query) -> Query:
        prefixes = tuple(prefix.rstrip(".") for prefix in query.event_type_prefixes)
        return msgspec.structs.replace(query, event_type_prefixes=prefixes)

    _requery(patch, "has_type", change, matching)


@breaks("sqlite")
def first_value_only(patch: Patch) -> None:
    def change(query: Query) -> Query:
        cut = {name: getattr(query, name)[:1] for name in Query.__struct_fields__ if name.endswith("s")}
        return msgspec.structs.replace(query, **cut)

    _requery(patch, "kinds_of", change, matching)
    for part in ("_actors", "_flows", "_resources"):
        _requery(patch, part, change)


def _sees_all(viewer: Viewer) -> Viewer:
    return Viewer(viewer.tenant)


@breaks("sqlite")
def readable_ignored(patch: Patch) -> None:
    _requery(patch, "kinds_of", _sees_all, matching, Viewer)


@breaks("sqlite")
def readable_ignored_by_resource(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def resolved_query(snapshot: Snapshot, query: Query, *found: Any) -> Any:
            if query.resource_ids:
                snapshot = msgspec.structs.replace(snapshot, viewer=_sees_all(snapshot.viewer))
            return real(snapshot, query, *found)

        return resolved_query

    around(patch, resolve, "resolved_query", make)


@breaks("sqlite")
def readable_ignored_by_id(patch: Patch) -> None:
    def make(real: Any) -> Any:
        async def get_event(self: Any, viewer: Viewer, event_id: str) -> Any:
            return await real(self, _sees_all(viewer), event_id)

        return get_event

    around(patch, engine.SQLiteStore, "get_event", make)


@breaks("sqlite")
def causes_respelled(patch: Patch) -> None:
    def respelled(text: str | None) -> bytes | str | None:
        try:
            return UUID(text or "").bytes
        except ValueError:
            return text

    everywhere(patch, "cause_from", lambda _real: respelled)


# --- pages -----------------------------------------------------------------------------------------------------


@breaks("sqlite")
def ties_turned_round(patch: Patch) -> None:
    patch.setattr(
        pages,
        "_order",
        lambda ascending: f" ORDER BY occurred_at {'ASC, key DESC' if ascending else 'DESC, key ASC'}",
    )


@breaks("sqlite")
def order_always_descending(patch: Patch) -> None:
    around(patch, pages, "_order", lambda real: lambda _ascending: real(False))


@breaks("sqlite")
def walk_one_short(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def walk(connection: Any, snapshot: Any, asked: Any, request: PageRequest) -> Any:
            return real(
                connection, snapshot, asked, msgspec.structs.replace(request, offset=max(0, request.offset - 1))
            )

        return walk

    around(patch, pages, "_start_at_offset", make)


@breaks("sqlite")
def walk_forgets_as_of(patch: Patch) -> None:
    patch.setattr(pages, "newer_times", lambda *_: [])


@breaks("sqlite")
def page_repeats_its_last(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def sort_keys_sql(snapshot: Any, asked: Any, start: Any, *, ascending: bool) -> Any:
            return real(snapshot, asked, msgspec.structs.replace(start, inclusive=True), ascending=ascending)

        return sort_keys_sql

    around(patch, pages, "sort_keys_sql", make)


@breaks("sqlite")
def merge_skips_twice(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def places(connection: Any, snapshot: Any, asked: Any, start: Any, request: PageRequest) -> Any:
            found = real(connection, snapshot, asked, start, request)
            statements = pages.sort_keys_sql(snapshot, asked, start, ascending=request.ascending)
            return found if len(statements) == 1 else found[min(start.skip, 1) :]

        return places

    around(patch, pages, "_sort_keys", make)


@breaks("sqlite")
def as_of_ignored(patch: Patch) -> None:
    patch.setattr(matching.ResolvedQuery, "up_to", lambda self, _position: self)


@breaks("sqlite")
def total_forgets_as_of(patch: Patch) -> None:
    patch.setattr(counts, "newer_times", lambda *_: [])


@breaks("sqlite")
def as_of_span_off_by_one(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def pinned(size: int, as_of: int | None) -> Any:
            oldest = size - query_cost.AS_OF_SPAN
            return oldest - 1 if as_of == oldest - 1 else real(size, as_of)

        return pinned

    around(patch, engine, "pinned", make)


# --- counts ----------------------------------------------------------------------------------------------------


@breaks("sqlite")
def flow_counted_anew(patch: Patch) -> None:
    reword(patch, append, "add_to_flow", "events + excluded.events", "excluded.events")


@breaks("sqlite")
def resource_counted_anew(patch: Patch) -> None:
    reword(patch, append, "add_to_resource", "events + excluded.events", "excluded.events")


@breaks("sqlite")
def aggregate_in_order_of_kinds(patch: Patch) -> None:
    patch.setattr(aggregates, "sorted", lambda items, key: list(items), raising=False)


@breaks("sqlite")
def statistics_in_order_of_names(patch: Patch) -> None:
    def make(real: Any) -> Any:
        return lambda *args: sorted(real(*args), key=lambda stat: (stat.actor_type, stat.actor_id))

    around(patch, engine, "actor_stats", make)


@breaks("sqlite")
def actor_types_are_one(patch: Patch) -> None:
    """Two actors of one id and different types share a number."""
    reword(patch, append, "actor_number", "AND actor_type = ?", "AND ? IS NOT NULL")


# --- appending -------------------------------------------------------------------------------------------------


@breaks("sqlite")
def replay_overwrites(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def place(log: Any, head: Any, batch: Any, new: Any) -> Any:
            receipt = real(log, head, batch, new)
            if receipt.replayed and new.id not in batch.by_id:
                update = "UPDATE event SET payload = ?, recorded_at = ? WHERE tenant_no = ? AND id = ?"
                log.connection.execute(update, (new.payload, head.recorded_at, head.tenant_no, uuid_bytes(new.id)))
                changed = msgspec.structs.replace(receipt.event, payload=new.payload, recorded_at=head.recorded_at)
                return msgspec.structs.replace(receipt, event=changed)
            return receipt

        return place

    everywhere(patch, "differing_fields", lambda _real: lambda _new, _stored: [])
    around(patch, sequencing, "_sequence", make)


@breaks("sqlite")
def conflicts_ignored(patch: Patch) -> None:
    everywhere(patch, "differing_fields", lambda _real: lambda _new, _stored: [])


@breaks("sqlite")
def atomic_keeps_the_first(patch: Patch) -> None:
    """The error is told, and what stood before it is stored all the same."""

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


@breaks("sqlite")
def correlation_never_inherited(patch: Patch) -> None:
    everywhere(patch, "_inherited_correlation", lambda _real: lambda _log, _batch, new: new.id)


@breaks("sqlite")
def correlation_from_the_batch_only(patch: Patch) -> None:
    reword(patch, append, "correlation_of", "e.id = ?", "e.id = ? AND false")


@breaks("sqlite")
def kinds_limit_off_by_one(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def kind(*args: Any) -> Any:
            with pytest.MonkeyPatch.context() as patched:
                everywhere(patched, "KINDS_MAX", lambda limit: limit + 1)
                return real(*args)

        return kind

    around(patch, sequencing, "_kind_number", make)


@breaks("sqlite")
def positions_with_gaps(patch: Patch) -> None:
    """A request of which something is refused takes one more position."""

    def make(real: Any) -> Any:
        def place_request(log: Any, head: Any, batch: Any, write: Write) -> Any:
            result = real(log, head, batch, write)
            if isinstance(result, WhenceError) or any(receipt.error is not None for receipt in result):
                head.size += 1
                head.tree.append(bytes(HASH_SIZE))
            return result

        return place_request

    around(patch, sequencing, "_sequence_write", make)


@breaks("sqlite")
def outcome_never_derived(patch: Patch) -> None:
    everywhere(patch, "outcome_of", lambda _real: lambda _event_type: "none")


@breaks("sqlite")
def batch_in_order_of_time(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def place_all(log: Any, head: Any, batch: Any, write: Write) -> Any:
            events = tuple(sorted(write.events, key=lambda event: event.occurred_at))
            return real(log, head, batch, Write(events, write.atomic))

        return place_all

    around(patch, sequencing, "_sequence_all", make)


SQLITE: tuple[Callable[[Patch], None], ...] = tuple(
    each for each in list(globals().values()) if callable(each) and hasattr(each, "breaks")
)
"""All of the above."""
