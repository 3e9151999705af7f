"""The seam between the log and its stores: domain operations, each with its promise.

Every method is safe to call from any task of the event loop that opened the store. A store raises only errors of
`whence.errors`; those of its driver are translated once, at its edge.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from whence.activity import ActorPage, ActorPageRequest, ActorSummary, ResourceSummary
from whence.errors import WhenceError
from whence.events import (
    ActorStat,
    Counts,
    Event,
    EventPart,
    FeedPage,
    LogState,
    NewEvent,
    Page,
    PageRequest,
    PartRequest,
    Query,
    Reference,
    Viewer,
)
from whence.facets import Facets
from whence.flows import FlowPage, FlowQuery, ProcessMap
from whence.histograms import HistogramRequest, TimeHistogram
from whence.names import FoundNames, NameSearch
from whence.storage.credentials import Credentials
from whence.storage.deletions import Deletions
from whence.storage.followers import Followers
from whence.storage.payload_index import PayloadIndex
from whence.storage.removals import Removals
from whence.storage.seals import Seals
from whence.trace import Graph, Reach, TraceRequest

__all__ = [
    "AS_OF_SPAN",
    "FEED_BYTES",
    "FEED_ROWS",
    "KINDS_MAX",
    "KINDS_RESERVED",
    "POLL_S",
    "QUERY_SECONDS_MAX",
    "READ_BYTES",
    "HashedEvent",
    "Head",
    "Receipt",
    "Store",
    "Write",
    "refusal_of",
]

AS_OF_SPAN = 100_000
"""How many positions before the head a snapshot may end."""

FEED_BYTES = 1024 * 1024
"""The events of one part of a feed come to about this many bytes as JSON, and to more only if it is a single one."""

FEED_ROWS = 20_000
"""Rows that one part of a feed reads at most, however few of them match."""

KINDS_MAX = 4_096
"""Distinct (event type, resource type, actor type, outcome) in one tenant."""

KINDS_RESERVED = 64
"""Further ones, for events about the log itself: a tenant that has used up its own is still recorded."""

POLL_S = 1.0
"""The head of a log that a task waits for is read this often, in seconds, with or without a wake-up."""

READ_BYTES = 4 * 1024 * 1024
"""The payloads of one part of a log that is read for a copy come to no more, unless it is a single one."""

QUERY_SECONDS_MAX = 5.0
"""An unbounded query is stopped after this time."""


class Write(msgspec.Struct, frozen=True):
    """The events of one request, in the order in which they take their positions.

    `atomic`: one event that cannot be stored undoes the whole request. `readable` are the resource types that the
    sender may read, None for all: a Conflict with an event of another type names no fields.
    """

    events: tuple[NewEvent, ...]
    atomic: bool = False
    readable: tuple[str, ...] | None = None


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What became of one event: stored (`event`), stored before (`event`, `replayed`), or refused (`error`)."""

    event: Event | None = None
    replayed: bool = False
    error: WhenceError | None = None


def refusal_of(result: list[Receipt] | WhenceError) -> WhenceError | None:
    """Why an event that was appended alone was not stored; None if it is."""
    return result if isinstance(result, WhenceError) else result[0].error


class Head(msgspec.Struct, frozen=True):
    """A tenant's log as a whole: how many positions it has, its RFC 6962 root, when it last grew, how many bytes its
    payloads have, the first position that is still kept, and when the last of the events that were removed was
    recorded; 0 if none was."""

    size: int
    root: bytes
    recorded_at: int
    payload_bytes: int = 0
    retained_from: int = 1
    removed_recorded_at: int = 0


class HashedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with what its leaf in the tree was made of.

    `salt` is None once the payload is erased; `payload_hash` is SHA-256(salt || payload), in either case.
    `envelope_version` is the version of the envelope that was hashed; see `whence.integrity`. `actor_erased_at` is when
    the id of the event's actor was replaced, in microseconds: the event no longer matches its leaf then.
    """

    event: Event
    leaf: bytes
    salt: bytes | None
    payload_hash: bytes
    envelope_version: int
    actor_erased_at: int | None = None

    @property
    def by_leaf_only(self) -> bool:
        """Whether only the leaf is known of what was recorded."""
        return self.actor_erased_at is not None


class Store(Protocol):
    """A log of many tenants.

    Promises: what `append` returned is durable; positions of a tenant are 1..n without gaps in commit order; counts
    equal a count over the raw events in the same snapshot as the page; nothing of one tenant is seen by another.
    """

    reads_at_once: int
    """How many reads can run at the same time; further ones wait for a connection."""

    pages_share_events: bool
    """Whether an event stays the same object while it is in memory, so that what is made of it is worth keeping."""

    reads_on_loop: bool
    """Whether short reads need no waiting. If not, `log_state` and `event_now` never find anything."""

    def log_state(self, tenant: str) -> LogState | None:
        """The state of a tenant's log now, as `Page.state` has it; None if that cannot be said without waiting. Only on
        the event loop. Raises Unavailable."""
        ...

    def event_now(self, viewer: Viewer, event_id: str) -> Event | None:
        """The event that `get_event` finds, without waiting; None if there is none, or one would have to wait for it.
        Only on the event loop. Raises Unavailable."""
        ...

    @property
    def credentials(self) -> Credentials:
        """The API keys and sessions of all tenants."""
        ...

    @property
    def followers(self) -> Followers:
        """What the followers of the store keep."""
        ...

    @property
    def payload_index(self) -> PayloadIndex:
        """The index of payload fields."""
        ...

    @property
    def seals(self) -> Seals:
        """What makes the logs of the store provable."""
        ...

    @property
    def deletions(self) -> Deletions:
        """How the store deletes tenants."""
        ...

    @property
    def removals(self) -> Removals:
        """What the store can forget."""
        ...

    async def check_servable(self) -> None:
        """Check that the store may be served, before its first use. Holds no resource, and may be repeated.

        Raises StoreRefused, with a sentence that says what to do, and Unavailable.
        """
        ...

    async def append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        """Store requests of one tenant, in order; answer after the commit is durable.

        The result has one entry a request: a receipt for each of its events, or an error. That is `Invalid` for an
        atomic request of which an event could not be stored, and then nothing of that request is stored; and
        `Unavailable` when the request's commit failed. A refused request harms no other.
        """
        ...

    async def wait_for_idle_writer(self) -> None:
        """Return at a moment when long work of this event loop does not hold up an append: now, or when the next one
        commits, but soon in any case. Only a matter of speed."""
        ...

    async def get_event(self, viewer: Viewer, event_id: str) -> Event | None:
        """The event with this id, or None when there is none that the viewer may see."""
        ...

    async def find_ids(self, viewer: Viewer, reference: Reference) -> list[str]:
        """The ids of the events that a reference names and the viewer may see; of several, two."""
        ...

    async def find_names(self, viewer: Viewer, search: NameSearch) -> FoundNames:
        """The names that are asked for and that an event has which the viewer may see, with the number of those events.
        Raises as `list_events` for a viewer who may not see all."""
        ...

    async def list_events(self, viewer: Viewer, query: Query, request: PageRequest) -> Page:
        """One page in total order (occurred_at, then position; both descending unless `ascending`), with the exact
        total in the same snapshot. Raises `Invalid` for an `as_of` beyond the head or too far before it;
        `QueryTooExpensive` and `Throttled` for unbounded queries.
        """
        ...

    async def read_feed(self, viewer: Viewer, query: Query, after: int, limit: int) -> FeedPage:
        """The matching events after the position `after`, by position: at most `limit`, fewer when they come to
        `FEED_BYTES` or when `FEED_ROWS` positions were read. A reader that goes on after `read_to` of each part gets
        every matching event once, however many writers there are.

        Raises `Invalid` for a position beyond the log, and `PositionGone` when events after it are no longer kept.
        """
        ...

    async def list_part(self, viewer: Viewer, query: Query, request: PartRequest) -> EventPart:
        """A part of the matching events in the order of lists, without their total, for those who read all of them. It
        has at most `limit` events, and fewer when they come to `FEED_BYTES` or when `FEED_ROWS` entries of an index
        were read. So a part costs the same however large the log is, with any filter. A reader that goes on after
        `after` of each part, as of the same position, gets every event once. That position may lie any distance before
        the head.
        """
        ...

    async def position_before(self, tenant: str, time: int) -> int:
        """The last position that was recorded before a time in microseconds; at least the one before the first that is
        kept. Costs the same however large the log is, nearly."""
        ...

    async def count_events(self, viewer: Viewer, query: Query) -> Counts:
        """Exact counts of the matching events. Raises as `list_events`."""
        ...

    async def actor_stats(self, viewer: Viewer, query: Query) -> list[ActorStat]:
        """Exact statistics of every actor with a matching event, by total descending, then actor type and id."""
        ...

    async def histogram(self, viewer: Viewer, query: Query, request: HistogramRequest) -> TimeHistogram:
        """Exact counts of the matching events by time, in one snapshot; their sum is the total of a list. An open end
        of the range is that of the events that the viewer may see, whether they match or not. Raises as `list_events`,
        and `Invalid` for an interval that makes too many buckets."""
        ...

    async def facets(self, viewer: Viewer, query: Query, top: int, payload_fields: Sequence[str] = ()) -> Facets:
        """Exact counts of the matching events by the values of some fields, in one snapshot: at most `top` values of
        each, the most frequent first. Each field is counted without the filters on itself. `payload_fields` are paths
        of payloads, with which the question is unbounded. Raises as `list_events`."""
        ...

    async def actors(
        self, viewer: Viewer, since: int | None, until: int | None, request: ActorPageRequest
    ) -> ActorPage:
        """A page of what the actors of a period did, exact in one snapshot. See `whence.activity` for a period that is
        left open."""
        ...

    async def actor_summary(
        self, viewer: Viewer, actor: tuple[str, str], since: int | None, until: int | None
    ) -> ActorSummary:
        """What the actor with this type and id did in a period, as `actors`. An unknown one has done nothing."""
        ...

    async def resource_summary(self, viewer: Viewer, resource: tuple[str, str], top: int) -> ResourceSummary:
        """What happened to the resource with this type and id, in one snapshot, with at most `top` of its actors. To an
        unknown one nothing did. Raises `QueryTooExpensive` and `Throttled`, since all of its events are counted."""
        ...

    async def trace(self, viewer: Viewer, event_id: str, request: TraceRequest) -> Graph | None:
        """The causal graph around the event with this id in one snapshot, or None when there is no such event. A cause
        that the viewer may not see is missing from the graph."""
        ...

    async def reach(self, viewer: Viewer, event_ids: Sequence[str]) -> list[Reach]:
        """How many causes and effects these events have, in one snapshot: the numbers that their traces give. In the
        order of the ids; those of no event are left out. Raises `QueryTooExpensive`."""
        ...

    async def read_payloads(self, viewer: Viewer, positions: Sequence[int]) -> list[bytes | None]:
        """The payloads of the first of the events at these positions, at least of one: fewer than all when they come to
        `FEED_BYTES`. None for a payload that was erased, and for an event that the viewer may not see."""
        ...

    async def list_flows(self, viewer: Viewer, query: FlowQuery, request: PageRequest) -> FlowPage:
        """One page of flows by last activity, then by first appearance, both descending, with the exact total in the
        same snapshot. `after` is a last activity and a flow's number. Raises `QueryTooExpensive`, and `Throttled` for
        an unbounded query. `ascending` and `as_of` are not supported.
        """
        ...

    async def process_map(self, viewer: Viewer, since: int | None, until: int | None) -> ProcessMap:
        """Which event types led to which, in the whole days (UTC) that hold `since <= t < until`. Raises
        `QueryTooExpensive`."""
        ...

    async def head(self, tenant: str) -> Head:
        """The state of the tenant's log; size 0 and the root of the empty tree for a tenant that has no event."""
        ...

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """Whether the tenant's log is longer than `position`: True as soon as any process made it longer, and False
        after `timeout_s` seconds. For followers, which read on after the last position that they handled.

        A wake-up from another process may be lost, which delays the answer by at most `POLL_S` seconds.
        Raises Unavailable when the store cannot be read.
        """
        ...

    async def tenants(self, after: str = "", limit: int | None = None) -> list[str]:
        """The tenants that have a log or a key, in order: those after a name, at most `limit`. For the operator."""
        ...

    async def read_log(self, tenant: str, after: int, limit: int) -> list[HashedEvent]:
        """The events after the position `after`, in order: at most `limit`, fewer when their payloads come to
        `READ_BYTES`, none at the end of the log. Raises Unsound for an event that cannot be put together. For copies,
        and for proofs of many events.
        """
        ...

    # No request reaches the next three methods, which serve the commands of the operator.

    async def import_log(self, tenant: str, events: Sequence[HashedEvent]) -> None:
        """Append events of another store exactly as they are, all or none, durably, with every count.

        Only on a store that was opened for it. Raises StoreRefused when the events do not continue the tenant's log,
        and Unsound when one does not belong to its leaf.
        """
        ...

    async def import_removed(self, tenant: str, leaves: bytes) -> None:
        """Append positions whose events were removed, by their leaves, which are joined. All positions up to them are
        then before the first one that is kept. Only on a store that was opened for imports; raises StoreRefused."""
        ...

    async def import_retained_from(self, tenant: str, head: Head) -> None:
        """Take over from the head of another store what no event says, after its events were imported: the first
        position that is still kept, and when the last position and the last removed one were recorded. None of them
        goes back. Only on a store that was opened for imports; raises StoreRefused."""
        ...

    def free_bytes(self) -> int | None:
        """The bytes that are free on the store's disk; None where that is not a disk of this machine."""
        ...

    async def check(self) -> None:
        """Return when the store can read and write. Raises `Unavailable`."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then let go of every resource. Harmless when repeated."""
        ...
