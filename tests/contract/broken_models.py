"""Models that are each broken in one way. They are mutants too: a test has to fail on each of them."""

import time
from collections.abc import Sequence

import msgspec

from tests.contract.made import TENANT
from tests.contract.model import ModelStore
from whence.errors import WhenceError
from whence.events import ActorStat, Event, NewEvent, PageRequest, Query, Viewer
from whence.histograms import INTERVALS_US, HistogramRequest, TimeGrid, TimeHistogram
from whence.permissions import ApiKey
from whence.storage import Receipt, Session, Write
from whence.storage.base import Head
from whence.storage.credentials import KeyPlace


class UntilIncluded(ModelStore):
    def is_within(self, event: Event, query: Query) -> bool:
        return super().is_within(event, query) or event.occurred_at == query.until


class SinceExcluded(ModelStore):
    def is_within(self, event: Event, query: Query) -> bool:
        return super().is_within(event, query) and event.occurred_at != query.since


class TiesByChance(ModelStore):
    """Ties are ordered by id."""

    def place_of(self, event: Event) -> tuple[int, int]:
        return event.occurred_at, -int(event.id[-4:], 16)


class LateEventsLast(ModelStore):
    """Lists are ordered by recordedAt."""

    def place_of(self, event: Event) -> tuple[int, int]:
        return event.position, event.position


class OneLogForAll(ModelStore):
    """An id that one tenant uses is taken for all tenants."""

    def find(self, _tenant: str, _log: list[Event], event_id: str) -> Event | None:
        return next((event for log in self.logs.values() for event in log if event.id == event_id), None)


class OnePositionForAll(ModelStore):
    """All tenants share one sequence of positions."""

    def next_position(self, tenant: str, log: list[Event]) -> int:
        return len(log) + 1 + sum(len(each) for name, each in self.logs.items() if name != tenant)


class Gaps(ModelStore):
    """A refused event uses up a position."""

    refused_events = 0

    def next_position(self, tenant: str, log: list[Event]) -> int:
        return super().next_position(tenant, log) + self.refused_events

    def conflicting(self, log: list[Event], new: NewEvent, stored: Event, different: list[str]) -> Receipt:
        self.refused_events += 1
        return super().conflicting(log, new, stored, different)


class Overwriting(ModelStore):
    """A repeat overwrites the stored event."""

    def conflicting(self, log: list[Event], new: NewEvent, stored: Event, _different: list[str]) -> Receipt:
        fields = {name: getattr(new, name) for name in NewEvent.__struct_fields__ if getattr(new, name) is not None}
        log[stored.position - 1] = msgspec.structs.replace(stored, **fields)
        return Receipt(log[stored.position - 1], replayed=True)


class FirstWins(ModelStore):
    """Other content under a known id is treated as a repeat."""

    def differing(self, _sent: NewEvent, _stored: Event) -> list[str]:
        return []


class LeftOutIsNull(ModelStore):
    """A field that a repeat leaves out equals only a stored null, and not a derived value."""

    def differing(self, sent: NewEvent, stored: Event) -> list[str]:
        left_out = [name for name in ("correlation_id", "outcome") if getattr(sent, name) is None]
        return super().differing(sent, stored) + left_out


class PayloadByNumber(ModelStore):
    """1 and 1.0 are equal."""

    def same_payload(self, sent: bytes, stored: bytes) -> bool:
        return bool(msgspec.json.decode(sent) == msgspec.json.decode(stored))


class PayloadByText(ModelStore):
    """Payloads with their keys in another order differ."""

    def same_payload(self, sent: bytes, stored: bytes) -> bool:
        return sent == stored


class PayloadWrittenAnew(ModelStore):
    def kept_payload(self, payload: bytes) -> bytes:
        return msgspec.json.encode(msgspec.json.decode(payload))


class HalfAtomic(ModelStore):
    """The events before the bad one are kept."""

    def refused(self, tenant: str, log: list[Event], index: int, error: WhenceError) -> WhenceError:
        self.logs[tenant] = log
        return super().refused(tenant, log, index, error)


class NamelessRefusal(ModelStore):
    """The error of an atomic request does not name the event."""

    def refused(self, tenant: str, log: list[Event], _index: int, error: WhenceError) -> WhenceError:
        return super().refused(tenant, log, 0, error)


class AlwaysAtomic(ModelStore):
    def store(self, tenant: str, write: Write) -> list[Receipt] | WhenceError:
        return super().store(tenant, Write(write.events, atomic=True))


class ByTime(ModelStore):
    """The positions of a batch follow the times of its events."""

    def store(self, tenant: str, write: Write) -> list[Receipt] | WhenceError:
        return super().store(tenant, Write(tuple(sorted(write.events, key=lambda e: e.occurred_at)), write.atomic))


class NeverInheriting(ModelStore):
    def correlation(self, _tenant: str, _log: list[Event], new: NewEvent) -> str:
        return new.correlation_id or new.id


class InheritingFromNothing(ModelStore):
    """An event inherits the id of an unknown cause as its correlation."""

    def correlation(self, tenant: str, log: list[Event], new: NewEvent) -> str:
        found = super().correlation(tenant, log, new)
        return new.causation_id if found == new.id and new.causation_id else found


class ColdOutcome(ModelStore):
    """The outcome is never derived."""

    def outcome(self, new: NewEvent) -> str:
        return new.outcome or "none"


class DeafOutcome(ModelStore):
    """The outcome that the client sent is ignored."""

    def outcome(self, new: NewEvent) -> str:
        return super().outcome(msgspec.structs.replace(new, outcome=None))


class ClockFollower(ModelStore):
    def recorded_at(self, _log: list[Event]) -> int:
        return time.time_ns() // 1_000


class OneKindMore(ModelStore):
    def is_kind_too_many(self, log: list[Event], event: Event) -> bool:
        self.kinds_max += 1
        try:
            return super().is_kind_too_many(log, event)
        finally:
            self.kinds_max -= 1


class FilterIgnored(ModelStore):
    """One filter is ignored; a subclass is made for each field."""

    ignored = ""

    def is_one_of(self, field: str, value: str | None, wanted: tuple[str, ...]) -> bool:
        return field == self.ignored or super().is_one_of(field, value, wanted)


def ignoring(field: str) -> type[ModelStore]:
    """A model that ignores this filter."""
    return type(f"ignores_{field}", (FilterIgnored,), {"ignored": field})


class AllValues(ModelStore):
    """Several values of one filter are combined with AND."""

    def is_one_of(self, _field: str, value: str | None, wanted: tuple[str, ...]) -> bool:
        return all(value == each for each in wanted)


class PrefixOrTypeAlone(ModelStore):
    """With a prefix, the exact event types in the same query are ignored."""

    def has_type(self, event: Event, query: Query) -> bool:
        return super().has_type(
            event, msgspec.structs.replace(query, event_types=()) if query.event_type_prefixes else query
        )


class PrefixOfLetters(ModelStore):
    def has_type(self, event: Event, query: Query) -> bool:
        prefixes = tuple(prefix.rstrip(".") for prefix in query.event_type_prefixes)
        return super().has_type(event, msgspec.structs.replace(query, event_type_prefixes=prefixes))


class ReadsAll(ModelStore):
    def may_read(self, _event: Event, _readable: tuple[str, ...] | None) -> bool:
        return True


class EmptyIsAll(ModelStore):
    """An empty set of readable types means no limit."""

    def may_read(self, event: Event, readable: tuple[str, ...] | None) -> bool:
        return not readable or super().may_read(event, readable)


class SnapshotOfNow(ModelStore):
    def snapshot(self, found: list[Event], _as_of: int) -> list[Event]:
        return found


class AnySnapshot(ModelStore):
    def pinned(self, size: int, as_of: int | None) -> int:
        return size if as_of is None else as_of


class WalkOneShort(ModelStore):
    """Deep offsets start one event early."""

    def page(self, found: list[Event], request: PageRequest) -> list[Event]:
        return super().page(
            found, msgspec.structs.replace(request, offset=max(0, request.offset - (request.offset > 3)))
        )


class TotalOfThePage(ModelStore):
    def total(self, found: list[Event], request: PageRequest) -> int:
        return len(self.page(found, request))


class TotalCut(ModelStore):
    def total(self, found: list[Event], _request: PageRequest) -> int:
        return min(len(found), 10)


class TimeIsThePlace(ModelStore):
    """The next page continues after a time, so it skips the rest of a tie."""

    def page(self, found: list[Event], request: PageRequest) -> list[Event]:
        if request.after is None:
            return super().page(found, request)
        at = request.after.time
        rest = [e for e in found if (e.occurred_at > at if request.ascending else e.occurred_at < at)]
        return rest[: request.limit]


class WordsUnsorted(ModelStore):
    def by_word(self, found: list[Event], field: str) -> list[tuple[str, int]]:
        return sorted(super().by_word(found, field))


class RankedByName(ModelStore):
    def rank(self, stat: ActorStat) -> tuple[int | str, ...]:
        return stat.actor_id, stat.actor_type


class StatisticsCut(ModelStore):
    async def actor_stats(self, viewer: Viewer, query: Query) -> list[ActorStat]:
        return (await super().actor_stats(viewer, query))[:1_000]


class RevokedAnew(ModelStore):
    async def revoke_key(self, tenant: str, key_id: str, at: int) -> bool:
        done = await super().revoke_key(tenant, key_id, at)
        self.change_key(key_id, lambda _key: {"revoked_at": at})
        return done


class SecretById(ModelStore):
    """A session outlives its revoked key."""

    async def revoke_key(self, tenant: str, key_id: str, at: int) -> bool:
        kept = self.sessions
        done = await super().revoke_key(tenant, key_id, at)
        self.sessions = kept
        return done


class SessionsPileUp(ModelStore):
    async def put_session(self, session: Session) -> None:
        self.sessions[session.hash] = session


class SessionTakenTwice(ModelStore):
    async def take_session(self, session_hash: bytes) -> Session | None:
        return self.sessions.get(session_hash)


class ForgetfulLogout(ModelStore):
    async def end_session(self, _session_hash: bytes) -> None:
        return None


class KeysByName(ModelStore):
    async def list_keys(self, tenant: str, after: KeyPlace | None = None, limit: int | None = None) -> list[ApiKey]:
        return sorted(await super().list_keys(tenant, after, limit), key=lambda key: key.id)


class LiveKeysOnly(ModelStore):
    """Revoked keys are not found."""

    async def find_key(self, key_hash: bytes) -> ApiKey | None:
        found = await super().find_key(key_hash)
        return None if found is None or found.revoked_at is not None else found


class HeadBehind(ModelStore):
    """The root does not include the last event."""

    def root(self, log: list[Event]) -> bytes:
        return super().root(log[:-1])


class ReplaysMeasured(ModelStore):
    """The bytes of an event that is sent again are counted again."""

    sent = 0

    async def append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        if tenant == TENANT:
            self.sent += sum(len(event.payload) for write in writes for event in write.events)
        return await super().append(tenant, writes)

    async def head(self, tenant: str) -> Head:
        return msgspec.structs.replace(await super().head(tenant), payload_bytes=self.sent)


class WeeksFromThursday(ModelStore):
    """Buckets are counted from 1970-01-01."""

    def grid(self, since: int, until: int, interval: str | None) -> TimeGrid:
        grid = super().grid(since, until, interval)
        return msgspec.structs.replace(grid, start=since // grid.width * grid.width)


class BucketsFromTheFirstEvent(ModelStore):
    """The first bucket begins where the range does."""

    def bucket(self, grid: TimeGrid, time_us: int) -> int:
        return min((time_us - grid.start + 1) // grid.width, grid.buckets - 1)


class OtherIsLost(ModelStore):
    """What is beyond the most frequent event types is not counted."""

    async def histogram(self, viewer: Viewer, query: Query, request: HistogramRequest) -> TimeHistogram:
        found = await super().histogram(viewer, query, request)
        return msgspec.structs.replace(found, keys=[key for key in found.keys if key[0] != "other"])


class AnyInterval(ModelStore):
    """A histogram has as many buckets as are asked for."""

    def grid(self, since: int, until: int, interval: str | None) -> TimeGrid:
        width = INTERVALS_US[interval or "1d"]
        return TimeGrid(interval or "1d", since, width, (until - since) // width + 1)


class LateEventsUncounted(ModelStore):
    """A histogram has only the events that were stored in order of time."""

    async def histogram(self, viewer: Viewer, query: Query, request: HistogramRequest) -> TimeHistogram:
        log = self.logs.get(viewer.tenant, [])
        kept = [event for number, event in enumerate(log) if not number or event.occurred_at >= log[0].occurred_at]
        self.logs[viewer.tenant] = kept
        try:
            return await super().histogram(viewer, query, request)
        finally:
            self.logs[viewer.tenant] = log
