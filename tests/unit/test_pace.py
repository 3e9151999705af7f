"""The pace of removals: how much goes at a time, and how long appends have the log for themselves."""

import asyncio
from types import SimpleNamespace

import pytest

from tests.unit.mutants import catches, replaced
from whence import removal
from whence.removal import Pace
from whence.storage.removals import REMOVED_AT_ONCE


@catches(
    replaced(removal, "_RESTS", 0.0, "never_rests"),
    replaced(removal, "_REMOVED_S", 10.0, "holds_up_appends_for_long"),
    replaced(removal, "_REST_MAX_S", 60.0, "rests_without_end"),
)
def test_a_batch_that_took_long_is_followed_by_a_smaller_one_and_a_longer_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow store makes batches small, a fast one large, each within limits. The rest is twice the time of the batch,
    and half a second at most."""
    now, rests = 0.0, list[float]()

    async def rest(seconds: float) -> None:
        rests.append(round(seconds, 6))

    monkeypatch.setattr(removal, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(removal, "asyncio", SimpleNamespace(sleep=rest))

    async def sizes_after(*batches_s: float) -> list[int]:
        nonlocal now
        pace, sizes = Pace(), list[int]()
        for seconds in batches_s:
            async with pace.batch():
                now += seconds
            sizes.append(pace.size)
        return sizes

    assert asyncio.run(sizes_after(0.002, 0.02, 5.0)) == [200, 100, 80]
    assert rests == [0.004, 0.04, 0.5]
    assert asyncio.run(sizes_after(*[0.002] * 3)) == [200, REMOVED_AT_ONCE, REMOVED_AT_ONCE]
