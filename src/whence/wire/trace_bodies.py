"""The JSON bodies about causes: traces, flows and the process map. They contain no payloads.

Keys are in alphabetical order. Durations are whole microseconds. `traces` makes these bodies. A client only parses
them: it loads nothing that computes traces and process maps.
"""

import msgspec
from msgspec import UNSET, UnsetType

from whence.wire.bodies import TimeText, WireBody

__all__ = [
    "FlowBody",
    "FlowRootBody",
    "FlowsBody",
    "MapBody",
    "NodeBody",
    "PairBody",
    "ReachBody",
    "ReachesBody",
    "TraceBody",
    "TraceSummaryBody",
]


class NodeBody(WireBody, frozen=True, kw_only=True, gc=False):
    """An event of a trace.

    `hops` and `sinceRootUs` count from the root. `effects` is the number of direct consequences, `allEffects` of direct
    and indirect ones, `failuresBelow` of the failures among them. `skewed`: it occurred before its cause. `otherFlow`:
    its cause belongs to another flow. `cycle`: its cause is one of its own consequences, and that link is left out.

    `detail`, `label`, `pairedEndId` and `verb` are there with `include=rows`: the parts of the sentence that says what
    happened, and the id of the end that directly follows this start. They come from payloads, which are untrusted.
    """

    actor_id: str
    actor_type: str
    all_effects: int
    causation_id: str | None
    correlation_id: str
    cycle: bool
    detail: str | UnsetType = UNSET
    effects: int
    event_type: str
    failures_below: int
    hops: int
    id: str
    label: str | UnsetType = UNSET
    occurred_at: TimeText
    other_flow: bool
    outcome: str
    paired_end_id: str | UnsetType | None = UNSET
    position: int | None
    resource_id: str
    resource_type: str
    since_cause_us: int | None
    since_root_us: int
    skewed: bool
    verb: str | UnsetType = UNSET


class TraceSummaryBody(WireBody, frozen=True, kw_only=True):
    """Totals of the whole graph. `hops` counts from the root to the event that was asked for; `durationUs` is the time
    from the first event to the last."""

    actors: int
    duration_us: int
    events: int
    failures: int
    hops: int
    resources: int


class TraceBody(WireBody, frozen=True, kw_only=True):
    """The graph around an event, each node after its cause. `rootKnown` is false if there are too many causes to read
    them up to the root; `rootId` is then the last that was read. `missing` names causes that are not in the log, or not
    yet.
    `truncated`: some events are not in `nodes`. `atLeast`: the graph is too large to be read completely, so every
    number may be larger."""

    at_least: bool
    event_id: str
    missing: list[str]
    nodes: list[NodeBody]
    root_id: str
    root_known: bool = True  # older servers leave it out
    summary: TraceSummaryBody
    truncated: bool


class ReachBody(WireBody, frozen=True, kw_only=True):
    """How many causes an event has up to the root, how many events it led to, and how many of those failed. `atLeast`:
    there were too many to read them all, so the counts may be larger."""

    at_least: bool
    causes: int
    effects: int
    failed_effects: int
    id: str


class ReachesBody(WireBody, frozen=True, kw_only=True):
    """The reach of events, in the order in which they were asked for. Ids of no event are left out."""

    reach: list[ReachBody]


class FlowRootBody(WireBody, frozen=True, kw_only=True):
    """The event that began a flow."""

    actor_id: str
    actor_type: str
    event_type: str
    id: str
    occurred_at: TimeText
    outcome: str
    resource_id: str
    resource_type: str


class FlowBody(WireBody, frozen=True, kw_only=True):
    """The events of one correlationId. `atLeast`: the flow is so long that `root` and `actors` are taken from its first
    events; all other numbers are exact."""

    actors: int
    at_least: bool
    correlation_id: str
    duration_us: int
    events: int
    failures: int
    first_at: TimeText
    last_at: TimeText
    root: FlowRootBody


class FlowsBody(WireBody, frozen=True, kw_only=True):
    """One page of flows, the latest activity first."""

    flows: list[FlowBody]
    has_next: bool
    limit: int
    offset: int
    total: int


class PairBody(WireBody, frozen=True, kw_only=True):
    """How often one event type led to another. `share` is the fraction of all effects of the cause type. `skewed`
    counts the effects that occurred before their cause; the percentiles are of the delays of the others."""

    cause_type: str
    effect_type: str
    events: int
    failures: int
    p50_us: int | None = msgspec.field(name="p50Us")
    p95_us: int | None = msgspec.field(name="p95Us")
    share: float
    skewed: int


class MapBody(WireBody, frozen=True, kw_only=True):
    """What led to what between `from` and `to`: the whole days (UTC) that contain the period of the request, null where
    it is open. Counts are exact. The relative error of a percentile is at most `delayError`."""

    delay_error: float
    from_: TimeText | None = msgspec.field(name="from")
    links: int
    pairs: list[PairBody]
    to: TimeText | None
