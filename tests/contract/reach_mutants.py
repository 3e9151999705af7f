"""Stores that are each broken in one way in how they read payloads and count the reach of events."""

from typing import Any

import msgspec

from tests.contract.faults import breaks, everywhere, reword
from tests.contract.mutants import Patch
from whence.events import Viewer


@breaks("sqlite", "postgres")
def payloads_in_another_order(patch: Patch) -> None:
    everywhere(patch, "within_bytes", lambda real: lambda rows: real(list(rows)[::-1]))


@breaks("sqlite", "postgres")
def payloads_without_an_end(patch: Patch) -> None:
    everywhere(patch, "within_bytes", lambda _real: lambda rows: ([number for number, _ in rows], True))


@breaks("sqlite", "postgres")
def payloads_of_hidden_events(patch: Patch) -> None:
    reword(
        patch,
        "payload_sizes",
        sqlite=(" AND (?2 IS NULL OR +kind IN (SELECT value FROM json_each(?2)))", " AND (?2 IS NULL OR TRUE)"),
        postgres=(" AND ($3::int[] IS NULL OR kind = ANY($3))", " AND ($3::int[] IS NULL OR TRUE)"),
    )


@breaks("sqlite", "postgres")
def reach_of_hidden_events(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def reach_of(connection: Any, snapshot: Any, ids: Any) -> Any:
            seeing_all = msgspec.structs.replace(snapshot, viewer=Viewer(snapshot.viewer.tenant))
            return real(connection, seeing_all, ids)

        return reach_of

    everywhere(patch, "reach_of", make)


@breaks("sqlite", "postgres")
def failures_count_as_effects_only(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def walk(*args: Any) -> Any:
            found = yield from real(*args)
            return [type(each)(each.id, each.causes, each.effects, 0, each.at_least) for each in found]

        return walk

    everywhere(patch, "reach_walk", make)
