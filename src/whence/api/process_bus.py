"""What the processes of one server let each other know, so that a limit holds for all of them together.

Each process counts for itself and sends what it counted to the others, a few hundredths of a second later and summed
up. So a limit may be exceeded by what the processes let pass in that time, as by several servers, but not for longer.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

__all__ = ["ProcessBus"]

_FLUSH_S = 0.02
_MESSAGE_MAX = 60_000
_NAMES_IN_MESSAGE = 200
_UNSENT_MAX = 100

_log = structlog.get_logger("whence.server")

Counted = Callable[[str, int], None]
"""Is called with a name, and how much other processes counted for it."""

_Message = tuple[str, dict[str, int]]
_decode = msgspec.msgpack.Decoder(_Message).decode


class ProcessBus:
    """The socket of one process, and the addresses of the others. Belongs to one event loop once it is started."""

    def __init__(self, own: socket.socket, others: Sequence[str]) -> None:
        self._own = own
        self._others = others
        self._topics: dict[str, Counted] = {}
        self._counted: dict[str, Counter[str]] = {}
        self._unsent: dict[str, list[bytes]] = {other: [] for other in others}
        self._flush: asyncio.TimerHandle | None = None

    @classmethod
    def make(cls, folder: Path, number: int) -> "list[ProcessBus]":
        """A bus for each of so many processes, before they are forked. The sockets are in this folder."""
        sockets = []
        for index in range(number):
            own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            own.setblocking(False)
            own.bind(str(folder / f"bus-{index + 1}"))
            sockets.append(own)
        paths = [own.getsockname() for own in sockets]
        return [cls(own, [path for path in paths if path != own.getsockname()]) for own in sockets]

    def subscribe(self, topic: str, counted: Counted) -> None:
        """Call a function with what others count. Each topic has one."""
        self._topics[topic] = counted

    def start(self) -> None:
        """Receive from now on."""
        asyncio.get_running_loop().add_reader(self._own.fileno(), self._receive)

    def close(self) -> None:
        """Receive no more."""
        asyncio.get_running_loop().remove_reader(self._own.fileno())
        if self._flush is not None:
            self._flush.cancel()

    def publish(self, topic: str, name: str, amount: int = 1) -> None:
        """Let the other processes know that this one has counted."""
        self._counted.setdefault(topic, Counter())[name] += amount
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(_FLUSH_S, self._send)

    def _send(self) -> None:
        self._flush = None
        counted, self._counted = self._counted, {}
        for topic, amounts in counted.items():
            items = list(amounts.items())
            for start in range(0, len(items), _NAMES_IN_MESSAGE):
                message = msgspec.msgpack.encode((topic, dict(items[start : start + _NAMES_IN_MESSAGE])))
                for unsent in self._unsent.values():
                    unsent.append(message)
        for other, unsent in self._unsent.items():
            self._send_to(other, unsent)
        if any(self._unsent.values()):
            self._flush = asyncio.get_running_loop().call_later(_FLUSH_S, self._send)

    def _send_to(self, other: str, unsent: list[bytes]) -> None:
        """Send what can be sent. The rest waits while the other process is busy; one that never reads is given up."""
        with contextlib.suppress(BlockingIOError):
            while unsent:
                try:
                    self._own.sendto(unsent[0], other)
                except BlockingIOError:
                    del unsent[:-_UNSENT_MAX]
                    raise
                except OSError:  # the other process has ended
                    pass
                del unsent[0]

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._hear(self._own.recv(_MESSAGE_MAX))

    def _hear(self, message: bytes) -> None:
        try:
            topic, amounts = _decode(message)
            counted = self._topics[topic]
        except (msgspec.MsgspecError, KeyError):
            _log.error("a program sent to the processes of this server what is no message; it is ignored")
            return
        for name, amount in amounts.items():
            counted(name, amount)
