"""`relay`: send what waits elsewhere: in an outbox, or in the spool of a program that is gone."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from whence.cli.app import FAILED
from whence.cli.profile import Connection, connect
from whence.cli.terminal import out, say
from whence.errors import Invalid, RetryLater, WhenceError

__all__ = ["relay"]


def relay(
    *,
    database: Annotated[
        str | None, Parameter(help="Drain the outbox in this database; a URL as SQLAlchemy takes it.")
    ] = None,
    table: Annotated[str, Parameter(help="The table of the outbox.")] = "whence_outbox",
    every: Annotated[
        float | None, Parameter(help="Look again after so many seconds, until interrupted; left out, once.")
    ] = None,
    spool: Annotated[
        Path | None, Parameter(help="Send what is in this folder of a spool, with the tenant of the key.")
    ] = None,
    connection: Connection | None = None,
) -> int:
    """Send the events of an outbox or of a spool that was left behind."""
    if (database is None) == (spool is None):
        raise Invalid.at((), "Name either --database or --spool.")
    if database is not None:
        return _relay_outbox(database, table, every, connection)
    if spool is None or not spool.is_dir():
        raise Invalid.at((), "--spool must name a folder that exists.")
    with connect(connection) as whence:
        stats = whence.send_spool(spool)
    out(
        f"{stats.stored:,} stored, {stats.replayed:,} there before, {stats.rejected:,} refused, {stats.spooled:,} left."
    )
    return FAILED if stats.rejected or stats.spooled or stats.lost else 0


def _relay_outbox(database: str, table: str, every: float | None, connection: Connection | None) -> int:
    try:
        from sqlalchemy import create_engine  # noqa: PLC0415  (of the extra `sqlalchemy`)
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  (as above)

        from whence.integrations.sqlalchemy import drain  # noqa: PLC0415  (as above)
    except ModuleNotFoundError:
        raise WhenceError("An outbox needs SQLAlchemy. Run: pip install 'whence[sqlalchemy]'") from None
    refused = 0
    with connect(connection) as whence:
        while True:
            try:
                drained = drain(create_engine(database), whence, table)
            except SQLAlchemyError as error:
                raise WhenceError(f"The outbox cannot be read: {type(error).__name__}.") from None
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
