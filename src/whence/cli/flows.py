"""The commands `flows`, `flow` and `map`: which flows there are, what happened in one, and what leads to what."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cyclopts import Parameter

from whence.cli.event_rows import (
    EVENT_COLUMNS,
    EventColumns,
    EventTable,
    chosen_columns,
    columns_parameter,
    load_words,
    rows_of,
)
from whence.cli.events import Since, Until
from whence.cli.flow_rows import FLOW_COLUMNS, MAP_COLUMNS, MAP_DEFAULT, FlowRow, flow_lines, map_lines, named_table
from whence.cli.flow_story import FlowContext, flow_summary, story_lines_of_flow, trees_of
from whence.cli.graph_text import reference
from whence.cli.layout import style_of_stdout
from whence.cli.pager import NoPager, paging
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import event_id, is_position
from whence.cli.story_text import NO_ID
from whence.cli.terminal import JsonFlag, out, out_json, printable, say
from whence.cli.traces import Full
from whence.client import ApiRequest, EventPage, Whence, list_request, parse_body, parse_page
from whence.counting import counted
from whence.errors import Invalid, NotFound
from whence.identities import is_uuid
from whence.sentences import named_failures
from whence.wire.bodies import EventBody
from whence.wire.trace_bodies import FlowBody, FlowsBody, MapBody

__all__ = ["flow", "flows", "process_map"]

_PAGE = 100
_EVENTS_MAX, _FULL_MAX = 1_000, 10_000
"""Events of one flow that are read; the second number with --full."""

_AT_ONCE = 8
"""Requests for the beginnings of flows that are under way together."""

_FIRST = 3
"""Events of each flow that are read to say how it began."""

_LOOKED_UP_MAX = 8
"""Causes outside of a flow that are looked up."""

FlowId = Annotated[
    str,
    Parameter(
        name="FLOW", help="The id of the flow, or one of its events: its position, like @5539, its id, or first digits."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PeriodOptions:
    """Options for a time range."""

    since: Since = None
    until: Until = None

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The query parameters of the API."""
        return tuple((name, value) for name, value in (("from", self.since), ("to", self.until)) if value is not None)


# --------------------------------------------------------------------------------------------------------------- flows


def flows(
    *,
    failed: Annotated[bool, Parameter(negative="", help="Only flows with a failure.")] = False,
    period: PeriodOptions | None = None,
    limit: Annotated[int, Parameter(help="The number of flows to show, 1 to 100.")] = 20,
    offset: Annotated[int, Parameter(help="The number of flows to skip.")] = 0,
    columns: Annotated[str | None, columns_parameter(FLOW_COLUMNS)] = None,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """List flows, latest activity first: how each began, its last event, how long it took, and what failed."""
    names = chosen_columns(columns, FLOW_COLUMNS, json=json)
    only: tuple[tuple[str, str], ...] = (("outcome", "failure"),) if failed else ()
    query = (*only, *(period or PeriodOptions()).parameters(), ("limit", str(limit)), ("offset", str(offset)))
    with client_for(server) as whence:
        answer = whence.send(ApiRequest(method="GET", path="/api/v1/flows", query=query))
        found = parse_body(answer, FlowsBody)
        if json:
            out_json(answer.body)
            return
        rows = _flow_rows(whence, found.flows)
    style = style_of_stdout()
    with paging(no_pager):
        if rows:
            cells = [[FLOW_COLUMNS[name](row) for name in names or ()] for row in rows]
            out(named_table(names, cells, style) if names else "\n".join(flow_lines(rows, style)))
    more = f"; continue with --offset {offset + len(found.flows)}" if found.has_next else ""
    say(f"{len(found.flows):,} of {counted(found.total, 'flow')}{more}.")


def _flow_rows(whence: Whence, found: Sequence[FlowBody]) -> list[FlowRow]:
    """The flows with how they began. If most of them begin alike, that says nothing, and their next event is shown."""

    def first_events(each: FlowBody) -> list[EventBody]:
        request = list_request(
            correlation_id=each.correlation_id, order="asc", limit=_FIRST, include="outcome,position"
        )
        return parse_page(whence.send(request)).events

    words = load_words()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        beginnings = list(pool.map(first_events, found))
    types = Counter(events[0].event_type for events in beginnings if events)
    alike = next((kind for kind, times in types.most_common(1) if times > max(len(found) / 2, 1)), None)
    rows = []
    for each, events in zip(found, beginnings, strict=True):
        distinct = [event for event in events if event.event_type != alike] or events
        began = rows_of(distinct[:1], words)
        rows.append(FlowRow(each, began[0] if began else None))
    return rows


# ---------------------------------------------------------------------------------------------------------------- flow


def flow(
    name: FlowId,
    /,
    *,
    full: Full = False,
    columns: EventColumns = None,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Show what happened in one flow: a summary, and its events in the order of their causes."""
    names = chosen_columns(columns, EVENT_COLUMNS, json=json)
    with client_for(server) as whence:
        page = _first_page(whence, name, include=None if json else "outcome,position")
        if json:
            out_json(page.body)
            if page.has_next:
                say(f"{len(page.events):,} of {counted(page.total, 'event')}; list --correlation-id shows others.")
            return
        events = _events(whence, page, _FULL_MAX if full else _EVENTS_MAX)
        words = load_words()
        rows = rows_of(events, words)
        context = FlowContext(
            trees_of(events),
            named_failures({each.id: each for each in events}, {row.event.id: row.sentence for row in rows}),  # type: ignore[misc]  # the outcomes are set
            words,
            style_of_stdout(),
            full,
        )
        context = msgspec.structs.replace(context, notes=_notes(whence, context))
    with paging(no_pager):
        if names is None:
            summary = flow_summary(events[0].correlation_id, page.total, context)
            out("\n".join([*context.style.filled(summary), "", *story_lines_of_flow(context)]))
        else:
            out("\n".join(EventTable(context.style, names).lines(rows)))
    if len(events) < page.total:
        more = "" if full else " To read more, pass --full."
        say(f"The first {len(events):,} of {counted(page.total, 'event')} were read.{more}")


def _first_page(whence: Whence, name: str, *, include: str | None) -> EventPage:
    """The first events of the flow with this id, else of the flow of the event with this reference. Raises NotFound."""
    if not is_position(name):
        page = whence.list(correlation_id=name, order="asc", limit=_PAGE, include=include)
        if page.events:
            return page
    try:
        event = whence.get(event_id(whence, name))
    except (Invalid, NotFound):
        if is_position(name):
            raise
        raise NotFound("There is no flow with this id, and no event with it.") from None
    return whence.list(correlation_id=event.correlation_id, order="asc", limit=_PAGE, include=include)


def _events(whence: Whence, first: EventPage, events_max: int) -> list[EventBody]:
    events, page = list(first.events), whence.next(first)
    while page is not None and len(events) < events_max:
        events += page.events
        page = whence.next(page)
    return events


def _notes(whence: Whence, context: FlowContext) -> dict[str, str]:
    """Where the causes of roots are that are not in the flow, by the ids of the roots."""
    notes: dict[str, str] = {}
    for root in (tree.nodes[0] for tree in context.trees):
        if root.causation_id is None or root.cycle:
            continue
        cause = printable(root.causation_id)
        if not is_uuid(cause):
            notes[root.id] = f"its cause {cause} {NO_ID}"
            continue
        notes[root.id] = f"its cause {cause} is not in this flow"
        if len(notes) > _LOOKED_UP_MAX:
            continue
        try:
            found = whence.get(root.causation_id, include="position")
        except NotFound:
            notes[root.id] = f"its cause {cause} has not arrived"
        else:
            elsewhere = f"in flow {printable(found.correlation_id)}"
            is_here = found.correlation_id == root.correlation_id
            notes[root.id] = f"because of {reference(found)} {'that was not read' if is_here else elsewhere}"
    return notes


# ----------------------------------------------------------------------------------------------------------------- map


def process_map(
    *,
    period: PeriodOptions | None = None,
    columns: Annotated[str | None, columns_parameter(MAP_COLUMNS)] = None,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Show which event types lead to which: how often, how often with a failure, and how soon."""
    names = chosen_columns(columns, MAP_COLUMNS, json=json)
    query = (period or PeriodOptions()).parameters()
    with client_for(server) as whence:
        answer = whence.send(ApiRequest(method="GET", path="/api/v1/flows/map", query=query))
    found = parse_body(answer, MapBody)
    if json:
        out_json(answer.body)
        return
    if query:
        say(f"This counts whole days (UTC), those that the given period touches: {_days(found)}.")
    style = style_of_stdout()
    with paging(no_pager):
        if found.pairs:
            cells = [[MAP_COLUMNS[name](pair) for name in names or MAP_DEFAULT] for pair in found.pairs]
            out(named_table(names, cells, style) if names else "\n".join(map_lines(found.pairs, cells, style)))
    exact = f"counts are exact, delays within {found.delay_error:.0%}."
    say(f"{counted(found.links, 'transition')} {_days(found)}; {exact}")


def _days(found: MapBody) -> str:
    return printable(f"from {found.from_ or 'the beginning'} to {found.to or 'now'}")
