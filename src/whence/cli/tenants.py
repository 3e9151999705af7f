"""The commands `tenant list`, `tenant export` and `tenant delete`, for the operator of a server.

Listing and deleting work on the store itself, with or without a running server, and need only access to it, as keys are
made there. An export goes through the server.
"""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from whence.cli.layout import style_of_stdout
from whence.cli.local_store import LogOption, in_store, settings_of_log
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.tenant_folder import write_tenant_folder
from whence.cli.terminal import JsonFlag, on_terminal, out, out_json, printable, say, table_or_lines
from whence.counting import counted
from whence.deleting import Deleted, delete_stragglers, delete_tenant, remove_former_logs
from whence.durable_files import sync_folder
from whence.errors import Invalid, NotFound
from whence.permissions import ADMIN, READ
from whence.storage import Store
from whence.wire.times import format_time

__all__ = ["app"]

app = App(name="tenant", help_format="plaintext", version_flags=[])


class ListedTenant(msgspec.Struct, frozen=True, rename="camel"):
    """A tenant: how many events it has stored, how many keys it has that work, the bytes of its payloads, and when the
    last event was stored."""

    events: int
    keys: int
    payload_bytes: int
    recorded_at: str | None
    tenant_id: str


@app.command(name="list")
def list_tenants(
    *,
    store: LogOption = None,
    json: JsonFlag = False,
) -> None:
    """List the tenants of a store: those that have a log or a key."""
    found = in_store(settings_of_log(store), _tenants)
    if json:
        out_json(msgspec.json.encode({"tenants": found}))
        return
    style = style_of_stdout()
    rows = [
        (each.tenant_id, f"{each.events:,}", f"{each.payload_bytes:,}", f"{each.keys:,}", each.recorded_at or "never")
        for each in found
    ]
    lines = (line for row in rows for line in style.filled(printable(" · ".join(row))))
    out(table_or_lines(("TENANT", "EVENTS", "PAYLOAD BYTES", "KEYS", "LAST EVENT STORED"), rows, lines, style.width))


@app.command
def export(
    tenant: Annotated[str, Parameter(name="NAME", help="The tenant.")],
    folder: Annotated[Path, Parameter(name="DIR", help="A new folder.")],
    /,
    *,
    server: ServerOptions | None = None,
) -> None:
    """Write everything of a tenant into a folder: all sealed events with their proof, checkpoints, and settings.

    Needs an operator's key whose ceiling has events:read and admin. Keys and webhooks come without their secrets.
    'whence verify --export DIR --key KEY' checks the folder offline.
    """
    with client_for(server) as whence:
        manifest = write_tenant_folder(whence.for_tenant(tenant, scope=f"{READ} {ADMIN}"), tenant, folder)
    say(f"{counted(manifest.events, 'event')} exported and checked, as of {counted(manifest.as_of, 'event')}.")


@app.command
def delete(
    tenant: Annotated[str, Parameter(name="NAME", help="The tenant.")],
    /,
    *,
    checkpoint: Annotated[
        Path | None, Parameter(help="A new file for the last signed checkpoint. It is written before anything goes.")
    ] = None,
    no_checkpoint: Annotated[bool, Parameter(negative="", help="Delete a log that is not sealed.")] = False,
    despite_holds: Annotated[bool, Parameter(negative="", help="Delete also what a legal hold keeps.")] = False,
    yes: Annotated[
        str | None, Parameter(name="--yes", help="The tenant's name once more, instead of being asked.")
    ] = None,
    store: LogOption = None,
) -> int:
    """Delete a tenant with its log, keys, sessions, webhooks, rules and holds, for ever.

    A tenant of the same name may be made later: it begins with an empty log, and is signed under another origin. A
    backup that is restored does not bring the deleted one back.
    """
    if (checkpoint is None) is not no_checkpoint:
        raise Invalid.at((), "Name a file with --checkpoint, or pass --no-checkpoint if the log is not sealed.")
    if checkpoint is not None and checkpoint.exists():
        raise Invalid.at((), "The file for --checkpoint exists. Name a new one.")
    settings = settings_of_log(store)

    async def act(opened: Store) -> Deleted | None:
        head = await opened.head(tenant)
        has_log = head.size or tenant in await opened.tenants()
        if not has_log and not await opened.deletions.has_anything(tenant):
            raise NotFound("There is no such tenant. See 'whence tenant list'.")
        if not _agreed(f"This deletes {tenant} with {counted(head.size, 'event')} for ever.", tenant, yes):
            return None
        keep = None if checkpoint is None else lambda note: _keep(checkpoint, note)
        deleted = await delete_tenant(opened, tenant, keep, despite_holds=despite_holds)
        more = await delete_stragglers(opened, tenant)
        await remove_former_logs(opened)
        return msgspec.structs.replace(deleted, events=deleted.events + more)

    deleted = in_store(settings, act)
    if deleted is None:
        say("Nothing was deleted.")
        return 1
    what = f"{counted(deleted.events, 'event')} and {counted(deleted.keys, 'key')}"
    say(printable(f"Deleted: {tenant} with {what}."))
    if checkpoint is not None and checkpoint.exists():
        say(printable(f"The last signed checkpoint is in {checkpoint}."))
    return 0


async def _tenants(store: Store) -> list[ListedTenant]:
    found, now = [], time.time_ns() // 1_000
    for tenant in await store.tenants():
        head = await store.head(tenant)
        keys = [key for key in await store.credentials.list_keys(tenant) if key.alive(now)]
        recorded_at = format_time(head.recorded_at) if head.size else None
        found.append(ListedTenant(head.size, len(keys), head.payload_bytes, recorded_at, tenant))
    return found


def _agreed(question: str, tenant: str, yes: str | None) -> bool:
    """Whether the user has typed the tenant's name. Raises Invalid for another name, and where nobody can be asked."""
    if yes is not None:
        if yes != tenant:
            raise Invalid.at((), "--yes has another name than that of the tenant. Nothing was deleted.")
        return True
    if not (sys.stdin is not None and sys.stdin.isatty() and on_terminal()):
        raise Invalid.at((), f"{question} Pass --yes with the tenant's name to agree, since nobody can be asked here.")
    say(printable(f"{question} Type the tenant's name to go on."))
    return sys.stdin.readline().strip() == tenant


def _keep(file: Path, note: bytes) -> None:
    """Write the checkpoint, durably."""
    with file.open("wb") as written:
        written.write(note)
        written.flush()
        os.fsync(written.fileno())
    sync_folder(file)
