"""Checking a whole file: every stored event against its hash, every hash against the tree, every count against the
events, and the file as a whole against the record of what was acknowledged. Reads only; may run beside the server, and
then speaks of one snapshot.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import apsw
import msgspec

from whence import delays, links, rollups
from whence.errors import StoreRefused
from whence.flows import DAY_US
from whence.merkle import CompactRange, leaf_hash
from whence.storage.sql import load_blocks
from whence.storage.sqlite.connection import close_untouched
from whence.storage.sqlite.highwater import Mark, is_behind, mark_of, recorded_mark
from whence.storage.sqlite.rows import POSITION_MASK, event_from
from whence.wire.envelope import envelope

__all__ = ["Finding", "Report", "verify"]

_SQL = load_blocks("whence.storage.sqlite")

_FINDINGS_MAX = 20


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it was written: where and what. `position` is None when it is no single event."""

    tenant: str
    position: int | None
    what: str


class Report(msgspec.Struct, frozen=True):
    """What a check read, and what it found wrong; at most 20 findings, the first bad position of each tenant first."""

    tenants: int
    events: int
    roots: dict[str, str]
    findings: list[Finding]

    @property
    def sound(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings


def verify(path: str, progress: Callable[[int], None] | None = None) -> Report:
    """Check the file at `path`. `progress` is told how many events were read, now and then.

    Raises StoreRefused when there is no readable log at `path`.
    """
    recorded = recorded_mark(path)  # before the snapshot, which a server beside this may take further
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error as error:
        raise StoreRefused("There is no SQLite file that can be opened under this name.") from error
    try:
        connection.set_busy_timeout(5_000)
        connection.execute("BEGIN")
        return _Check(connection, recorded, progress or (lambda _events: None)).run()
    except apsw.Error as error:
        return Report(0, 0, {}, [Finding("", None, f"the file cannot be read ({type(error).__name__})")])
    finally:
        close_untouched(connection)


class _Check:
    def __init__(self, connection: apsw.Connection, recorded: Mark | None, progress: Callable[[int], None]) -> None:
        self.connection = connection
        self.recorded = recorded
        self.progress = progress
        self.events = 0
        self.roots: dict[str, str] = {}
        self.findings: list[Finding] = []

    def run(self) -> Report:
        """Look at every tenant, then at the file as SQLite sees it."""
        try:
            tenants: list[Any] = self.connection.execute(_SQL["tenants"]).fetchall()
        except apsw.SQLError as error:
            raise StoreRefused("This SQLite file holds no log of Whence.") from error
        self._guarded("", self._record)
        for tenant, *head in tenants:
            self._guarded(tenant, self._events_of, tenant, head)
            self._guarded(tenant, self._counts_of, tenant, head[0])
            self._guarded(tenant, self._links_of, tenant, head[0])
        self._guarded("", self._strays)
        self._guarded("", self._file)
        return Report(len(tenants), self.events, self.roots, self.findings[:_FINDINGS_MAX])

    def _guarded(self, tenant: str, check: Callable[..., None], *arguments: Any) -> None:
        """Run one check; what makes it fail is a finding too."""
        try:
            check(*arguments)
        except (apsw.Error, ValueError, TypeError, OverflowError) as error:
            self._find(tenant, None, f"its rows cannot be read ({type(error).__name__})")

    def _find(self, tenant: str, position: int | None, what: str) -> None:
        if len(self.findings) < _FINDINGS_MAX:
            self.findings.append(Finding(tenant, position, what))

    def _record(self) -> None:
        """The last commit of the file against the record beside it, where there is one."""
        mark = mark_of(self.connection)
        if self.recorded is not None and (mark is None or is_behind(mark, self.recorded)):
            self._find("", None, "the store is behind what it has acknowledged")

    def _events_of(self, tenant: str, head: list[Any]) -> None:
        """Every event of a tenant, in order, against its leaf; the leaves against the head."""
        tenant_no, size, recorded_at, packed = head
        tree, earlier = CompactRange(), 0
        for row, salt, payload_hash, leaf in self._rows(tenant_no):
            position = row[0] & POSITION_MASK
            if position != tree.size + 1:
                self._find(tenant, tree.size + 1, "the event is missing")
                return
            what = _fault(tenant, row, salt, payload_hash, leaf, earlier)
            if what:
                self._find(tenant, position, what)
                return
            tree.append(leaf)
            earlier = row[11]
            self.events += 1
            if self.events % 10_000 == 0:
                self.progress(self.events)
        if tree.size != size:
            self._find(tenant, tree.size + 1, "the event is missing" if tree.size < size else "there are more events")
        elif tree.packed() != packed or recorded_at != earlier:
            self._find(tenant, None, "the head does not belong to the events")
        self.roots[tenant] = tree.root().hex()

    def _rows(self, tenant_no: int) -> Iterator[tuple[tuple[Any, ...], Any, Any, Any]]:
        """Each event's `full_event` row, then salt, payload hash and leaf. An event without its names stays visible."""
        for key, salt, payload_hash, leaf in self.connection.execute(_SQL["hashes"], (tenant_no,)):
            rows: list[Any] = self.connection.execute(_SQL["full_event"] + " WHERE e.key = ?", (key,)).fetchall()
            yield (rows[0] if rows else (key,)), salt, payload_hash, leaf

    def _counts_of(self, tenant: str, tenant_no: int) -> None:
        """Rollups and the rows of flows and resources against a count over the events."""
        for name in ("wrong_flows", "wrong_resources", "wrong_names"):
            if self.connection.execute(_SQL[name], {"tenant_no": tenant_no}).fetchone():
                self._find(tenant, None, f"{name.removeprefix('wrong_')} are counted wrong")
        divided = {(0, 0)}
        for level in range(rollups.LAST_LEVEL + 1):
            wanted = self._raw_counts(tenant_no, level, divided)
            found: dict[tuple[int, ...], int] = {}
            for bucket, actor, kind, events in self.connection.execute(_SQL["all_rollup_actor"], (tenant_no, level)):
                found[bucket, actor, kind] = events
            by_kind = _summed(found, lambda name: (name[0], name[2]))
            kinds = {(b, k): n for b, k, n in self.connection.execute(_SQL["all_rollup_kind"], (tenant_no, level))}
            rows: list[Any] = self.connection.execute(_SQL["all_buckets"], (tenant_no, level)).fetchall()
            buckets = {(bucket,): events for bucket, events, _ in rows}
            if found != wanted or kinds != by_kind or buckets != _summed(by_kind, lambda name: name[:1]):
                self._find(tenant, None, "events are counted wrong by time")
                return
            divided = {(level, bucket) for bucket, _, is_divided in rows if is_divided}

    def _links_of(self, tenant: str, tenant_no: int) -> None:
        """What led to what, as it is counted, against the events and their causes."""
        by_day: dict[int, Counter[int]] = {}
        for effect_at, cause_at, cause, effect in self.connection.execute(_SQL["linked"], (tenant_no,)):
            name = links.name_of(cause, effect, delays.bucket_of(effect_at - cause_at))
            by_day.setdefault(effect_at // DAY_US, Counter())[name] += 1
        wanted = links.by_bucket(by_day)
        found: dict[tuple[int, int], links.Links] = {}
        for level, bucket, packed in self.connection.execute(_SQL["all_links"], (tenant_no,)):
            found[level, bucket] = links.summed([packed], found.get((level, bucket)))
        if found != wanted or self.connection.execute(_SQL["wrong_fold"], (tenant_no,)).fetchone():
            self._find(tenant, None, "causes and effects are counted wrong")

    def _raw_counts(self, tenant_no: int, level: int, divided: set[tuple[int, int]]) -> dict[tuple[int, ...], int]:
        """Events by bucket, actor and kind, in the buckets whose parents are divided."""
        counts: dict[tuple[int, ...], int] = {}
        if not divided:
            return counts
        for occurred_at, actor, kind in self.connection.execute(_SQL["times"], (tenant_no,)):
            if level and (level - 1, rollups.bucket_of(level - 1, occurred_at)) not in divided:
                continue
            name = (rollups.bucket_of(level, occurred_at), actor, kind)
            counts[name] = counts.get(name, 0) + 1
        return counts

    def _strays(self) -> None:
        """Rows that belong to no tenant."""
        if self.connection.execute(_SQL["strays"]).fetchone():
            self._find("", None, "there are events of no tenant")

    def _file(self) -> None:
        """What SQLite itself can tell of the file: pages, order, indexes."""
        said = self.connection.execute("PRAGMA integrity_check(1)").get
        if said != "ok":
            self._find("", None, "the file is damaged, says SQLite's integrity check")


def _fault(
    tenant: str, row: tuple[Any, ...], salt: bytes | None, payload_hash: bytes | None, leaf: bytes, earlier: int
) -> str:
    """What is wrong with one event, or an empty text."""
    if len(row) == 1:
        return "the names of the event are missing"
    payload = row[12]
    if payload is not None and salt is not None:
        payload_hash = sha256(salt + payload).digest()
    if payload_hash is None:
        return "the payload is missing"
    if row[11] < earlier:
        return "the event was recorded before the one in front of it"
    try:
        event = event_from(tenant, row)
        if leaf_hash(envelope(event, payload_hash.hex())) == leaf:
            return ""
    except (ValueError, TypeError, OverflowError, AttributeError):
        pass
    return "the event does not belong to its hash"


def _summed(
    counts: dict[tuple[int, ...], int], key: Callable[[tuple[int, ...]], tuple[int, ...]]
) -> dict[tuple[int, ...], int]:
    sums: dict[tuple[int, ...], int] = {}
    for name, events in counts.items():
        sums[key(name)] = sums.get(key(name), 0) + events
    return sums
