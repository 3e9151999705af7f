"""The command line. Data goes to stdout, talk to stderr.

This module imports almost nothing: the overview must come at once, and each command loads only what it needs.
"""

import os
import sys
from collections.abc import Sequence

from whence import __version__

__all__ = ["COMMANDS", "main", "overview"]

FAILED = 1
INTERRUPTED = 130

COMMANDS = {
    "serve": ("whence.cli.serving:serve", "Serve a log over HTTP."),
    "demo": (
        "whence.cli.serving:demo",
        "Serve a fresh log filled with recorded runs of an agent, and say what to try.",
    ),
    "import": ("whence.cli.importing:import_files", "Store the events of NDJSON files, plain or gzipped."),
    "emit": ("whence.cli.events:emit", "Store one event."),
    "relay": ("whence.cli.relaying:relay", "Send the events of an outbox, or of a spool that was left behind."),
    "list": ("whence.cli.events:list_events", "List events, newest first."),
    "get": ("whence.cli.events:get", "Show one event."),
    "why": ("whence.cli.causes:why", "Tell why an event happened: its causes, from the root on."),
    "effects": ("whence.cli.causes:effects", "Show all that an event led to."),
    "trace": ("whence.cli.causes:trace", "Show the causal graph around an event, also as JSON or Mermaid."),
    "flows": ("whence.cli.causes:flows", "List flows by their last activity."),
    "map": ("whence.cli.causes:process_map", "Show what leads to what, how often and how soon."),
    "stats": ("whence.cli.events:stats", "Count events by type, resource type and actor type."),
    "key": ("whence.cli.keys:app", "Create, list and revoke API keys."),
    "migrate": ("whence.cli.migrating:migrate", "Make the log in a PostgreSQL database, or update its schema."),
    "copy": ("whence.cli.copying:copy", "Copy a log into another store, as it is: from SQLite to PostgreSQL, or back."),
    "verify": ("whence.cli.backups:verify", "Check every stored event against its hash, and every count."),
    "backup": ("whence.cli.backups:backup", "Copy a store, beside its server or without one, and verify the copy."),
    "restore": ("whence.cli.backups:restore", "Put a backup in a store's place."),
    "version": ("whence.cli.events:version", "Print the version."),
}
"""Every command: where it lives, and what it does. The one list of them."""


def overview() -> str:
    """What `whence --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        (
            "Whence, an event log: who did what to which resource, when, and because of what.",
            "",
            "Usage: whence COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "'whence COMMAND --help' tells the options of a command.",
            "A server is found by --url and --api-key, else by WHENCE_URL and WHENCE_API_KEY, else by the profile",
            "that 'whence demo' and 'whence serve' write.",
            "",
            "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 credentials, 5 verification failed, 6 unreachable.",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. `arguments` are those after the program's name."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    code = 0
    try:
        code = _dispatch(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # stdout took no more. Point it elsewhere, so that the exit does not fail on what is left in it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == 0 and not isinstance(error, BrokenPipeError):  # else it is told, or whoever read it has gone
            print(f"The output cannot be written: {error.strerror}.", file=sys.stderr)
        return code or FAILED
    return code


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("--help", "-h", "help"):
        print(overview())
        return 0
    if given == ["--version"]:
        print(__version__)
        return 0
    from whence.cli.app import run  # noqa: PLC0415  (the overview must not wait for it)

    return run(given)
