"""The command `migrate`: makes the log in a PostgreSQL database, or updates its schema."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from whence.cli.local_store import settings_for
from whence.cli.terminal import printable, say
from whence.storage import migrate_store

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
    transactions take.
    """
    settings = settings_for(store=store)
    steps = asyncio.run(migrate_store(settings.store))
    where = printable(settings.shown_store)
    if not steps:
        say(f"{where} is up to date.")
    else:
        say(f"{where}: {len(steps)} {'step' if len(steps) == 1 else 'steps'} taken, up to {steps[-1]}.")
