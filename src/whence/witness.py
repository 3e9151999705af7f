"""A witness: remembers the last checkpoint of each log, and cosigns only what extends it.

What it remembers is one file, with the cosigned notes. The next checkpoint is in that file, synced, before its
cosignature leaves this process: a witness that was killed goes on where it was, and never cosigns two histories. Each
note in the file was cosigned by the witness itself, so a file that was damaged or written by others is refused. An
older copy of the file is not recognised, and must never be put back.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from whence.checkpoints import Checkpoint, Cosigner, cosignature_of, parse_checkpoint
from whence.durable_files import sync_folder
from whence.errors import Unsound, WhenceError
from whence.notes import BadNote, Note, VerifierKey, parse_note, parse_verifier_key, signature_line
from whence.witness_protocol import AddCheckpoint, Refusal, judge, origin_hash

__all__ = ["WitnessRecord", "WitnessService", "Witnessed", "create_record", "read_record"]


class Witnessed(NamedTuple):
    """The last checkpoint of a log that the witness cosigned: the note has the signatures of the log and its own."""

    checkpoint: Checkpoint
    note: str


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the file: the key of the witness, and its notes by origin."""

    key: str
    notes: list[str]


def create_record(path: Path, key: VerifierKey) -> None:
    """Make the file of a witness that has cosigned nothing. Raises FileExistsError if there is one."""
    with path.open("xb") as file:
        os.chmod(file.fileno(), 0o600)
        file.write(_encoded(key, []))
        file.flush()
        os.fsync(file.fileno())
    sync_folder(str(path))


def read_record(path: Path) -> tuple[str, list[Witnessed]]:
    """The key of a witness as text, and what it cosigned last, by origin. Raises Unsound for a file that is damaged."""
    try:
        body = msgspec.json.decode(path.read_bytes(), type=_File)
        key = parse_verifier_key(body.key)
        found = [_checked(note, key) for note in body.notes]
    except (ValueError, BadNote):
        raise Unsound(
            "The state of the witness is damaged, or was not written by it. It must not cosign without knowing what it "
            "cosigned before. Make a witness with another key."
        ) from None
    return body.key, found


class WitnessRecord:
    """The file of a witness, which one process has open at a time."""

    def __init__(self, path: Path, key: VerifierKey) -> None:
        """Open the file. Raises WhenceError if another process has it open or if it is of another key, Unsound for one
        that is damaged, and FileNotFoundError."""
        self._path, self._key = path, key
        self._lock = (path.with_name(path.name + ".lock")).open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise WhenceError("Another process runs a witness with this state.") from None
        try:
            text, found = read_record(path)
            if text != str(key):
                raise WhenceError("The state is that of a witness with another key.")
        except BaseException:
            self._lock.close()
            raise
        self._notes = {each.checkpoint.origin: each for each in found}

    def get(self, origin: str) -> Witnessed | None:
        """What was cosigned last for an origin."""
        return self._notes.get(origin)

    def put(self, witnessed: Witnessed) -> None:
        """Keep what is about to be cosigned. It is on the disk on return, or OSError is raised and nothing changed."""
        notes = {**self._notes, witnessed.checkpoint.origin: witnessed}
        partial = self._path.with_name(self._path.name + ".partial")
        with partial.open("wb") as file:
            os.chmod(file.fileno(), 0o600)
            file.write(_encoded(self._key, [each.note for each in notes.values()]))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._path)
        sync_folder(str(self._path))
        self._notes = notes

    def close(self) -> None:
        """Let another process have the file."""
        self._lock.close()


class WitnessService:
    """Cosigns what it is asked to, for the logs that it knows. Safe to use from many threads: a request is judged, and
    its checkpoint kept, before the next one is judged."""

    def __init__(
        self,
        record: WitnessRecord,
        cosigner: Cosigner,
        logs: Sequence[VerifierKey],
        clock: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        """`logs` are the keys of the logs; `clock` is the time in seconds since 1970."""
        self._record, self._cosigner, self._logs, self._clock = record, cosigner, tuple(logs), clock
        self._origins = {origin_hash(key.name): key.name for key in logs}
        self._one_at_a_time = threading.Lock()

    def add_checkpoint(self, asked: AddCheckpoint) -> str | Refusal:
        """The cosignature as a signature line, or why there is none. Raises OSError when the state cannot be kept."""
        with self._one_at_a_time:
            origin = asked.checkpoint.origin
            last = self._record.get(origin)
            refusal = judge(asked, self._logs, None if last is None else last.checkpoint)
            if refusal is not None:
                return refusal
            cosignature = self._cosigner.cosign(asked.checkpoint, self._clock())
            keys = {(key.name, key.id) for key in self._logs if key.name == origin}
            # Anybody can repeat a line. A note that had them all could be too long to be read again.
            own = {(each.name, each.key_id): each for each in parse_note(asked.note).signatures}
            note = Note(asked.checkpoint.text, (*(each for key, each in own.items() if key in keys), cosignature))
            self._record.put(Witnessed(asked.checkpoint, str(note)))
            return signature_line(cosignature)

    def checkpoint(self, name: str) -> str | None:
        """The note that was cosigned last for the log whose origin has this hash, or None."""
        origin = self._origins.get(name)
        found = None if origin is None else self._record.get(origin)
        return None if found is None else found.note


def _checked(text: str, key: VerifierKey) -> Witnessed:
    """A note of the file. Raises BadNote unless the witness cosigned it."""
    note = parse_note(text.encode())
    checkpoint = parse_checkpoint(note.text)
    cosignature_of(checkpoint, "".join(map(signature_line, note.signatures)).encode(), key)
    return Witnessed(checkpoint, text)


def _encoded(key: VerifierKey, notes: Sequence[str]) -> bytes:
    body = _File(key=str(key), notes=list(notes))
    return msgspec.json.format(msgspec.json.encode(body)) + b"\n"
