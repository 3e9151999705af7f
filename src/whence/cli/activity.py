"""The commands `facets`, `actors`, `actor` and `resource`: which values fields have, who did what, and to what."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.cells import cell_len

from whence.cli.event_rows import EVENT_COLUMNS, EventTable, chosen_columns, load_words, rows_of
from whence.cli.events import FilterOptions, Since, Until, pair
from whence.cli.layout import Style, style_of_stdout
from whence.cli.pager import NoPager, paging
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import JsonFlag, out, out_json, printable, say, table
from whence.client import (
    ApiRequest,
    ApiResponse,
    EventPage,
    actor_request,
    actors_request,
    facets_request,
    list_request,
    parse_body,
    parse_page,
    resource_summary_request,
)
from whence.counting import counted
from whence.identities import resource_uuid
from whence.wire.activity_bodies import (
    ActorActivityBody,
    ActorsBody,
    ActorSummaryBody,
    FacetsBody,
    FirstTimeBody,
    ResourceSummaryBody,
    TriggersBody,
    TypeCountBody,
    WordCountBody,
)

__all__ = ["actor", "actors", "change_of", "facets", "resource", "sparks"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_EVENTS = 10
"""The latest events that are shown of an actor or a resource."""

_TYPES = 12
"""The event types that are shown of an actor or a resource."""

Actor = Annotated[str, Parameter(name="ACTOR", help="TYPE/ID, like agent/planner.")]
Resource = Annotated[
    str, Parameter(name="RESOURCE", help="TYPE/ID, like order/8841: a UUID, or the text that it is derived from.")
]


def facets(
    *,
    filters: FilterOptions | None = None,
    top: Annotated[int | None, Parameter(help="The values to show of each field, 1 to 100. Default: 20.")] = None,
    payload_field: Annotated[
        list[str] | None, Parameter(negative="", help="A path in payloads whose values are counted too, like tool.")
    ] = None,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Count events by the values of their fields. Each field is counted without its own filters."""
    filters = filters or FilterOptions()
    with client_for(server) as whence:
        answer = whence.send(facets_request(**filters.resolved(whence), payload_field=payload_field, top=top))
    found = parse_body(answer, FacetsBody)
    if json:
        out_json(answer.body)
        return
    with paging(no_pager):
        out(_facets_text(found, style_of_stdout().width))


def _facets_text(found: FacetsBody, width: int | None) -> str:
    every = found.facets
    actors_of = [(f"{each.actor_type}/{each.actor_id}", each.count, each.failures) for each in every.actor.values]
    parts = [
        ("EVENT TYPE", list(_tree_rows(every.event_type.values)), every.event_type.more),
        ("ACTOR", actors_of, every.actor.more),
        ("RESOURCE TYPE", _rows(every.resource_type.values), every.resource_type.more),
        ("OUTCOME", _rows(every.outcome.values), every.outcome.more),
        ("ACTOR TYPE", _rows(every.actor_type.values), every.actor_type.more),
        *((f"PAYLOAD {printable(each.path)}", _rows(each.values), each.more) for each in every.payload or ()),
    ]
    tables = [
        table((head, "EVENTS", "FAILURES"), rows, width=width) + (f"\nand {more:,} more" if more else "")
        for head, rows, more in parts
        if rows
    ]
    return "\n\n".join((*tables, counted(found.total, "event")))


def _rows(values: Sequence[WordCountBody]) -> list[tuple[str, int, int]]:
    return [(each.value, each.count, each.failures) for each in values]


def _tree_rows(values: Sequence[TypeCountBody], depth: int = 0) -> Iterator[tuple[str, int, int]]:
    """The values of a tree, each below the one that it belongs to."""
    for each in values:
        yield "  " * depth + each.value, each.count, each.failures
        yield from _tree_rows(each.children, depth + 1)


def actors(
    *,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int | None, Parameter(help="The number of actors to show, 1 to 100. Default: 20.")] = None,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Show what actors did in a period, the most active first; by default in the week up to the newest event."""
    with client_for(server) as whence:
        answer = whence.send(actors_request(since=since, until=until, limit=limit))
    found = parse_body(answer, ActorsBody)
    if json:
        out_json(answer.body)
        return
    head = ("ACTOR", "EVENTS", "CHANGE", "FAILURES", "ACTIVITY", "LAST SEEN, UTC", "FIRST TIME")
    rows = [
        (
            f"{each.actor_type}/{each.actor_id}",
            each.total,
            change_of(each),
            each.failures,
            sparks(each.sparkline),
            _clock(each.last_seen_at),
            ", ".join(first.event_type for first in each.first_times),
        )
        for each in found.actors
    ]
    style = style_of_stdout()
    if rows:
        text = table(head, rows, width=style.width, flexible=len(head) - 1)
        if style.width is not None and max(map(cell_len, text.split("\n"))) > style.width:
            text = "\n".join(line for each in found.actors for line in _actor_lines(each, style))
        with paging(no_pager):
            out(text)
    say(f"{len(rows):,} of {counted(found.total, 'actor')}{_period(found.from_, found.to)}.")


def _actor_lines(each: ActorActivityBody, style: Style) -> Iterator[str]:
    """An actor in some lines, for a terminal that is too narrow for the table."""
    change = change_of(each)
    events = counted(each.total, "event") + (f" ({change})" if change else "")
    failed = f"{each.failures:,} failed" if each.failures else ""
    last = f"last {_clock(each.last_seen_at)}" if each.last_seen_at else ""
    name = printable(f"{each.actor_type}/{each.actor_id}")
    yield from style.filled(" · ".join(filter(None, (name, events, failed, last))))
    firsts = ", ".join(first.event_type for first in each.first_times)
    yield from style.below(printable(f"first time: {firsts}")) if firsts else ()


def actor(
    name: Actor,
    /,
    *,
    since: Since = None,
    until: Until = None,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Show what an actor did in a period, what for the first time, and its latest events."""
    actor_type, actor_id = pair(name, "ACTOR", "agent/planner")
    with client_for(server) as whence:
        answer = whence.send(actor_request(actor_type, actor_id, since=since, until=until))
        found = parse_body(answer, ActorSummaryBody)
        if json:
            out_json(answer.body)
            return
        latest = whence.send(_latest(actor_type=actor_type, actor_id=actor_id, since=found.from_, until=found.to))
    facts = [
        ("actor", f"{found.actor_type}/{found.actor_id}"),
        ("period", _period(found.from_, found.to).strip()),
        ("events", f"{found.total:,}  {change_of(found)}".rstrip()),
        ("failures", f"{found.failures:,}"),
        ("activity", sparks(found.sparkline)),
        ("first seen", _clock(found.first_seen_at)),
        ("last seen", _clock(found.last_seen_at)),
        *(("first time", _first_time(each)) for each in found.first_times),
        *([] if found.triggered_by is None else _trigger_facts(found.triggered_by)),
    ]
    with paging(no_pager):
        out(_facts_text(facts))
        _out_types("EVENT TYPE", found.by_event_type)
        _out_types("RESOURCE TYPE", found.by_resource_type)
        _out_latest(latest)


def _trigger_facts(triggers: TriggersBody) -> list[tuple[str, str]]:
    """Whose events caused the latest ones, most first."""
    of = f" of the latest {triggers.events:,}"
    named = [(f"{each.actor_type}/{each.actor_id}", each.count) for each in triggers.actors]
    rows = [*named, ("nothing (roots)", triggers.roots), ("a cause that is not in the log", triggers.missing)]
    return [("triggered by", f"{name}  {count:,}{of}") for name, count in rows if count]


def resource(
    name: Resource,
    /,
    *,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Show how much happened to a resource, by whom, and its latest events."""
    resource_type, resource_id = pair(name, "RESOURCE", "order/8841")
    with client_for(server) as whence:
        answer = whence.send(resource_summary_request(resource_type, resource_id))
        found = parse_body(answer, ResourceSummaryBody)
        if json:
            out_json(answer.body)
            return
        whole_id = resource_uuid(resource_type, resource_id)
        latest = whence.send(_latest(resource_type=resource_type, resource_id=whole_id))
    facts = [
        ("resource", f"{found.resource_type}/{found.resource_id}"),
        ("events", f"{found.events:,} in {counted(found.flows, 'flow')}"),
        ("failures", f"{found.failures:,}"),
        ("first event", _clock(found.first_at)),
        ("last event", _clock(found.last_at)),
    ]
    actor_rows = [(f"{each.actor_type}/{each.actor_id}", each.count, each.failures) for each in found.actors]
    with paging(no_pager):
        out(_facts_text(facts))
        _out_types("EVENT TYPE", found.by_event_type)
        if actor_rows:
            out("\n" + table(("ACTOR", "EVENTS", "FAILURES"), actor_rows, width=style_of_stdout().width))
        if found.more_actors:
            out(f"and {found.more_actors:,} more")
        _out_latest(latest)


def change_of(each: ActorActivityBody | ActorSummaryBody) -> str:
    """The change of an actor's events against the period before: in percent, `new` where it had none, empty where there
    is nothing to compare with."""
    if each.previous is None:
        return ""
    before = each.previous.total
    if not before:
        return "new" if each.total else ""
    return f"{round(100 * (each.total - before) / before):+,} %"


def sparks(counts: Sequence[int]) -> str:
    """Counts as a line of blocks. What is not 0 is at least the lowest one."""
    most = max(counts, default=0)
    return "".join(_BLOCKS[(each * len(_BLOCKS) - 1) // most] if each else " " for each in counts).rstrip()


def _latest(**filters: str | None) -> ApiRequest:
    return list_request(**filters, limit=_EVENTS, include="outcome,position")


def _out_latest(answer: ApiResponse) -> None:
    page: EventPage = parse_page(answer)
    if page.events:
        rows = rows_of(page.events, load_words())
        out(
            "\n" + "\n".join(EventTable(style_of_stdout(), chosen_columns(None, EVENT_COLUMNS, json=False)).lines(rows))
        )
    say(f"{len(page.events):,} of {counted(page.total, 'event')}.")


def _out_types(head: str, counts: Sequence[WordCountBody]) -> None:
    if counts:
        out("\n" + table((head, "EVENTS", "FAILURES"), _rows(counts[:_TYPES]), width=style_of_stdout().width))
    if len(counts) > _TYPES:
        out(f"and {len(counts) - _TYPES:,} more")


def _facts_text(facts: Sequence[tuple[str, str]]) -> str:
    """A line for each fact, or more where the terminal is too narrow."""
    names, style = max(len(name) for name, _ in facts) + 2, style_of_stdout()
    narrower = msgspec.structs.replace(style, width=None if style.width is None else style.width - names)
    lines = [
        f"{label.ljust(names)}{line}".rstrip()
        for name, text in facts
        for label, line in zip_longest([name], narrower.filled(printable(text)), fillvalue="")
    ]
    return "\n".join(lines)


def _first_time(each: FirstTimeBody) -> str:
    return f"{each.event_type} at {_clock(each.at)}, event {each.event_id}"


def _clock(text: str | None) -> str:
    return "" if text is None else text[:19].replace("T", " ")


def _period(since: str | None, until: str | None) -> str:
    return "" if since is None or until is None else f" from {_clock(since)} to {_clock(until)} UTC"
