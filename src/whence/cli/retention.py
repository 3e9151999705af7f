"""The commands `retention show`, `set`, `preview` and `apply`: how long a tenant keeps its events."""

from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from whence.cli.layout import style_of_stdout
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.removal_progress import confirm, say_result, wait_until_done
from whence.cli.terminal import JsonFlag, out, out_json, printable, say, table_or_lines
from whence.client import Whence
from whence.counting import counted
from whence.errors import Invalid, NotFound
from whence.wire.removal_bodies import RemovalBody, RetentionBody, RetentionPreviewBody

__all__ = ["app"]

app = App(name="retention", help_format="plaintext", version_flags=[])


_SOURCES = {"tenant": "the tenant's own policy", "server": "the default of the server", "none": "no policy"}


@app.command
def show(*, json: JsonFlag = False, server: ServerOptions | None = None) -> None:
    """Show how long the tenant keeps its events, and the latest runs."""
    with client_for(server) as whence:
        found = whence.retention.get()
    if json:
        out_json(msgspec.json.encode(found))
        return
    out(f"Events are kept {_age(found.max_age_days)}: {_SOURCES[found.source]}.")
    for line in _rule_lines(found):
        out(line)
    if found.runs:
        style = style_of_stdout()
        rows = [_run_row(run) for run in found.runs]
        lines = (line for row in rows for line in style.filled(printable(" · ".join(map(str, row)))))
        out(table_or_lines(("RUN", "STATE", "EVENTS", "PAYLOADS", "HELD"), rows, lines, style.width))


@app.command(name="set")
def set_policy(
    max_age: Annotated[str, Parameter(name="AGE", help="How old events may get, in days like 365d, or 'forever'.")],
    /,
    *,
    rule: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="Erase the payloads of an event type earlier, as in 'chat_thread.*=30d'. May be repeated.",
        ),
    ] = None,
    yes: Annotated[bool, Parameter(name="--yes", negative="", help="Do not ask.")] = False,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """Set how long the tenant keeps its events. Replaces the whole policy.

    The age counts from when an event was recorded. Says what the policy would remove now, and asks
    before it is set. The server applies it once a day; 'whence retention apply' does so at once.
    """
    days = None if max_age == "forever" else _days(max_age)
    rules = dict(_rule(text) for text in rule or ())
    with client_for(server) as whence:
        if days is not None or rules:
            preview = _preview_text(whence.retention.preview_of(days, rules))
            question = f"{preview} The server begins within a day, and goes on as events get older."
            if not confirm(question, yes=yes):
                say("Nothing was set.")
                return
        found = whence.retention.set(days, rules)
    if json:
        out_json(msgspec.json.encode(found))
        return
    say(f"Set: events are kept {_age(found.max_age_days)}.")
    for line in _rule_lines(found):
        say(line)


@app.command
def preview(*, json: JsonFlag = False, server: ServerOptions | None = None) -> None:
    """Show what a run would remove now. Nothing is removed."""
    with client_for(server) as whence:
        found = whence.retention.preview()
    if json:
        out_json(msgspec.json.encode(found))
        return
    out(_preview_text(found))


@app.command
def apply(
    *,
    yes: Annotated[bool, Parameter(name="--yes", negative="", help="Do not ask.")] = False,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """Remove now what the policy says, and wait until that is done."""
    with client_for(server) as whence:
        if not confirm(f"{_preview_text(whence.retention.preview())} This cannot be taken back.", yes=yes):
            say("Nothing was removed.")
            return
        run = whence.retention.apply()
        done = wait_until_done(run, lambda: _run(whence, run.id))
    if json:
        out_json(msgspec.json.encode(done))
        return
    say_result(done)


def _run(whence: Whence, run_id: str) -> RemovalBody:
    """A run and how far it is."""
    found: RetentionBody = whence.retention.get()
    for run in found.runs:
        if run.id == run_id:
            return run
    raise NotFound("The server does not know this run any more.")


def _run_row(run: RemovalBody) -> tuple[str, str, str, str, str]:
    return run.created_at, run.waits_for or run.state, f"{run.events:,}", f"{run.payloads:,}", f"{run.held:,}"


def _days(text: str) -> int:
    if text.removesuffix("d").isascii() and text.removesuffix("d").isdigit() and text.endswith("d"):
        return int(text.removesuffix("d")[:9])
    raise Invalid.at((), "An age is a number of days, as in 365d. That of AGE may be 'forever', too.")


def _rule(text: str) -> tuple[str, int]:
    event_type, equals, age = text.partition("=")
    if not equals:
        raise Invalid.at((), "A rule is an event type and an age in days, as in 'chat_thread.*=30d'.")
    return event_type, _days(age)


def _rule_lines(found: RetentionBody) -> list[str]:
    """The rules of a policy, a sentence each."""
    return [
        f"Payloads of {printable(rule.event_type)} are erased after {counted(rule.max_age_days, 'day')}."
        for rule in found.rules
    ]


def _age(max_age_days: int | None) -> str:
    return "for ever" if max_age_days is None else f"for {counted(max_age_days, 'day')}"


def _preview_text(found: RetentionPreviewBody) -> str:
    """What a run would do, in a sentence."""
    least = "" if found.exact else "at least "
    text = f"A run would remove {least}{counted(found.events, 'event')}"
    if found.oldest is not None and found.newest is not None:
        text += f", recorded from {found.oldest} to {found.newest},"
    text += f" and erase {least}{counted(found.payloads, 'payload')} of others."
    return text + (f" Holds keep {found.held:,}." if found.held else "")
