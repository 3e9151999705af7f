"""Several statements in one round trip.

asyncpg cannot send a statement before it has the answer to the last one. So statements that do not need each other's
results become the CTEs of one, which answers with a row that holds an array of rows for each. A CTE that changes rows
runs to its end even if nothing refers to it. All see the same snapshot, so none may read what another writes.

Citus restricts statements that change several tables. It gets them one after the other.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from whence.storage.postgres.connections import Connection

__all__ = ["Statement", "run_statements"]

_PARAMETER = re.compile(r"\$(\d+)")


class Statement(msgspec.Struct, frozen=True):
    """An SQL text and the values of its parameters from `$2` on; `$1` is the tenant's number.

    `answers` says that it has rows which the caller needs, and `counts` that the caller needs only their number.
    """

    text: str
    values: tuple[Any, ...]
    answers: bool = False
    counts: bool = False


async def run_statements(
    connection: Connection, tenant_no: int, statements: Sequence[Statement], *, joined: bool
) -> list[Sequence[Any]]:
    """Run statements, as one if `joined`, and return the rows of each: none for those that do not answer, and one with
    their number for those that count."""
    if not joined or len(statements) == 1:
        answers = [await connection.fetch(each.text, tenant_no, *each.values) for each in statements]
        return [
            [(len(rows),)] if each.counts else rows if each.answers else ()
            for each, rows in zip(statements, answers, strict=True)
        ]
    text = _joined(tuple((each.text, len(each.values), each.answers, each.counts) for each in statements))
    found = iter(await connection.fetchrow(text, tenant_no, *[value for each in statements for value in each.values]))
    return [[(next(found),)] if each.counts else next(found) if each.answers else () for each in statements]


@functools.lru_cache(maxsize=256)
def _joined(parts: tuple[tuple[str, int, bool, bool], ...]) -> str:
    """One statement with these texts as its CTEs. Each has so many parameters of its own, and answers, counts, or does
    neither."""
    ctes, columns, before = [], [], 0
    for number, (text, parameters, answers, counts) in enumerate(parts):
        ctes.append(f"s{number} AS (\n{_PARAMETER.sub(functools.partial(_moved, by=before), text)}\n)")
        if counts:
            columns.append(f"(SELECT count(*) FROM s{number})")
        elif answers:
            columns.append(f"ARRAY(SELECT ROW(s{number}.*) FROM s{number})")
        before += parameters
    return f"WITH {', '.join(ctes)} SELECT {', '.join(columns) or '1'}"


def _moved(found: re.Match[str], by: int) -> str:
    number = int(found[1])
    return found[0] if number == 1 else f"${number + by}"
