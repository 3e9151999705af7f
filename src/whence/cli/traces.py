"""The commands `why`, `effects`, `trace`, `flows` and `map`, which follow causes."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from cyclopts import Parameter

from whence.cli.events import Json, Since, Until
from whence.cli.graph_text import chain_of, effects_of, mermaid, span
from whence.cli.layout import style_of_stdout, wrapped
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import EventId, event_id
from whence.cli.story import Story, story_of
from whence.cli.story_text import StoryContext, led_to_lines, story_lines, summary
from whence.cli.terminal import out, out_json, printable, say, table
from whence.client import ApiRequest, ApiResponse, Whence, list_request, parse_body, parse_page
from whence.client.responses import NOT_A_WHENCE_SERVER, EventPage
from whence.errors import Invalid, NotFound, WhenceError
from whence.sentences import load_grammar, sentence_of
from whence.wire.bodies import EventBody
from whence.wire.traces import FlowsBody, MapBody, NodeBody, TraceBody

__all__ = ["effects", "flows", "process_map", "trace", "why"]

_NODES = "1000"
_PAGE = 100
_ALONE_MAX = 8
_PAGES_MAX = 10
"""Payloads are read by pages of the flow, up to so many; those that are missing then one by one."""

Full = Annotated[bool, Parameter(negative="", help="Fold nothing, and cut no line short.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Period:
    """Options for a time range."""

    since: Since = None
    until: Until = None

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The query parameters of the API."""
        return tuple((name, value) for name, value in (("from", self.since), ("to", self.until)) if value is not None)


def why(
    reference: EventId | None = None,
    /,
    *,
    last_failed: Annotated[
        bool, Parameter(negative="", help="Explain the first failure of the flow that failed last.")
    ] = False,
    full: Full = False,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """Show why an event happened: its causes from the root on, and what it led to."""
    if (reference is None) == (not last_failed):
        raise Invalid.at((), "Pass either an event or --last-failed.")
    with client_for(server) as whence:
        asked = _last_failed(whence) if reference is None else event_id(whence, reference)
        answer = whence.send(_trace_request(asked))
        if json:
            out_json(answer.body)
            return
        found = _graph(answer)
        story, context = _story_and_context(whence, found, full=full)
    width = context.style.width
    paragraph = summary(context)
    out("\n".join([*([paragraph] if width is None else wrapped(paragraph, width)), "", *story_lines(story, context)]))
    if found.truncated:
        say(f"Not all events were read, but {len(found.nodes):,}. To see others, ask about one that is nearer to them.")
    say(f"What followed: whence effects {found.event_id}   The whole graph: whence trace {found.event_id}")


def effects(
    reference: EventId,
    /,
    *,
    full: Full = False,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """Show everything that an event led to."""
    with client_for(server) as whence:
        answer = whence.send(_trace_request(event_id(whence, reference), direction="down"))
        if json:
            out_json(answer.body)
            return
        found = _graph(answer)
        story, context = _story_and_context(whence, found, full=full)
    below = effects_of(found)
    if below:
        out("\n".join(led_to_lines(story, context)))
    focus = next(node for node in found.nodes if node.id == found.event_id)
    _say_count(len(below), focus.all_effects, found.at_least, "consequences", f"{focus.failures_below:,} failed")


def trace(
    reference: EventId,
    /,
    *,
    direction: Annotated[
        Literal["both", "up", "down"], Parameter(help="up for the causes, down for the consequences, or both.")
    ] = "both",
    depth: Annotated[int | None, Parameter(help="The maximum number of hops from the event.")] = None,
    limit: Annotated[int, Parameter(help="The maximum number of events, 1 to 1000.")] = 500,
    json: Json = False,
    mermaid_: Annotated[bool, Parameter(name="--mermaid", negative="", help="Print a Mermaid flowchart.")] = False,
    server: ServerOptions | None = None,
) -> None:
    """Show the causal graph around an event, every event in a row; or JSON, or a Mermaid flowchart."""
    if json and mermaid_:
        raise Invalid.at((), "Pass either --json or --mermaid, not both.")
    more = {} if depth is None else {"depth": str(depth)}
    with client_for(server) as whence:
        asked = event_id(whence, reference)
        answer = whence.send(_trace_request(asked, direction=direction, limit=str(limit), **more))
        if json:
            out_json(answer.body)
            return
        found = _graph(answer)
        if mermaid_:
            out(mermaid(found))
        else:
            out("\n".join(story_lines(*_story_and_context(whence, found, full=True))))
    totals = found.summary
    details = f"{totals.failures:,} failed, {totals.actors:,} actors, {totals.resources:,} resources"
    _say_count(len(found.nodes), totals.events, found.at_least, "events", f"{details}, {span(totals.duration_us)}")
    if not found.root_known:
        say("The first event is not the root: the causes go further up than a trace reads.")
    for missing in found.missing:
        say(f"The cause {printable(missing)} is not in the log (yet).")


def flows(
    *,
    failed: Annotated[bool, Parameter(negative="", help="Only flows with a failure.")] = False,
    period: Period | None = None,
    limit: Annotated[int, Parameter(help="The number of flows to show, 1 to 100.")] = 20,
    offset: Annotated[int, Parameter(help="The number of flows to skip.")] = 0,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """List flows, latest activity first: events, failures, actors, duration, and the first event of each."""
    only: tuple[tuple[str, str], ...] = (("outcome", "failure"),) if failed else ()
    query = (*only, *(period or Period()).parameters(), ("limit", str(limit)), ("offset", str(offset)))
    with client_for(server) as whence:
        answer = whence.send(ApiRequest(method="GET", path="/api/v1/flows", query=query))
    found = parse_body(answer, FlowsBody)
    if json:
        out_json(answer.body)
        return
    if found.flows:
        rows = [
            (
                each.last_at,
                each.events,
                each.failures,
                f"{each.actors:,}{'+' if each.at_least else ''}",
                span(each.duration_us),
                each.root.event_type,
                each.correlation_id,
            )
            for each in found.flows
        ]
        out(table(("LAST", "EVENTS", "FAILED", "ACTORS", "DURATION", "BEGAN WITH", "FLOW"), rows))
    more = f"; continue with --offset {offset + len(found.flows)}" if found.has_next else ""
    say(f"{len(found.flows):,} of {found.total:,} flows{more}.")


def process_map(
    *,
    period: Period | None = None,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """Show which event types lead to which: how often, how often with a failure, and how soon."""
    with client_for(server) as whence:
        answer = whence.send(
            ApiRequest(method="GET", path="/api/v1/flows/map", query=(period or Period()).parameters())
        )
    found = parse_body(answer, MapBody)
    if json:
        out_json(answer.body)
        return
    if found.pairs:
        rows = [
            (
                each.cause_type,
                each.effect_type,
                each.events,
                f"{each.share:.1%}",
                each.failures,
                "" if each.p50_us is None else span(each.p50_us),
                "" if each.p95_us is None else span(each.p95_us),
            )
            for each in found.pairs
        ]
        out(table(("CAUSE", "EFFECT", "EVENTS", "SHARE", "FAILED", "P50", "P95"), rows))
    days = printable(f"from {found.from_ or 'the beginning'} to {found.to or 'now'}")
    say(f"{found.links:,} links {days}; counts are exact, delays within {found.delay_error:.0%}.")


def _trace_request(asked: str, **parameters: str) -> ApiRequest:
    query = {"direction": "both", "limit": _NODES} | parameters
    return ApiRequest(method="GET", path=f"/api/v1/events/{quote(asked, safe='')}/trace", query=tuple(query.items()))


def _graph(answer: ApiResponse) -> TraceBody:
    """The graph in a response. Raises the error of a refusal, and WhenceError for a response that is not Whence's."""
    found = parse_body(answer, TraceBody)
    if all(node.id != found.event_id for node in found.nodes):
        raise WhenceError(NOT_A_WHENCE_SERVER)
    return found


def _last_failed(whence: Whence) -> str:
    """The id of the failure that explains the flow that failed last: the earliest one, in whose own run nothing else
    failed. Raises NotFound when none has failed."""
    last = parse_page(whence.send(list_request(outcome="failure", limit=1))).events
    if not last:
        raise NotFound("No event has failed.")
    flow = last[0].correlation_id
    failures = parse_page(
        whence.send(list_request(correlation_id=flow, outcome="failure", order="asc", limit=_PAGE))
    ).events
    failed = {failure.id for failure in failures}
    return next((each.id for each in failures if not failed & _within_run(whence, each)), last[0].id)


def _within_run(whence: Whence, failure: EventBody) -> set[str]:
    """The causes of a failure that are younger than the start of its run, by id."""
    causes = whence.why(failure.id).nodes
    start = next((number for number, node in enumerate(causes) if node.resource_id == failure.resource_id), 0)
    return {node.id for node in causes[start:-1]}


def _story_and_context(whence: Whence, found: TraceBody, *, full: bool) -> tuple[Story, StoryContext]:
    """The story of a trace, and the sentences of the events that it shows."""
    story = story_of(found, full=full)
    path = os.environ.get("WHENCE_SENTENCES")
    grammar = load_grammar(Path(path) if path else None)
    nodes = {node.id: node for row in story.rows for node in row.nodes} | _named_in_summary(found)
    payloads = _payloads(whence, list(nodes.values()))
    sentences = {id_: sentence_of(node, payloads.get(id_, b""), grammar) for id_, node in nodes.items()}
    return story, StoryContext(found, sentences, grammar, style_of_stdout(), full)


def _named_in_summary(found: TraceBody) -> dict[str, NodeBody]:
    return {node.id: node for node in chain_of(found)[-3:]}


def _payloads(whence: Whence, nodes: Sequence[NodeBody]) -> dict[str, bytes]:
    """The payloads of events by id: by pages of the flow of the most, as far as that is short, else one by one."""
    wanted = {node.id for node in nodes}
    found: dict[str, bytes] = {}
    if len(nodes) > _ALONE_MAX:
        [(flow, _)] = Counter(node.correlation_id for node in nodes).most_common(1)
        page: EventPage | None = whence.list(correlation_id=flow, order="asc", limit=_PAGE)
        if page is not None and page.total <= _PAGE * _PAGES_MAX:
            while page is not None and wanted - found.keys():
                found |= {event.id: event.payload_bytes for event in page.events if event.id in wanted}
                page = whence.next(page)
    for id_ in wanted - found.keys():
        found[id_] = whence.get(id_).payload_bytes
    return found


def _say_count(shown: int, total: int, at_least: bool, what: str, more: str) -> None:
    of = f"{shown:,} of {'at least ' if at_least else ''}{total:,}" if shown != total or at_least else f"{total:,}"
    say(f"{of} {what}, {more}.")
