"""`migrate`: the schema of a PostgreSQL store, made or brought up to date when an operator says so."""

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
    """Make the log in a PostgreSQL database, or bring its schema to this release's version.

    Servers never do this by themselves; stop those of an earlier release first. The login must own the database. It
    makes the schema 'whence' and, if it is not there, the role 'whence_app', as which every transaction works.
    """
    settings = settings_for(store=store)
    taken = asyncio.run(migrate_store(settings.store))
    where = printable(settings.shown_store)
    if not taken:
        say(f"{where} is up to date.")
    else:
        say(f"{where}: {len(taken)} {'step' if len(taken) == 1 else 'steps'} taken, up to {taken[-1]}.")
