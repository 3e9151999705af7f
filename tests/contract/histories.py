"""Random histories of a log from which events and payloads are removed, and the plain model of what is left."""

import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.contract.made import DAY, HOUR, MINUTE, TENANT, VIEWER, asked, asked_flows, uuid
from tests.contract.model import ModelStore, same_map, unnumbered
from whence.events import EVENT_LOG, Event, NewEvent, PageRequest, Query
from whence.histograms import HistogramRequest
from whence.names import NameRange, NameSearch
from whence.storage import Write
from whence.storage.removals import PAYLOAD_ERASED, RETENTION_APPLIED, Purge

START = 4_000_000_000_000_000
"""When the events occur: long after any time of recording, since events as old as what was removed are refused."""

ANNOUNCED_AT = START + 41 * DAY

TYPES = ("job.completed", "job.failed", "job.started", "note.written")

QUERIES: tuple[dict[str, Any], ...] = (
    {},
    {"event_types": ("job.failed",)},
    {"event_type_prefixes": ("job.",), "since": START + 3 * HOUR, "until": START + 30 * DAY + 7},
    {"actor_ids": ("a1",), "since": START + 5 * DAY},
    {"correlation_ids": ("f2",)},
    {"resource_ids": (uuid(3),)},
    {"readable": ("artifact",)},
    {"causation_ids": (uuid(5),)},
)
"""What is asked between two batches: on every path to an answer."""

EVERYTHING = NameSearch(
    kinds=True,
    events=NameRange("0" * 8 + "-0000-0000-0000-000000000000", "f" * 8 + "-ffff-ffff-ffff-ffffffffffff"),
    actors=(NameRange("", "\U0010ffff"),),
    flows=(NameRange("", "\U0010ffff"),),
    resources=(NameRange("0" * 8 + "-0000-0000-0000-000000000000", "f" * 8 + "-ffff-ffff-ffff-ffffffffffff"),),
    limit=1_000,
)


class WhatIsLeft(ModelStore):
    """The model with events at any positions."""

    def snapshot(self, found: list[Event], _as_of: int) -> list[Event]:
        return found


class History:
    """A log, and the plain list of the events that are left of it."""

    def __init__(self, store: Any, seed: int) -> None:
        """Nothing has happened yet."""
        self.store = store
        self.random = random.Random(seed)
        self.left: list[Event] = []
        self.size = 0
        self.retained_from = 1
        self.erased: set[int] = set()
        self.sent = 0

    async def add(self, count: int) -> None:
        """Append events: late ones, effects of causes that are gone or still to come, new names and old ones."""
        await self.store_all([self.event() for _ in range(count)])

    async def store_all(self, events: Sequence[NewEvent]) -> None:
        """Append these events, all of them new."""
        [receipts] = await self.store.append(TENANT, [Write(tuple(events))])
        for receipt in receipts:
            assert receipt.error is None, receipt.error
            self.left.append(receipt.event)
        self.size += len(events)

    def event(self) -> NewEvent:
        """The next event."""
        self.sent += 1
        number, draw = self.sent, self.random
        cause = draw.choice((0, 0, max(0, number - draw.randint(1, 60)), number + draw.randint(1, 20)))
        return NewEvent(
            id=uuid(number),
            event_type=f"rare{number}.seen" if draw.random() < 0.06 else draw.choice(TYPES),
            actor_type="user",
            actor_id=f"b{number}" if draw.random() < 0.06 else f"a{draw.randint(0, 5)}",
            resource_type=draw.choice(("action_run", "artifact")),
            resource_id=uuid(draw.randint(1, 9) if draw.random() < 0.9 else number),
            occurred_at=START + draw.choice((number * MINUTE, draw.randint(0, 40 * DAY), draw.randint(0, 5) * DAY)),
            payload=b'{"n":%d}' % number,
            correlation_id=draw.choice((f"f{draw.randint(0, 6)}", None)),
            causation_id=uuid(cause) if cause else None,
        )

    async def announce(self, event_type: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Say in the log what is about to be removed."""
        self.sent += 1
        payload = json.dumps({"ranges": ranges}).encode()
        names = {"actor_type": "system", "actor_id": "whence", "resource_type": EVENT_LOG, "resource_id": uuid(7)}
        said = NewEvent(id=uuid(self.sent), event_type=event_type, occurred_at=ANNOUNCED_AT, payload=payload, **names)
        await self.store_all([said])

    def next_purge(self) -> Purge:
        """A purge of the beginning of the log, from which some events are held. It may go back to events that an
        earlier one held."""
        upto = min(self.size + 1, self.retained_from + self.random.randint(0, 40))
        since = self.random.choice((self.retained_from, self.random.randint(1, self.retained_from)))
        return Purge(since, upto, [position for position in range(since, upto) if self.random.random() < 0.15])

    async def purge(self, purge: Purge) -> None:
        """Remove events, after it was announced."""
        await self.announce(RETENTION_APPLIED, [(purge.since, purge.upto - 1)])
        kept = set(purge.keep)
        going = {
            event.position
            for event in self.left
            if purge.since <= event.position < purge.upto
            and event.position not in kept
            and event.resource_type != EVENT_LOG
        }
        assert await self.store.removals.purge(TENANT, purge, []) == len(going)
        self.left = [event for event in self.left if event.position not in going]
        self.retained_from = max(self.retained_from, purge.upto)

    async def erase(self) -> None:
        """Erase the payloads of some events, after it was announced."""
        positions = sorted({self.random.randint(1, self.size) for _ in range(5)})
        await self.announce(PAYLOAD_ERASED, [(position, position) for position in positions])
        at = 77 + self.size
        erased = await self.store.removals.erase_payloads(TENANT, positions, at, [])
        before = self.left
        self.left = [
            msgspec.structs.replace(event, payload=None, erased_at=at)
            if event.position in positions and event.resource_type != EVENT_LOG and event.payload is not None
            else event
            for event in before
        ]
        assert erased == sum(a is not b for a, b in zip(before, self.left, strict=True))

    async def check(self) -> None:
        """Compare every count and every list with the plain model."""
        model, store = WhatIsLeft(), self.store
        model.logs[TENANT] = self.left
        for fields in QUERIES:
            viewer, query = asked(fields)
            for ascending in (False, True):
                request = PageRequest(limit=1_000, ascending=ascending)
                found, exact = [await each.list_events(viewer, query, request) for each in (store, model)]
                assert (found.total, found.events) == (exact.total, exact.events), fields
            assert await store.count_events(viewer, query) == await model.count_events(viewer, query), fields
            assert await store.actor_stats(viewer, query) == await model.actor_stats(viewer, query), fields
        by_day = HistogramRequest(interval="1d")
        assert await store.histogram(VIEWER, Query(), by_day) == await model.histogram(VIEWER, Query(), by_day)
        for flows_asked in ({}, {"failed": True}, {"readable": ("artifact",)}):
            found, exact = [
                unnumbered(await each.list_flows(*asked_flows(flows_asked), PageRequest(limit=1_000)))
                for each in (store, model)
            ]
            assert [each.last_at for each in found.flows] == [each.last_at for each in exact.flows], flows_asked
            assert (found.total, by_name(found.flows)) == (exact.total, by_name(exact.flows)), flows_asked
        for since, until in ((None, None), (START + 3 * DAY, START + 35 * DAY)):
            maps = [await each.process_map(VIEWER, since, until) for each in (store, model)]
            assert same_map(*maps)
        found, exact = [await each.find_names(VIEWER, EVERYTHING) for each in (store, model)]
        assert sorted_kinds(found) == sorted_kinds(exact)
        head = await store.head(TENANT)
        assert head.payload_bytes == sum(len(event.payload or b"") for event in self.left)
        assert (head.size, head.retained_from) == (self.size, self.retained_from)


def by_name(flows: Sequence[Any]) -> list[Any]:
    """Flows by their correlation: those with the same last activity come as they first appeared, of which the plain
    model has lost the trace."""
    return sorted(flows, key=lambda flow: str(flow.correlation_id))


def sorted_kinds(found: Any) -> Any:
    """What was found, with its kinds in order."""
    return msgspec.structs.replace(found, kinds=sorted(found.kinds, key=msgspec.structs.astuple))
