"""Mutants of facets, and of the counts of actors and resources."""

from functools import partial
from typing import Any

import msgspec
import pytest

from tests.contract.faults import around, breaks, reword, without_row_security
from tests.contract.mutants import ANY_TENANT
from whence.events import PageRequest, Viewer
from whence.storage import activity, facets
from whence.storage.postgres import activity as postgres_activity
from whence.storage.sqlite import activity as sqlite_activity

Patch = pytest.MonkeyPatch
ENGINES = (sqlite_activity, postgres_activity)


@breaks("sqlite", "postgres")
def facets_keep_their_filters(patch: Patch) -> None:
    patch.setattr(facets, "without", lambda query, _fields: query)


@breaks("sqlite", "postgres")
def facets_forget_the_other_filters(patch: Patch) -> None:
    """A facet of kinds is counted without any filter on kinds."""
    patch.setattr(facets, "kinds_of", lambda *_args, **_more: None)


@breaks("sqlite", "postgres")
def actors_of_facets_forget_their_ties(patch: Patch) -> None:
    """Of actors with the same total, those of the highest numbers are named and not the first by name."""

    def worth_naming(totals: Any, limit: int) -> list[int]:
        return sorted(totals, key=lambda actor: (totals[actor][0], actor), reverse=True)[:limit]

    patch.setattr(facets, "worth_naming", worth_naming)


@breaks("sqlite", "postgres")
def edges_reach_too_far(patch: Patch) -> None:
    reword(
        patch,
        "edge_of_actors",
        sqlite=("occurred_at < ?3", "occurred_at <= ?3"),
        postgres=("occurred_at < edge.until", "occurred_at <= edge.until"),
    )


@breaks("sqlite", "postgres")
def edges_forget_the_tenant(patch: Patch) -> None:
    without_row_security(patch)
    reword(patch, "edge_of_actors", sqlite=("tenant_no = ?1", "?1 IS NOT NULL"), postgres=ANY_TENANT)


@breaks("sqlite", "postgres")
def edges_forget_the_kinds(patch: Patch) -> None:
    reword(
        patch,
        "edge_of_actors",
        sqlite=("kind IN (SELECT value FROM json_each(?5))", "true"),
        postgres=("kind = ANY($6)", "true"),
    )


@breaks("sqlite", "postgres")
def spans_lose_their_last_bucket(patch: Patch) -> None:
    reword(
        patch,
        "span_by_actor_of_actors",
        sqlite=("BETWEEN ?3 AND ?4", "BETWEEN ?3 AND ?4 - 1"),
        postgres=("AND s.last", "AND s.last - 1"),
    )
    reword(patch, "slots_of_actors", postgres=("AND s.last", "AND s.last - 1"))


@breaks("sqlite", "postgres")
def descents_forget_the_kinds(patch: Patch) -> None:
    """A descent goes to a bucket in which the actor has any event."""
    reword(
        patch,
        "buckets_with_actor",
        sqlite=("r.kind IN (SELECT value FROM json_each(?6))", "?6 IS NOT NULL"),
        postgres=lambda text: text.replace("r.kind = ANY(s.kinds::int[])", "true"),
    )


@breaks("sqlite", "postgres")
def descents_forget_the_actor(patch: Patch) -> None:
    reword(
        patch,
        "buckets_with_actor",
        sqlite=("r.actor = ?5", "?5 IS NOT NULL"),
        postgres=lambda text: text.replace("r.actor = s.actor", "true"),
    )


@breaks("sqlite", "postgres")
def descents_end_at_the_first_bucket(patch: Patch) -> None:
    """The last event is sought where the first one is."""
    reword(
        patch,
        "buckets_with_actor",
        sqlite=("max(b.bucket)", "min(b.bucket)"),
        postgres=("max(b.bucket)", "min(b.bucket)"),
    )


@breaks("sqlite", "postgres")
def ends_forget_the_kinds(patch: Patch) -> None:
    """The first event of an actor in an edge is that of every type."""

    def make(real: Any) -> Any:
        def find_ends(wanted: Any, *, last: bool) -> Any:
            every = tuple(range(1, 100))
            plain = [msgspec.structs.replace(each, kinds=every) for each in wanted]
            found = yield from real(plain, last=last)
            return {each: found[other] for each, other in zip(wanted, plain, strict=True) if other in found}

        return find_ends

    around(patch, activity, "find_ends", make)


@breaks("sqlite", "postgres")
def ends_are_the_other_ends(patch: Patch) -> None:
    """In an edge, the last event is found for the first one, and the first for the last."""

    def make(real: Any) -> Any:
        return lambda connection, snapshot, question: real(
            connection, snapshot, msgspec.structs.replace(question, last=not question.last)
        )

    for module in ENGINES:
        around(patch, module, "_ends_in_edges", make)


@breaks("sqlite", "postgres")
def every_type_is_a_first_time(patch: Patch) -> None:
    """What an actor did before the period is not looked at."""
    around(patch, activity._Activities, "firsts", lambda real: lambda self, _before: real(self, {}))


@breaks("sqlite", "postgres")
def hidden_events_are_seen(patch: Patch) -> None:
    """The last event of an actor is one that the viewer may not see."""

    def make(real: Any) -> Any:
        def seen(snapshot: Any, *rest: Any, **more: Any) -> Any:
            open_to_all = msgspec.structs.replace(snapshot, viewer=Viewer(snapshot.viewer.tenant))
            return real(open_to_all, *rest, **more)

        return seen

    around(patch, activity, "_seen", make)


@breaks("sqlite", "postgres")
def the_period_before_is_always_there(patch: Patch) -> None:
    """Also where the log begins with the period."""
    around(patch, activity, "previous_of", lambda real: lambda period, _first: real(period, period.since - 1))


@breaks("sqlite", "postgres")
def pages_of_actors_overlap(patch: Patch) -> None:
    around(patch, activity, "ranked_after", lambda real: lambda totals, names, _after=None: real(totals, names))


@breaks("sqlite", "postgres")
def the_last_event_is_the_first(patch: Patch) -> None:
    for module in ENGINES:
        patch.setattr(module, "PageRequest", partial(PageRequest, ascending=True))


@breaks("sqlite", "postgres")
def flows_are_events(patch: Patch) -> None:
    """Each event counts as a flow."""

    def make(real: Any) -> Any:
        def summarize(*args: Any) -> Any:
            found = yield from real(*args)
            return msgspec.structs.replace(found, flows=found.events)

        return summarize

    for module in ENGINES:
        around(patch, module, "summarize_resource", make)


@breaks("sqlite", "postgres")
def causes_of_other_tenants_count(patch: Patch) -> None:
    without_row_security(patch)
    reword(
        patch,
        "causes_of_actor",
        sqlite=("INDEXED BY event_id WHERE c.tenant_no = ?1 AND", "WHERE"),
        postgres=("tenant_no = $1 AND id", "id"),
    )


@breaks("sqlite", "postgres")
def causes_of_every_time_count(patch: Patch) -> None:
    reword(
        patch,
        "causes_of_actor",
        sqlite=("occurred_at < ?4", "?4 IS NOT NULL"),
        postgres=("occurred_at < $4", "$4::bigint IS NOT NULL"),
    )


@breaks("sqlite", "postgres")
def causes_that_are_missing_are_roots(patch: Patch) -> None:
    reword(
        patch,
        "causes_of_actor",
        sqlite=(
            "cause IS NOT NULL",
            "EXISTS (SELECT 1 FROM event c WHERE c.tenant_no = ?1 AND c.id = event.cause)",
        ),
        postgres=("e.causation_id IS NOT NULL", "c.actor IS NOT NULL"),
    )


@breaks("sqlite", "postgres")
def narrowed_viewers_see_triggers(patch: Patch) -> None:
    triggers = activity._triggers

    def of_everybody(snapshot: Any, *more: Any) -> Any:
        return triggers(msgspec.structs.replace(snapshot, viewer=Viewer(snapshot.viewer.tenant)), *more)

    patch.setattr(activity, "_triggers", of_everybody)


@breaks("sqlite", "postgres")
def the_first_events_are_looked_at(patch: Patch) -> None:
    reword(
        patch,
        "causes_of_actor",
        sqlite=("occurred_at DESC, key DESC", "occurred_at, key"),
        postgres=("occurred_at DESC, position DESC", "occurred_at, position"),
    )
