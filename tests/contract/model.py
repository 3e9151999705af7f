"""The log as a list: a store that is simple enough to be correct by inspection.

It keeps every promise of `whence.storage.base.Store` except durability, and is compared with the real stores. It shares
only the data types, the catalogue of outcomes and the limits with them. Each thing that a store might get wrong is a
separate method, so that a mutant can override it (see `mutants.py`).
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from tests.contract.model_credentials import ModelCredentials
from tests.contract.model_filters import Filters, is_uuid
from whence.catalog import outcome_of
from whence.delays import ERROR
from whence.errors import Conflict, Invalid, WhenceError
from whence.events import (
    EVENT_LOG,
    ActorStat,
    Counts,
    Event,
    FeedPage,
    LogState,
    NewEvent,
    Page,
    PageRequest,
    Query,
    Reference,
    Viewer,
)
from whence.flows import SUMMARY_EVENTS_MAX, Flow, FlowPage, FlowQuery, Pair, ProcessMap
from whence.histograms import INTERVALS_US, HistogramRequest, TimeGrid, TimeHistogram
from whence.names import FoundActor, FoundFlow, FoundKind, FoundNames, FoundResource, NameRange, NameSearch
from whence.rollups import DAY_US
from whence.storage import Credentials, Head, Receipt, Write
from whence.storage.base import AS_OF_SPAN, KINDS_MAX, KINDS_RESERVED
from whence.trace import Graph, GraphEvent, Node, TraceRequest

SENT_FIELDS = {
    "event_type": "eventType",
    "actor_type": "actorType",
    "actor_id": "actorId",
    "resource_type": "resourceType",
    "resource_id": "resourceId",
    "occurred_at": "occurredAt",
    "correlation_id": "correlationId",
    "causation_id": "causationId",
    "outcome": "outcome",
}
"""The fields of an event's content except its payload, and their names as sent."""


MONDAY = 4 * DAY_US
"""1970-01-05, from which buckets of every interval are counted."""


class ModelStore(Filters, ModelCredentials):
    """A log of many tenants in lists."""

    reads_at_once = 8
    pages_share_events = True
    reads_on_loop = False

    def __init__(self, *, as_of_span: int = AS_OF_SPAN, kinds_max: int = KINDS_MAX) -> None:
        super().__init__()
        self.logs: dict[str, list[Event]] = {}
        self.as_of_span = as_of_span
        self.kinds_max = kinds_max
        self.size_before = 0  # events of the log before this append

    # --- appending ---------------------------------------------------------------------------------------------

    async def append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        self.size_before = len(self.logs.get(tenant, []))
        return [self.store(tenant, write) for write in writes]

    def log_state(self, tenant: str) -> LogState | None:
        return None

    def event_now(self, viewer: Viewer, event_id: str) -> Event | None:
        return None

    def store(self, tenant: str, write: Write) -> list[Receipt] | WhenceError:
        """Store one request. It works on a copy of the log, which is kept unless the request is refused."""
        log = list(self.logs.get(tenant, []))
        now = self.recorded_at(log)
        receipts = []
        for index, new in enumerate(write.events):
            receipt = self.place(tenant, log, new, now)
            if receipt.error is not None and write.atomic:
                return self.refused(tenant, log, index, receipt.error)
            receipts.append(receipt)
        self.logs[tenant] = log
        return receipts

    def place(self, tenant: str, log: list[Event], new: NewEvent, now: int) -> Receipt:
        stored = self.find(tenant, log, new.id)
        if stored is not None:
            different = self.differing(new, stored)
            if different:
                return self.conflicting(log, new, stored, different)
            return Receipt(stored, replayed=True)
        event = Event(
            tenant_id=tenant,
            position=self.next_position(tenant, log),
            id=new.id,
            event_type=new.event_type,
            actor_type=new.actor_type,
            actor_id=self.actor(log, new),
            resource_type=new.resource_type,
            resource_id=new.resource_id,
            correlation_id=self.correlation(tenant, log, new),
            causation_id=new.causation_id,
            outcome=self.outcome(new),
            occurred_at=new.occurred_at,
            recorded_at=now,
            payload=self.kept_payload(new.payload),
        )
        if self.is_kind_too_many(log, event):
            return Receipt(error=Invalid.at(("body", "eventType"), "Too many kinds.", "too_many_event_types"))
        log.append(event)
        return Receipt(event)

    def refused(self, _tenant: str, _log: list[Event], index: int, error: WhenceError) -> WhenceError:
        """The error of an atomic request: that of the first event that could not be stored, with its index."""
        if isinstance(error, Conflict):
            return Invalid.at(("body", index, "id"), str(error), error.code)
        assert isinstance(error, Invalid)
        return error.within_item(index)

    def conflicting(self, _log: list[Event], _new: NewEvent, _stored: Event, different: list[str]) -> Receipt:
        return Receipt(error=Conflict(different))

    def find(self, _tenant: str, log: list[Event], event_id: str) -> Event | None:
        return next((event for event in log if event.id == event_id), None)

    def next_position(self, _tenant: str, log: list[Event]) -> int:
        return len(log) + 1

    def recorded_at(self, log: list[Event]) -> int:
        return max(time.time_ns() // 1_000, log[-1].recorded_at if log else 0)

    def outcome(self, new: NewEvent) -> str:
        return new.outcome or outcome_of(new.event_type)

    def kept_payload(self, payload: bytes) -> bytes:
        return payload

    def correlation(self, tenant: str, log: list[Event], new: NewEvent) -> str:
        if new.correlation_id is not None:
            return self.as_kept(new.correlation_id, {event.correlation_id for event in log[: self.size_before]})
        cause = None if new.causation_id is None else self.find(tenant, log, new.causation_id)
        return new.id if cause is None else cause.correlation_id

    def actor(self, log: list[Event], new: NewEvent) -> str:
        before = log[: self.size_before]
        return self.as_kept(new.actor_id, {event.actor_id for event in before if event.actor_type == new.actor_type})

    def as_kept(self, text: str, names: set[str]) -> str:
        """A canonical UUID that an earlier release stored in upper case only goes on under that text."""
        is_canonical = is_uuid(text) and text == text.lower()
        return text.upper() if is_canonical and text not in names and text.upper() in names else text

    def is_kind_too_many(self, log: list[Event], event: Event) -> bool:
        kinds = {kind_of(earlier) for earlier in log}
        most = self.kinds_max + KINDS_RESERVED if event.resource_type == EVENT_LOG else self.kinds_max
        return kind_of(event) not in kinds and len(kinds) >= most

    def differing(self, sent: NewEvent, stored: Event) -> list[str]:
        """The names of the fields that differ between the sent and the stored event. A field that was left out is
        equal."""
        different = [
            name
            for field, name in SENT_FIELDS.items()
            if one_form(getattr(sent, field)) != one_form(getattr(stored, field))
            and not (getattr(sent, field) is None and field in {"correlation_id", "outcome"})
        ]
        return different + ([] if self.same_payload(sent.payload, stored.payload or b"null") else ["payload"])

    def same_payload(self, sent: bytes, stored: bytes) -> bool:
        return literally(sent) == literally(stored)

    # --- reading -----------------------------------------------------------------------------------------------

    async def get_event(self, viewer: Viewer, event_id: str) -> Event | None:
        event = self.find(viewer.tenant, self.logs.get(viewer.tenant, []), event_id)
        return event if event is not None and self.may_read(event, viewer.readable) else None

    async def find_ids(self, viewer: Viewer, reference: Reference) -> list[str]:
        log = [event for event in self.logs.get(viewer.tenant, []) if self.may_read(event, viewer.readable)]
        if reference.position is not None:
            return [event.id for event in log if event.position == reference.position]
        return sorted(event.id for event in log if reference.first_id <= event.id <= reference.last_id)[:2]

    async def find_names(self, viewer: Viewer, search: NameSearch) -> FoundNames:
        seen = self.matching(viewer, Query())
        actors = Counter((each.actor_id, each.actor_type) for each in seen)
        flows = Counter(each.correlation_id for each in seen)
        resources = Counter((each.resource_id, each.resource_type) for each in seen)

        def named(ranges: tuple[NameRange, ...], id_: str, type_: str | None = None) -> bool:
            return any(each.first <= id_ <= each.last and each.type in (None, type_) for each in ranges)

        return FoundNames(
            kinds=[
                FoundKind(kind[0], kind[1], kind[2], kind[3], count)
                for kind, count in Counter(map(kind_of, seen)).items()
            ]
            if search.kinds
            else [],
            events=sorted(each.id for each in seen if search.events and named((search.events,), each.id))[
                : search.limit
            ],
            actors=[
                FoundActor(type_, id_, count)
                for (id_, type_), count in sorted(actors.items())
                if named(search.actors, id_, type_)
            ][: search.limit],
            flows=[FoundFlow(text, count) for text, count in sorted(flows.items()) if named(search.flows, text)][
                : search.limit
            ],
            resources=[
                FoundResource(type_, id_, count)
                for (id_, type_), count in sorted(resources.items())
                if named(search.resources, id_, type_)
            ][: search.limit],
        )

    def matching(self, viewer: Viewer, query: Query) -> list[Event]:
        """The events that match a query, in the order of the log."""
        log = self.logs.get(viewer.tenant, [])
        return [event for event in log if self.matches(event, query) and self.may_read(event, viewer.readable)]

    async def list_events(self, viewer: Viewer, query: Query, request: PageRequest) -> Page:
        as_of = self.pinned(len(self.logs.get(viewer.tenant, [])), request.as_of)
        found = self.snapshot(self.matching(viewer, query), as_of)
        found.sort(key=self.place_of, reverse=not request.ascending)
        return Page(
            events=self.page(found, request),
            total=self.total(found, request),
            limit=request.limit,
            offset=request.offset,
            as_of=as_of,
        )

    async def read_feed(self, viewer: Viewer, query: Query, after: int, limit: int) -> FeedPage:
        size = len(self.logs.get(viewer.tenant, []))
        if after > size:
            raise Invalid.at(("query", "after"), "The log ends before this position.", "after_range")
        later = [event for event in self.matching(viewer, query) if event.position > after]
        read_to = later[limit - 1].position if len(later) >= limit else size
        return FeedPage(events=later[:limit], read_to=self.read_to(read_to, size), size=size)

    def read_to(self, position: int, _size: int) -> int:
        return position

    async def position_before(self, tenant: str, time: int) -> int:
        return sum(event.recorded_at < time for event in self.logs.get(tenant, []))

    def pinned(self, size: int, as_of: int | None) -> int:
        if as_of is None:
            return size
        if as_of > size or size - as_of > self.as_of_span:
            raise Invalid.at(("query", "as_of"), "as_of is out of range.", "as_of_range")
        return as_of

    def snapshot(self, found: list[Event], as_of: int) -> list[Event]:
        return [event for event in found if event.position <= as_of]

    def place_of(self, event: Event) -> tuple[int, int]:
        return event.occurred_at, event.position

    def page(self, found: list[Event], request: PageRequest) -> list[Event]:
        if request.after is None:
            return found[request.offset :][: request.limit]
        behind = (request.after.time, request.after.number)
        if request.ascending:
            return [event for event in found if self.place_of(event) > behind][: request.limit]
        return [event for event in found if self.place_of(event) < behind][: request.limit]

    def total(self, found: list[Event], _request: PageRequest) -> int:
        return len(found)

    # --- counting ----------------------------------------------------------------------------------------------

    async def count_events(self, viewer: Viewer, query: Query) -> Counts:
        found = self.matching(viewer, query)
        return Counts(
            total=len(found),
            by_event_type=self.by_word(found, "event_type"),
            by_resource_type=self.by_word(found, "resource_type"),
            by_actor_type=self.by_word(found, "actor_type"),
        )

    async def histogram(self, viewer: Viewer, query: Query, request: HistogramRequest) -> TimeHistogram:
        found = self.matching(viewer, query)
        times = [event.occurred_at for event in self.matching(viewer, Query())]
        since = query.since if query.since is not None or not times else min(times)
        until = query.until if query.until is not None or not times else max(times) + 1
        if since is None or until is None or since >= until:
            return TimeHistogram(grid=None, since=query.since, until=query.until, keys=[], counts=[])
        grid = self.grid(since, until, request.interval)
        words = self.by_word(found, request.by)
        shown = words[: request.top] if request.by == "event_type" else words
        rest = sum(events for _, events in words[len(shown) :])
        keys = [word for word, _ in shown] + (["other"] if rest else [])
        counts = [[0] * len(keys) for _ in range(grid.buckets)]
        for event in found:
            word = getattr(event, request.by)
            key = keys.index(word if word in keys else "other")
            counts[self.bucket(grid, event.occurred_at)][key] += 1
        return TimeHistogram(
            grid=grid,
            since=grid.start if query.since is None else query.since,
            until=grid.start + grid.buckets * grid.width if query.until is None else query.until,
            keys=[*shown, *([("other", rest)] if rest else [])],
            counts=counts,
        )

    def grid(self, since: int, until: int, interval: str | None) -> TimeGrid:
        """The buckets from the Monday before the first time on, counted one by one."""
        for name, width in INTERVALS_US.items():
            start = (since - MONDAY) // width * width + MONDAY
            buckets = -((start - until) // width)
            if name == interval and buckets > 1_000:
                raise Invalid.at(("query", "interval"), "Too many buckets.", "too_many_buckets")
            if name == interval or (interval is None and buckets <= 120):
                return TimeGrid(name, start, width, buckets)
        raise AssertionError(interval)

    def bucket(self, grid: TimeGrid, time_us: int) -> int:
        bucket = (time_us - grid.start) // grid.width
        assert 0 <= bucket < grid.buckets
        return bucket

    def by_word(self, found: list[Event], field: str) -> list[tuple[str, int]]:
        counts = Counter(getattr(event, field) for event in found)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    async def actor_stats(self, viewer: Viewer, query: Query) -> list[ActorStat]:
        by_actor: dict[tuple[str, str], list[Event]] = {}
        for event in self.matching(viewer, query):
            by_actor.setdefault((event.actor_type, event.actor_id), []).append(event)
        stats = [
            ActorStat(
                actor_type=actor_type,
                actor_id=actor_id,
                total=len(events),
                successes=sum(event.outcome == "success" for event in events),
                failures=sum(event.outcome == "failure" for event in events),
            )
            for (actor_type, actor_id), events in by_actor.items()
        ]
        return sorted(stats, key=self.rank)

    def rank(self, stat: ActorStat) -> tuple[int | str, ...]:
        return -stat.total, stat.actor_type, stat.actor_id

    # --- causes ------------------------------------------------------------------------------------------------

    def seen(self, viewer: Viewer) -> dict[str, Event]:
        """The events that a viewer may see, by id, in order of time."""
        seen = [event for event in self.logs.get(viewer.tenant, []) if self.may_read(event, viewer.readable)]
        return {event.id: event for event in sorted(seen, key=self.place_of)}

    async def trace(self, viewer: Viewer, event_id: str, request: TraceRequest) -> Graph | None:
        seen = self.seen(viewer)
        if event_id not in seen:
            return None
        root, circle = self.root_of(seen, seen[event_id])
        tree = {one.id: [each for each in seen.values() if each.causation_id == one.id] for one in seen.values()}
        for effects in tree.values():
            effects[:] = [each for each in effects if each is not root]
        order = self.below(tree, root)
        chosen = self.chosen(seen, tree, root, seen[event_id], request)
        return Graph(
            focus=event_id,
            root=root.id,
            root_known=True,
            nodes=[self.node(seen, tree, root, each, circle) for each in order if each.id in chosen],
            missing=root.causation_id if root.causation_id not in seen else None,
            hops=len(self.way(seen, root, seen[event_id])) - 1,
            events=len(order),
            failures=sum(each.outcome == "failure" for each in order),
            actors=len({(each.actor_type, each.actor_id) for each in order}),
            resources=len({(each.resource_type, each.resource_id) for each in order}),
            duration_us=max(each.occurred_at for each in order) - min(each.occurred_at for each in order),
            at_least=False,
            truncated=len(chosen) < len(order),
        )

    def root_of(self, seen: dict[str, Event], event: Event) -> tuple[Event, bool]:
        """The root of the graph, and whether it is the earliest event of a cycle."""
        above = [event]
        while above[-1].causation_id in seen and seen[above[-1].causation_id] not in above:
            above.append(seen[above[-1].causation_id])
        if above[-1].causation_id not in seen:
            return above[-1], False
        circle = above[above.index(seen[above[-1].causation_id]) :]
        return min(circle, key=self.place_of), True

    def way(self, seen: dict[str, Event], root: Event, event: Event) -> list[Event]:
        """The event and its causes up to the root."""
        return [event] if event is root else [event, *self.way(seen, root, seen[str(event.causation_id)])]

    def below(self, tree: dict[str, list[Event]], event: Event) -> list[Event]:
        """The event, then each of its effects, depth first."""
        return [event, *(each for effect in tree[event.id] for each in self.below(tree, effect))]

    def levels(self, tree: dict[str, list[Event]], event: Event, depth: int) -> list[Event]:
        """The effects of an event, level by level, nearest first."""
        found, level = [], [event]
        for _ in range(depth):
            level = [effect for cause in level for effect in tree[cause.id]]
            found += level
        return found

    def chosen(
        self, seen: dict[str, Event], tree: dict[str, list[Event]], root: Event, event: Event, request: TraceRequest
    ) -> list[str]:
        depth = len(seen) if request.depth is None else request.depth
        wanted = [event] if request.direction == "down" else self.way(seen, root, event)[: depth + 1]
        if request.direction != "up":
            wanted += self.levels(tree, event, depth)
        if request.direction == "both" and request.depth is None:
            wanted += self.levels(tree, root, depth)
        return list(dict.fromkeys(each.id for each in wanted))[: request.limit]

    def node(
        self, seen: dict[str, Event], tree: dict[str, list[Event]], root: Event, event: Event, circle: bool
    ) -> Node:
        cause = None if event is root else seen[str(event.causation_id)]
        following = self.below(tree, event)[1:]
        return Node(
            event=self.graph_event(event),
            hops=len(self.way(seen, root, event)) - 1,
            since_root_us=event.occurred_at - root.occurred_at,
            since_cause_us=None if cause is None else event.occurred_at - cause.occurred_at,
            effects=len(tree[event.id]),
            all_effects=len(following),
            failures=sum(each.outcome == "failure" for each in following),
            skewed=cause is not None and event.occurred_at < cause.occurred_at,
            other_flow=cause is not None and one_form(event.correlation_id) != one_form(cause.correlation_id),
            cycle=circle and event is root,
        )

    def graph_event(self, event: Event) -> GraphEvent:
        return GraphEvent(
            id=event.id,
            position=event.position,
            cause=event.causation_id,
            flow=event.correlation_id,
            occurred_at=event.occurred_at,
            event_type=event.event_type,
            outcome=event.outcome,
            actor_type=event.actor_type,
            actor_id=event.actor_id,
            resource_type=event.resource_type,
            resource_id=event.resource_id,
        )

    async def list_flows(self, viewer: Viewer, query: FlowQuery, request: PageRequest) -> FlowPage:
        log = self.logs.get(viewer.tenant, [])
        names = list(dict.fromkeys(event.correlation_id for event in log))
        seen = self.seen(viewer).values()
        flows = [
            self.flow(number, [event for event in seen if event.correlation_id == name])
            for number, name in enumerate(names, 1)
            if any(event.correlation_id == name for event in seen)
        ]
        found = [flow for flow in flows if self.is_asked(flow, query)]
        found.sort(key=lambda flow: (flow.last_at, flow.number), reverse=True)
        behind = [
            flow
            for flow in found
            if request.after is None or (flow.last_at, flow.number) < (request.after.time, request.after.number)
        ]
        start = request.offset if request.after is None else 0
        return FlowPage(
            flows=behind[start:][: request.limit],
            total=len(found),
            limit=request.limit,
            offset=request.offset,
            size=len(log),
        )

    def is_asked(self, flow: Flow, query: FlowQuery) -> bool:
        return (
            (query.since is None or flow.last_at >= query.since)
            and (query.until is None or flow.last_at < query.until)
            and (not query.failed or flow.failures > 0)
        )

    def flow(self, number: int, events: list[Event]) -> Flow:
        """The flow that consists of these events, which are in order of time."""
        first, ids = events[:SUMMARY_EVENTS_MAX], {event.id for event in events[:SUMMARY_EVENTS_MAX]}
        return Flow(
            number=number,
            correlation_id=events[0].correlation_id,
            events=len(events),
            failures=sum(event.outcome == "failure" for event in events),
            first_at=events[0].occurred_at,
            last_at=events[-1].occurred_at,
            actors=len({(event.actor_type, event.actor_id) for event in first}),
            at_least=len(events) > SUMMARY_EVENTS_MAX,
            root=self.graph_event(next((each for each in first if each.causation_id not in ids), first[0])),
        )

    async def process_map(self, viewer: Viewer, since: int | None, until: int | None) -> ProcessMap:
        """Percentiles are exact delays here; a store may deviate within the documented error."""
        since = None if since is None else since // DAY_US * DAY_US
        until = None if until is None else -(-until // DAY_US) * DAY_US
        seen = self.seen(viewer)
        links = [
            (seen[event.causation_id], event)
            for event in seen.values()
            if event.causation_id in seen
            and (since is None or event.occurred_at >= since)
            and (until is None or event.occurred_at < until)
        ]
        pairs: dict[tuple[str, str], list[tuple[Event, Event]]] = {}
        for cause, effect in links:
            pairs.setdefault((cause.event_type, effect.event_type), []).append((cause, effect))
        found = [self.pair(name, each, links) for name, each in pairs.items()]
        found.sort(key=lambda pair: (-pair.events, pair.cause_type, pair.effect_type))
        return ProcessMap(since=since, until=until, transitions=len(links), pairs=found)

    def pair(
        self, name: tuple[str, str], links: list[tuple[Event, Event]], all_transitions: list[tuple[Event, Event]]
    ) -> Pair:
        delays = sorted(effect.occurred_at - cause.occurred_at for cause, effect in links)
        forward = [delay for delay in delays if delay >= 0]

        def percentile(percent: int) -> int | None:
            return forward[-(-len(forward) * percent // 100) - 1] if forward else None

        return Pair(
            cause_type=name[0],
            effect_type=name[1],
            events=len(links),
            failures=sum(effect.outcome == "failure" for _, effect in links),
            skewed=len(delays) - len(forward),
            share=len(links) / sum(cause.event_type == name[0] for cause, _ in all_transitions),
            p50_us=percentile(50),
            p95_us=percentile(95),
        )

    def free_bytes(self) -> int | None:
        return None

    async def head(self, tenant: str) -> Head:
        """The root is not a Merkle root: tests only need it to change with the events."""
        log = self.logs.get(tenant, [])
        payload_bytes = sum(len(event.payload or b"") for event in log)
        return Head(len(log), self.root(log), log[-1].recorded_at if log else 0, payload_bytes)

    def root(self, log: list[Event]) -> bytes:
        if not log:
            return sha256(b"").digest()
        return sha256(b"".join(msgspec.json.encode(event) for event in log)).digest()

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        until = time.monotonic() + timeout_s
        while not self.is_longer(tenant, position):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(0.001)
        return True

    def is_longer(self, tenant: str, position: int) -> bool:
        return len(self.logs.get(tenant, [])) > position

    # --- credentials -------------------------------------------------------------------------------------------

    @property
    def credentials(self) -> Credentials:
        """The model keeps keys and sessions itself, so that one subclass can break any of its operations."""
        return self

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def unnumbered(page: FlowPage) -> FlowPage:
    """Without flow numbers: they order flows, but each store assigns them in its own way."""
    return msgspec.structs.replace(page, flows=[msgspec.structs.replace(each, number=0) for each in page.flows])


def same_map(found: ProcessMap, exact: ProcessMap) -> bool:
    """Whether both maps are equal, percentiles within the documented error."""

    def without(each: ProcessMap) -> ProcessMap:
        pairs = [msgspec.structs.replace(pair, p50_us=None, p95_us=None) for pair in each.pairs]
        return msgspec.structs.replace(each, pairs=pairs)

    return without(found) == without(exact) and all(
        near(one.p50_us, other.p50_us) and near(one.p95_us, other.p95_us)
        for one, other in zip(found.pairs, exact.pairs, strict=True)
    )


def near(found: int | None, exact: int | None) -> bool:
    return found == exact if found is None or exact is None else abs(found - exact) <= exact * ERROR


def one_form(value: Any) -> Any:
    """A UUID in lower case; any other value as it is."""
    return value.lower() if is_uuid(value) else value


def kind_of(event: Event) -> tuple[str, ...]:
    return event.event_type, event.resource_type, event.actor_type, event.outcome


def literally(payload: bytes) -> object:
    """The value of a JSON text, in which numbers keep the text they were written as."""
    return json.loads(payload, parse_int=_Number, parse_float=_Number)


class _Number(str):
    """The text of a number. It is not equal to a string of the same characters."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)
