"""What each actor did, in packed sets: folded a few thousand events at a time, and summed over a range of time."""

from collections.abc import Iterable, Mapping
from typing import Any

import apsw

from whence import rollups
from whence.actor_totals import ActorTotals, UnfoldedEvents, by_outcome, pack, summed
from whence.storage.folding import BucketName, Divided, SetStatements, count_divided_buckets
from whence.storage.query_deadline import check_deadline
from whence.storage.resolve import Snapshot
from whence.storage.sequencing import HeadDraft
from whence.storage.sql import load_blocks
from whence.storage.sqlite.packed_sets import fold_counts
from whence.storage.sqlite.rows import key_of
from whence.storage.walks import run_walk

__all__ = ["add_span", "fold_actor_totals", "outcomes_of", "total_divided_bucket", "unfolded_events"]

_SQL = load_blocks("whence.storage.sqlite")


def unfolded_events(
    connection: apsw.Connection, tenant_no: int, folded_to: int, outcomes: Mapping[int, str]
) -> UnfoldedEvents:
    """The events after the position `folded_to`. `outcomes` by kind."""
    rows: list[Any] = connection.execute(_SQL["unfolded_events"], (tenant_no, folded_to)).fetchall()
    return UnfoldedEvents(rows, outcomes)


def fold_actor_totals(connection: apsw.Connection, head: HeadDraft) -> None:
    """Add the events since the last fold to every divided bucket that they fall in."""
    new = unfolded_events(connection, head.tenant_no, head.folded_to, outcomes_of(connection, head.tenant_no))

    def answer(question: Divided) -> list[BucketName]:
        return [
            bucket
            for bucket in question.buckets
            if connection.execute(_SQL["is_divided"], (head.tenant_no, *bucket)).get
        ]

    counted = run_walk(count_divided_buckets(new), answer)
    statements = SetStatements(_SQL["actor_total_sizes"], _SQL["take_actor_totals"], _SQL["add_actor_totals"])
    fold_counts(
        connection,
        head.tenant_no,
        head.size,
        statements,
        counted,
        pack,
        lambda taken, new: summed(head.actors, taken, new),
    )


def total_divided_bucket(connection: apsw.Connection, tenant_no: int, folded_to: int, level: int, bucket: int) -> None:
    """Add the first set of a bucket that was just divided: its events up to the last fold."""
    if not folded_to:
        return
    within = rollups.bounds(level, bucket)
    rows: list[Any] = connection.execute(
        _SQL["first_actor_totals"], (tenant_no, within.since, within.until, key_of(tenant_no, folded_to))
    ).fetchall()
    if rows:
        packed = pack(by_outcome(rows, outcomes_of(connection, tenant_no)))
        connection.execute(_SQL["add_actor_totals"], (tenant_no, level, bucket, folded_to, packed))


def outcomes_of(connection: apsw.Connection, tenant_no: int) -> dict[int, str]:
    """The outcome of each kind."""
    rows: Iterable[Any] = connection.execute(_SQL["kinds"], (tenant_no,))
    return {kind: outcome for kind, _, _, _, outcome in rows}


def add_span(
    connection: apsw.Connection, snapshot: Snapshot, span: rollups.Span, new: UnfoldedEvents | None, total: ActorTotals
) -> None:
    """Add what each actor did in whole buckets. `new` are the events since the last fold, None when there are none."""
    where = (snapshot.tenant_no, span.level, span.first, span.last)
    rows: list[Any] = connection.execute(_SQL["span_of_actor_totals"], where).fetchall()
    for _, packed in rows:
        check_deadline()
        if packed is not None:
            total.add_packed(packed, span.sign)
    if new is not None:
        for bucket in {bucket for bucket, _ in rows}:
            total.add(new.within(rollups.bounds(span.level, bucket)), span.sign)
    single: list[Any] = connection.execute(_SQL["span_by_actor_undivided"], where).fetchall()
    total.add(by_outcome(single, {number: kind.outcome for number, kind in snapshot.kinds.items()}), span.sign)
