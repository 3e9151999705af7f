"""Tables of packed sets: the answers to the questions of a fold, all buckets in one statement."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from whence.storage.folding import BucketName, SetSizes, SetStatements, TakeSets, fold
from whence.storage.postgres.connections import Connection
from whence.storage.walks import run_walk_async

__all__ = ["fold_counts"]

Counts = TypeVar("Counts")


async def fold_counts(
    connection: Connection,
    tenant_no: int,
    up_to: int,
    statements: SetStatements,
    counts: Mapping[BucketName, Counts],
    pack: Callable[[Counts], bytes],
    merge: Callable[[list[bytes], Counts], bytes],
) -> None:
    """Fold the counts of some buckets into a table, up to a position. `pack` and `merge` as for `fold`."""

    async def answer(question: SetSizes | TakeSets) -> dict[BucketName, list[Any]]:
        found: dict[BucketName, list[Any]] = {}
        if isinstance(question, SetSizes):
            columns = zip(*question.buckets, strict=True)
            for level, bucket, position, size in await connection.fetch(statements.sizes, tenant_no, *columns):
                found.setdefault((level, bucket), []).append((position, size))
        else:
            columns = zip(*((*bucket, since) for bucket, since in question.since.items()), strict=True)
            for level, bucket, packed in await connection.fetch(statements.take, tenant_no, *columns):
                found.setdefault((level, bucket), []).append(packed)
        return found

    added = await run_walk_async(fold(counts, pack, merge, up_to), answer)
    if added:
        columns = zip(*((*bucket, packed) for bucket, packed in added.items()), strict=True)
        await connection.execute(statements.add, tenant_no, up_to, *columns)
