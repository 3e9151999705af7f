"""The events of one flow as trees of causes, and what there is to say of them: a paragraph, and rows. Pure.

A tree begins with an event whose cause is not in the flow. Most flows have one; a flow whose events name no causes has
one for each event.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from whence.cli.graph_text import span
from whence.cli.layout import Style
from whence.cli.story import ObjectOf, Story, failures_apart, joined, objects_in, story_of
from whence.cli.story_text import SOLID, StoryColumns, ended, headline, short_clause
from whence.cli.terminal import printable
from whence.counting import counted
from whence.events import Viewer
from whence.sentences import Grammar, Sentence
from whence.trace import Graph, GraphEvent, Lookup, TraceRequest, by_time, walk
from whence.wire.bodies import EventBody
from whence.wire.times import parse_time
from whence.wire.trace_bodies import TraceBody
from whence.wire.traces import encode_trace, node_bodies

__all__ = ["FlowContext", "flow_summary", "story_lines_of_flow", "trees_of"]

_BEGINS, _ALONE = "┌", "·"
"""Where one of several trees begins, and an event without causes and effects, where other rows have the line."""

_SEES_ALL, _NARROWED = Viewer(""), Viewer("", ())


class FlowContext(msgspec.Struct, frozen=True):
    """What is needed to show a flow: its trees, the sentences of its events, notes on them, and the form of output."""

    trees: Sequence[TraceBody]
    sentences: Mapping[str, Sentence]
    grammar: Grammar
    style: Style
    full: bool = False
    notes: Mapping[str, str] = {}


def trees_of(events: Sequence[EventBody]) -> list[TraceBody]:
    """The trees of a flow by the times of their roots. Times since the root count from the first event of the flow."""
    graph_events = [_graph_event(event, number) for number, event in enumerate(events)]
    by_id = {event.id: event for event in graph_events}
    effects = defaultdict(list)
    for event in sorted(graph_events, key=by_time):
        effects[event.cause].append(event)
    viewer = _SEES_ALL if all(isinstance(event.position, int) for event in events) else _NARROWED
    request = TraceRequest(limit=max(len(events), 1), walk_max=len(events) + 1)
    graphs: list[Graph] = []
    seen = set[str]()
    roots = [event for event in graph_events if event.cause not in by_id]
    for event in (*roots, *graph_events):  # an event of a cycle belongs to no root
        if event.id not in seen:
            graphs.append(_walked(event, request, by_id, effects))
            seen.update(node.event.id for node in graphs[-1].nodes)
    graphs.sort(key=lambda graph: by_time(by_id[graph.root]))
    first_us = min((event.occurred_at for event in graph_events), default=0)
    return [_tree(graph, viewer, by_id[graph.root].occurred_at - first_us) for graph in graphs]


def _graph_event(event: EventBody, number: int) -> GraphEvent:
    return GraphEvent(
        id=event.id,
        position=event.position if isinstance(event.position, int) else number,
        cause=event.causation_id,
        flow=event.correlation_id,
        occurred_at=parse_time(event.occurred_at),
        event_type=event.event_type,
        outcome=str(event.outcome),
        actor_type=event.actor_type,
        actor_id=event.actor_id,
        resource_type=event.resource_type,
        resource_id=event.resource_id,
    )


def _walked(
    event: GraphEvent,
    request: TraceRequest,
    by_id: Mapping[str, GraphEvent],
    effects: Mapping[str | None, Sequence[GraphEvent]],
) -> Graph:
    """The graph of an event among those of the flow."""
    steps = walk(event, request)
    try:
        asked = next(steps)
        while True:
            asked = steps.send(_found(asked, by_id, effects))
    except StopIteration as end:
        graph: Graph = end.value
        return graph


def _found(
    asked: Lookup, by_id: Mapping[str, GraphEvent], effects: Mapping[str | None, Sequence[GraphEvent]]
) -> Sequence[GraphEvent]:
    if asked.flow:
        return ()  # it saves lookups, and these cost nothing
    if asked.effects:
        found = [event for id_ in asked.ids for event in effects.get(id_, ())]
        return sorted(found, key=by_time)[: asked.limit]
    return [by_id[id_] for id_ in asked.ids if id_ in by_id]


def _tree(graph: Graph, viewer: Viewer, later_us: int) -> TraceBody:
    tree = msgspec.json.decode(encode_trace(graph, list(node_bodies(graph.nodes, viewer))), type=TraceBody)
    nodes = [msgspec.structs.replace(node, since_root_us=node.since_root_us + later_us) for node in tree.nodes]
    return msgspec.structs.replace(tree, event_id=tree.root_id, nodes=nodes)


def flow_summary(flow: str, total: int, context: FlowContext) -> str:
    """How long a flow is, how it began, its first failure and its last event, in whole sentences. `total` is the number
    of its events, which may be more than were read.
    """
    nodes = [node for tree in context.trees for node in tree.nodes]
    ordered = sorted(nodes, key=lambda node: (node.since_root_us, node.position or 0))
    failures = [node for node in ordered if node.outcome == "failure"]
    least = "at least " if total > len(nodes) else ""
    took = f" in {least}{span(ordered[-1].since_root_us - ordered[0].since_root_us)}" if len(ordered) > 1 else ""
    actors = counted(len({(node.actor_type, node.actor_id) for node in nodes}), "actor")
    failed = f", and {least}{len(failures):,} of them failed" if failures else ""
    parts = [f"Flow {flow} has {counted(total, 'event')}{took} by {least}{actors}{failed}."]
    sentences = context.sentences
    parts.append(ended(f"It began when {short_clause(sentences[ordered[0].id])}"))
    if failures and failures[0] is not ordered[0]:
        parts.append(ended(f"The first failure: {headline(sentences[failures[0].id])}"))
    if total == len(nodes) and len(nodes) > 1:
        parts.append(ended(f"The last event: {short_clause(sentences[ordered[-1].id])}"))
    return printable(" ".join(parts))


def story_lines_of_flow(context: FlowContext) -> list[str]:
    """The rows of all trees."""
    detailed = {id_ for id_, sentence in context.sentences.items() if sentence.detail}
    object_of = None if context.full else objects_in(context.sentences)
    stories = [failures_apart(story_of(tree, object_of, full=context.full), detailed) for tree in context.trees]
    is_alone = len(stories) == 1
    if object_of is not None:
        stories = _lone_events_joined(stories, object_of)
    columns = StoryColumns([row for story in stories for row in story.rows], context, important=frozenset())
    return [line for story in stories for line in _story_lines(story, columns, alone=is_alone)]


def _lone_events_joined(stories: Sequence[Story], object_of: ObjectOf) -> list[Story]:
    """The stories with each run of events that have no cause and no effect in one."""
    found: list[Story] = []
    for story in stories:
        run = None
        if found and all(not each.led_to and each.focus.node.causation_id is None for each in (found[-1], story)):
            run = joined(found[-1].focus, story.focus, object_of)
        if run is None:
            found.append(story)
        else:
            found[-1] = msgspec.structs.replace(found[-1], focus=run)
    return found


def _story_lines(story: Story, columns: StoryColumns, *, alone: bool) -> Iterator[str]:
    begins = SOLID if alone else _BEGINS if story.led_to else _ALONE
    yield from columns.row(story.focus, begins)
    yield from columns.lines(story.led_to, SOLID)
