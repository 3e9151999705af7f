"""Tables of packed sets: the answers to the questions of a fold, one bucket a statement."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import apsw

from whence.storage.folding import BucketName, SetSizes, SetStatements, TakeSets, fold
from whence.storage.walks import run_walk

__all__ = ["fold_counts"]

Counts = TypeVar("Counts")


def fold_counts(
    connection: apsw.Connection,
    tenant_no: int,
    up_to: int,
    statements: SetStatements,
    counts: Mapping[BucketName, Counts],
    pack: Callable[[Counts], bytes],
    merge: Callable[[list[bytes], Counts], bytes],
) -> None:
    """Fold the counts of some buckets into a table, up to a position. `pack` and `merge` as for `fold`."""

    def answer(question: SetSizes | TakeSets) -> dict[BucketName, list[Any]]:
        if isinstance(question, SetSizes):
            return {
                bucket: connection.execute(statements.sizes, (tenant_no, *bucket)).fetchall()
                for bucket in question.buckets
            }
        taken: dict[BucketName, list[Any]] = {}
        for bucket, since in question.since.items():
            rows: Any = connection.execute(statements.take, (tenant_no, *bucket, since))
            taken[bucket] = [packed for (packed,) in rows]
        return taken

    added = run_walk(fold(counts, pack, merge, up_to), answer)
    connection.executemany(statements.add, [(tenant_no, *bucket, up_to, packed) for bucket, packed in added.items()])
