"""Questions about facets, actors and resources, and their answers as JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from whence.activity import (
    ActorActivity,
    ActorPage,
    ActorPageRequest,
    ActorSummary,
    FirstTime,
    Period,
    ResourceSummary,
    Triggers,
)
from whence.actor_totals import Totals
from whence.events import ActorStat, Query, Viewer, Vocabulary
from whence.facets import VALUES_DEFAULT, VALUES_MAX, Facets, PayloadFacet, TypeCount, WordCount, WordFacet
from whence.payload_fields import PATH_RULE, is_path
from whence.sealing import Sealer
from whence.wire.activity_bodies import (
    ActorActivityBody,
    ActorCountBody,
    ActorFacetBody,
    ActorsBody,
    ActorSummaryBody,
    FacetsBody,
    FieldFacetsBody,
    FirstTimeBody,
    PayloadFacetBody,
    ResourceActorBody,
    ResourceSummaryBody,
    TotalsBody,
    TriggerBody,
    TriggersBody,
    TypeCountBody,
    TypeFacetBody,
    WordCountBody,
    WordFacetBody,
)
from whence.wire.cursor import cursor_seed
from whence.wire.event import event_body
from whence.wire.parameters import ACTORS_DEFAULT, LIMIT_MAX
from whence.wire.query import QueryReader
from whence.wire.times import TIME_MAX_US, TIME_MIN_US, format_time

__all__ = [
    "ActorsRequest",
    "encode_actor_summary",
    "encode_actors",
    "encode_facets",
    "encode_resource_summary",
    "next_actors_cursor",
    "parse_actor_summary",
    "parse_actors",
    "parse_facets",
    "parse_resource_summary",
]

_encode = msgspec.json.Encoder().encode
_INCLUDED = frozenset({"outcome", "position"})


class ActorsRequest(msgspec.Struct, frozen=True):
    """A parsed question about the actors of a period. `cursor_seed` is what its cursors are bound to."""

    since: int | None
    until: int | None
    page: ActorPageRequest
    cursor_seed: bytes


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """What a cursor carries: the period of the first page, and total, type and id of the last actor."""

    since: int
    until: int
    total: int
    actor_type: str
    actor_id: str


_decode_cursor = msgspec.json.Decoder(_Cursor).decode


def _opened(packed: bytes | None) -> _Cursor | None:
    """What was sealed; None if that is nothing, or what another release sealed."""
    try:
        return None if packed is None else _decode_cursor(packed)
    except msgspec.MsgspecError:
        return None


def parse_facets(query_string: bytes, *, now: int, vocabulary: Vocabulary) -> tuple[Query, int, tuple[str, ...]]:
    """Which events are counted, how many values each facet has, and the paths of payloads that have one; arguments and
    errors as in `parse_read`."""
    reader = QueryReader("facets", now, vocabulary)
    values = reader.split(query_string)
    fields = reader.filters(values, {})
    since, _ = reader.time("from", values)
    until, _ = reader.time("to", values)
    top = reader.number("top", values, 1, VALUES_MAX, VALUES_DEFAULT)
    paths = tuple(dict.fromkeys(values.get("payload_field", ())))
    if not all(map(is_path, paths)):
        reader.refuse("payload_field", PATH_RULE, "payload_path")
    reader.finish(since, until)
    return Query(**fields, since=since, until=until), top or VALUES_DEFAULT, paths


def parse_actors(query_string: bytes, *, viewer: Viewer, now: int, sealer: Sealer) -> ActorsRequest:
    """Which actors are asked for; arguments and errors as in `parse_read`."""
    reader = QueryReader("actor_activity", now)
    values = reader.split(query_string)
    since, since_text = reader.time("from", values)
    until, until_text = reader.time("to", values)
    limit = reader.number("limit", values, 1, LIMIT_MAX, ACTORS_DEFAULT)
    seed = cursor_seed(viewer, "actor_activity", {}, since_text, until_text, False)
    after = None
    if "cursor" in values and not reader.problems:
        cursor = _opened(sealer.open(values["cursor"][0], seed))
        if cursor is None:
            reader.refuse("cursor", "The cursor is damaged or belongs to another query; start without it.", "cursor")
        else:
            since, until = cursor.since, cursor.until
            after = (cursor.total, cursor.actor_type, cursor.actor_id)
    reader.finish(since, until)
    return ActorsRequest(since, until, ActorPageRequest(limit=limit or ACTORS_DEFAULT, after=after), seed)


def next_actors_cursor(sealer: Sealer, seed: bytes, page: ActorPage) -> str | None:
    """The cursor of the page after this one; None when this is the last.

    It carries the period and pins no snapshot: an actor that meanwhile got events may be ranked before this place, and
    is then left out of the remaining pages.
    """
    if not page.has_next or page.period is None:
        return None
    last = page.actors[-1].stat
    cursor = _Cursor(page.period.since, page.period.until, last.total, last.actor_type, last.actor_id)
    return sealer.seal(_encode(cursor), seed)


def parse_actor_summary(
    query_string: bytes, *, now: int, vocabulary: Vocabulary, fixed: Mapping[str, str]
) -> tuple[tuple[str, str], int | None, int | None]:
    """Type and id of the actor that the path names, and the times; arguments and errors as in `parse_read`."""
    reader = QueryReader("actor_summary", now, vocabulary)
    values = reader.split(query_string)
    fields = reader.filters(values, fixed)
    since, _ = reader.time("from", values)
    until, _ = reader.time("to", values)
    reader.finish(since, until)
    return (fields["actor_types"][0], fields["actor_ids"][0]), since, until


def parse_resource_summary(
    query_string: bytes, *, vocabulary: Vocabulary, fixed: Mapping[str, str]
) -> tuple[tuple[str, str], int]:
    """Type and id of the resource that the path names, and how many actors are wanted; as `parse_read`."""
    reader = QueryReader("resource_summary", vocabulary=vocabulary)
    values = reader.split(query_string)
    fields = reader.filters(values, fixed)
    top = reader.number("top", values, 1, VALUES_MAX, VALUES_DEFAULT)
    reader.finish()
    return (fields["resource_types"][0], fields["resource_ids"][0]), top or VALUES_DEFAULT


def _payload_facet(facet: PayloadFacet) -> PayloadFacetBody:
    values = [WordCountBody(count=each.count, failures=each.failures, value=each.value) for each in facet.values]
    return PayloadFacetBody(more=facet.more, path=facet.path, values=values)


def encode_facets(facets: Facets) -> bytes:
    """The body of the route of facets."""
    types, actors = facets.event_type, facets.actor
    return _encode(
        FacetsBody(
            facets=FieldFacetsBody(
                actor=ActorFacetBody(more=actors.more, values=[_actor_count(each) for each in actors.values]),
                actor_type=_word_facet(facets.actor_type),
                event_type=TypeFacetBody(more=types.more, values=_types(types.values)),
                outcome=_word_facet(facets.outcome),
                payload=[_payload_facet(each) for each in facets.payload] or UNSET,
                resource_type=_word_facet(facets.resource_type),
            ),
            total=facets.total,
        )
    )


def encode_actors(page: ActorPage) -> bytes:
    """The body of the list of actors."""
    since, until = _times(page.period)
    return _encode(
        ActorsBody(
            actors=[ActorActivityBody(**_activity(each)) for each in page.actors],
            from_=since,
            has_next=page.has_next,
            to=until,
            total=page.total,
        )
    )


def encode_actor_summary(summary: ActorSummary) -> bytes:
    """The body of the summary of an actor."""
    since, until = _times(summary.period)
    return _encode(
        ActorSummaryBody(
            **_activity(summary.activity),
            by_event_type=_words(summary.by_event_type),
            by_resource_type=_words(summary.by_resource_type),
            first_seen_at=_time(summary.first_seen_at),
            from_=since,
            to=until,
            triggered_by=None if summary.triggered_by is None else _triggers(summary.triggered_by),
        )
    )


def _triggers(triggers: Triggers) -> TriggersBody:
    return TriggersBody(
        actors=[
            TriggerBody(actor_id=each.actor_id, actor_type=each.actor_type, count=each.count)
            for each in triggers.actors
        ],
        events=triggers.events,
        missing=triggers.missing,
        more_actors=triggers.more_actors,
        roots=triggers.roots,
    )


def encode_resource_summary(summary: ResourceSummary, resource: tuple[str, str], viewer: Viewer) -> bytes:
    """The body of the summary of the resource with this type and id."""
    last = summary.last_event
    return _encode(
        ResourceSummaryBody(
            actors=[
                ResourceActorBody(**_actor_fields(each.stat), last_at=format_time(each.last_at))
                for each in summary.actors
            ],
            by_event_type=_words(summary.by_event_type),
            events=summary.events,
            failures=summary.failures,
            first_at=_time(summary.first_at),
            flows=summary.flows,
            last_at=_time(summary.last_at),
            last_event=None if last is None else event_body(last, _INCLUDED, viewer),
            more_actors=summary.more_actors,
            resource_id=resource[1],
            resource_type=resource[0],
        )
    )


def _activity(did: ActorActivity) -> dict[str, Any]:
    stat = did.stat
    return {
        "actor_id": stat.actor_id,
        "actor_type": stat.actor_type,
        "failures": stat.failures,
        "first_times": [_first_time(each) for each in did.first_times],
        "last_seen_at": _time(did.last_seen_at),
        "previous": None if did.previous is None else _totals(did.previous),
        "sparkline": did.sparkline,
        "successes": stat.successes,
        "total": stat.total,
    }


def _first_time(first: FirstTime) -> FirstTimeBody:
    return FirstTimeBody(at=format_time(first.at), event_id=first.event_id, event_type=first.event_type)


def _totals(totals: Totals) -> TotalsBody:
    total, successes, failures = totals
    return TotalsBody(failures=failures, successes=successes, total=total)


def _times(period: Period | None) -> tuple[str | None, str | None]:
    if period is None:
        return None, None
    since, until = (min(max(us, TIME_MIN_US), TIME_MAX_US) for us in (period.since, period.until))
    return format_time(since), format_time(until)


def _time(us: int | None) -> str | None:
    return None if us is None else format_time(us)


def _words(counts: Iterable[WordCount]) -> list[WordCountBody]:
    return [WordCountBody(count=each.count, failures=each.failures, value=each.value) for each in counts]


def _word_facet(facet: WordFacet) -> WordFacetBody:
    return WordFacetBody(more=facet.more, values=_words(facet.values))


def _types(tree: Iterable[TypeCount]) -> list[TypeCountBody]:
    return [
        TypeCountBody(children=_types(each.children), count=each.count, failures=each.failures, value=each.value)
        for each in tree
    ]


def _actor_count(stat: ActorStat) -> ActorCountBody:
    return ActorCountBody(**_actor_fields(stat))


def _actor_fields(stat: ActorStat) -> dict[str, Any]:
    return {
        "actor_id": stat.actor_id,
        "actor_type": stat.actor_type,
        "count": stat.total,
        "failures": stat.failures,
    }
