"""The counts and times of a program that emits, in a file that the bench reads.

The program has mapped the file into memory. So the counts are right too when it hangs, is killed or ends by `os._exit`.
The file has a slot for each process or task.
"""

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["RECORD_BYTES", "SLOTS", "Recorder", "marker", "read", "reported"]

SLOTS = 128
_FIELDS = ("emitted", "refused", "reported", "worst_s", "began", "ended")
_FORMAT = {"emitted": "<q", "refused": "<q", "reported": "<q", "worst_s": "<d", "began": "<d", "ended": "<d"}
_SIZE = 8 * len(_FIELDS)
RECORD_BYTES = SLOTS * _SIZE
_PER_SLOT = 1_000_000


def marker(slot: int, number: int) -> str:
    """The text by which the server knows an event."""
    return f"ev-{slot * _PER_SLOT + number:09d}"


class Recorder:
    """Counts and times the events of one slot. Times are of the monotonic clock, in seconds.

    `began` is when the running call of `emit` began, and zero outside of calls. `ended` is when the program had
    nothing more to do and began to exit.
    """

    def __init__(self, path: str, slot: int, emit: Callable[[str], bool]) -> None:
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), SLOTS * _SIZE)
        self._at = slot * _SIZE
        self.slot = slot
        self._emit = emit
        self._number = 0

    def set(self, field: str, value: float) -> None:
        """Store a value."""
        struct.pack_into(_FORMAT[field], self._map, self._at + 8 * _FIELDS.index(field), value)

    def get(self, field: str) -> float:
        """The stored value."""
        value: float = struct.unpack_from(_FORMAT[field], self._map, self._at + 8 * _FIELDS.index(field))[0]
        return value

    def emit(self) -> None:
        """Emit the next event. An exception, or False, counts as refused, since the caller knows at once."""
        self._number += 1
        text = marker(self.slot, self._number)
        began = time.monotonic()
        self.set("began", began)
        try:
            accepted = self._emit(text)
        except Exception:
            accepted = False
        self.set("worst_s", max(self.get("worst_s"), time.monotonic() - began))
        self.set("began", 0.0)
        self.set("emitted", self.get_count("emitted") + 1)
        if not accepted:
            self.set("refused", self.get_count("refused") + 1)

    def get_count(self, field: str) -> int:
        """The stored value of a count."""
        return int(self.get(field))

    def end(self) -> None:
        """Note that the program begins to exit."""
        self.set("ended", time.monotonic())


def reported(count: int) -> None:
    """Add to the events that a callback of the library named as lost or refused. Its slot is the last one."""
    recorder = Recorder(os.environ["SCENE_RECORD"], SLOTS - 1, lambda _: True)
    recorder.set("reported", recorder.get_count("reported") + count)


def read(path: Path) -> Iterator[dict[str, float]]:
    """The slots that were used."""
    content = path.read_bytes()
    for at in range(0, len(content), _SIZE):
        slot = {
            name: struct.unpack_from(_FORMAT[name], content, at + 8 * number)[0] for number, name in enumerate(_FIELDS)
        }
        if any(slot.values()):
            yield slot
