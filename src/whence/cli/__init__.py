"""The command line. Data goes to stdout, messages to stderr.

This module imports almost nothing, so that the overview is printed at once. Each command loads only what it needs.
"""

import os
import sys
from collections.abc import Sequence

from whence import __version__

__all__ = ["COMMANDS", "main", "overview"]

FAILED = 1
INTERRUPTED = 130

_EXTRA = ("cyclopts", "rich")
"""The packages of the extra `cli`."""

COMMANDS = {
    "serve": ("whence.cli.serve:serve", "Serve a log over HTTP."),
    "demo": (
        "whence.cli.serve:demo",
        "Serve a fresh log of recorded agent runs, and print commands to try.",
    ),
    "import": (
        "whence.cli.import_files:import_files",
        "Store the events of files: NDJSON, JSON, or other records by a map.",
    ),
    "emit": ("whence.cli.events:emit", "Store one event."),
    "relay": ("whence.cli.relay:relay", "Send the events of an outbox, or of the spool of a program that ended."),
    "list": ("whence.cli.events:list_events", "List events, newest first."),
    "get": ("whence.cli.events:get", "Show one event."),
    "why": ("whence.cli.traces:why", "Show why an event happened, in sentences."),
    "effects": ("whence.cli.traces:effects", "Show everything that an event led to."),
    "trace": (
        "whence.cli.traces:trace",
        "Show the causal graph around an event: each event in a row, JSON or Mermaid.",
    ),
    "flows": ("whence.cli.traces:flows", "List flows by their last activity."),
    "map": ("whence.cli.traces:process_map", "Show which event types lead to which, how often and how soon."),
    "stats": ("whence.cli.events:stats", "Count events by type, resource type and actor type."),
    "login": ("whence.cli.login:login", "Save a key for a server: asks for it, or reads it from stdin."),
    "profile": ("whence.cli.login:app", "List, choose, show and remove saved servers and keys."),
    "key": ("whence.cli.keys:app", "Create, list and revoke API keys."),
    "migrate": ("whence.cli.migrate:migrate", "Make the log in a PostgreSQL database, or update its schema."),
    "copy": (
        "whence.cli.copy_log:copy",
        "Copy a log unchanged into another store: from SQLite to PostgreSQL, or back.",
    ),
    "verify": ("whence.cli.verify:verify", "Check every stored event against its hash, and every count."),
    "backup": (
        "whence.cli.backup:backup",
        "Copy a store into a file, with or without a running server, and verify the copy.",
    ),
    "restore": ("whence.cli.backup:restore", "Replace a store with a backup."),
    "version": ("whence.cli.events:version", "Print the version."),
}
"""Every command with the function that runs it and its summary."""


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
            "'whence COMMAND --help' lists the options of a command.",
            "Commands find a server by --url and --api-key, else by --profile, else by WHENCE_URL and WHENCE_API_KEY,",
            "else by the profile that WHENCE_PROFILE names, else by the current one: that of 'whence serve', 'demo',",
            "'login' or 'profile use', whichever came last.",
            "",
            "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 credentials, 5 verification failed, 6 unreachable.",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. `arguments` leaves out the program's name."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    code = 0
    try:
        code = _dispatch(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # stdout failed. Redirect it, so that the flush at exit does not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Stay quiet if the command has reported an error, or if the reader of the output has quit.
        if code == 0 and not isinstance(error, BrokenPipeError):
            print(f"Cannot write the output: {error.strerror}.", file=sys.stderr)
        return code or FAILED
    return code


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("--help", "-h", "help"):
        print(overview())
        return 0
    if given == ["--version"]:
        print(__version__)
        return 0
    try:
        from whence.cli.app import run  # noqa: PLC0415  (keeps the overview fast)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print("The commands are not installed. Run: pip install 'whence[cli]'", file=sys.stderr)
        return FAILED
    return run(given)
