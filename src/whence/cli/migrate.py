"""The command `migrate`: makes the log in a PostgreSQL database, or updates its schema."""

import asyncio
import time
from typing import Annotated

from cyclopts import Parameter

from whence.cli.local_store import settings_for
from whence.cli.logs import log_warnings_to_stderr
from whence.cli.terminal import printable, say
from whence.counting import counted
from whence.erasing_again import erase_again
from whence.settings import Settings
from whence.storage import create_store, migrate_store

__all__ = ["migrate"]


def migrate(
    *,
    store: Annotated[
        str | None, Parameter(help="The database, like postgresql://user@host/database; else WHENCE_STORE.")
    ] = None,
) -> None:
    """Make the log in a PostgreSQL database, or update its schema to this release.

    Servers never change the schema. Stop those of an earlier release first. The login must own the database. The
    command makes the schema 'whence' and, if they are missing, the roles 'whence_app' and 'whence_keeper', which its
    transactions take. In a log that was restored from an earlier dump, it erases again what was erased since then.
    """
    log_warnings_to_stderr()
    settings = settings_for(store=store)
    steps, erased = asyncio.run(_migrate(settings))
    where = printable(settings.shown_store)
    if not steps:
        say(f"{where} is up to date.")
    else:
        say(f"{where}: {len(steps)} {'step' if len(steps) == 1 else 'steps'} taken, up to {steps[-1]}.")
    if erased is not None:
        found = counted(erased, "payload, name or tenant", "payloads, names or tenants")
        say(f"The log was restored from an earlier dump. Erased again, since the dump still had them: {found}.")


async def _migrate(settings: Settings) -> tuple[list[str], int | None]:
    """Migrate, and erase what the ledger names and the log has not seen. Returns the steps, and how much that was; None
    if the log has seen all of it."""
    steps = await migrate_store(settings.store)
    store = create_store(settings.store, serving=False, unsafe_durability=True, pooler=settings.postgres_pooler)
    try:
        unseen = await store.removals.unseen_erasures()
        return steps, await erase_again(store, unseen, time.time_ns() // 1_000) if unseen else None
    finally:
        await store.close()
