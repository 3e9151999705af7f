"""A store without a server, in a process that a test can kill: a script that reads commands from stdin.

`open PATH` forks a child that opens the store and answers `opened PID TID-OF-WRITER`, or `refused MESSAGE`. The child
then executes `append TENANT NUMBER COUNT SIZE` (`acknowledged` or `failed ERROR`), `read TENANT` (`found` and the
numbers) and `close` (`closed`). When it ends for any reason, the parent prints `gone STATUS` and reads the next `open`.
A fork avoids the start of an interpreter for each trial.
"""

import asyncio
import ctypes
import logging
import os
import sys
from typing import Any

import structlog

from tests.contract.made import new, page
from whence.errors import StoreRefused, WhenceError
from whence.storage import Write
from whence.storage.sqlite import connection
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.thread_writer import ThreadWriter
from whence.storage.sqlite.writer import Writer

_PR_SET_PTRACER = 0x59616D61


def swallow_commit_errors() -> None:
    """Mutant: an error of the commit is caught, and the request is answered as stored."""
    commit_group = Writer._commit_group

    def swallowing(self: Writer, group: list[Any]) -> None:
        commit_group(self, group)
        for job in group:
            if job.error is not None:
                job.error, job.result = None, [[]]

    Writer._commit_group = swallowing  # type: ignore[method-assign]  # the mutant


def leave_names_unsynced() -> None:
    """Mutant: new folders are not synced."""
    vars(connection)["sync_folder"] = lambda _path: None


MUTANTS = {mutant.__name__: mutant for mutant in (swallow_commit_errors, leave_names_unsynced)}
"""Ways to break the store, by command-line argument."""


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def lines() -> Any:
    """The lines of stdin, read byte by byte, so that a child does not read the lines of the next one."""
    line = b""
    while byte := os.read(0, 1):
        line += byte
        if byte == b"\n":
            yield line.decode().split()
            line = b""


def content(number: int, size: int) -> bytes:
    """The payload that identifies an event."""
    return b'{"number":%d,"more":"%s"}' % (number, b"x" * size)


async def obey(path: str) -> None:
    """Run the commands of one `open`, in the child process."""
    try:
        store = SQLiteStore(path, readers=2)
    except StoreRefused as error:
        say(f"refused {error}")
        return
    store._writing.execute("PRAGMA wal_autocheckpoint = 1")  # each commit is followed by a checkpoint
    assert isinstance(store._writer, ThreadWriter)
    say(f"opened {os.getpid()} {store._writer._thread.native_id}")
    for word, *rest in lines():
        if word == "append":
            tenant, number, count, size = rest[0], *map(int, rest[1:])
            events = tuple(new(each, payload=content(each, size)) for each in range(number, number + count))
            [result] = await store.append(tenant, [Write(events)])
            say(f"failed {type(result).__name__}" if isinstance(result, WhenceError) else "acknowledged")
        elif word == "read":
            try:
                found = (await page(store, rest[0])).events
            except WhenceError as error:
                say(f"failed {type(error).__name__}")
            else:
                say(" ".join(["found", *(event.id for event in found)]))
        else:
            await store.close()
            say("closed")
            return


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for name in sys.argv[1:]:
        MUTANTS[name]()
    for _, path in lines():
        child = os.fork()
        if not child:
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_long(-1))  # so that strace may attach to it
            asyncio.run(obey(path))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(f"gone {status}")


if __name__ == "__main__":
    main()
