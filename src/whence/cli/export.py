"""The command `export`: all matching events, into a file or to stdout, or with what proves them into a folder."""

import codecs
import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from whence.cli.events import FilterOptions
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import printable, say
from whence.client import Value, Whence
from whence.counting import counted
from whence.durable_files import sync_file
from whence.errors import Invalid
from whence.wire.parameters import EVENT_INCLUDES

__all__ = ["export"]


def export(
    *,
    filters: FilterOptions | None = None,
    format_: Annotated[
        Literal["ndjson", "csv", "parquet"],
        Parameter(
            name="--format", help="One event a line, as JSON or as CSV with a head; or a file of Apache Parquet."
        ),
    ] = "ndjson",
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="The file to write, once it is complete. Default: stdout.")
    ] = None,
    proof: Annotated[
        Path | None,
        Parameter(help="A new folder for the events by position, with what proves them: see 'whence verify --export'."),
    ] = None,
    complete: Annotated[
        bool, Parameter(negative="", help="With --proof, also prove that no matching event is left out.")
    ] = False,
    order: Annotated[Literal["asc", "desc"] | None, Parameter(help="asc writes the oldest event first.")] = None,
    server: ServerOptions | None = None,
) -> None:
    """Write all matching events, newest first: exactly those that are there when it begins.

    With --proof, those that are sealed are written into a folder, with a checkpoint of the log and the hashes that lead
    to it. Whoever has the log's key can check the folder offline.
    """
    filters = filters or FilterOptions()
    if proof is not None:
        if output is not None or order is not None:
            raise Invalid.at((), "--proof writes a folder in the order of positions: leave out --output and --order.")
        _with_proof(proof, filters, format_, server, complete=complete)
        return
    if complete:
        raise Invalid.at((), "--complete belongs to --proof.")
    with client_for(server) as whence:
        parameters: dict[str, Value] = filters.resolved(whence)
        if format_ == "parquet":
            events = _to_parquet(whence, output, parameters | {"order": order})
        else:
            parts = whence.export_bytes(format=format_, order=order, **parameters)  # type: ignore[arg-type]  # as in lists
            lines = _to_stdout(parts) if output is None else _to_file(parts, output)
            events = lines - (format_ == "csv")
    say(f"{counted(events, 'event')} exported.")


def _with_proof(
    folder: Path, filters: FilterOptions, format_: str, server: ServerOptions | None, *, complete: bool
) -> None:
    from whence.cli.export_folder import write_folder  # noqa: PLC0415  (needs the extra `server`)

    with client_for(server) as whence:
        manifest = write_folder(whence, folder, filters.resolved(whence), format_, complete=complete)
    say(f"{counted(manifest.events, 'event')} exported and checked, as of {counted(manifest.as_of, 'event')}.")


def _to_parquet(whence: Whence, path: Path | None, parameters: dict[str, Value]) -> int:
    """Write the events into a file, which appears once it is complete. Returns their number."""
    if path is None:
        raise Invalid.at((), "A file of Parquet is not for stdout: name it with --output.")
    from whence.cli.parquet import ParquetWriter, row_of_body  # noqa: PLC0415  (of the extra `parquet`)

    with _unfinished(path) as file, ParquetWriter(file) as writer:
        for event in whence.export(include=EVENT_INCLUDES, **parameters):  # type: ignore[arg-type]  # as in lists
            writer.add(row_of_body(event))
    return writer.count


def _to_stdout(parts: Iterable[bytes]) -> int:
    """Write the parts as they come; on a terminal, made safe for it. Returns the number of lines."""
    lines = 0
    sys.stdout.flush()
    for part in _printable(parts) if sys.stdout.isatty() else parts:
        lines += part.count(b"\n")
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
    return lines


def _printable(parts: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for part in parts:
        yield "\n".join(map(printable, decoder.decode(part).replace("\r", "").split("\n"))).encode()


def _to_file(parts: Iterable[bytes], path: Path) -> int:
    """Write the parts into a file, which appears once it is complete. Returns the number of lines."""
    lines = 0
    with _unfinished(path) as new, new.open("wb") as file:
        for part in parts:
            lines += part.count(b"\n")
            file.write(part)
    return lines


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Where a file is written that is to appear once it is complete; it is removed after an error."""
    new = path.with_name(f"{path.name}.unfinished")
    try:
        yield new
        sync_file(new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
