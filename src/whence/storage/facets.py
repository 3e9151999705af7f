"""Counts the facets of a query. The same for every store.

One count by kind answers four facets and the total: filters on event type, resource type, actor type and outcome choose
among the kinds, so each facet adds up other kinds of the same count. Actors are counted by themselves.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

import msgspec

from whence.activity import ranked_after, worth_naming
from whence.events import Query
from whence.facets import (
    FACET_FIELDS,
    ActorFacet,
    Facets,
    payload_facet,
    type_facet,
    without,
    without_payload_field,
    word_facet,
    words_of,
)
from whence.storage.resolve import KIND_FIELDS, Snapshot, kinds_of

__all__ = ["CountsByKind", "CountsOfPayload", "FacetQuestion", "NamesOfActors", "TotalsOfActors", "count_facets"]


class CountsByKind(msgspec.Struct, frozen=True):
    """Asks for the number of matching events of each kind, by its number."""

    query: Query


class TotalsOfActors(msgspec.Struct, frozen=True):
    """Asks for the totals of each actor with a matching event, by its number."""

    query: Query


class NamesOfActors(msgspec.Struct, frozen=True):
    """Asks for number, actor type and actor id of some actors."""

    actors: list[int]


class CountsOfPayload(msgspec.Struct, frozen=True):
    """Asks for value, events and failures of each value that matching events have at a path of the payload."""

    query: Query
    path: str


FacetQuestion = CountsByKind | TotalsOfActors | NamesOfActors | CountsOfPayload


def count_facets(
    snapshot: Snapshot, query: Query, top: int, paths: Sequence[str] = ()
) -> Generator[FacetQuestion, Any, Facets]:
    """The facets of a query, each with at most `top` values; those of the payload at some paths."""
    kinds = snapshot.kinds
    counts = yield CountsByKind(without(query, KIND_FIELDS & {*query.__struct_fields__}))

    def chosen(facet: str | None = None) -> Counter[int]:
        asked = query if facet is None else without(query, FACET_FIELDS[facet])
        numbers = kinds_of(kinds, asked, snapshot.viewer, typed_by_resource=False)
        return Counter(counts if numbers is None else {kind: counts[kind] for kind in numbers if kind in counts})

    totals = yield TotalsOfActors(without(query, FACET_FIELDS["actor"]))
    names = yield NamesOfActors(worth_naming(totals, top))
    actors = [stat for _, stat in ranked_after(totals, names)[:top]]
    payload = []
    for path in paths:
        values = yield CountsOfPayload(without_payload_field(query, path), path)
        payload.append(payload_facet(path, values, top))
    return Facets(
        total=chosen().total(),
        event_type=type_facet(words_of(chosen("event_type"), kinds, "event_type"), top),
        actor=ActorFacet(values=actors, more=len(totals) - len(actors)),
        resource_type=word_facet(words_of(chosen("resource_type"), kinds, "resource_type"), top),
        outcome=word_facet(words_of(chosen("outcome"), kinds, "outcome"), top),
        actor_type=word_facet(words_of(chosen("actor_type"), kinds, "actor_type"), top),
        payload=payload,
    )
