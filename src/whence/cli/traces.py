"""The commands `why`, `effects`, `trace`, `flows` and `map`, which follow causes."""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import quote

from cyclopts import Parameter

from whence.cli.events import Json, Since, Until
from whence.cli.graph_text import chain_of, effects_of, effects_text, mermaid, quote_of, span, why_text
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import out, out_json, printable, say, table
from whence.client import ApiRequest, ApiResponse, Whence, get_request, list_request, parse_body, parse_page
from whence.client.responses import NOT_A_WHENCE_SERVER
from whence.errors import Invalid, NotFound, WhenceError
from whence.wire.bodies import EventBody
from whence.wire.traces import FlowsBody, MapBody, TraceBody

__all__ = ["effects", "flows", "process_map", "trace", "why"]

_NODES = "1000"
_QUOTED_FIRST, _QUOTED_LAST = 2, 22
"""Payloads are read for this many events of a chain: at its root, and up to the event in question."""

EventId = Annotated[str, Parameter(name="ID", help="The event's id, a UUID.")]


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
    event_id: Annotated[str | None, Parameter(name="ID", help="The event's id, a UUID.")] = None,
    /,
    *,
    last_failed: Annotated[bool, Parameter(negative="", help="Explain the last event that failed.")] = False,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """Show why an event happened: its causes from the root on, and what it led to."""
    if (event_id is None) == (not last_failed):
        raise Invalid.at((), "Pass either the id of an event or --last-failed.")
    with client_for(server) as whence:
        asked = _last_failed(whence) if event_id is None else event_id
        answer = whence.send(_trace_request(asked))
        found = _graph(answer)
        quotes = {} if json else _quotes(whence, found)
    if json:
        out_json(answer.body)
        return
    out(why_text(found, quotes))
    say(f"What followed: whence effects {found.event_id}   The whole graph: whence trace {found.event_id}")


def effects(
    event_id: EventId,
    /,
    *,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """Show everything that an event led to, as a tree."""
    with client_for(server) as whence:
        answer = whence.send(_trace_request(event_id, direction="down"))
    found = _graph(answer)
    if json:
        out_json(answer.body)
        return
    below = effects_of(found)
    if below:
        out(effects_text(below))
    focus = next(node for node in found.nodes if node.id == found.event_id)
    _say_count(len(below), focus.all_effects, found.at_least, "consequences", f"{focus.failures_below:,} failed")


def trace(
    event_id: EventId,
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
    """Show the causal graph around an event: a tree, JSON, or a Mermaid flowchart."""
    if json and mermaid_:
        raise Invalid.at((), "Pass either --json or --mermaid, not both.")
    more = {} if depth is None else {"depth": str(depth)}
    with client_for(server) as whence:
        answer = whence.send(_trace_request(event_id, direction=direction, limit=str(limit), **more))
    found = _graph(answer)
    if json:
        out_json(answer.body)
        return
    out(mermaid(found) if mermaid_ else effects_text(found.nodes, found.event_id))
    summary = found.summary
    details = f"{summary.failures:,} failed, {summary.actors:,} actors, {summary.resources:,} resources"
    _say_count(len(found.nodes), summary.events, found.at_least, "events", f"{details}, {span(summary.duration_us)}")
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


def _trace_request(event_id: str, **parameters: str) -> ApiRequest:
    query = {"direction": "both", "limit": _NODES} | parameters
    return ApiRequest(method="GET", path=f"/api/v1/events/{quote(event_id, safe='')}/trace", query=tuple(query.items()))


def _graph(answer: ApiResponse) -> TraceBody:
    """The graph in a response. Raises the error of a refusal, and WhenceError for a response that is not Whence's."""
    found = parse_body(answer, TraceBody)
    if all(node.id != found.event_id for node in found.nodes):
        raise WhenceError(NOT_A_WHENCE_SERVER)
    return found


def _last_failed(whence: Whence) -> str:
    """The id of the last event that failed. Raises NotFound when none has."""
    page = parse_page(whence.send(list_request(outcome="failure", limit=1)))
    if not page.events:
        raise NotFound("No event has failed.")
    return page.events[0].id


def _quotes(whence: Whence, found: TraceBody) -> dict[str, str]:
    """Short quotes from the payloads of the chain, by event id."""
    chain = chain_of(found)
    read = chain if len(chain) <= _QUOTED_FIRST + _QUOTED_LAST else [*chain[:_QUOTED_FIRST], *chain[-_QUOTED_LAST:]]
    return {node.id: quote_of(_payload(whence.send(get_request(node.id)))) for node in read}


def _payload(answer: ApiResponse) -> bytes:
    return parse_body(answer, EventBody).payload_bytes


def _say_count(shown: int, total: int, at_least: bool, what: str, more: str) -> None:
    of = f"{shown:,} of {'at least ' if at_least else ''}{total:,}" if shown != total or at_least else f"{total:,}"
    say(f"{of} {what}, {more}.")
