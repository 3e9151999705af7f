"""`copy`: a log from one store into another, SQLite or PostgreSQL."""

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from whence.cli.local_store import settings_for
from whence.cli.logs import tell_plainly
from whence.cli.terminal import printable, say
from whence.copying import Copied, Progress, copy_log
from whence.settings import Settings
from whence.storage import backend_for, create_store

__all__ = ["copy"]


def copy(
    *,
    source: Annotated[str, Parameter(name="--from", help="The store to copy, like sqlite:///path.")],
    target: Annotated[
        str,
        Parameter(name="--to", help="The store to copy into, like postgresql://user@host/database, made by 'migrate'."),
    ],
) -> None:
    """Copy a log with its API keys from one store into another, unchanged, and verify the copy.

    Every event keeps its position, id, times, bytes and hash, so the roots stay the same. Run it again after a break:
    it goes on from what is there. A server may serve the source meanwhile; stop it and run this once more, and the copy
    has all. Nobody may serve the target yet. A SQLite file is made when it is not there.
    """
    tell_plainly()
    reading, writing = settings_for(store=source), settings_for(store=target)
    backend_for(reading.store).check_complete(reading.store)
    copied = asyncio.run(_copy(reading, writing, _progress()))
    what = ", ".join((_amount(copied.events, "event"), _amount(copied.tenants, "tenant"), _amount(copied.keys, "key")))
    say(f"{what} in {printable(writing.shown_store)}, verified; {copied.before:,} of the events were there before.")


def _amount(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


async def _copy(reading: Settings, writing: Settings, progress: Progress | None) -> Copied:
    source = create_store(reading.store, serving=False, pooler=reading.postgres_pooler, unsafe_durability=True)
    try:
        await source.check_servable()
        target = create_store(
            writing.store,
            restoring=True,
            pooler=writing.postgres_pooler,
            unsafe_durability=writing.unsafe_durability,
        )
        try:
            await target.check_servable()
            return await copy_log(source, target, progress)
        finally:
            await target.close()
    finally:
        await source.close()


def _progress() -> Progress | None:
    """Tells a person at a terminal how far it has come. Every event is gone through twice."""
    if not sys.stderr.isatty():
        return None
    done = 0

    def step(events: int) -> None:
        nonlocal done
        done += events
        print(f"\r{done:,} events copied or read again ", end="", file=sys.stderr, flush=True)

    return step
