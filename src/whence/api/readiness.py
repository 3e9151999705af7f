"""Whether the store works, asked seldom enough that an open probe costs nothing."""

import asyncio
from collections.abc import Awaitable, Callable

from whence.errors import Unavailable, WhenceError

__all__ = ["Readiness"]

_TIMEOUT_S = 2.0
_REMEMBERED_S = 1.0


class Readiness:
    """The answer to the readiness probe. The store is asked at most once a second, however often the probe is called.
    Belongs to one event loop."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        """`check` returns when the store works, and raises WhenceError when it does not."""
        self._check = check
        self._asked: asyncio.Task[WhenceError | None] | None = None
        self._asked_at = float("-inf")

    async def require(self) -> None:
        """Return if the store worked within the last second. Raises what the check raised, and Unavailable."""
        loop = asyncio.get_running_loop()
        if self._asked is None or (self._asked.done() and loop.time() - self._asked_at > _REMEMBERED_S):
            self._asked_at = loop.time()
            self._asked = loop.create_task(self._ask())
        error = await asyncio.shield(self._asked)
        if error is not None:
            raise error.with_traceback(None)

    async def _ask(self) -> WhenceError | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._check()
        except TimeoutError:
            return Unavailable("The store did not answer in time.")
        except WhenceError as error:
            return error
        return None
