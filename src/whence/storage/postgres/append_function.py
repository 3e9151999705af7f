"""A small append as one call of the function `append_events`, which migration 0004 makes.

The events are sequenced before the row lock on the tenant's head is taken, by the same code as ever, on assumptions
that hold for most appends: the log has none of these events, all of their kinds are known, no bucket divides and no
fold is due. The function checks them under the row lock. It fills in what is known only there: positions, the time of
recording, the numbers of names, and the correlation of an event that takes its cause's. If an assumption is wrong, it
has written nothing, and the statements of append.py do the work.

One call is a transaction of its own, so nothing else is sent before or after it.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from whence import rollups
from whence.events import Event
from whence.identities import earlier_spelling
from whence.integrity import SALT_SIZE, envelope_parts, hash_payload
from whence.storage import sequencing
from whence.storage.base import Receipt, Write
from whence.storage.postgres.append import Kinds, latest_removal
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import PostgresHeadRow, cause_id_from
from whence.storage.sequencing import ActorName, Batch, HeadDraft, KindName, measure_payloads, sequence_writes
from whence.storage.sql import load_blocks

__all__ = ["FUNCTION_EVENTS_MAX", "AppendCall", "prepare_call"]

_SQL = load_blocks("whence.storage.postgres")

FUNCTION_EVENTS_MAX = 64
"""An append of more events is left to the statements of append.py."""

_TIMEOUT_S = 10.0
"""As the timeout of a statement, which a transaction of its own does not set."""

_AWAITING = "\x00"
"""How the correlation of an event begins that takes its cause's. No real one has a control character."""


class _AssumedLog:
    """What the log is assumed to have of some events: their kinds and nothing else; see `sequencing.TenantLog`.

    Actors get numbers from 1 on, in order of appearance.
    """

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.new_kinds: Kinds = {}
        self.new_actors: dict[ActorName, int] = {}
        self.renamed: set[str] = set()
        self.causes: dict[str, str] = {}
        """The causes whose correlations are to be taken, by what stands for the correlation meanwhile."""

    def stored(self, _event_id: str) -> Event | None:
        """See `TenantLog`."""
        return None

    def kind(self, name: KindName) -> int | None:
        """See `TenantLog`."""
        return self.kinds.get(name)

    def actor(self, _name: ActorName) -> int | None:
        """See `TenantLog`."""
        return None

    def has_flow(self, _correlation_id: str) -> bool:
        """See `TenantLog`."""
        return False

    def correlation(self, event_id: str) -> str | None:
        """See `TenantLog`. What it returns for a cause that may be stored stands for the correlation of one event, and
        of those that take theirs from it."""
        if cause_id_from(event_id) is None:
            return None
        awaited = f"{_AWAITING}{len(self.causes)}"
        self.causes[awaited] = event_id
        return awaited


class AppendCall:
    """A call of the function: the events as they were sequenced, and the values of its parameters."""

    def __init__(self, batch: Batch, writes: Sequence[Write], values: tuple[Any, ...]) -> None:
        """Keep them."""
        self._batch = batch
        self._writes = writes
        self._values = values

    async def run(self, connection: Connection) -> list[list[Receipt]] | None:
        """Call the function, and return the receipts of each request. None if an assumption was wrong; nothing is
        written then."""
        size, recorded_at, flows = (await connection.fetch(_SQL["append_events"], *self._values, timeout=_TIMEOUT_S))[0]
        if size is None:
            return None
        events = self._batch.events
        correlations = flows or [event.correlation_id for event in events]
        receipts = iter(
            [
                Receipt(
                    msgspec.structs.replace(
                        event,
                        position=size + event.position,
                        recorded_at=recorded_at,
                        correlation_id=correlation_id,
                    )
                )
                for event, correlation_id in zip(events, correlations, strict=True)
            ]
        )
        return [[next(receipts) for _ in write.events] for write in self._writes]


def prepare_call(
    tenant: str, tenant_no: int, writes: Sequence[Write], kinds_version: int, removed_recorded_at: int, kinds: Kinds
) -> AppendCall | None:
    """The call that stores these requests, or None if it could not store each event as a new one of a known kind.

    `kinds` and `removed_recorded_at` are those of the tenant at `kinds_version`. A purge that removes kinds changes the
    version, and so does one that goes beyond the `latest_removal`. So the function uses no kind that is gone, and
    stores nothing that may have been removed meanwhile.
    """
    events = sum(len(write.events) for write in writes)
    if not 0 < events <= FUNCTION_EVENTS_MAX:
        return None
    removed = latest_removal(removed_recorded_at)
    head = HeadDraft(tenant, PostgresHeadRow(tenant_no, kinds=len(kinds), removed_recorded_at=removed))
    head.recorded_at = time.time_ns() // 1_000
    log = _AssumedLog(kinds)
    batch = Batch()
    sequence_writes(log, head, batch, writes)
    if log.new_kinds or len(batch.events) < events:  # some are refused, or repeat one before them
        return None
    salts = os.urandom(SALT_SIZE * events)
    salts_of = [salts[start : start + SALT_SIZE] for start in range(0, len(salts), SALT_SIZE)]
    parts = [_parts(event, salt) for event, salt in zip(batch.events, salts_of, strict=True)]
    if None in parts:
        return None
    measure_payloads(head, batch)
    values = (
        *(tenant_no, tenant, kinds_version, head.recorded_at, rollups.DIVIDE_AT, sequencing.FOLD_AT),
        *(head.payload_bytes, sequencing.ENVELOPE_VERSION),
        *_name_values(log, writes),
        *_event_values(log, batch),
        salts_of,
        [event.payload for event in batch.events],
        *zip(*parts, strict=True),
        *_bucket_values(batch.occurrences),
    )
    return AppendCall(batch, writes, values)


def _parts(event: Event, salt: bytes) -> tuple[bytes, bytes, bytes] | None:
    return envelope_parts(event, hash_payload(salt, event.payload or b""), sequencing.ENVELOPE_VERSION)


def _name_values(log: _AssumedLog, writes: Sequence[Write]) -> Iterable[Sequence[str]]:
    """Actors, and the earlier spellings of actors and of the flows that events were sent with."""
    sent = {new.correlation_id for write in writes for new in write.events if new.correlation_id is not None}
    actor_ids = [actor_id for actor_id, _ in log.new_actors]
    yield actor_ids
    yield [actor_type for _, actor_type in log.new_actors]
    for names in (actor_ids, sent):
        yield [earlier for name in names if (earlier := earlier_spelling(name)) is not None]


def _event_values(log: _AssumedLog, batch: Batch) -> Iterable[Sequence[Any]]:
    """The columns of the events from their ids to the causes, in the order of the parameters."""
    events = batch.events
    times, kinds, actors = zip(*batch.occurrences, strict=True)
    correlations = [event.correlation_id for event in events]
    inherits: list[str | None] = []
    if log.causes:
        inherits = [log.causes.get(correlation_id) for correlation_id in correlations]
        own: dict[str, str] = {}  # what an event takes whose cause is not stored, and all that take theirs from it
        correlations = [
            event.correlation_id if cause is None else own.setdefault(event.correlation_id, event.id)
            for event, cause in zip(events, inherits, strict=True)
        ]
    yield [event.id for event in events]
    yield from map(_literal, (times, kinds, actors))
    yield _literal(int(event.outcome == "failure") for event in events)
    yield from (correlations, inherits)
    yield [event.resource_id for event in events]
    yield [event.resource_type for event in events]
    yield [event.causation_id for event in events]
    yield [cause_id_from(event.causation_id) for event in events]


def _bucket_values(occurrences: Sequence[rollups.Occurrence]) -> tuple[Any, ...]:
    """The buckets that may count the events, and the path of each event through them; see the parameters."""
    levels: list[int] = []
    numbers: list[int] = []
    parents: list[int] = []
    counts: list[int] = []
    places: dict[tuple[int, int], int] = {}
    paths: dict[int, list[int]] = {}  # by the bucket of the last level
    ends = [rollups.bucket_of(rollups.LAST_LEVEL, occurred_at) for occurred_at, _, _ in occurrences]
    for end, (occurred_at, _, _) in zip(ends, occurrences, strict=True):
        if end in paths:
            continue
        path = paths[end] = []
        for level in range(rollups.LAST_LEVEL + 1):
            name = level, rollups.bucket_of(level, occurred_at)
            if name not in places:
                places[name] = len(places) + 1
                levels.append(level)
                numbers.append(name[1])
                parents.append(path[-1] if path else 0)
                counts.append(0)
            path.append(places[name])
    for end, events in Counter(ends).items():
        for place in paths[end]:
            counts[place - 1] += events
    texts = {end: ",".join(map(str, path)) for end, path in paths.items()}
    columns = map(_literal, (levels, numbers, parents, counts))
    return rollups.LAST_LEVEL + 1, *columns, "{" + ",".join([texts[end] for end in ends]) + "}"


def _literal(numbers: Iterable[int]) -> str:
    """An array of integers as the server's text, since the driver takes long for each item of an array."""
    return "{" + ",".join(map(str, numbers)) + "}"
