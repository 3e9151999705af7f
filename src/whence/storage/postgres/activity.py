"""Answers the questions about facets, actors and resources: one statement for all buckets, edges and actors of one."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from whence import rollups
from whence.activity import TRIGGERED_MAX, ActorPage, ActorPageRequest, ActorSummary, ResourceSummary
from whence.events import PageRequest, Query
from whence.facets import Facets
from whence.storage.activity import (
    ActivityQuestion,
    CausesOfActor,
    CountsBySlot,
    CountsOfActors,
    ResourceParts,
    ResourceQuestion,
    TimeBounds,
    TimesOfActors,
    TotalsInPeriod,
    summarize_actor,
    summarize_actors,
    summarize_resource,
)
from whence.storage.actor_ends import BucketsOfActors, EndsQuestion, EventsOfActors
from whence.storage.facets import (
    CountsByKind,
    CountsOfPayload,
    FacetQuestion,
    NamesOfActors,
    TotalsOfActors,
    count_facets,
)
from whence.storage.folding import Divided
from whence.storage.payload_index import count_payload_values
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.counts import (
    actor_names,
    actor_totals,
    columns_of,
    count_edges,
    counts_by_kind,
    divided_buckets,
    pieces_of,
)
from whence.storage.postgres.histogram import time_bounds
from whence.storage.postgres.pages import events_of_page
from whence.storage.postgres.payload_index import answers_of, resolve
from whence.storage.postgres.resolve import Bindings, conditions
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.walks import run_walk_async

__all__ = ["actor_page", "actor_summary", "facets", "resource_summary"]

_SQL = load_blocks("whence.storage.postgres")


async def facets(
    connection: Connection,
    snapshot: Snapshot,
    _resolved: ResolvedQuery,
    query: Query,
    top: int,
    paths: Sequence[str],
) -> Facets:
    """The facets of a query."""

    async def answer(question: FacetQuestion) -> Any:
        match question:
            case CountsByKind(asked):
                return await counts_by_kind(connection, snapshot, await resolve(connection, snapshot, asked))
            case TotalsOfActors(asked):
                return await actor_totals(connection, snapshot, await resolve(connection, snapshot, asked))
            case NamesOfActors(actors):
                return await actor_names(connection, snapshot, actors)
            case CountsOfPayload(asked, path):
                counts = count_payload_values(snapshot, await resolve(connection, snapshot, asked), path)
                return await run_walk_async(counts, answers_of(connection, snapshot))

    return await run_walk_async(count_facets(snapshot, query, top, paths), answer)


async def actor_page(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: ActorPageRequest
) -> ActorPage:
    """A page of the actors of a period."""
    return await run_walk_async(summarize_actors(snapshot, resolved, request), partial(_answer, connection, snapshot))


async def actor_summary(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, name: tuple[str, str]
) -> ActorSummary:
    """What one actor did in a period."""
    return await run_walk_async(summarize_actor(snapshot, resolved, name), partial(_answer, connection, snapshot))


async def resource_summary(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, top: int
) -> ResourceSummary:
    """What happened to a resource."""

    async def answer(question: ResourceQuestion) -> Any:
        if isinstance(question, NamesOfActors):
            return await actor_names(connection, snapshot, question.actors)
        return await _resource_parts(connection, snapshot, question)

    return await run_walk_async(summarize_resource(snapshot, resolved, top), answer)


async def _resource_parts(connection: Connection, snapshot: Snapshot, question: ResourceParts) -> tuple[Any, ...]:
    bindings = Bindings(snapshot.tenant_no)
    source = f"FROM event WHERE tenant_no = $1{conditions(question.resolved, bindings)}"
    rows = await connection.fetch(
        f"SELECT actor, kind, count(*), min(occurred_at), max(occurred_at) {source} GROUP BY actor, kind",
        *bindings.values,
    )
    flows = await connection.fetchval(f"SELECT count(DISTINCT flow) {source}", *bindings.values)
    last = await events_of_page(connection, snapshot, question.resolved, PageRequest(limit=1)) if rows else []
    return rows, flows, last[0] if last else None


async def _answer(connection: Connection, snapshot: Snapshot, question: ActivityQuestion) -> Any:
    match question:
        case TimeBounds():
            return await time_bounds(connection, snapshot)
        case TotalsInPeriod(resolved):
            return await actor_totals(connection, snapshot, resolved)
        case NamesOfActors(actors):
            return await actor_names(connection, snapshot, actors)
        case CountsOfActors(resolved):
            return await _counts(connection, snapshot, resolved)
        case CountsBySlot():
            return await _counts_by_slot(connection, snapshot, question)
        case TimesOfActors(actors):
            return await connection.fetch(_SQL["times_of_actors"], snapshot.tenant_no, actors)
        case CausesOfActor(actor, period):
            within = (snapshot.tenant_no, actor, period.since, period.until, TRIGGERED_MAX)
            return await connection.fetch(_SQL["causes_of_actor"], *within)
        case _:
            return await _answer_ends(connection, snapshot, question)


async def _counts(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> list[tuple[int, int, int]]:
    """Actor, kind and events of the query's actors."""
    found: list[tuple[int, int, int]] = []
    kinds = snapshot.kinds.keys() if resolved.kinds is None else frozenset(resolved.kinds)
    spans, edges = columns_of(await pieces_of(connection, snapshot, resolved, summing=True))
    if spans[0]:
        values = (snapshot.tenant_no, *spans[:3], resolved.actors, spans[3])
        rows = await connection.fetch(_SQL["span_by_actor_of_actors"], *values)
        found += [(actor, kind, events) for actor, kind, events in rows if kind in kinds]
    if edges[0]:
        of_edges = await count_edges(connection, snapshot, resolved, edges)
        found += [(actor, kind, events) for kind, actor, events in of_edges]
    return found


async def _counts_by_slot(
    connection: Connection, snapshot: Snapshot, question: CountsBySlot
) -> list[tuple[int, int, int, int]]:
    """Slot, actor, kind and events of the query's actors."""
    resolved, slots = question.resolved, question.slots
    asked = {each for slot in slots for each in rollups.asked_by_cover(slot.since, slot.until)}
    divided = await divided_buckets(connection, snapshot, sorted(asked))
    pieces = [
        (number, piece)
        for number, slot in enumerate(slots)
        for piece in rollups.cover(slot.since, slot.until, lambda level, bucket: (level, bucket) in divided)
    ]
    spans = [(each.level, each.first, each.last, number) for number, each in pieces if isinstance(each, rollups.Span)]
    edges = [(each.since, each.until, number) for number, each in pieces if isinstance(each, rollups.Edge)]
    rows: list[tuple[int, int, int, int]] = []
    for block, some in (("slots_of_actors", spans), ("edge_of_actors", edges)):
        if some:
            columns = zip(*some, strict=True)
            filters = resolved.actors, resolved.kinds
            rows += await connection.fetch(_SQL[block], snapshot.tenant_no, *columns, *filters)
    return rows


async def _answer_ends(connection: Connection, snapshot: Snapshot, question: EndsQuestion) -> Any:
    match question:
        case Divided(buckets):
            return await divided_buckets(connection, snapshot, buckets)
        case BucketsOfActors(asked):
            columns = zip(
                *((span.level, span.first, span.last, each.actor, _array(each.kinds)) for each, span in asked),
                strict=True,
            )
            return await connection.fetch(_SQL["buckets_with_actor"], snapshot.tenant_no, *columns)
        case EventsOfActors():
            return await _ends_in_edges(connection, snapshot, question)


async def _ends_in_edges(
    connection: Connection, snapshot: Snapshot, question: EventsOfActors
) -> list[tuple[int, str] | None]:
    """Time and id of each wanted event. The events of an actor in an edge are read once."""
    sign = -1 if question.last else 1
    pairs = list(dict.fromkeys((edge, each.actor) for each, edge in question.asked))
    columns = zip(*((edge.since, edge.until, actor) for edge, actor in pairs), strict=True)
    rows = await connection.fetch(_SQL["events_of_actors"], snapshot.tenant_no, *columns, sign)
    ends: dict[tuple[rollups.Edge, int], list[tuple[int, int, int, str]]] = {}
    for number, kind, at, position, event_id in rows:
        ends.setdefault(pairs[number - 1], []).append((kind, at, position, str(event_id)))
    found: list[tuple[int, str] | None] = []
    for each, edge in question.asked:
        of_kinds = [end for end in ends.get((edge, each.actor), ()) if end[0] in each.kinds]
        nearest = min(of_kinds, key=lambda end: (end[1] * sign, end[2] * sign), default=None)
        found.append(None if nearest is None else (nearest[1], nearest[3]))
    return found


def _array(numbers: tuple[int, ...]) -> str:
    """The text of an array."""
    return f"{{{','.join(map(str, numbers))}}}"
