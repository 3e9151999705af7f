"""The command `verify`, and how the result of a check is printed: of a store, alone or against a checkpoint that was
kept elsewhere, of a single proof, and of an export with proof."""

import asyncio
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from whence.checkpoints import cosigned_at, parse_checkpoint, parse_proof, verify_checkpoint
from whence.cli.app import UNSOUND
from whence.cli.export_check import CHECKPOINT, check_folder
from whence.cli.local_store import LogOption, settings_of_log
from whence.cli.tenant_folder import EVENTS, TENANT, check_tenant_folder
from whence.cli.terminal import JsonFlag, out, printable, say
from whence.cli.trusted_keys import Trust, read_text, trust_of
from whence.counting import counted
from whence.errors import Invalid, Unsound
from whence.merkle import HASH_SIZE, CompactRange
from whence.merkle_proofs import LeafRange
from whence.notes import BadNote, VerifierKey, parse_note, parse_verifier_key
from whence.proven_events import verify_event
from whence.settings import Settings
from whence.storage import Store, create_store, verify_store
from whence.storage.backends import ReportProgress
from whence.storage.verification import Finding, Report
from whence.wire.export_manifests import ExportManifestBody

__all__ = ["compare_with_checkpoint", "finding_lines", "size_of", "terminal_progress", "verify"]


_LEAVES_AT_ONCE = 65_536


class ProofBody(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `verify --proof --json`."""

    envelope: msgspec.Raw
    origin: str
    payload: msgspec.Raw | None
    position: int
    size: int
    witnesses: list[str]


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
    checkpoint: Annotated[
        Path | None, Parameter(help="Also compare the log with a checkpoint in this file, which was kept elsewhere.")
    ] = None,
    proof: Annotated[Path | None, Parameter(help="Check the proof of an event in this file instead, offline.")] = None,
    export: Annotated[
        Path | None, Parameter(help="Check the folder of 'whence export --proof' instead, offline.")
    ] = None,
    key: Annotated[
        str | None, Parameter(help="The key that has to have signed, as 'whence checkpoint key' prints it.")
    ] = None,
    policy: Annotated[
        Path | None,
        Parameter(help="A file with witnesses and their quorum, which has to have cosigned; by C2SP tlog-policy."),
    ] = None,
    rotation: Annotated[
        list[Path] | None,
        Parameter(
            negative="",
            help="The proof of the event by which the key announced the next one, which is believed too. May be "
            "repeated, in the order of the rotations.",
        ),
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Check every stored event against its hash, the hashes against the tree, and every count.

    Only reads, and may run beside the server. If anything does not match, prints the first bad position of each tenant
    and exits with code 5. So too if the log does not extend the checkpoint, or if a proof or an export does not hold.
    """
    is_given = any(each is not None for each in (key, policy, rotation))
    trust = trust_of(key, policy, rotation or []) if is_given else None
    if proof is not None or export is not None:
        if store is not None or checkpoint is not None:
            raise Invalid.at((), "A proof or an export is checked alone: leave out --store and --checkpoint.")
        return _verify_alone(proof, export, trust, json=json)
    if trust is not None and checkpoint is None:
        raise Invalid.at((), "--key, --policy and --rotation belong to --proof, --export or --checkpoint.")
    kept = None if checkpoint is None else _read_checkpoint(checkpoint, trust)
    settings = settings_of_log(store)
    report = asyncio.run(_verified(settings, kept, may_trust_store=trust is None))
    if json:
        body = VerifiedBody(report.sound, report.tenants, report.events, report.roots, report.findings, report.notes)
        out(msgspec.json.encode(body).decode())
    elif report.sound:
        out(f"{size_of(report)} in {printable(settings.shown_store)} verified, no errors found.")
        if kept is not None:
            out(_comparison(kept))
    else:
        for line in finding_lines(report):
            out(line)
    for note in [] if json else report.notes:
        say(printable(f"Note: {note}."))
    return 0 if report.sound else UNSOUND


def _comparison(kept: bytes) -> str:
    """That the log extends a checkpoint, in a sentence."""
    checkpoint = parse_checkpoint(parse_note(kept).text)
    events = counted(checkpoint.size, "event")
    return printable(f"Compared with the checkpoint of {checkpoint.origin}: the log begins with its {events}.")


async def _verified(settings: Settings, kept: bytes | None, *, may_trust_store: bool) -> Report:
    """Check the store, and compare it with a checkpoint."""
    report = await verify_store(settings.store, terminal_progress(), pooler=settings.postgres_pooler)
    if kept is None:
        return report
    store = create_store(settings.store, serving=False, pooler=settings.postgres_pooler, unsafe_durability=True)
    try:
        await store.check_servable()
        found = await compare_with_checkpoint(store, kept, check_signature=may_trust_store)
    finally:
        await store.close()
    findings = [*report.findings, *([] if found is None else [found])]
    return msgspec.structs.replace(report, findings=findings)


def _read_checkpoint(path: Path, trust: Trust | None) -> bytes:
    """The checkpoint in a file. Raises Unsound unless it is one, signed by those who have to, if any are given."""
    data = path.read_bytes()
    try:
        if trust is not None:
            trust.verify_checkpoint(data)
        else:
            parse_checkpoint(parse_note(data).text)
    except BadNote as error:
        raise Unsound(f"The file holds no valid checkpoint. {error}") from None
    return data


async def compare_with_checkpoint(store: Store, kept: bytes, *, check_signature: bool) -> Finding | None:
    """What is wrong with the log of a checkpoint; None if the log extends it. With `check_signature`, the key that the
    store has for the origin must have signed."""
    checkpoint = parse_checkpoint(parse_note(kept).text)
    for tenant in await store.tenants():
        for origin in await store.seals.list_origins(tenant):
            if origin.name == checkpoint.origin:
                break
        else:
            continue
        try:
            if check_signature:
                verify_checkpoint(kept, [parse_verifier_key(origin.key)])
        except BadNote:
            return Finding(tenant, None, "the checkpoint is not signed by the key of this log")
        size = (await store.head(tenant)).size
        if size < checkpoint.size:
            what = f"the log has {counted(size, 'event')}, and had {checkpoint.size:,} when the checkpoint was signed"
            return Finding(tenant, None, what)
        if await _root_at(store, tenant, checkpoint.size) != checkpoint.root:
            what = f"the first {counted(checkpoint.size, 'event')} are not those of the checkpoint"
            return Finding(tenant, None, what)
        return None
    return Finding(
        "", None, "no log of this store has the origin of the checkpoint; a log that was copied has another one"
    )


async def _root_at(store: Store, tenant: str, size: int) -> bytes:
    """The root over the first leaves, from the leaves alone."""
    tree = CompactRange()
    while tree.size < size:
        part = LeafRange(tree.size, min(size, tree.size + _LEAVES_AT_ONCE))
        leaves = await store.seals.read_leaves(tenant, part)
        if not leaves:
            break
        tree.extend(leaves[at : at + HASH_SIZE] for at in range(0, len(leaves), HASH_SIZE))
    return tree.root()


def _verify_alone(proof: Path | None, export: Path | None, trust: Trust | None, *, json: bool) -> int:
    """Check a proof or an export."""
    if proof is not None and export is not None:
        raise Invalid.at((), "--proof and --export are checked one at a time.")
    if trust is None:
        raise Invalid.at(
            (),
            "A proof or an export needs --key, the key of the log, from where you keep it and not from the proof.",
        )
    if proof is not None:
        return _verify_proof(proof, trust, json=json)
    return _verify_export(export, trust, json=json)


def _verify_proof(path: Path, trust: Trust, *, json: bool) -> int:
    """Check a proof without any server."""
    try:
        text = read_text(path)
        proven = verify_event(text, trust.keys, trust.policy)
    except (BadNote, UnicodeDecodeError) as error:
        raise Unsound(f"The proof is not valid. {error if isinstance(error, BadNote) else ''}") from None
    checkpoint = proven.checkpoint
    if json:
        payload = None if proven.payload is None else msgspec.Raw(proven.payload)
        body = ProofBody(
            envelope=msgspec.Raw(proven.envelope),
            origin=checkpoint.origin,
            payload=payload,
            position=proven.position,
            size=checkpoint.size,
            witnesses=[key.name for key in proven.witnesses],
        )
        out(msgspec.json.encode(body).decode())
        return 0
    out(printable(f"Event {proven.id} is proven: position {proven.position} of {checkpoint.origin},"))
    out(f"as it was with {counted(checkpoint.size, 'event')}.")
    for line in _cosigned_lines(parse_proof(text).note, proven.witnesses):
        out(line)
    if proven.payload is None:
        out("The proof comes without the payload, so only the hash of it is proven.")
    return 0


def _cosigned_lines(note: str, witnesses: Iterable[VerifierKey]) -> list[str]:
    """By whom a checkpoint is cosigned, and when."""
    return [printable(f"Cosigned by {key.name} at {_time_text(cosigned_at(note, key))}.") for key in witnesses]


def _time_text(time_s: int) -> str:
    """A time in UTC, or in seconds since 1970 if no calendar has it."""
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time_s} s since 1970"


def _verify_export(folder: Path | None, trust: Trust, *, json: bool) -> int:
    """Check an export without any server, and say what it proves."""
    if folder is None or not folder.is_dir():
        raise Invalid.at((), "--export names a folder that 'whence export --proof' or 'whence tenant export' wrote.")
    is_tenants = (folder / TENANT).is_file()
    manifest = (check_tenant_folder if is_tenants else check_folder)(folder, trust)
    if json:
        out(msgspec.json.encode(manifest).decode())
        return 0
    for line in _claims(manifest):
        out(printable(line))
    note = (folder / EVENTS / CHECKPOINT if is_tenants else folder / CHECKPOINT).read_bytes()
    for line in _cosigned_lines(note.decode(), trust.verify_checkpoint(note).witnesses):
        out(line)
    if is_tenants:
        out("The other files are those that the server sent when the tenant was exported. Nobody signed them.")
    return 0


def _claims(manifest: ExportManifestBody) -> list[str]:
    """What an export proves, in sentences."""
    claims = [
        f"{counted(manifest.events, 'event is', 'events are')} proven to be in {manifest.origin}, as it was with "
        f"{counted(manifest.as_of, 'event')}.",
        f"The filter: {manifest.filter.text or 'none, all events'}.",
    ]
    if manifest.erased:
        claims.append(
            f"The payload of {manifest.erased:,} of them is left out, as after an erasure: only its hash is proven."
        )
    if manifest.leaf_only:
        claims.append(
            f"{counted(manifest.leaf_only, 'event')} may match too: there is only the leaf, as where the id of an "
            "actor was replaced, and it shows nothing of them."
        )
    if manifest.complete_from is None:
        claims.append("Whether other events match is not proven: for that, export with --complete.")
        return claims
    first = manifest.complete_from
    claims.append(f"No other event matches, of those at the positions {first:,} to {manifest.as_of:,}.")
    if manifest.boundary is not None:
        claims.append("Nor does an earlier one, since no event is recorded more than five minutes before it occurs.")
    elif manifest.first_position is not None and manifest.first_position < first:
        claims.append("Of earlier events nothing else is claimed: others may be removed, or left out of the export.")
    elif first > 1:
        claims.append("Of earlier events nothing is claimed: they may be removed, or left out of the export.")
    return claims


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


def terminal_progress() -> ReportProgress | None:
    """What shows the progress of a check, if stderr is a terminal."""
    if not sys.stderr.isatty():
        return None
    return lambda events: print(f"\r{events:,} events read ", end="", file=sys.stderr, flush=True)
