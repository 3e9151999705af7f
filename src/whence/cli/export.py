"""The command `export`: all matching events, into a file or to stdout."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from whence.cli.events import Filters
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import printable, say
from whence.client import Value
from whence.counting import counted

__all__ = ["export"]


def export(
    *,
    filters: Filters | None = None,
    format_: Annotated[
        Literal["ndjson", "csv"], Parameter(name="--format", help="One event a line: as JSON, or as CSV with a head.")
    ] = "ndjson",
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="The file to write, once it is complete. Default: stdout.")
    ] = None,
    order: Annotated[Literal["asc", "desc"] | None, Parameter(help="asc writes the oldest event first.")] = None,
    server: ServerOptions | None = None,
) -> None:
    """Write all matching events as NDJSON or CSV, newest first: exactly those that are there when it begins."""
    parameters: dict[str, Value] = (filters or Filters()).parameters()
    with client_for(server) as whence:
        parts = whence.export_bytes(format=format_, order=order, **parameters)  # type: ignore[arg-type]  # as in lists
        lines = _to_stdout(parts) if output is None else _to_file(parts, output)
    say(f"{counted(lines - (format_ == 'csv'), 'event')} exported.")


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
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            for part in parts:
                lines += part.count(b"\n")
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return lines
