"""The commands `why`, `effects` and `trace`, which follow causes."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import quote

from cyclopts import Parameter

from whence.cli.event_rows import EVENT_COLUMNS, EventColumns, EventRow, EventTable, chosen_columns, load_words
from whence.cli.graph_text import chain_of, effects_of, mermaid, span
from whence.cli.graph_text import reference as reference_of
from whence.cli.layout import style_of_stdout
from whence.cli.pager import NoPager, paging
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import EventId, event_id
from whence.cli.story import Story, failures_apart, objects_in, runs_joined, story_of
from whence.cli.story_text import NO_ID, StoryContext, led_to_lines, story_lines, summary
from whence.cli.terminal import JsonFlag, out, out_json, printable, say
from whence.client import ApiRequest, ApiResponse, Whence, list_request, parse_body, parse_page
from whence.client.responses import NOT_A_WHENCE_SERVER, EventPage
from whence.counting import counted
from whence.errors import Invalid, NotFound, WhenceError
from whence.identities import is_uuid
from whence.sentences import named_failures, sentence_of
from whence.wire.bodies import EventBody
from whence.wire.trace_bodies import NodeBody, TraceBody

__all__ = ["Full", "effects", "trace", "why"]

_NODES = "1000"
_PAGE = 100
_ALONE_MAX = 8
_PAGES_MAX = 10
"""Payloads are read by pages of the flow, up to so many; those of shown events that are missing then one by one."""

Full = Annotated[bool, Parameter(negative="", help="Fold nothing, and cut no line short.")]


def why(
    reference: EventId | None = None,
    /,
    *,
    last_failed: Annotated[
        bool, Parameter(negative="", help="Explain the first failure of the flow that failed last.")
    ] = False,
    full: Full = False,
    json: JsonFlag = False,
    no_pager: NoPager = False,
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
    with paging(no_pager):
        out("\n".join([*context.style.filled(summary(context)), "", *story_lines(story, context)]))
    if found.truncated:
        say(f"Not all events were read, but {len(found.nodes):,}. To see others, ask about one that is nearer to them.")
    name = reference_of(chain_of(found)[-1])
    say(f"What followed: whence effects {name}   The whole graph: whence trace {name}")


def effects(
    reference: EventId,
    /,
    *,
    full: Full = False,
    columns: EventColumns = None,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Show everything that an event led to."""
    names = chosen_columns(columns, EVENT_COLUMNS, json=json)
    with client_for(server) as whence:
        answer = whence.send(_trace_request(event_id(whence, reference), direction="down"))
        if json:
            out_json(answer.body)
            return
        found = _graph(answer)
        story, context = _story_and_context(whence, found, full=full or names is not None)
    below = effects_of(found)
    with paging(no_pager):
        if below and names is None:
            out("\n".join(led_to_lines(story, context)))
        elif below and names is not None:
            rows = [EventRow(node, context.sentences[node.id]) for node in below]
            out("\n".join(EventTable(context.style, names).lines(rows)))
    focus = next(node for node in found.nodes if node.id == found.event_id)
    _say_count(len(below), focus.all_effects, found.at_least, "consequence", f"{focus.failures_below:,} failed")


def trace(
    reference: EventId,
    /,
    *,
    direction: Annotated[
        Literal["both", "up", "down"], Parameter(help="up for the causes, down for the consequences, or both.")
    ] = "both",
    depth: Annotated[int | None, Parameter(help="The maximum number of hops from the event.")] = None,
    limit: Annotated[int, Parameter(help="The maximum number of events, 1 to 10000.")] = 500,
    json: JsonFlag = False,
    mermaid_: Annotated[bool, Parameter(name="--mermaid", negative="", help="Print a Mermaid flowchart.")] = False,
    no_pager: NoPager = False,
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
        text = mermaid(found) if mermaid_ else "\n".join(story_lines(*_story_and_context(whence, found, full=True)))
    with paging(no_pager):
        out(text)
    totals = found.summary
    details = f"{totals.failures:,} failed, {counted(totals.actors, 'actor')}, {counted(totals.resources, 'resource')}"
    _say_count(len(found.nodes), totals.events, found.at_least, "event", f"{details}, {span(totals.duration_us)}")
    if not found.root_known:
        say("The first event is not the root: the causes go further up than a trace reads.")
    for missing in found.missing:
        absent = "is not in the log (yet)" if is_uuid(missing) else NO_ID
        say(f"The cause {printable(missing)} {absent}.")


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
    grammar = load_words()
    payloads = _payloads_of(whence, found.nodes)
    sentences = {node.id: sentence_of(node, payloads[node.id], grammar) for node in found.nodes if node.id in payloads}
    story = story_of(found, objects_in(sentences), full=full)
    nodes = {node.id: node for row in story.rows for node in row.nodes} | _named_in_summary(found)
    for id_ in nodes.keys() - sentences.keys():
        sentences[id_] = sentence_of(nodes[id_], whence.get(id_).payload_bytes, grammar)
    if not full:
        story = runs_joined(story, objects_in(sentences))
    sentences = named_failures(nodes, {id_: sentences[id_] for id_ in nodes})
    story = failures_apart(story, {id_ for id_, sentence in sentences.items() if sentence.detail})
    return story, StoryContext(found, sentences, grammar, style_of_stdout(), full)


def _named_in_summary(found: TraceBody) -> dict[str, NodeBody]:
    return {node.id: node for node in chain_of(found)[-3:]}


def _payloads_of(whence: Whence, nodes: Sequence[NodeBody]) -> dict[str, bytes]:
    """The payloads of events by id: of few events one by one, of more as far as they are in the flow of the most, if
    that is short.
    """
    if len(nodes) <= _ALONE_MAX:
        return {node.id: whence.get(node.id).payload_bytes for node in nodes}
    wanted = {node.id for node in nodes}
    found: dict[str, bytes] = {}
    [(flow, _)] = Counter(node.correlation_id for node in nodes).most_common(1)
    page: EventPage | None = whence.list(correlation_id=flow, order="asc", limit=_PAGE)
    if page is not None and page.total <= _PAGE * _PAGES_MAX:
        while page is not None and wanted - found.keys():
            found |= {event.id: event.payload_bytes for event in page.events if event.id in wanted}
            page = whence.next(page)
    return found


def _say_count(shown: int, total: int, at_least: bool, noun: str, more: str) -> None:
    of = f"{shown:,} of {'at least ' if at_least else ''}" if shown != total or at_least else ""
    say(f"{of}{counted(total, noun)}, {more}.")
