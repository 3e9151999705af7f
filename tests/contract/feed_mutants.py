"""Mutants of feeds."""

from typing import Any

import pytest

from tests.contract.faults import around, breaks, everywhere, reword
from tests.contract.model import ModelStore
from whence.events import FeedPage
from whence.storage.postgres import engine as postgres_engine
from whence.storage.postgres import feed as postgres_feed
from whence.storage.sqlite import engine as sqlite_engine
from whence.storage.sqlite import feed as sqlite_feed


class ReadsToTheEnd(ModelStore):
    """Whoever goes on after a part misses what did not fit in it."""

    def read_to(self, _position: int, size: int) -> int:
        return size


class AlwaysSomethingBefore(ModelStore):
    async def position_before(self, tenant: str, time: int) -> int:
        return max(await super().position_before(tenant, time) - 1, 0)


@breaks("sqlite", "postgres")
def the_limit_is_no_end(patch: pytest.MonkeyPatch) -> None:
    """A part that ends at its limit claims to have read all that it could."""

    def make(real: Any) -> Any:
        def part(*args: Any, **named: Any) -> Any:
            found = real(*args, **named)
            if isinstance(found, FeedPage):
                return _to_the_end(found)
            return _later(found)

        return part

    for module in (sqlite_engine, postgres_engine):
        around(patch, module, "part_of_feed", make)


def _to_the_end(part: FeedPage) -> FeedPage:
    return FeedPage(events=part.events, read_to=part.size, size=part.size)


async def _later(part: Any) -> FeedPage:
    return _to_the_end(await part)


@breaks("sqlite", "postgres")
def bytes_are_no_end(patch: pytest.MonkeyPatch) -> None:
    """A part that ends at its bytes claims to have read all that it could."""

    def make(real: Any) -> Any:
        return lambda rows: (real(rows)[0], True)

    everywhere(patch, "within_bytes", make)


@breaks("sqlite", "postgres")
def bytes_are_unlimited(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "within_bytes", lambda _real: lambda rows: ([number for number, _ in rows], True))


@breaks("sqlite", "postgres")
def the_last_one_again(patch: pytest.MonkeyPatch) -> None:
    reword(patch, "feed_part", sqlite=("key > ?2", "key >= ?2"))
    reword(patch, "feed_part", postgres=("position > $2", "position >= $2"))


@breaks("sqlite", "postgres")
def one_beyond_the_head(patch: pytest.MonkeyPatch) -> None:
    """The position after the head counts as read."""

    def make(real: Any) -> Any:
        return lambda snapshot, after: real(snapshot, after) + 1

    everywhere(patch, "end_of_part", make)


@breaks("sqlite", "postgres")
def removed_positions_are_skipped(patch: pytest.MonkeyPatch) -> None:
    everywhere(
        patch, "end_of_part", lambda real: lambda snapshot, after: real(snapshot, max(after, snapshot.retained_from))
    )


@breaks("sqlite", "postgres")
def rows_are_unlimited(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "end_of_part", lambda _real: lambda snapshot, _after: snapshot.size)


@breaks("sqlite", "postgres")
def hidden_events_are_fed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite_feed, "conditions", lambda *_args, **_options: ("", []))
    patch.setattr(postgres_feed, "conditions", lambda *_args, **_options: "")


@breaks("sqlite", "postgres")
def times_of_recording_round_down(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "search_position", lambda real: lambda time, first, size: real(time + 1, first, size))
