"""Walks: generators that yield questions to a store and are sent the answers, so that both stores share them.

A store runs one by `run_walk` or, where its reads are awaited, by `run_walk_async`. Pure, but for these two.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

__all__ = ["run_walk", "run_walk_async"]

Question = TypeVar("Question")
Result = TypeVar("Result")


def run_walk(walk: Generator[Question, Any, Result], answer: Callable[[Question], Any]) -> Result:
    """What a walk returns, when `answer` answers its questions."""
    reply = None
    while True:
        try:
            question = walk.send(reply)
        except StopIteration as done:
            result: Result = done.value
            return result
        reply = answer(question)


async def run_walk_async(
    walk: Generator[Question, Any, Result], answer: Callable[[Question], Awaitable[Any]]
) -> Result:
    """As `run_walk`, with awaited answers."""
    reply = None
    while True:
        try:
            question = walk.send(reply)
        except StopIteration as done:
            result: Result = done.value
            return result
        reply = await answer(question)
