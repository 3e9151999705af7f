"""The commands `hold add`, `list` and `release`: legal holds."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from whence.cli.layout import Style, style_of_stdout
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.selections import Selection
from whence.cli.terminal import JsonFlag, out, out_json, printable, say, table_or_lines
from whence.wire.removal_bodies import HoldsBody

__all__ = ["app"]

app = App(name="hold", help_format="plaintext", version_flags=[])


@app.command
def add(
    *,
    selection: Selection | None = None,
    reason: Annotated[str, Parameter(help="Why, such as the number of a case. It names no person.")],
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """Keep events from retention and erasure, also those that come later, and print the id of the hold."""
    q = (selection or Selection()).text()
    with client_for(server) as whence:
        hold = whence.holds.create(q, reason)
    if json:
        out_json(msgspec.json.encode(hold))
        return
    out(printable(hold.id))


@app.command(name="list")
def list_holds(*, json: JsonFlag = False, server: ServerOptions | None = None) -> None:
    """List the legal holds, oldest first."""
    with client_for(server) as whence:
        found = whence.holds.list()
    if json:
        out_json(msgspec.json.encode(HoldsBody(holds=found)))
        return
    if not found:
        say("There are no legal holds.")
        return
    style = style_of_stdout()
    rows = [
        (each.id, each.created_at, printable(f"{each.by.actor_type}/{each.by.actor_id}"), each.q, each.reason)
        for each in found
    ]
    lines = (line for row in rows for line in _lines(row, style))
    out(table_or_lines(("ID", "CREATED", "BY", "EVENTS", "REASON"), rows, lines, style.width))


def _lines(row: Sequence[str], style: Style) -> Iterator[str]:
    """A hold in some lines, for a terminal that is too narrow for a table: its id and date, and below them the rest."""
    yield from style.filled(printable(" · ".join(row[:2])))
    yield from style.below(printable(" · ".join(row[2:])))


@app.command
def release(
    hold_id: Annotated[str, Parameter(name="ID", help="The id of the hold, from 'whence hold list'.")],
    /,
    *,
    server: ServerOptions | None = None,
) -> None:
    """Release a hold. What only it has kept goes with the next run of retention."""
    with client_for(server) as whence:
        whence.holds.release(hold_id)
    say("Released.")
