"""Verifying a file: every event against its hash, every hash against the tree, every count against the events, and the
file against the record of what was acknowledged. Reads only, in one snapshot, and may run beside the server.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import apsw

from whence.errors import StoreRefused
from whence.merkle import HASH_SIZE
from whence.storage.payload_index import check_payload_fields
from whence.storage.rows import FullEventRow, HashRow, HeadRow
from whence.storage.sql import load_blocks
from whence.storage.sqlite.connection import (
    close_untouched,
    is_of_earlier_release,
    is_unfinished,
    no_file,
    real_path,
    reason_of,
    refusing,
    schema_difference,
    unusable,
)
from whence.storage.sqlite.highwater import Mark, is_behind, mark_of, recorded_mark
from whence.storage.sqlite.rows import event_from, head_row, number_of
from whence.storage.verification import (
    Chain,
    Check,
    EachRow,
    Finding,
    Findings,
    Report,
    Rows,
    check_counts,
    check_tiles,
    check_transitions,
)
from whence.storage.walks import run_walk
from whence.tiles import TILE_WIDTH

__all__ = ["verify"]

_SQL = load_blocks("whence.storage.sqlite")


def verify(path: str, progress: Callable[[int], None] | None = None) -> Report:
    """Check the file at `path`. `progress` is called with the number of events read, now and then.

    Raises StoreRefused when there is no readable log at `path`, or one of an earlier release.
    """
    path = real_path(path)
    recorded = recorded_mark(path)  # before the snapshot, since a server may commit in between
    if not os.path.exists(path):
        raise StoreRefused(no_file(path))
    with refusing(path):
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(5_000)
        connection.execute("BEGIN")
        if is_of_earlier_release(connection):
            raise StoreRefused(
                "An earlier release of Whence made this file. 'whence serve' and 'whence key list' migrate it when "
                "they open it; then verify it again. 'whence restore' takes it as it is."
            )
        return _Verification(connection, recorded, Findings(progress)).run()
    except apsw.Error as error:
        return Report(0, 0, {}, [Finding("", None, unusable(path, error))])
    finally:
        close_untouched(connection)


class _Verification:
    def __init__(self, connection: apsw.Connection, recorded: Mark | None, findings: Findings) -> None:
        self._connection = connection
        self._recorded = recorded
        self._findings = findings

    def run(self) -> Report:
        """Check the record, each tenant, and then the file as a whole."""
        try:
            tenants: list[Any] = self._connection.execute(_SQL["tenants"]).fetchall()
        except apsw.SQLError as error:
            raise StoreRefused("This SQLite file holds no log of Whence. Check --store or WHENCE_STORE.") from error
        self._guarded("", self._check_schema)
        self._guarded("", self._check_record)
        self._guarded("", self._check_restore)
        for tenant, _ in tenants:
            head = head_row(self._connection, tenant)
            if head is not None:
                self._guarded(tenant, partial(self._check_log, tenant, head))
                report = partial(self._findings.add, tenant, None)
                self._guarded(tenant, partial(self._run_check, check_counts(head, report), head))
                self._guarded(tenant, partial(self._run_check, check_transitions(head, report), head))
                self._guarded(tenant, partial(self._run_check, check_payload_fields(head.size, report), head))
        self._guarded("", self._check_strays)
        self._guarded("", self._check_file)
        return self._findings.report(len(tenants))

    def _guarded(self, tenant: str, check: Callable[[], None]) -> None:
        """Run one check; an error that it fails with is a finding."""
        try:
            check()
        except apsw.Error as error:
            self._findings.add_unreadable(tenant, reason_of(error))
        except (ValueError, TypeError, OverflowError):
            self._findings.add_unreadable(tenant)

    def _check_schema(self) -> None:
        """The schema against the one that this release makes."""
        difference = schema_difference(self._connection)
        for fault in difference.faults:
            self._findings.add("", None, f"the file's schema: {fault}")
        for note in difference.notes:
            self._findings.note(f"the file's schema: {note}, and does no harm")

    def _check_record(self) -> None:
        """The file's last commit against the high-water record beside it, where there is one."""
        mark = mark_of(self._connection)
        if self._recorded is not None and (mark is None or is_behind(mark, self._recorded)):
            self._findings.add("", None, "the store is behind what it has acknowledged")

    def _check_restore(self) -> None:
        """Whether what was erased before a restore is erased again."""
        if is_unfinished(self._connection):
            what = "its restore was interrupted, so it may have what was erased; run 'whence restore' again"
            self._findings.add("", None, what)

    def _check_log(self, tenant: str, head: HeadRow) -> None:
        """Each event in order against its leaf, and the head against the leaves."""
        chain = Chain(tenant, head, event_from)
        for hashes, row in self._events_of(head.tenant_no):
            position = number_of(hashes.number)
            self._add_tiles(chain, head, position)
            if not self._findings.add_event(chain.add(position, row, hashes)):
                return
        self._add_tiles(chain, head, head.size + 1)
        self._findings.add_log(chain, head)
        self._run_check(check_tiles(head, chain.full_tiles, partial(self._findings.add, tenant, None)), head)

    def _add_tiles(self, chain: Chain, head: HeadRow, position: int) -> None:
        """Add the leaves before an event whose own events are gone."""
        while (number := chain.tile_before(position)) is not None:
            hashes: Any = self._connection.execute(_SQL["tile"], (head.tenant_no, 0, number, TILE_WIDTH * HASH_SIZE))
            chain.add_tile(number, hashes.get or b"")

    def _events_of(self, tenant_no: int) -> Iterator[tuple[HashRow, FullEventRow | None]]:
        """The hashes and the `full_event` row of each event, which is None when a name is missing."""
        hashes: Any = self._connection.execute(_SQL["hashes"], (tenant_no,))
        for each in map(HashRow._make, hashes):
            row: Any = self._connection.execute(_SQL["full_event"] + " WHERE e.key = ?", (each.number,)).fetchone()
            yield each, None if row is None else FullEventRow(*row)

    def _run_check(self, check: Check, head: HeadRow) -> None:
        def answer(question: Rows | EachRow) -> Any:
            rows: Any = self._connection.execute(_SQL[question.block], (head.tenant_no, *question.values))
            return rows.fetchall() if isinstance(question, Rows) else question.take(rows)

        run_walk(check, answer)

    def _check_strays(self) -> None:
        """Events that belong to no tenant."""
        if self._connection.execute(_SQL["strays"]).fetchone():
            self._findings.add("", None, "there are events of no tenant")

    def _check_file(self) -> None:
        """Pages, order and indexes, by SQLite's own check."""
        result = self._connection.execute("PRAGMA integrity_check(1)").get
        if result != "ok":
            self._findings.add("", None, "the file is damaged, says SQLite's integrity check")
