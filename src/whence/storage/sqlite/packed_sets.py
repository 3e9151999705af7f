"""Tables of packed sets: the answers to the questions of a fold, one bucket a statement."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import apsw

from whence.storage.folding import BucketName, SetSizes, TakeSets, fold
from whence.storage.walks import run_walk

__all__ = ["SetStatements", "fold_counts"]

Counts = TypeVar("Counts")


class SetStatements(NamedTuple):
    """The statements of one table: sizes of a bucket's sets, take out its newest sets, add a set."""

    sizes: str
    take: str
    add: str


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
