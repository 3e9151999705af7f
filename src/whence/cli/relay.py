"""The command `relay`: sends the events of an outbox, or of the spool of a program that ended."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from whence.cli.app import FAILED
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import out, say
from whence.client.spool import is_spool
from whence.errors import Invalid, RetryLater, WhenceError

if TYPE_CHECKING:
    from sqlalchemy import Engine

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
    if not is_spool(spool):
        raise Invalid.at(
            (), "There are no spool files in the folder of --spool. Name the folder of one client: its spool_folder."
        )
    with client_for(server) as whence:
        stats = whence.send_spool(spool)
    known = f"{stats.stored:,} stored, {stats.replayed:,} already there"
    out(f"{known}, {stats.rejected:,} refused, {stats.spooled:,} left.")
    return FAILED if stats.rejected or stats.spooled or stats.lost else 0


def _relay_outbox(database: str, table: str, every: float | None, server: ServerOptions | None) -> int:
    try:
        from sqlalchemy.exc import OperationalError, SQLAlchemyError  # noqa: PLC0415  (of the extra `sqlalchemy`)

        from whence.integrations.sqlalchemy import drain  # noqa: PLC0415  (as above)
    except ModuleNotFoundError:
        raise WhenceError("An outbox needs SQLAlchemy. Run: pip install 'whence[sqlalchemy]'") from None
    refused = 0
    with client_for(server) as whence:
        try:
            engine = _outbox_engine(database, table)
        except OperationalError:
            raise WhenceError(
                "The database of the outbox cannot be reached, or refuses the login. Check --database."
            ) from None
        except SQLAlchemyError:
            raise WhenceError("The database of the outbox reports an error, so nothing was sent.") from None
        while True:
            try:
                drained = drain(engine, whence, table)
            except SQLAlchemyError:
                raise WhenceError(
                    "The database of the outbox reports an error. Events that were sent and are still in the table are "
                    "sent again by the next run, and stored once."
                ) from None
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


def _outbox_engine(database: str, table: str) -> "Engine":
    """The database with the outbox, which is not created. Raises WhenceError and SQLAlchemyError."""
    from sqlalchemy import create_engine, inspect, make_url  # noqa: PLC0415  (of the extra `sqlalchemy`)
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415  (as above)

    try:
        url = make_url(database)
        engine = create_engine(url)
    except ArgumentError:
        raise Invalid.at(
            (), "--database must be a URL of SQLAlchemy, like sqlite:///app.db or postgresql+psycopg://user@host/app."
        ) from None
    except ModuleNotFoundError as error:
        raise WhenceError(f"The driver of this database is not installed: the Python package {error.name}.") from None
    path = url.database if url.get_backend_name() == "sqlite" else None
    if path and not path.startswith((":memory:", "file:")) and not Path(path).is_file():  # connecting would make it
        raise WhenceError(f"There is no SQLite file {Path(path).absolute()}. Check --database.")
    if not inspect(engine).has_table(table):
        raise WhenceError("The database has no table of this name. Check --database and --table.")
    return engine
