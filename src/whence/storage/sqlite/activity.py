"""Answers the questions about facets, actors and resources: one statement for each bucket or edge."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import apsw

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
from whence.storage.actor_ends import BucketsOfActors, EndsQuestion, EventsOfActors, Wanted
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
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.sqlite.counts import actor_names, actor_totals, counts_by_kind, pieces_of
from whence.storage.sqlite.event_cache import EventCache
from whence.storage.sqlite.histogram import time_bounds
from whence.storage.sqlite.pages import events_of_page
from whence.storage.sqlite.payload_index import answer_payload, resolve
from whence.storage.sqlite.resolve import conditions, events_led_by, json_list
from whence.storage.sqlite.rows import uuid_text
from whence.storage.walks import run_walk

__all__ = ["actor_page", "actor_summary", "facets", "resource_summary"]

_SQL = load_blocks("whence.storage.sqlite")


def facets(
    connection: apsw.Connection,
    snapshot: Snapshot,
    _resolved: ResolvedQuery,
    query: Query,
    top: int,
    paths: Sequence[str],
) -> Facets:
    """The facets of a query."""

    def answer(question: FacetQuestion) -> Any:
        match question:
            case CountsByKind(asked):
                return counts_by_kind(connection, snapshot, resolve(connection, snapshot, asked))
            case TotalsOfActors(asked):
                return actor_totals(connection, snapshot, resolve(connection, snapshot, asked))
            case NamesOfActors(actors):
                return actor_names(connection, snapshot, actors)
            case CountsOfPayload(asked, path):
                counts = count_payload_values(snapshot, resolve(connection, snapshot, asked), path)
                return run_walk(counts, partial(answer_payload, connection, snapshot))

    return run_walk(count_facets(snapshot, query, top, paths), answer)


def actor_page(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: ActorPageRequest
) -> ActorPage:
    """A page of the actors of a period."""
    return run_walk(summarize_actors(snapshot, resolved, request), partial(_answer, connection, snapshot))


def actor_summary(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, name: tuple[str, str]
) -> ActorSummary:
    """What one actor did in a period."""
    return run_walk(summarize_actor(snapshot, resolved, name), partial(_answer, connection, snapshot))


def resource_summary(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, cache: EventCache, top: int
) -> ResourceSummary:
    """What happened to a resource."""

    def answer(question: ResourceQuestion) -> Any:
        if isinstance(question, NamesOfActors):
            return actor_names(connection, snapshot, question.actors)
        return _resource_parts(connection, snapshot, question, cache)

    return run_walk(summarize_resource(snapshot, resolved, top), answer)


def _resource_parts(
    connection: apsw.Connection, snapshot: Snapshot, question: ResourceParts, cache: EventCache
) -> tuple[Any, ...]:
    where, bindings = conditions(question.resolved, snapshot)
    source, values = (
        f"FROM {events_led_by(question.resolved)} WHERE tenant_no = ?{where}",
        (snapshot.tenant_no, *bindings),
    )
    rows: list[Any] = connection.execute(
        f"SELECT actor, kind, count(*), min(occurred_at), max(occurred_at) {source} GROUP BY actor, kind", values
    ).fetchall()
    flows = connection.execute(f"SELECT count(DISTINCT flow) {source}", values).get
    last = events_of_page(connection, snapshot, question.resolved, PageRequest(limit=1), cache) if rows else []
    return rows, flows, last[0] if last else None


def _answer(connection: apsw.Connection, snapshot: Snapshot, question: ActivityQuestion) -> Any:
    match question:
        case TimeBounds():
            return time_bounds(connection, snapshot)
        case TotalsInPeriod(resolved):
            return actor_totals(connection, snapshot, resolved)
        case NamesOfActors(actors):
            return actor_names(connection, snapshot, actors)
        case CountsOfActors(resolved):
            return _counts(connection, snapshot, resolved, summing=True)
        case CountsBySlot(resolved, slots):
            return [
                (number, *row)
                for number, slot in enumerate(slots)
                for row in _counts(connection, snapshot, resolved.between(slot.since, slot.until))
            ]
        case TimesOfActors(actors):
            bindings = (snapshot.tenant_no, json_list(tuple(actors)))
            return connection.execute(_SQL["times_of_actors"], bindings).fetchall()
        case CausesOfActor(actor, period):
            within = (snapshot.tenant_no, actor, period.since, period.until, TRIGGERED_MAX)
            return connection.execute(_SQL["causes_of_actor"], within).fetchall()
        case _:
            return _answer_ends(connection, snapshot, question)


def _counts(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, summing: bool = False
) -> list[tuple[int, int, int]]:
    """Actor, kind and events of the query's actors."""
    found: list[tuple[int, int, int]] = []
    actors = json_list(resolved.actors or ())
    kinds = None if resolved.kinds is None else frozenset(resolved.kinds)
    for piece in pieces_of(connection, snapshot, resolved, summing=summing):
        rows: Any
        where: tuple[Any, ...]
        if isinstance(piece, rollups.Span):
            where = (snapshot.tenant_no, piece.level, piece.first, piece.last, actors)
            rows = connection.execute(_SQL["span_by_actor_of_actors"], where).fetchall()
            found += [(actor, kind, n * piece.sign) for actor, kind, n in rows if kinds is None or kind in kinds]
        else:
            of_kinds = None if resolved.kinds is None else json_list(resolved.kinds)
            where = (snapshot.tenant_no, piece.since, piece.until, actors, of_kinds)
            rows = connection.execute(_SQL["edge_of_actors"], where).fetchall()
            found += [(actor, kind, piece.sign) for kind, actor in rows]
    return found


def _answer_ends(connection: apsw.Connection, snapshot: Snapshot, question: EndsQuestion) -> Any:
    match question:
        case Divided(buckets):
            is_divided = _SQL["is_divided"]
            return [each for each in buckets if connection.execute(is_divided, (snapshot.tenant_no, *each)).get]
        case BucketsOfActors(asked):
            return [
                connection.execute(
                    _SQL["buckets_with_actor"],
                    (snapshot.tenant_no, span.level, span.first, span.last, each.actor, json_list(each.kinds)),
                ).fetchone()
                for each, span in asked
            ]
        case EventsOfActors():
            return _ends_in_edges(connection, snapshot, question)


def _ends_in_edges(
    connection: apsw.Connection, snapshot: Snapshot, question: EventsOfActors
) -> list[tuple[int, str] | None]:
    """Time and id of each wanted event. Each edge is read once, up to the last event that is wanted of it."""
    order = "DESC" if question.last else "ASC"
    keys: dict[tuple[Wanted, rollups.Edge], tuple[int, int]] = {}
    for edge, wanted in question.by_edge.items():
        missing: dict[int, list[Wanted]] = {}
        for each in wanted:
            missing.setdefault(each.actor, []).append(each)
        rows: Any = connection.execute(
            f"{_SQL['events_of_actors']} ORDER BY occurred_at {order}, key {order}",
            (snapshot.tenant_no, edge.since, edge.until, json_list(tuple(missing))),
        )
        for actor, kind, at, key in rows:
            for each in [each for each in missing.get(actor, ()) if kind in each.kinds]:
                keys[each, edge] = (at, key)
                missing[actor].remove(each)
                if not missing[actor]:
                    del missing[actor]
            if not missing:
                break
    found: Any = connection.execute(_SQL["ids_of_keys"], (json_list(tuple(key for _, key in keys.values())),))
    ids = {key: uuid_text(event_id) for key, event_id in found}
    ends = [keys.get(each) for each in question.asked]
    return [None if end is None else (end[0], ids[end[1]]) for end in ends]
