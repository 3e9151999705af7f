"""The command `verify`, and how the result of a check is printed."""

import asyncio
import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

from whence.cli.app import UNSOUND
from whence.cli.local_store import LogOption, settings_of_log
from whence.cli.terminal import out, printable, say
from whence.counting import counted
from whence.storage import verify_store
from whence.storage.backends import Progress
from whence.storage.verification import Finding, Report

__all__ = ["finding_lines", "size_of", "terminal_progress", "verify"]


class VerifiedBody(msgspec.Struct, frozen=True):
    """The output of `verify --json`. `roots` holds the RFC 6962 root of each tenant's log, in hex."""

    sound: bool
    tenants: int
    events: int
    roots: dict[str, str]
    findings: list[Finding]
    notes: list[str]


def verify(
    *,
    store: LogOption = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")] = False,
) -> int:
    """Check every stored event against its hash, the hashes against the tree, and every count.

    Only reads, and may run beside the server. If anything does not match, prints the first bad position of each tenant
    and exits with code 5.
    """
    settings = settings_of_log(store)
    report = asyncio.run(verify_store(settings.store, terminal_progress(), pooler=settings.postgres_pooler))
    if json:
        body = VerifiedBody(report.sound, report.tenants, report.events, report.roots, report.findings, report.notes)
        out(msgspec.json.encode(body).decode())
    elif report.sound:
        out(f"{size_of(report)} in {printable(settings.shown_store)} verified, no errors found.")
    else:
        for line in finding_lines(report):
            out(line)
    for note in [] if json else report.notes:
        say(printable(f"Note: {note}."))
    return 0 if report.sound else UNSOUND


def finding_lines(report: Report) -> list[str]:
    """One printable line for each finding: tenant, position, and what is wrong."""
    return [_line(finding) for finding in report.findings]


def _line(finding: Finding) -> str:
    where = [finding.tenant] if finding.tenant else []
    if finding.position is not None:
        where.append(f"position {finding.position}")
    return printable(": ".join([*where, finding.what]))


def size_of(report: Report) -> str:
    """How many events of how many tenants were checked."""
    return f"{counted(report.events, 'event')} of {counted(report.tenants, 'tenant')}"


def terminal_progress() -> Progress | None:
    """What shows the progress of a check, if stderr is a terminal."""
    if not sys.stderr.isatty():
        return None
    return lambda events: print(f"\r{events:,} events read ", end="", file=sys.stderr, flush=True)
