"""The commands `backup` and `restore`."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from whence.cli.app import UNSOUND
from whence.cli.local_store import LogOption, StoreOption, settings_for, settings_of_log
from whence.cli.logs import log_warnings_to_stderr
from whence.cli.terminal import printable, say
from whence.cli.verify import finding_lines, size_of, terminal_progress
from whence.counting import counted
from whence.erasing_again import finish_restore
from whence.errors import Invalid
from whence.storage import backend_for, create_store
from whence.storage.removals import Erased
from whence.storage.verification import Report

__all__ = ["backup", "restore"]

Force = Annotated[bool, Parameter(negative="", help="Replace what exists.")]


def backup(
    destination: Annotated[Path, Parameter(name="DEST", help="The file to create.")],
    /,
    *,
    store: LogOption = None,
    force: Force = False,
) -> int:
    """Copy a store into one file that holds the exact state of one commit, and verify the file.

    A server may keep writing meanwhile. The copy holds the hashes of API keys too, and only its owner can read it.
    """
    settings = settings_of_log(store)
    report = backend_for(settings.store).backup(
        settings.store, str(destination), force=force, progress=terminal_progress()
    )
    if not report.sound:
        return _unsound(report, "No backup was made: the store failed verification.")
    say(f"{size_of(report)} copied from {printable(settings.shown_store)} to {printable(str(destination))}, verified.")
    return 0


def restore(
    source: Annotated[Path, Parameter(name="SRC", help="A file made by 'whence backup'.")],
    /,
    *,
    store: StoreOption = None,
    force: Force = False,
    deleted: Annotated[
        list[str] | None,
        Parameter(negative="", help="A tenant that was deleted, when a restore asks for it. May be repeated."),
    ] = None,
    not_deleted: Annotated[
        list[str] | None,
        Parameter(negative="", help="A tenant that was not, when a restore asks for it. May be repeated."),
    ] = None,
) -> int:
    """Verify a backup and replace a store with it, while no server runs.

    Sessions end. Keys that were revoked in the replaced store stay revoked, and what was erased in
    it is erased again.
    """
    log_warnings_to_stderr()
    answers = dict.fromkeys(deleted or (), True) | dict.fromkeys(not_deleted or (), False)
    if len(answers) < len({*(deleted or ())}) + len({*(not_deleted or ())}):
        raise Invalid.at((), "A tenant is named with --deleted and with --not-deleted. Name it with one of them.")
    settings = settings_for(store=store)
    restored = backend_for(settings.store).restore(
        settings.store, str(source), force=force, progress=terminal_progress(), deleted=answers
    )
    if not restored.report.sound:
        return _unsound(restored.report, "Nothing was changed: the backup failed verification.")
    say(f"Restored: {size_of(restored.report)} in {printable(settings.shown_store)}.")
    if restored.revoked is None:
        say("Keys revoked after the backup are valid again. Check them with 'whence key list --store URL'.")
    elif restored.revoked:
        say(f"Keys that stay revoked, although the backup has them as valid: {restored.revoked}.")
    if restored.epochs:
        say(
            f"Logs that were signed with more events than the backup has: {restored.epochs}. The next server begins a "
            "new epoch of each, with another key, and records that in the log."
        )
    if restored.erased:
        erased = asyncio.run(_erase_again(settings.store, restored.erased))
        if erased:
            found = counted(erased, "payload, name or tenant", "payloads, names or tenants")
            say(f"Erased again, since the backup still had them: {found}.")
    return 0


async def _erase_again(url: str, entries: Sequence[Erased]) -> int:
    """Erase what the ledger of the store names, and overwrite it in the file."""
    store = create_store(url, restoring=True)
    try:
        return await finish_restore(store, entries, time.time_ns() // 1_000)
    finally:
        await store.close()


def _unsound(report: Report, sentence: str) -> int:
    for line in finding_lines(report):
        say(line)
    say(sentence)
    return UNSOUND
