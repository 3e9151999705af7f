"""The commands `checkpoint` and `proof`: what makes a log checkable elsewhere."""

import os
import secrets
import time
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from whence.checkpoints import Checkpoint, verify_checkpoint
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import EventId, event_id
from whence.cli.terminal import out, printable, say
from whence.client import ApiRequest, Whence, parse_body
from whence.counting import counted
from whence.errors import Invalid, Unavailable, Unsound
from whence.merkle_proofs import is_consistent
from whence.notes import BadNote, VerifierKey, decode_base64, parse_verifier_key
from whence.wire.epochs import EpochBody
from whence.wire.seals import ConsistencyBody, LogKeysBody

__all__ = ["app", "begin_epoch", "proof", "save", "show", "show_keys"]

_EPOCH_S = 60.0
_LOOK_S = 0.5

app = App(name="checkpoint", help_format="plaintext", version_flags=[])


@app.command(name="save")
def save(
    file: Annotated[
        Path, Parameter(name="FILE", help="The file. One that is there is replaced if the log extends it.")
    ],
    /,
    *,
    server: ServerOptions | None = None,
) -> int:
    """Save the newest checkpoint of the log in a file. If the file has an earlier one, the log has to extend it.

    Keep the file where the operator of the server cannot change it. Exits with code 5, and leaves the file as it is,
    when the log is not an extension of the saved one.
    """
    with client_for(server) as whence:
        note = whence.checkpoint()
        keys = _keys(whence)
        new = _verified(note.encode(), keys, "The server's checkpoint")
        old = None
        if file.exists():
            old = _verified(file.read_bytes(), keys, "The saved checkpoint")
            _refuse_inconsistent(whence, old, new)
    partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}.partial")
    partial.write_text(note, encoding="utf-8")
    os.replace(partial, file)
    say(f"Saved: {printable(new.origin)} with {counted(new.size, 'event')}.")
    if old is not None and old.origin != new.origin:
        say("The log has another key since the saved checkpoint. It extends that one, so nothing in it was changed.")
    return 0


@app.command(name="show")
def show(*, server: ServerOptions | None = None) -> None:
    """Print the newest checkpoint of the log, after a check of its signature."""
    with client_for(server) as whence:
        note = whence.checkpoint()
        _verified(note.encode(), _keys(whence), "The server's checkpoint")
    out(note.removesuffix("\n"))


@app.command(name="key")
def show_keys(*, server: ServerOptions | None = None) -> None:
    """Print the key that verifies the checkpoints of the log, for 'whence verify --key'."""
    with client_for(server) as whence:
        keys = _keys(whence)
    for key in keys[-1:]:
        out(str(key))
    if not keys:
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

    Needs the scope admin. Whoever compares checkpoints sees the new origin.
    """
    with client_for(server) as whence:
        content = msgspec.json.encode({"reason": reason})
        asking = ApiRequest(method="POST", path="/api/v1/log/epochs", content=content, content_type="application/json")
        asked = parse_body(whence.send(asking), EpochBody)
        until = time.monotonic() + _EPOCH_S
        while (key := _keys(whence)[-1]).name == asked.ended:
            if time.monotonic() > until:
                raise Unavailable("The epoch has not begun yet. It does once a server that seals runs; look again.")
            time.sleep(_LOOK_S)
    out(str(key))


def proof(
    reference: EventId,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"), help="The file for the proof.")],
    server: ServerOptions | None = None,
) -> None:
    """Save the proof that an event is in the log, with its payload. 'whence verify --proof' checks it offline."""
    with client_for(server) as whence:
        text = whence.proof(event_id(whence, reference))
    output.write_text(text, encoding="utf-8")
    say(f"Saved. Check it with: whence verify --proof {printable(str(output))} --key KEY")


def _keys(whence: Whence) -> list[VerifierKey]:
    answer = parse_body(whence.send(ApiRequest(method="GET", path="/api/v1/log/key")), LogKeysBody)
    try:
        return [parse_verifier_key(each.key) for each in answer.keys]
    except BadNote as error:
        raise Unsound(f"The server's key cannot be read. {error}") from None


def _verified(note: bytes, keys: list[VerifierKey], what: str) -> Checkpoint:
    try:
        return verify_checkpoint(note, keys).checkpoint
    except BadNote as error:
        raise Unsound(f"{what} is not valid. {error}") from None


def _refuse_inconsistent(whence: Whence, old: Checkpoint, new: Checkpoint) -> None:
    """Raise Unsound unless the server proves that the log extends the saved checkpoint, under whatever origin."""
    if new.size < old.size:
        raise Unsound("The log is shorter than it was when the checkpoint was saved.")
    query = (("from", str(old.size)), ("to", str(new.size)))
    answer = whence.send(ApiRequest(method="GET", path="/api/v1/log/consistency", query=query))
    try:
        hashes = [decode_base64(each) for each in parse_body(answer, ConsistencyBody).hashes]
    except (BadNote, Invalid):
        hashes = []
    if not is_consistent(old.size, new.size, hashes, old.root, new.root):
        raise Unsound(
            "The log does not extend the saved checkpoint: events that it counted were changed or removed."
            + ("" if old.origin == new.origin else " It has another origin since then, as after a restore.")
        )
