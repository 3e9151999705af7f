"""The history that clients record of their events, and the checks of a store against it.

A client records an event before it sends it, and again when the answer arrives. An event without an answer is
indeterminate: the store may hold it or not. The checker uses only this history.
"""

import threading
from collections import Counter
from collections.abc import Iterable

import msgspec

__all__ = ["Found", "History", "Verdict"]


class Found(msgspec.Struct, frozen=True):
    """An event that the store holds: its id, its position, and the bytes that identify its content."""

    id: str
    position: int
    content: bytes


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The faults of a store. Every field must be empty."""

    lost: list[str]
    phantom: list[str]
    duplicated: list[str]
    altered: list[str]
    gaps: list[int]
    """Positions of 1..n that no event has, or that several have."""

    @property
    def clean(self) -> bool:
        """Whether the store holds every acknowledged event, and none that it must not hold."""
        return not (self.lost or self.phantom or self.duplicated or self.altered or self.gaps)

    def __str__(self) -> str:
        counts = ((name, len(getattr(self, name))) for name in self.__struct_fields__)
        return " ".join(f"{name}={count}" for name, count in counts)


class History:
    """The events of one tenant, as its clients saw them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: dict[str, bytes] = {}
        self.acknowledged: set[str] = set()
        self.indeterminate: set[str] = set()
        self.refused: set[str] = set()
        self._unsure: set[str] = set()

    def sending(self, events: Iterable[tuple[str, bytes]]) -> None:
        """Record that these (id, content) are about to be sent, possibly again."""
        with self._lock:
            for id_, content in events:
                if self._contents.setdefault(id_, content) != content:
                    raise ValueError("An id was used for two contents.")
                if id_ in self.indeterminate:
                    self._unsure.add(id_)  # an earlier attempt without an answer may be stored
                self.refused.discard(id_)
                if id_ not in self.acknowledged:
                    self.indeterminate.add(id_)

    def acknowledge(self, ids: Iterable[str]) -> None:
        """Record that the store acknowledged these."""
        with self._lock:
            for id_ in ids:
                self.acknowledged.add(id_)
                self.indeterminate.discard(id_)

    def refuse(self, ids: Iterable[str]) -> None:
        """Record that the store refused these. An event with an earlier unanswered attempt stays indeterminate."""
        with self._lock:
            for id_ in set(ids) - self._unsure - self.acknowledged:
                self.refused.add(id_)
                self.indeterminate.discard(id_)

    def unanswered(self) -> list[tuple[str, bytes]]:
        """The events that are indeterminate now, to be sent again."""
        with self._lock:
            return [(id_, self._contents[id_]) for id_ in sorted(self.indeterminate)]

    def judge(self, found: Iterable[Found]) -> Verdict:
        """Compare the whole log of the tenant with the history."""
        with self._lock:
            held = list(found)
            ids = Counter(event.id for event in held)
            positions = Counter(event.position for event in held)
            return Verdict(
                lost=sorted(self.acknowledged - ids.keys()),
                phantom=sorted(ids.keys() - self.acknowledged - self.indeterminate),
                duplicated=sorted(id_ for id_, times in ids.items() if times > 1),
                altered=sorted(
                    event.id for event in held if self._contents.get(event.id, event.content) != event.content
                ),
                gaps=sorted(number for number in range(1, len(held) + 1) if positions[number] != 1),
            )

    def __str__(self) -> str:
        names = ("acknowledged", "indeterminate", "refused")
        return " ".join(f"{name}={len(getattr(self, name))}" for name in names)
