"""The command `witness`: a witness for the logs of others, to be run on a machine of its own."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from whence.addresses import PORT_MAX
from whence.api.server import configure_logging
from whence.api.witness_app import serve_witness
from whence.checkpoints import COSIGNED_NAME_BYTES_MAX, Cosigner
from whence.cli.checked_log import KEY_AS_TEXT
from whence.cli.terminal import JsonFlag, out, printable, say
from whence.counting import counted
from whence.durable_files import sync_folder
from whence.errors import Invalid, Unsound, WhenceError
from whence.notes import BadNote, KeyType, VerifierKey, parse_verifier_key
from whence.witness import WitnessRecord, WitnessService, create_record, read_record

__all__ = ["app", "list_logs", "new_key", "serve"]

_SEED_BYTES = 32
_KEY_BYTES_MAX = 4096

app = App(name="witness", help_format="plaintext", version_flags=[])

State = Annotated[Path, Parameter(help="The file with what the witness cosigned last. 'whence witness new' makes it.")]
Key = Annotated[
    Path,
    Parameter(
        name=("--key-file", "--key"),
        help="The file with the private key of the witness. 'whence witness new' makes it.",
    ),
]


class LogBody(msgspec.Struct, frozen=True, kw_only=True):
    """A log in the output of `witness list --json`."""

    note: str
    origin: str
    size: int


class StateBody(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `witness list --json`."""

    key: str
    logs: list[LogBody]


@app.default
def serve(
    *,
    state: State,
    key: Key,
    listen: Annotated[str, Parameter(help="The address, as HOST:PORT. Put a proxy with TLS in front of it.")],
    log: Annotated[
        tuple[str, ...],
        Parameter(help="The key of a log, as 'whence checkpoint key' prints it. May be repeated.", negative=()),
    ],
) -> None:
    """Cosign the checkpoints of logs, after a check that each extends the one before. Run it where the operator of the
    log has no access.

    It answers by the protocol of C2SP tlog-witness. What it cosigned is kept in a file before the answer, so it never
    cosigns two histories, also after it was killed. Never put an older copy of that file back.
    """
    host, port = _address(listen)
    logs = [_log_key(each) for each in log]
    cosigner = _read_key(key)
    if not state.exists():
        raise WhenceError(
            "There is no state file. A witness that forgot what it cosigned must not go on under its old key; "
            "'whence witness new' makes a key and a state."
        )
    configure_logging("info")
    record = WitnessRecord(state, cosigner.key)
    try:
        service = WitnessService(record, cosigner, logs)
        serve_witness(service, host, port, lambda url: _ready(url, cosigner.key, logs))
    finally:
        record.close()


@app.command(name="new")
def new_key(
    name: Annotated[str, Parameter(name="NAME", help="The name of the witness, like witness.example.com/w1.")],
    /,
    *,
    state: State,
    key: Key,
    ml_dsa: Annotated[
        bool,
        Parameter(
            name="--ml-dsa",
            negative="",
            help="Cosign by ML-DSA-44, and not by Ed25519.",
        ),
    ] = False,
) -> None:
    """Make the key and the empty state of a witness, and print the key that verifies its cosignatures."""
    type_ = KeyType.COSIGNATURE_MLDSA44 if ml_dsa else KeyType.COSIGNATURE_ED25519
    try:
        cosigner = Cosigner(name, os.urandom(_SEED_BYTES), type_)
    except BadNote as error:
        raise Invalid.at((), f"NAME cannot be used. {error}") from None
    for file in (key, state):
        if file.exists():
            raise WhenceError(f"The file {file.name} exists. A witness keeps its key and its state for its whole life.")
    descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as opened:
        opened.write(cosigner.private_text + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    sync_folder(str(key))
    create_record(state, cosigner.key)
    out(str(cosigner.key))


@app.command(name="list")
def list_logs(
    *,
    state: State,
    json: JsonFlag = False,
) -> None:
    """List the logs that a witness cosigned, with the size of the last checkpoint of each."""
    text, found = read_record(state)
    if json:
        logs = [LogBody(note=each.note, origin=each.checkpoint.origin, size=each.checkpoint.size) for each in found]
        out(msgspec.json.encode(StateBody(key=text, logs=logs)).decode())
        return
    for each in found:
        out(printable(f"{each.checkpoint.origin}  {counted(each.checkpoint.size, 'event')}"))
    if not found:
        say("The witness has cosigned nothing yet.")


def _ready(url: str, key: VerifierKey, logs: Sequence[VerifierKey]) -> None:
    say(printable(f"Witness of {counted(len(logs), 'log key')} at {url}. Its key: {key}"))


def _read_key(path: Path) -> Cosigner:
    """The private key in a file. Raises Unsound for a file that has none."""
    try:
        with path.open("rb") as file:
            data = file.read(_KEY_BYTES_MAX)
    except FileNotFoundError:
        raise WhenceError("There is no file of --key-file. 'whence witness new' makes it, with the state.") from None
    try:
        return Cosigner.parse(data.decode().strip())
    except (BadNote, UnicodeDecodeError, ValueError):
        raise Unsound("The file of --key-file does not hold the private key of a witness.") from None


def _log_key(text: str) -> VerifierKey:
    try:
        key = parse_verifier_key(text.strip())
    except BadNote as error:
        raise Invalid.at((), f"--log is not the key of a log. {error} {KEY_AS_TEXT}") from None
    if key.type is KeyType.COSIGNATURE_ED25519:
        raise Invalid.at((), "--log is the key of a log, and this one is that of a witness.")
    if len(key.name.encode()) > COSIGNED_NAME_BYTES_MAX:
        raise Invalid.at((), f"The name of a log that is cosigned has at most {COSIGNED_NAME_BYTES_MAX} bytes.")
    return key


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise Invalid.at((), "--listen is HOST:PORT, like 127.0.0.1:8710.")
    return host, int(port)
