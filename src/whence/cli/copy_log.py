"""The command `copy`: copies a log from one store into another."""

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from whence.cli.local_store import settings_for
from whence.cli.logs import log_warnings_to_stderr
from whence.cli.terminal import printable, say
from whence.copying import AddProgress, Copied, copy_log
from whence.counting import counted
from whence.settings import Settings
from whence.storage import backend_for, create_store

__all__ = ["copy"]


def copy(
    *,
    source: Annotated[str, Parameter(name="--from", help="The store to copy, like sqlite:///path.")],
    target: Annotated[
        str,
        Parameter(
            name="--to", help="The store to copy into, like postgresql://user@host/database; run 'migrate' first."
        ),
    ],
) -> None:
    """Copy a log with its API keys unchanged from one store into another, and verify the copy.

    Every event keeps its position, id, times, bytes and hash, so the roots stay the same. After an interruption, run it
    again: it continues. A server may serve the source meanwhile. To copy the events of that time too, stop the server
    and run this again. No server may serve the target yet. A SQLite file is created if it does not exist.
    """
    log_warnings_to_stderr()
    reading, writing = settings_for(store=source, store_flag="--from"), settings_for(store=target, store_flag="--to")
    backend_for(reading.store).check_complete(reading.store)
    copied = asyncio.run(_copy(reading, writing, _progress()))
    what = ", ".join((counted(copied.events, "event"), counted(copied.tenants, "tenant"), counted(copied.keys, "key")))
    say(f"{what} in {printable(writing.shown_store)}, verified; {copied.before:,} of the events were already there.")


async def _copy(reading: Settings, writing: Settings, progress: AddProgress | None) -> Copied:
    source = create_store(reading.store, serving=False, pooler=reading.postgres_pooler, unsafe_durability=True)
    try:
        await source.check_servable()
        target = create_store(
            writing.store,
            importing=True,
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


def _progress() -> AddProgress | None:
    """Show the progress if stderr is a terminal. Every event is counted twice: when copied, and when verified."""
    if not sys.stderr.isatty():
        return None
    done = 0

    def step(events: int) -> None:
        nonlocal done
        done += events
        print(f"\r{done:,} events copied or verified ", end="", file=sys.stderr, flush=True)

    return step
