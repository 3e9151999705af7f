"""Checking a whole file: every stored event against its hash, every hash against the tree, every count against the
events, and the file as a whole against the record of what was acknowledged. Reads only; may run beside the server, and
then speaks of one snapshot.
"""

from collections.abc import Callable, Iterator
from typing import Any

import apsw

from whence import rollups, transitions
from whence.errors import StoreRefused
from whence.flows import TransitionsByDay
from whence.storage.sql import load_blocks
from whence.storage.sqlite.actor_totals import outcomes_of, unfolded_events
from whence.storage.sqlite.connection import close_untouched
from whence.storage.sqlite.highwater import Mark, is_behind, mark_of, recorded_mark
from whence.storage.sqlite.rows import POSITION_MASK, event_from
from whence.storage.verification import (
    ACTORS_WRONG,
    CAUSES_WRONG,
    FINDINGS_MAX,
    TIMES_WRONG,
    Chain,
    Finding,
    Level,
    Report,
    add_transitions,
    counted_wrong,
    stored_transitions,
)

__all__ = ["verify"]

_SQL = load_blocks("whence.storage.sqlite")


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
            self._guarded(tenant, self._transitions_of, tenant, head[0])
        self._guarded("", self._strays)
        self._guarded("", self._file)
        return Report(len(tenants), self.events, self.roots, self.findings[:FINDINGS_MAX])

    def _guarded(self, tenant: str, check: Callable[..., None], *arguments: Any) -> None:
        """Run one check; what makes it fail is a finding too."""
        try:
            check(*arguments)
        except (apsw.Error, ValueError, TypeError, OverflowError) as error:
            self._find(tenant, None, f"its rows cannot be read ({type(error).__name__})")

    def _find(self, tenant: str, position: int | None, what: str) -> None:
        self._note(Finding(tenant, position, what))

    def _note(self, finding: Finding | None) -> None:
        if finding is not None and len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    def _record(self) -> None:
        """The last commit of the file against the record beside it, where there is one."""
        mark = mark_of(self.connection)
        if self.recorded is not None and (mark is None or is_behind(mark, self.recorded)):
            self._find("", None, "the store is behind what it has acknowledged")

    def _events_of(self, tenant: str, head: list[Any]) -> None:
        """Every event of a tenant, in order, against its leaf; the leaves against the head."""
        tenant_no, *told = head
        chain = Chain(tenant, event_from)
        for key, row, *hashes in self._rows(tenant_no):
            found = chain.add(key & POSITION_MASK, row, *hashes)
            if found:
                self._note(found)
                return
            self.events += 1
            if self.events % 10_000 == 0:
                self.progress(self.events)
        self._note(chain.end(*told))
        self.roots[tenant] = chain.tree.root().hex()

    def _rows(self, tenant_no: int) -> Iterator[tuple[int, Any, Any, Any, Any]]:
        """Key, `full_event` row, salt, payload hash and leaf of each event; no row for one without its names."""
        for key, *hashes in self.connection.execute(_SQL["hashes"], (tenant_no,)):
            rows: list[Any] = self.connection.execute(_SQL["full_event"] + " WHERE e.key = ?", (key,)).fetchall()
            yield key, rows[0] if rows else None, *hashes

    def _counts_of(self, tenant: str, tenant_no: int) -> None:
        """Rollups and the rows of flows and resources against a count over the events."""
        for what in ("flows", "resources", "names"):
            if self.connection.execute(_SQL[f"wrong_{what}"], {"tenant_no": tenant_no}).fetchone():
                self._find(tenant, None, counted_wrong(what))
        divided = {(0, 0)}
        folded: Any = self.connection.execute(_SQL["fold_state"], (tenant_no,)).fetchone()
        folded_to, highest = folded
        outcomes = outcomes_of(self.connection, tenant_no)
        new = unfolded_events(self.connection, tenant_no, folded_to, outcomes)
        for level in range(rollups.LAST_LEVEL + 1):
            counted = Level(level, divided)
            if divided:
                counted.add(self.connection.execute(_SQL["times"], (tenant_no,)))
            of_level = (tenant_no, level)
            buckets: list[Any] = self.connection.execute(_SQL["all_buckets"], of_level).fetchall()
            actors = self.connection.execute(_SQL["all_rollup_actor"], of_level)
            if not counted.agrees(actors, self.connection.execute(_SQL["all_rollup_kind"], of_level), buckets):
                self._find(tenant, None, TIMES_WRONG)
                return
            divided = {(level, bucket) for bucket, _, is_divided in buckets if is_divided}
            totals = self.connection.execute(_SQL["all_actor_totals"], of_level)
            if not counted.totals_agree(totals, {bucket for _, bucket in divided}, new, outcomes, highest):
                self._find(tenant, None, ACTORS_WRONG)
                return

    def _transitions_of(self, tenant: str, tenant_no: int) -> None:
        """What led to what, as it is counted, against the events and their causes."""
        by_day: TransitionsByDay = {}
        add_transitions(by_day, self.connection.execute(_SQL["folded_transitions"], (tenant_no,)))
        found = stored_transitions(self.connection.execute(_SQL["all_transitions"], (tenant_no,)))
        wanted = transitions.by_bucket(by_day)
        if found != wanted or self.connection.execute(_SQL["wrong_fold"], (tenant_no,)).fetchone():
            self._find(tenant, None, CAUSES_WRONG)

    def _strays(self) -> None:
        """Rows that belong to no tenant."""
        if self.connection.execute(_SQL["strays"]).fetchone():
            self._find("", None, "there are events of no tenant")

    def _file(self) -> None:
        """What SQLite itself can tell of the file: pages, order, indexes."""
        said = self.connection.execute("PRAGMA integrity_check(1)").get
        if said != "ok":
            self._find("", None, "the file is damaged, says SQLite's integrity check")
