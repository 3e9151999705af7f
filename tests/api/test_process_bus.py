"""What the processes of a server count reaches the others, also when they are busy for a while."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.unit.mutants import catches, replaced
from whence.api.process_bus import ProcessBus


async def until(true: Callable[[], bool]) -> None:
    """Wait until a function returns True. Fails when it does not for long."""
    for _ in range(600):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


@catches(replaced(ProcessBus, "publish", lambda self, topic, name, amount=1: None, "keeps_it_to_itself"))
async def test_each_process_hears_of_the_others(tmp_path: Path) -> None:
    """By topic and name, summed up, and not of itself."""
    buses = ProcessBus.make(tmp_path, 3)
    heard: list[Counter[tuple[str, str]]] = [Counter() for _ in buses]
    for bus, counter in zip(buses, heard, strict=True):
        for topic in ("bad", "taken"):

            def count(name: str, amount: int, topic: str = topic, counter: Counter[tuple[str, str]] = counter) -> None:
                counter[topic, name] += amount

            bus.subscribe(topic, count)
        bus.start()
    for _ in range(5):
        buses[0].publish("bad", "10.0.0.1")
    buses[1].publish("taken", "acme", 30)
    await until(lambda: heard[2].total() == 35)
    assert heard == [
        Counter({("taken", "acme"): 30}),
        Counter({("bad", "10.0.0.1"): 5}),
        Counter({("bad", "10.0.0.1"): 5, ("taken", "acme"): 30}),
    ]
    for bus in buses:
        bus.close()


async def test_what_a_busy_process_cannot_take_is_sent_later(tmp_path: Path) -> None:
    """The socket of a process that does not read is full after some messages. The rest waits for it."""
    sender, receiver = ProcessBus.make(tmp_path, 2)
    heard: Counter[str] = Counter()
    receiver.subscribe("bad", lambda name, amount: heard.update({name: amount}))
    for number in range(50):  # each round is a message of its own
        sender.publish("bad", f"address {number}")
        await asyncio.sleep(0.025)
    assert not heard
    receiver.start()
    await until(lambda: len(heard) == 50)
    sender.close()
    receiver.close()


async def test_what_is_no_message_is_ignored(tmp_path: Path) -> None:
    """Another program of the same user may send anything."""
    sender, receiver = ProcessBus.make(tmp_path, 2)
    heard: Counter[str] = Counter()
    receiver.subscribe("bad", lambda name, amount: heard.update({name: amount}))
    receiver.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        for message in (b"", b"\x90", b"x" * 500, msgspec.msgpack.encode(("unknown", {"a": 1}))):
            other.sendto(message, str(tmp_path / "bus-2"))
    sender.publish("bad", "10.0.0.1")
    await until(lambda: heard == {"10.0.0.1": 1})
    sender.close()
    receiver.close()
