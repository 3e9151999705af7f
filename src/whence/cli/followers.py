"""The command `follower list`: how far webhooks and alert rules have read the log."""

import msgspec
from cyclopts import App

from whence.cli.layout import style_of_stdout
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import JsonFlag, out, out_json, printable, say, table_or_lines

__all__ = ["app", "list_followers"]

app = App(name="follower", help_format="plaintext", version_flags=[])


@app.command(name="list")
def list_followers(
    *,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """List the followers of the log: the position that each has reached, and its lag in positions."""
    with client_for(server) as whence:
        found = whence.followers()
    if json:
        out_json(msgspec.json.encode(found))
        return
    if not found.followers:
        say("There are no followers: no webhooks, and no alert rules.")
        return
    rows = [(printable(each.name), f"@{each.position}", f"{each.lag:,}") for each in found.followers]
    lines = (f"{name} at {position}, lag {lag}" for name, position, lag in rows)
    out(table_or_lines(("FOLLOWER", "POSITION", "LAG"), rows, lines, style_of_stdout().width))
