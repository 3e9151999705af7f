"""The command `erase`: the payloads of events, for ever."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from whence.cli.app import FAILED
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import EventId, event_id
from whence.cli.removal_progress import confirm, say_result, wait_until_done
from whence.cli.selections import Selection
from whence.cli.terminal import JsonFlag, out_json, say
from whence.client import Whence
from whence.counting import counted
from whence.errors import Invalid, NotFound

__all__ = ["erase"]


def erase(
    *events: EventId,
    selection: Selection | None = None,
    names: Annotated[
        bool, Parameter(negative="", help="Replace the id of the actor too, in all of its events. Needs --actor.")
    ] = False,
    reason: Annotated[str, Parameter(help="Why, such as the number of a request. It stays in the log.")],
    yes: Annotated[bool, Parameter(name="--yes", negative="", help="Do not ask.")] = False,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> int:
    """Erase the payloads of events for ever, and wait until that is done.

    The events stay, with everything but their payloads, and so do their proofs. What a legal hold
    keeps is not erased. Says what will be erased, and asks before it begins. Exits with code 1 if the
    id of an actor was to be replaced and was not.
    """
    chosen = selection or Selection()
    if bool(events) == chosen.is_given:
        raise Invalid.at((), "Pass either events, or one of --flow, --resource, --actor and -q.")
    if names and (events or chosen.actor is None or chosen != Selection(actor=chosen.actor)):
        raise Invalid.at((), "--names replaces the id of one actor: pass --actor, and no other events.")
    with client_for(server) as whence:
        ids = [event_id(whence, each) for each in events] or None
        q = chosen.text() if chosen.is_given else None
        found = whence.erasures.preview(q=q, event_ids=ids)
        if found.exact and not (found.payloads or found.held):
            _refuse_without_events(whence, q)
            if not names:
                say("Nothing was erased: these events have no payload any more.")
                return 0
        least = "" if found.exact else "at least "
        held = f" {counted(found.held, 'more is held, and stays', 'more are held, and stay')}." if found.held else ""
        question = f"This erases {least}{counted(found.payloads, 'payload')} for ever.{held}"
        if names:
            question += " The id of the actor is replaced in all of its events."
        if not confirm(question, yes=yes):
            say("Nothing was erased.")
            return 0
        asked = whence.erasures.create(reason, q=q, event_ids=ids, names=names)
        done = wait_until_done(asked, lambda: whence.erasures.get(asked.id))
    if json:
        out_json(msgspec.json.encode(done))
    else:
        say_result(done)
    if not names or done.renamed_events is not None:
        return 0
    say("The id of the actor was not replaced, since one of its events is held or announces a removal.")
    return FAILED


def _refuse_without_events(whence: Whence, q: str | None) -> None:
    """Raise NotFound if no event matches `q`, since what was asked for is then hardly what was meant."""
    if q is not None and not whence.list(q=q, limit=1).total:
        raise NotFound("No event matches, so nothing was erased. Check the spelling with 'whence list -q'.")
