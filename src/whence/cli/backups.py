"""`verify`, `backup` and `restore`: on a store itself, beside its server where that does no harm."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from whence.cli.app import UNSOUND
from whence.cli.local_store import settings_for
from whence.cli.terminal import out, printable, say
from whence.storage import backend_for, verify_store
from whence.storage.backends import Progress
from whence.storage.verifying import Finding, Report

__all__ = ["backup", "restore", "verify"]

StoreFlag = Annotated[
    str | None, Parameter(help="The store, like sqlite:///path; else WHENCE_STORE, else the user's data directory.")
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
Force = Annotated[bool, Parameter(negative="", help="Replace what is there.")]


class _Verified(msgspec.Struct, frozen=True):
    """What `verify --json` prints. `roots` has the RFC 6962 root of each tenant's log, in hex."""

    sound: bool
    tenants: int
    events: int
    roots: dict[str, str]
    findings: list[Finding]


def verify(*, store: StoreFlag = None, json: Json = False) -> int:
    """Check every stored event against its hash, the hashes against the tree, and every count.

    Reads only, and may run beside the server. What is not as it was written is named by tenant and position, the first
    bad position of each tenant; the exit code is 5 then.
    """
    settings = settings_for(store=store)
    report = asyncio.run(verify_store(settings.store, _progress(), pooler=settings.postgres_pooler))
    if json:
        verified = _Verified(report.sound, report.tenants, report.events, report.roots, report.findings)
        out(msgspec.json.encode(verified).decode())
    elif report.sound:
        out(f"{_amount(report)}: all is as it was written.")
    else:
        for finding in report.findings:
            out(_line(finding))
    return 0 if report.sound else UNSOUND


def backup(
    destination: Annotated[Path, Parameter(name="DEST", help="The file to make.")],
    /,
    *,
    store: StoreFlag = None,
    force: Force = False,
) -> int:
    """Copy a store into one file that holds exactly one commit's state, and verify it.

    A server may go on writing meanwhile. The copy holds the hashes of API keys too, and is readable by its owner alone.
    """
    url = settings_for(store=store).store
    report = backend_for(url).backup(url, str(destination), force=force, progress=_progress())
    if not report.sound:
        return _unsound(report, "Nothing was kept: the store, and so its copy, is not as it was written.")
    say(f"{_amount(report)} in {printable(str(destination))}, verified.")
    return 0


def restore(
    source: Annotated[Path, Parameter(name="SRC", help="A file that 'whence backup' made.")],
    /,
    *,
    store: StoreFlag = None,
    force: Force = False,
) -> int:
    """Verify a backup and put it in a store's place, with no server running.

    Sessions are forgotten. Keys that were revoked in a store that is replaced stay revoked.
    """
    settings = settings_for(store=store)
    restored = backend_for(settings.store).restore(settings.store, str(source), force=force, progress=_progress())
    report = restored.report
    if not report.sound:
        return _unsound(report, "Nothing was changed: the backup is not as it was written.")
    say(f"{_amount(report)} in {printable(settings.shown_store)}.")
    if restored.revoked is None:
        say("Keys that were revoked after the backup hold again; look at them with 'whence key list --store URL'.")
    elif restored.revoked:
        say(f"Keys that stay revoked though they hold in the backup: {restored.revoked}.")
    return 0


def _unsound(report: Report, sentence: str) -> int:
    for finding in report.findings:
        say(_line(finding))
    say(sentence)
    return UNSOUND


def _line(finding: Finding) -> str:
    where = [finding.tenant] if finding.tenant else []
    if finding.position is not None:
        where.append(f"position {finding.position}")
    return printable(": ".join([*where, finding.what]))


def _amount(report: Report) -> str:
    events, tenants = report.events, report.tenants
    return f"{events:,} event{'s' * (events != 1)} of {tenants:,} tenant{'s' * (tenants != 1)}"


def _progress() -> Progress | None:
    """Tells a person at a terminal how far the check has come."""
    if not sys.stderr.isatty():
        return None
    return lambda events: print(f"\r{events:,} events read ", end="", file=sys.stderr, flush=True)
