"""What the commands about removals share: a question before they act, and the wait until a removal is done."""

import sys
import time
from collections.abc import Callable

from whence.cli.terminal import on_terminal, printable, say
from whence.counting import counted
from whence.errors import Invalid
from whence.wire.removal_bodies import RemovalBody

__all__ = ["confirm", "say_result", "wait_until_done"]

_POLL_S = 0.5


def confirm(question: str, *, yes: bool) -> bool:
    """Whether the user agrees. Raises Invalid where nobody can be asked."""
    if yes:
        return True
    if not (sys.stdin is not None and sys.stdin.isatty() and on_terminal()):
        raise Invalid.at((), f"{question} Pass --yes to agree, since nobody can be asked here.")
    say(f"{question} Type yes to go on.")
    return sys.stdin.readline().strip().lower() == "yes"


def wait_until_done(removal: RemovalBody, read: Callable[[], RemovalBody]) -> RemovalBody:
    """Wait until a removal is done, and say how far it is whenever that changes."""
    shown = ""
    while True:
        if removal.state == "done":
            return removal
        text = _progress(removal)
        if text != shown:
            say(printable(text))
            shown = text
        time.sleep(_POLL_S)
        removal = read()


def say_result(removal: RemovalBody) -> None:
    """Say what a removal has done."""
    parts = [counted(removal.events, "event") + " removed"] if removal.kind == "retention" else []
    parts.append(f"{counted(removal.payloads, 'payload')} erased")
    if removal.held:
        parts.append(f"{removal.held:,} kept by holds")
    if removal.renamed_events:
        parts.append(f"the actor of {counted(removal.renamed_events, 'event')} is now {removal.pseudonym}")
    elif removal.renamed_events == 0:
        parts.append("no event had the id of this actor")
    if removal.sealed is False:
        parts.append("not sealed")
    say(printable(f"Done: {', '.join(parts)}."))


def _progress(removal: RemovalBody) -> str:
    done = (
        f"{removal.payloads:,} payloads erased" if removal.kind == "erasure" else f"{removal.events:,} events removed"
    )
    return " ".join(filter(None, (f"{removal.state}: {done}.", removal.waits_for)))
