"""What the server counts about itself, for `GET /metrics`.

    middleware, protocol, Ingest -> Metrics -> cells of this process    adding: an index and a few additions
    GET /metrics -> metrics_text -> Metrics.read -> the sums of all processes

A request costs some 40 microseconds, and counting it may cost one. So a process adds to an array of numbers, its
*cells*, and makes no object of a metrics library. One list, `Layout`, says what each cell is.

The processes of one server share a folder, in which each maps its cells as a file. The process that is asked for the
metrics adds up all files. A process that is started again under the same name goes on with its file, also after a
SIGKILL. So no counter ever falls, and nothing is counted twice. The multiprocess mode of prometheus_client needs a
variable of the environment before its import, takes microseconds for each count, and leaves a file for each process id.
"""

import asyncio
import contextlib
import mmap
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
from litestar.handlers import HTTPRouteHandler

from whence.api.error_responses import CODES
from whence.errors import StoreRefused, Unavailable, WhenceError
from whence.storage import Receipt, Write

__all__ = [
    "APPEND_EVENTS",
    "APPEND_SECONDS",
    "GAUGES",
    "REQUEST_SECONDS",
    "RESULTS",
    "UNMATCHED",
    "Histogram",
    "Metrics",
    "ProcessCells",
    "Share",
    "template_of",
]

REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the buckets of answers, in seconds."""

APPEND_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""The same of appends."""

APPEND_EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""The upper bounds of the buckets of events in an append."""

RESULTS = ("stored", "replayed", "refused", "failed")
"""What became of an event that was to be stored. `failed`: the store could not, and the client may send it again."""

GAUGES = (
    "queue_events",
    "queue_events_max",
    "connections",
    "connections_max",
    "bodies_bytes",
    "bodies_bytes_max",
    "answers_bytes",
    "answers_bytes_max",
    "streams",
    "streams_max",
    "followers",
    "follower_lag_events",
    "sealing_stopped",
    "quorum_missed",
    "removals_waiting",
)
"""What a process reports of its present state, each as the sum of all processes that run."""

UNMATCHED = "unmatched"
"""The route of a request that no route takes. Its path is the client's and never shown."""

_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "other")
_STATUSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # none: the client had gone before there was one
_OTHER = "other"
_CELL = 8  # bytes, of a double: it counts exactly up to 2**53
_PUBLISH_S = 1.0
_SUFFIX = ".cells"
_CONVERTER = re.compile(r":\w+}")


class Histogram(NamedTuple):
    """The counts of the buckets, the last of which has no upper bound, and the sum of what was observed."""

    counts: Sequence[float]
    total: float


class Share(msgspec.Struct, frozen=True):
    """Where the processes of one server find each other's cells. `name` is the one that this process has in `folder`,
    and that its successor will have."""

    folder: Path
    name: str


class ProcessCells(msgspec.Struct, frozen=True):
    """The sums of the cells, and the ids of the processes that run."""

    layout: "Layout"
    cells: Sequence[float]
    pids: Sequence[int]

    def gauge(self, name: str) -> float:
        """One of `GAUGES`."""
        return self.cells[self.layout.gauges[name]]

    def refusals(self) -> Mapping[str, float]:
        """The answers with an error, by its code."""
        return {code: self.cells[at] for code, at in self.layout.codes.items()}

    def results(self) -> Mapping[str, float]:
        """The events, by what became of them."""
        return {result: self.cells[at] for result, at in self.layout.results.items()}

    def appends(self) -> tuple[Histogram, Histogram]:
        """The seconds that appends took, and the events that they had."""
        layout = self.layout
        seconds = self._histogram(layout.append_seconds, len(APPEND_SECONDS))
        return seconds, self._histogram(layout.append_events, len(APPEND_EVENTS))

    def requests(self) -> Iterator[tuple[tuple[str, str, str], Histogram]]:
        """The seconds until answers were sent, by route, method and class of the status, but for what never came."""
        for labels, at in self.layout.requests.items():
            found = self._histogram(at, len(REQUEST_SECONDS))
            if any(found.counts):
                yield labels, found

    def _histogram(self, at: int, bounds: int) -> Histogram:
        return Histogram(self.cells[at : at + bounds + 1], self.cells[at + bounds + 1])


class Layout:
    """Which cell holds what. It follows from the routes, so the processes of one server have the same.

    The first two cells are `digest`, by which a file of another layout is recognised, and the id of the process. A
    histogram has a cell for each bucket and one for the sum.
    """

    DIGEST, PID = 0, 1

    def __init__(self, templates: Iterable[str]) -> None:
        self._end = 2
        self.gauges = self._places(GAUGES)
        self.results = self._places(RESULTS)
        self.codes = self._places([*sorted(CODES), _OTHER])
        self.append_seconds = self._place(len(APPEND_SECONDS) + 2)
        self.append_events = self._place(len(APPEND_EVENTS) + 2)
        self.requests = {
            (template, method, status): self._place(len(REQUEST_SECONDS) + 2)
            for template in [*sorted(set(templates)), UNMATCHED]
            for method in _METHODS
            for status in _STATUSES
        }
        self.size = self._end * _CELL
        named = repr((self.gauges, self.results, self.codes, list(self.requests)))
        self.digest = int.from_bytes(sha256(named.encode()).digest()[:6], "big")

    def _place(self, cells: int) -> int:
        self._end += cells
        return self._end - cells

    def _places(self, names: Iterable[str]) -> dict[str, int]:
        return {name: self._place(1) for name in names}


class Metrics:
    """The counters of this process. Belongs to one event loop, and to the process that made it: not to its forks."""

    def __init__(self, templates: Iterable[str] = (), share: Share | None = None) -> None:
        """`templates` are the paths of all routes. Raises StoreRefused if the file of `share` cannot be
        made."""
        self._layout = Layout(templates)
        self._share = share
        self._cells = self._open(share)
        self._cells[Layout.PID] = os.getpid()
        self._cells[Layout.DIGEST] = self._layout.digest  # last: others read the file from now on
        self._watched: dict[int, Callable[[], int]] = {}
        self._rows: dict[tuple[HTTPRouteHandler | None, str, int], int] = {}

    # ------------------------------------------------------------------------------------------------------- counting

    def answered(self, handler: HTTPRouteHandler | None, method: str, status: int, seconds: float) -> None:
        """A request was answered by this handler, or by none. `status` is 0 if the client had gone before."""
        row = self._rows.get((handler, method, status))
        if row is None:
            row = self._row(handler, method, status)
        cells = self._cells
        cells[row + bisect_left(REQUEST_SECONDS, seconds)] += 1
        cells[row + _REQUEST_SUM] += seconds

    def refused(self, code: str) -> None:
        """A request was answered with this error."""
        codes = self._layout.codes
        self._cells[codes.get(code) or codes[_OTHER]] += 1

    def appended(
        self, seconds: float, writes: Sequence[Write], results: Sequence[list[Receipt] | WhenceError] | None
    ) -> None:
        """An append of these requests took so long. Without results the store failed, as it did for a request whose
        result is Unavailable."""
        cells, layout = self._cells, self._layout
        events = sum(len(write.events) for write in writes)
        cells[layout.append_seconds + bisect_left(APPEND_SECONDS, seconds)] += 1
        cells[layout.append_seconds + len(APPEND_SECONDS) + 1] += seconds
        cells[layout.append_events + bisect_left(APPEND_EVENTS, events)] += 1
        cells[layout.append_events + len(APPEND_EVENTS) + 1] += events
        if results is None:
            cells[layout.results["failed"]] += events
            return
        stored = replayed = failed = 0
        for write, result in zip(writes, results, strict=True):
            if isinstance(result, Unavailable):
                failed += len(write.events)
            elif not isinstance(result, WhenceError):
                for receipt in result:
                    if receipt.replayed:
                        replayed += 1
                    elif receipt.event is not None:
                        stored += 1
        cells[layout.results["stored"]] += stored
        cells[layout.results["replayed"]] += replayed
        cells[layout.results["failed"]] += failed
        cells[layout.results["refused"]] += events - stored - replayed - failed

    def watch(self, **gauges: Callable[[], int]) -> None:
        """Ask these functions for the present values of some of `GAUGES`."""
        self._watched |= {self._layout.gauges[name]: value for name, value in gauges.items()}

    # -------------------------------------------------------------------------------------------------------- reading

    def publish(self) -> None:
        """Write the present values of the gauges into the cells."""
        for at, value in self._watched.items():
            self._cells[at] = value()

    async def keep_published(self) -> None:
        """Publish every second, for the other processes. Returns at once if there are none, else never."""
        while self._share is not None:
            self.publish()
            await asyncio.sleep(_PUBLISH_S)

    def read(self) -> ProcessCells:
        """The sums over this process and the others of its folder. Gauges of processes that have ended are left out."""
        self.publish()
        cells, pids = list(self._cells), [os.getpid()]
        gauges = self._layout.gauges.values()
        for other in self._others():
            pid = int(other[Layout.PID])
            if _is_running(pid):
                pids.append(pid)
            else:
                for at in gauges:
                    other[at] = 0
            cells = [mine + theirs for mine, theirs in zip(cells, other, strict=True)]
        return ProcessCells(self._layout, cells, pids)

    def _others(self) -> Iterator[list[float]]:
        if self._share is None:
            return
        for path in self._share.folder.glob("*" + _SUFFIX):
            if path.name == self._share.name + _SUFFIX:
                continue
            with contextlib.suppress(OSError):
                found = path.read_bytes()
                if len(found) == self._layout.size:
                    cells = list(memoryview(found).cast("d"))
                    if cells[Layout.DIGEST] == self._layout.digest:
                        yield cells

    def _open(self, share: Share | None) -> "memoryview[float]":
        """The cells of this process: those that an earlier one of its name left, or new ones, which are zero."""
        if share is None:
            return memoryview(bytearray(self._layout.size)).cast("d")
        try:
            cells = self._map(share.folder / (share.name + _SUFFIX))
        except FileNotFoundError:
            raise StoreRefused(
                f"The folder {share.folder}, which the processes of this server share, was removed. Start the server "
                "again, and let no program that cleans temporary files remove folders named whence-*."
            ) from None
        except OSError as error:
            raise StoreRefused(
                f"The processes of this server cannot share the folder {share.folder}: {error.strerror}. Make room, "
                "or set TMPDIR to another folder."
            ) from None
        if cells[Layout.DIGEST] != self._layout.digest:
            cells[:] = memoryview(bytes(self._layout.size)).cast("d")
        for at in self._layout.gauges.values():
            cells[at] = 0
        return cells

    def _map(self, path: Path) -> "memoryview[float]":
        path.touch(0o600)
        with path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size != self._layout.size:
                file.truncate(0)
                file.write(bytes(self._layout.size))  # on a full disk, the first use of a hole would be a SIGBUS
                file.flush()
            return memoryview(mmap.mmap(file.fileno(), self._layout.size)).cast("d")

    def _row(self, handler: HTTPRouteHandler | None, method: str, status: int) -> int:
        template = UNMATCHED if handler is None else template_of(handler)
        known_method = method if method in _METHODS else _OTHER
        status_class = _STATUSES[min(status // 100, len(_STATUSES) - 1)]
        requests = self._layout.requests
        row = requests.get((template, known_method, status_class))
        if row is None:
            row = requests[UNMATCHED, known_method, status_class]
        if known_method == method:  # else there would be a row for each word that a client can think of
            self._rows[handler, method, status] = row
        return row


_REQUEST_SUM = len(REQUEST_SECONDS) + 1


def template_of(handler: HTTPRouteHandler) -> str:
    """The path of a route as in OpenAPI, such as /api/v1/events/{event_id}."""
    return _CONVERTER.sub("}", min(handler.paths))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
