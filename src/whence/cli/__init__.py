"""The command line. Data goes to stdout, messages to stderr.

This module imports almost nothing, so that the overview is printed at once. Each command loads only what it needs.
"""

import atexit
import gc
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

from whence import __version__

__all__ = ["COMMANDS", "GROUPS", "main", "overview"]

FAILED = 1
INTERRUPTED = 130

_OVERVIEW_LEAST = 40
"""Columns below which the overview is not wrapped."""

_EXTRA = ("cyclopts", "rich")
"""The packages of the extra `cli`."""

COMMANDS = {
    "serve": ("whence.cli.serve:serve", "Serve a log over HTTP."),
    "demo": ("whence.cli.serve:demo", "Serve a log of recorded agent runs, and print commands to try."),
    "import": ("whence.cli.import_files:import_files", "Store the events of files: NDJSON, JSON, or others by a map."),
    "emit": ("whence.cli.events:emit", "Store one event."),
    "relay": ("whence.cli.relay:relay", "Send the events of an outbox, or of the spool of a program."),
    "list": ("whence.cli.events:list_events", "List events, newest first."),
    "tail": ("whence.cli.tail:tail", "Show the last events, and with -f those that come."),
    "get": ("whence.cli.events:get", "Show one event."),
    "why": ("whence.cli.traces:why", "Show why an event happened, in sentences."),
    "effects": ("whence.cli.traces:effects", "Show everything that an event led to."),
    "trace": ("whence.cli.traces:trace", "Show the causal graph around an event, also as JSON or Mermaid."),
    "search": ("whence.cli.search:search", "Show what an id names: an event, flow, resource or actor."),
    "flows": ("whence.cli.flows:flows", "List flows by their last activity."),
    "flow": ("whence.cli.flows:flow", "Show what happened in one flow."),
    "map": ("whence.cli.flows:process_map", "Show which event types lead to which, how often and how soon."),
    "histogram": ("whence.cli.histogram:histogram", "Count events by time, with a bar for each span of it."),
    "facets": ("whence.cli.activity:facets", "Count events by the values of their fields."),
    "actors": ("whence.cli.activity:actors", "Show what actors did in a period, and how that changed."),
    "actor": ("whence.cli.activity:actor", "Show what one actor did, and its latest events."),
    "resource": ("whence.cli.activity:resource", "Show what happened to a resource, and its latest events."),
    "export": ("whence.cli.export:export", "Write all matching events as a file, or with their proof."),
    "stats": ("whence.cli.events:stats", "Count events by type, resource type and actor type."),
    "login": ("whence.cli.login:login", "Save a key for a server: asks for it, or reads it from stdin."),
    "profile": ("whence.cli.login:app", "List, choose, show and remove saved servers and keys."),
    "key": ("whence.cli.keys:app", "Create, list and revoke API keys."),
    "webhook": ("whence.cli.webhooks:app", "Send events to URLs, or to a program on this machine."),
    "alert": ("whence.cli.alerts:app", "Make rules that watch the log, and try them on the past."),
    "follower": ("whence.cli.followers:app", "See how far webhooks and alert rules have read the log."),
    "checkpoint": ("whence.cli.checkpoints:app", "Save signed checkpoints of the log, and compare them."),
    "witness": ("whence.cli.witness:app", "Cosign the checkpoints of others' logs, on a machine of your own."),
    "log": ("whence.cli.log_tiles:app", "Save the hashes of the log as static files, or tiles."),
    "proof": ("whence.cli.checkpoints:proof", "Save the proof that an event is in the log."),
    "retention": ("whence.cli.retention:app", "Set how long events are kept, and remove those that are too old."),
    "hold": ("whence.cli.holds:app", "Keep events from removal, as for a legal case."),
    "erase": ("whence.cli.erase:erase", "Erase the payloads of events for ever, as a person may demand."),
    "tenant": ("whence.cli.tenants:app", "List, export and delete tenants, as the operator."),
    "migrate": ("whence.cli.migrate:migrate", "Make the log in a PostgreSQL database, or update its schema."),
    "copy": ("whence.cli.copy_log:copy", "Copy a log unchanged into another store, as to PostgreSQL."),
    "verify": ("whence.cli.verify:verify", "Check every stored event against its hash, and every count."),
    "backup": ("whence.cli.backup:backup", "Copy a store into a file, also of a running server, and verify it."),
    "restore": ("whence.cli.backup:restore", "Replace a store with a backup."),
    "open": ("whence.cli.open_page:open_page", "Open the console or the API reference in a browser."),
    "completion": ("whence.cli.completion:completion", "Print a completion script for bash, zsh or fish."),
    "version": ("whence.cli.events:version", "Print the version."),
}
"""Every command with the function that runs it and its summary."""

GROUPS = {
    "Read": (
        *("list", "tail", "get", "search", "why", "effects", "trace", "flow", "flows", "map", "stats", "histogram"),
        *("facets", "actors", "actor", "resource", "export"),
    ),
    "Write": ("emit", "import", "relay"),
    "Run": ("serve", "demo", "open"),
    "Look after": (
        "login",
        "profile",
        "key",
        "webhook",
        "alert",
        "follower",
        "checkpoint",
        "witness",
        "log",
        "proof",
        "retention",
        "hold",
        "erase",
        "tenant",
        "migrate",
        "copy",
        "verify",
        "backup",
        "restore",
    ),
    "This program": ("completion", "version"),
}
"""The commands in the order and under the headings of the overview."""

_PARAGRAPHS = (
    "'whence COMMAND --help' lists the options of a command, with examples.",
    "Commands find a server by --url and --api-key, else by --profile, else by WHENCE_URL and WHENCE_API_KEY, else by "
    "the profile that WHENCE_PROFILE names, else by the current one: that of 'whence serve', 'demo', 'login' or "
    "'profile use', whichever came last.",
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 credentials, 5 verification failed, 6 unreachable.",
)


def overview() -> str:
    """What `whence --help` prints, in lines that fit the terminal."""
    width = max(shutil.get_terminal_size().columns, _OVERVIEW_LEAST)
    column = max(map(len, COMMANDS)) + 4
    lines = textwrap.wrap("Whence, an event log: who did what to which resource, when, and because of what.", width)
    lines += ["", "Usage: whence COMMAND [OPTIONS]"]
    for group, names in GROUPS.items():
        lines += ["", f"{group}:"]
        for name in names:
            label = f"  {name}".ljust(column)
            lines += textwrap.wrap(COMMANDS[name][1], width, initial_indent=label, subsequent_indent=" " * column)
    for paragraph in _PARAGRAPHS:
        lines += ["", *textwrap.wrap(paragraph, width, break_on_hyphens=False)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. `arguments` leaves out the program's name."""
    # What was imported is not searched for garbage when the process ends, a third of the time of a short command.
    atexit.register(gc.freeze)
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
