"""One scene in a program of its own, for one library.

    python program.py LIBRARY SCENE URL KEY

`use_LIBRARY.py` says how the library is used. Counts and times go to the file that SCENE_RECORD names.
"""

import os
import random
import signal
import sys
import tempfile
import time
from importlib import import_module
from typing import Any

from record import Recorder
from wrong_clock import put_ahead

RATE_HZ = 100
AHEAD_S = 6 * 60
HANDLER_SLOT = 1
LATER_SLOT = 126


class Scenes:
    """The scenes by their names. Each leaves the exit to the library's own hooks, unless it says otherwise."""

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter
        self.main = self.recorder(0)

    def recorder(self, slot: int) -> Recorder:
        """A recorder for this slot."""
        return Recorder(os.environ["SCENE_RECORD"], slot, self.adapter.emit)

    def exit(self) -> None:
        """100 events at once, then the end of the program."""
        _burst(self.main, 100)

    def fork(self) -> None:
        """50 events, four forked children with 50 each, which end normally, and 50 more in the parent."""
        _burst(self.main, 50)
        children = []
        for slot in range(1, 5):
            child = os.fork()
            if child == 0:
                recorder = self.recorder(slot)
                _burst(recorder, 50)
                recorder.end()
                sys.exit()
            children.append(child)
        _burst(self.main, 50)
        for child in children:
            os.waitpid(child, 0)

    def prefork(self) -> None:
        """32 tasks of a Celery worker whose processes are replaced after each task; each task emits one event."""
        celery = import_module("celery")
        app = celery.Celery("scene", broker="filesystem://")
        folder = tempfile.mkdtemp()
        app.conf.broker_transport_options = {
            "data_folder_in": folder,
            "data_folder_out": folder,
            "control_folder": folder + "-control",
        }

        @app.task(name="emit")
        def emit(slot: int) -> None:
            _burst(self.recorder(slot), 1)

        self.adapter.celery()
        for slot in range(1, 33):
            emit.delay(slot)
        options = ["--pool=prefork", "--concurrency=2", "--max-tasks-per-child=1", "--loglevel=ERROR"]
        app.worker_main(["worker", *options, "--without-gossip", "--without-mingle", "--without-heartbeat"])

    def signal(self) -> None:
        """For five seconds, 100 times a second: ten events, during which SIGALRM arrives and its handler emits one."""
        handler = self.recorder(HANDLER_SLOT)
        signal.signal(signal.SIGALRM, lambda *_: handler.emit())
        until = time.monotonic() + 5
        burst_s = 0.001
        while (began := time.monotonic()) < until:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, burst_s))
            _burst(self.main, 10)
            burst_s = time.monotonic() - began
            time.sleep(max(0.0, began + 1 / RATE_HZ - time.monotonic()))

    def away(self) -> None:
        """100,000 events over at least five seconds, and 15 more, in which the libraries give up their retries."""
        for _ in range(100):
            _burst(self.main, 1_000)
            time.sleep(0.05)
        time.sleep(15)

    def full_disk(self) -> None:
        """20,000 events over at least a second, and five more."""
        for _ in range(20):
            _burst(self.main, 1_000)
            time.sleep(0.05)
        time.sleep(5)

    def clock(self) -> None:
        """100 events, and a flush of at most 100 seconds."""
        _burst(self.main, 100)
        self.adapter.flush(100)

    def sigterm(self) -> None:
        """100 events within a second, 100 more at once, and SIGTERM. There is no handler."""
        for _ in range(100):
            _burst(self.main, 1)
            time.sleep(0.01)
        _burst(self.main, 100)
        self.main.end()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    def later(self) -> None:
        """The next start of the program: one event and a flush."""
        self.adapter.actor = "later"
        _burst(self.recorder(LATER_SLOT), 1)
        self.adapter.flush(60)


def _burst(recorder: Recorder, events: int) -> None:
    for _ in range(events):
        recorder.emit()


def main() -> None:
    """Run one scene."""
    library, scene, url, key = sys.argv[1:]
    if scene == "clock":
        put_ahead(AHEAD_S)  # before the library is imported
    scenes = Scenes(import_module(f"use_{library}").Adapter(url, key))
    getattr(scenes, scene)()
    scenes.main.end()


if __name__ == "__main__":
    main()
