"""The command `relay`: sends the events of an outbox, or of the spool of a program that ended."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from whence.cli.app import FAILED
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import out, say
from whence.errors import Invalid, RetryLater, WhenceError

__all__ = ["relay"]


def relay(
    *,
    database: Annotated[str | None, Parameter(help="The SQLAlchemy URL of the database with the outbox.")] = None,
    table: Annotated[str, Parameter(help="The outbox table.")] = "whence_outbox",
    every: Annotated[
        float | None, Parameter(help="Repeat after this many seconds, until interrupted. Default: run once.")
    ] = None,
    spool: Annotated[Path | None, Parameter(help="The spool folder to send, as the tenant of the API key.")] = None,
    server: ServerOptions | None = None,
) -> int:
    """Send the events of an outbox, or of the spool of a program that ended."""
    if (database is None) == (spool is None):
        raise Invalid.at((), "Pass either --database or --spool.")
    if database is not None:
        return _relay_outbox(database, table, every, server)
    if spool is None or not spool.is_dir():
        raise Invalid.at((), "--spool must name an existing folder.")
    with client_for(server) as whence:
        stats = whence.send_spool(spool)
    known = f"{stats.stored:,} stored, {stats.replayed:,} already there"
    out(f"{known}, {stats.rejected:,} refused, {stats.spooled:,} left.")
    return FAILED if stats.rejected or stats.spooled or stats.lost else 0


def _relay_outbox(database: str, table: str, every: float | None, server: ServerOptions | None) -> int:
    try:
        from sqlalchemy import create_engine  # noqa: PLC0415  (of the extra `sqlalchemy`)
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  (as above)

        from whence.integrations.sqlalchemy import drain  # noqa: PLC0415  (as above)
    except ModuleNotFoundError:
        raise WhenceError("An outbox needs SQLAlchemy. Run: pip install 'whence[sqlalchemy]'") from None
    refused = 0
    with client_for(server) as whence:
        while True:
            try:
                drained = drain(create_engine(database), whence, table)
            except SQLAlchemyError as error:
                raise WhenceError(f"Cannot read the outbox: {type(error).__name__}.") from None
            except RetryLater as error:
                if every is None:
                    raise
                say(str(error))
            else:
                refused += drained.refused
                if drained.stored or drained.refused or every is None:
                    out(f"{drained.stored:,} stored, {drained.refused:,} refused.")
            if every is None:
                return FAILED if refused else 0
            time.sleep(every)
