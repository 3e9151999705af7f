"""The test's side of `driver.py`: a store in another process, and the history that its client recorded."""

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.driver import content
from tests.acceptance.history import Found, History, Verdict
from tests.contract.made import page, uuid
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.verify import verify

__all__ = ["Driven", "driven", "judge"]

ROOT = Path(__file__).parents[2]
TENANT = "acme"
PATIENCE_S = 60


class Driven:
    """A process that opens one store at a time. Requests and answers are recorded in `history`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.numbers = 0
        self.writer = 0
        self._selector = selectors.DefaultSelector()
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ)
        self._unread = b""
        self.history = History()

    def open(self, path: Path, history: History | None = None) -> None:
        """Open a store in a new child. `history` is given for a store that was open before."""
        self.history = history or History()
        word, *rest = self.ask(f"open {path}")
        assert word == "opened", rest
        self.pid, self.writer = map(int, rest)

    def append(self, count: int = 1, size: int = 100) -> str:
        """Append events. Returns `acknowledged`, `failed ERROR`, or `gone STATUS` when the child died."""
        first = self.numbers
        self.numbers += count
        sent = [(uuid(number), content(number, size)) for number in range(first, first + count)]
        self.history.sending(sent)
        answer = " ".join(self.ask(f"append {TENANT} {first} {count} {size}"))
        if answer == "acknowledged":
            self.history.acknowledge(id_ for id_, _ in sent)
        return answer

    def read(self) -> str:
        """Read the latest events. Returns `found` and their ids, or `failed ERROR`."""
        return " ".join(self.ask(f"read {TENANT}"))

    def close(self) -> None:
        """Make the child close its store and exit."""
        assert self.ask("close") == ["closed"]
        assert self.line() == ["gone", "0"]

    def ask(self, line: str) -> list[str]:
        """Send a line. Returns the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.line()

    def line(self) -> list[str]:
        """The next line of output. Fails the test when the process hangs."""
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            assert self._selector.select(PATIENCE_S), "the store does not answer"
            read = os.read(self.process.stdout.fileno(), 65_536)
            assert read, "the driver died"
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode().split()


@contextlib.contextmanager
def driven(mutant: Callable[[], None] | None = None, around: Sequence[str] = ()) -> Iterator[Driven]:
    """A driver process, ended with the block. `mutant` names one of the driver's mutants, `around` is a wrapping
    command."""
    process = subprocess.Popen(
        [*around, sys.executable, "-m", "tests.acceptance.driver", *([mutant.__name__] if mutant else [])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Driven(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # ends it, and a child that waits for a line
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


async def judge(path: Path, history: History) -> Verdict:
    """Open the store again as a server does, and compare its content with the client's history."""
    store = SQLiteStore(str(path), readers=2)
    found: list[Any] = []
    try:
        while len(events := (await page(store, TENANT, offset=len(found))).events):
            found += events
    finally:
        await store.close()
    assert verify(str(path)).sound
    return history.judge(Found(event.id, event.position, event.payload) for event in found)
