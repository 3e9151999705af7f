"""The commands `checkpoint` and `proof`: what makes a log checkable elsewhere."""

import itertools
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from whence.checkpoints import Checkpoint
from whence.cli.checked_log import CheckedLog, Contradiction, Watch, given_key, verified
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import EventId, event_id
from whence.cli.replaced_files import replace_file
from whence.cli.terminal import out, printable, say
from whence.client import ApiRequest, Unreachable, parse_body
from whence.counting import counted
from whence.errors import Invalid, NotFound, NotSealedYet, RetryLater, Unavailable, Unsound
from whence.merkle_proofs import is_consistent
from whence.notes import BadNote, KeyType, VerifierKey, parse_note
from whence.wire.epochs import EpochBody

__all__ = ["app", "begin_epoch", "proof", "save", "show", "show_keys", "watch"]

_EVIDENCE = Path("checkpoint-evidence.json")

_EPOCH_S = 60.0
_LOOK_S = 0.5

Cosigned = Annotated[
    bool, Parameter(negative="", help="Take the newest checkpoint that a quorum of witnesses has cosigned.")
]

app = App(name="checkpoint", help_format="plaintext", version_flags=[])


@app.command(name="save")
def save(
    file: Annotated[
        Path, Parameter(name="FILE", help="The file. One that is there is replaced if the log extends it.")
    ],
    /,
    *,
    cosigned: Cosigned = False,
    former_key: Annotated[
        str | None,
        Parameter(help="The key of the saved checkpoint, if the log was copied from another store since it was saved."),
    ] = None,
    server: ServerOptions | None = None,
) -> int:
    """Save the newest checkpoint of the log in a file. If the file has an earlier one, the log has to extend it.

    Keep the file where the operator of the server cannot change it. Exits with code 5, and leaves the file as it is,
    when the log is not an extension of the saved one.
    """
    former = [] if former_key is None else [given_key(former_key, "--former-key")]
    with client_for(server) as whence:
        log = CheckedLog(whence)
        note, keys = log.note(cosigned=cosigned), log.keys()
        new = verified(note.encode(), keys, "The server's checkpoint")
        old = None
        if file.exists():
            old = _saved(file.read_bytes(), [*keys, *former])
            _refuse_inconsistent(log, old, new)
    replace_file(file, note.encode())
    say(f"Saved: {printable(new.origin)} with {counted(new.size, 'event')}.")
    if old is not None and old.origin == new.origin:
        say(f"The log extends the saved checkpoint, which had {counted(old.size, 'event')}.")
    elif old is not None:
        say("The log has another key since the saved checkpoint. It extends that one, so nothing in it was changed.")
    return 0


@app.command(name="watch")
def watch(
    *urls: Annotated[
        str, Parameter(name="URL", help="Servers that should have the same log. Default: the one of the profile.")
    ],
    every: Annotated[float, Parameter(help="Seconds between two polls.")] = 60,
    times: Annotated[int | None, Parameter(help="End after so many polls. Default: go on until interrupted.")] = None,
    key: Annotated[
        str | None, Parameter(help="The key of the log, from where you keep it. Default: those that the server names.")
    ] = None,
    evidence: Annotated[Path, Parameter(help="The file for what shows that the log contradicts itself.")] = _EVIDENCE,
    server: ServerOptions | None = None,
) -> int:
    """Compare the checkpoints of a log again and again, also those of several servers with each other.

    Prints each new one. When one does not extend those before, writes both and the server's proof into a file, and
    exits with code 5. A server that cannot be reached is asked again.
    """
    if every <= 0 or (times is not None and times < 1):
        raise Invalid.at((), "--every and --times are more than zero.")
    if evidence.exists():
        raise Invalid.at((), "The file for evidence exists. Move it away, or name another one with --evidence.")
    given = None if key is None else [given_key(key)]
    flags = server or ServerOptions()
    with ExitStack() as stack:
        logs = [
            CheckedLog(stack.enter_context(client_for(replace(flags, url=url or flags.url))), url)
            for url in dict.fromkeys(urls or [""])
        ]
        keys = given or logs[0].keys()
        if not keys:
            raise NotSealedYet("The log has no checkpoint yet: it is empty or new, or its server does not seal.")
        try:
            _poll(Watch(keys), logs, every, times)
        except Contradiction as found:
            replace_file(evidence, msgspec.json.format(msgspec.json.encode(found.evidence)) + b"\n")
            say(f"Both checkpoints are in {printable(str(evidence))}. Keep the file, and show it to others.")
            raise
    return 0


@app.command(name="show")
def show(*, cosigned: Cosigned = False, server: ServerOptions | None = None) -> None:
    """Print the newest checkpoint of the log, after a check of its signature."""
    with client_for(server) as whence:
        log = CheckedLog(whence)
        note = log.note(cosigned=cosigned)
        verified(note.encode(), log.keys(), "The server's checkpoint")
    out(note.removesuffix("\n"))


@app.command(name="key")
def show_keys(
    *,
    ml_dsa: Annotated[
        bool, Parameter(name="--ml-dsa", negative="", help="Print the key by ML-DSA-44, if the server signs by it too.")
    ] = False,
    server: ServerOptions | None = None,
) -> None:
    """Print the key that verifies the checkpoints of the log, for 'whence verify --key'."""
    with client_for(server) as whence:
        key = CheckedLog(whence).key(KeyType.COSIGNATURE_MLDSA44 if ml_dsa else KeyType.ED25519)
    if key is not None:
        out(str(key))
    elif ml_dsa:
        say("The log has no key by ML-DSA-44: its server does not set WHENCE_SEAL_ML_DSA, or the log is empty or new.")
    else:
        say("The log has no key yet: it is empty or new, or its server does not seal.")


@app.command(name="new-epoch")
def begin_epoch(
    reason: Annotated[
        Literal["restored", "rotated", "compromised"],
        Parameter(
            name="REASON",
            help="Why: the log was put back from an older backup, it is time for another key, or somebody else may "
            "have the key.",
        ),
    ],
    /,
    *,
    server: ServerOptions | None = None,
) -> None:
    """Give the log another origin and key, and print the key. An event of the log says so.

    Needs the scope admin. Those who compare checkpoints see the new origin.
    """
    with client_for(server) as whence:
        log = CheckedLog(whence)
        content = msgspec.json.encode({"reason": reason})
        asking = ApiRequest(method="POST", path="/api/v1/log/epochs", content=content, content_type="application/json")
        asked = parse_body(whence.send(asking), EpochBody)
        until = time.monotonic() + _EPOCH_S
        while (key := log.key()) is None or key.name == asked.ended:
            if time.monotonic() > until:
                raise Unavailable("The epoch has not begun yet. It does once a server that seals runs; look again.")
            time.sleep(_LOOK_S)
    out(str(key))


def proof(
    reference: EventId,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"), help="The file for the proof.")],
    cosigned: Cosigned = False,
    epoch: Annotated[
        int | None,
        Parameter(help="Take the newest checkpoint of this epoch: for the event by which its key announced the next."),
    ] = None,
    server: ServerOptions | None = None,
) -> None:
    """Save the proof that an event is in the log, with its payload. 'whence verify --proof' checks it offline."""
    with client_for(server) as whence:
        text = whence.proof(event_id(whence, reference), cosigned=cosigned, epoch=epoch)
    output.write_text(text, encoding="utf-8")
    say(f"Saved. Check it with: whence verify --proof {printable(str(output))} --key KEY")


def _poll(watch: Watch, logs: Sequence[CheckedLog], every_s: float, times: int | None) -> None:
    """Poll each log at once and then every so many seconds, and print what is new. Raises Contradiction."""
    for number in itertools.count():
        if number == times:
            return
        if number:
            time.sleep(every_s)
        for log in logs:
            try:
                new = watch.poll(log)
            except (Unreachable, RetryLater, NotFound) as error:
                say(printable(f"{log.name} {error} It is asked again.".strip()))
                continue
            if new is not None:
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                out(printable(f"{now} {new.origin} {counted(new.size, 'event')} {log.name}".rstrip()))


def _saved(note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint that was saved. Raises Unsound unless one of the keys signed it."""
    with suppress(BadNote):
        signed = {(each.name, each.key_id) for each in parse_note(note).signatures}
        if signed.isdisjoint((key.name, key.id) for key in keys):
            raise Unsound(
                "The saved checkpoint is signed by a key that this log never had. If the log was copied from another "
                "store since then, pass that key with --former-key: a copy begins with the same events."
            )
    return verified(note, keys, "The saved checkpoint")


def _refuse_inconsistent(log: CheckedLog, old: Checkpoint, new: Checkpoint) -> None:
    """Raise Unsound unless the server proves that the log extends the saved checkpoint, under whatever origin."""
    if new.size < old.size:
        raise Unsound("The log is shorter than it was when the checkpoint was saved.")
    if not is_consistent(old.size, new.size, log.consistency(old.size, new.size), old.root, new.root):
        raise Unsound(
            "The log does not extend the saved checkpoint: events that it counted were changed or removed."
            + ("" if old.origin == new.origin else " It has another origin since then, as after a restore.")
        )
