"""A walk whose answers are in memory runs without a change of threads for each of them."""

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import pytest

from tests.unit.mutants import catches, replaced
from whence.storage import walks
from whence.storage.walks import ROWS_ON_LOOP_MAX, run_walk_async

QUESTIONS = 3 * ROWS_ON_LOOP_MAX


def counting() -> Generator[int, list[int], tuple[int, set[int]]]:
    """Asks for each number, and returns the sum of the answers and the threads that it ran in."""
    total, threads = 0, set()
    for number in range(QUESTIONS):
        (answer,) = yield number
        total += answer
        threads.add(threading.get_ident())
    return total, threads


def ran(*, recalled: bool) -> tuple[int, list[int], set[int], int]:
    """The sum, the questions that had to be read, the threads of the walk, and how often it left the event loop."""
    read: list[int] = []
    changes = 0
    real = asyncio.to_thread

    async def answer(number: int) -> list[int]:
        read.append(number)
        return [number]

    async def counted(*given: Any) -> Any:
        nonlocal changes
        changes += 1
        return await real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "to_thread", counted)
        recall = (lambda number: [number] if number % 100 else None) if recalled else (lambda _number: None)
        total, threads = asyncio.run(run_walk_async(counting(), answer, recall))
    return total, read, threads, changes


def test_only_what_is_not_in_memory_is_read() -> None:
    """The walk gets every answer once, in order. One question is read besides: the one at which it leaves the loop."""
    total, read, threads, changes = ran(recalled=True)
    assert total == sum(range(QUESTIONS))
    assert [number for number in read if number % 100 == 0] == list(range(0, QUESTIONS, 100))
    assert len([number for number in read if number % 100]) <= 1
    assert changes <= QUESTIONS / 100
    assert len(threads) > 1


def test_without_memory_each_answer_is_read() -> None:
    """Beyond a thousand rows each step goes to a thread, which is what `recall` saves."""
    total, read, _, changes = ran(recalled=False)
    assert total == sum(range(QUESTIONS))
    assert read == list(range(QUESTIONS))
    assert changes > ROWS_ON_LOOP_MAX


@catches(replaced(walks, "ROWS_ON_LOOP_MAX", 10**9, "stays_on_the_event_loop"))
def test_a_walk_in_memory_leaves_the_event_loop_too() -> None:
    """Otherwise thousands of answers would be computed with while others wait."""
    assert len(ran(recalled=True)[2]) > 1
