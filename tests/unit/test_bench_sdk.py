"""The comparison of SDKs counts what arrives, and judges a loss by what the library said about it."""

import gzip
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
import pytest
import zstandard

from bench.peers.sdks.record import RECORD_BYTES, Recorder, marker, read
from bench.result import Machine
from bench.sdk_cost import run_program
from bench.sdk_page import LIBRARIES, SCENES, render, row_of
from bench.sdk_result import Cost, Costs, Outcome, Scenes
from bench.sdk_scenes import distinct, trial
from bench.sdk_servers import LATER, Arrived, Collector, client_report, inflate, markers

ROOT = Path(__file__).parents[2]
OUTCOME = Outcome(
    library="posthog",
    scene="exit",
    emitted=100,
    arrived=60,
    arrived_later=70,
    repeated=0,
    refused=0,
    reported=0,
    dropped=0,
    lines=[],
    worst_call_s=0.01,
    exit_s=0.5,
    hung=False,
    memory_mb=40,
)
MACHINE = Machine("a processor", 2, 24, "Linux", "3.11.7", 0.1)


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "zstd"])
def test_every_encoding_is_inflated(encoding: str) -> None:
    """A body gives the same markers in each encoding, and one that is not known is refused."""
    body = b'{"event": "ev-001000002"}\n\x0a\x0cev-000000001\x12' * 50
    compress: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": zstandard.compress,
    }
    assert markers(inflate(compress[encoding](body), encoding)) == {1, 1_000_002}
    with pytest.raises(ValueError, match="no decompressor"):
        inflate(body, "br")


def test_the_collector_counts_each_event_once() -> None:
    """An event that comes again is repeated, within one body it is not; the next start is not counted."""
    collector = Collector()
    collector.start()
    try:
        for body in (b"ev-000000001 ev-000000001 ev-000000002", b"ev-000000002", marker(126, 1).encode()):
            request = Request(collector.url, gzip.compress(body), {"Content-Encoding": "gzip"})
            assert urlopen(request, timeout=10).status == 200
        with pytest.raises(HTTPError):
            urlopen(Request(collector.url, b"garbled", {"Content-Encoding": "gzip"}), timeout=10)
    finally:
        collector.stop()
    assert collector.arrived() == Arrived(2, 1, 0)
    assert marker(126, 1) == f"ev-{LATER + 1}"


def test_dropped_events_are_read_from_a_client_report() -> None:
    """Only events and logs count: the report also names bytes and other things."""
    report = b"""{"type":"client_report"}
{"timestamp":1,"discarded_events":[
{"reason":"queue_overflow","category":"log_item","quantity":7},
{"reason":"queue_overflow","category":"log_byte","quantity":700},
{"reason":"network_error","category":"error","quantity":2}]}""".replace(b'\n{"reason', b'{"reason')
    assert client_report(report) == 9


def test_the_record_survives_a_kill(tmp_path: Path) -> None:
    """The counts of a program that ended by `os._exit` within a call are there, and the call is known to run."""
    record = tmp_path / "record"
    record.write_bytes(bytes(RECORD_BYTES))
    program = (
        "import os, sys; from bench.peers.sdks.record import Recorder;"
        "results = iter([True, False]);"
        "recorder = Recorder(sys.argv[1], 3, lambda marker: next(results) if marker < 'ev-003000003' else os._exit(0));"
        "[recorder.emit() for _ in range(3)]"
    )
    subprocess.run([sys.executable, "-c", program, str(record)], check=True, env=dict(os.environ))
    (slot,) = read(record)
    assert (slot["emitted"], slot["refused"]) == (2, 1)
    assert slot["began"] > 0
    assert slot["ended"] == 0


def test_an_error_of_emit_counts_as_refused(tmp_path: Path) -> None:
    """The caller knows at once, so the event is not lost in silence."""
    record = tmp_path / "record"
    record.write_bytes(bytes(RECORD_BYTES))

    def fail(_: str) -> bool:
        raise OSError("full")

    Recorder(str(record), 0, fail).emit()
    assert [slot["refused"] for slot in read(record)] == [1]


def test_a_loss_is_counted_logged_or_silent() -> None:
    """What an event's loss is depends on what the library said, and never on more than was lost."""
    assert (OUTCOME.lost, OUTCOME.said, OUTCOME.silent) == (30, 0, 30)
    counted = msgspec.structs.replace(OUTCOME, refused=10, reported=10, dropped=5)
    assert (counted.said, counted.silent) == (25, 5)
    assert msgspec.structs.replace(OUTCOME, reported=500).said == 30
    logged = msgspec.structs.replace(counted, lines=["Queue full, dropping"])
    assert (logged.said, logged.silent) == (25, 0)
    assert row_of([counted, logged])[2:9] == ["200", "120", "140", "60", "50", "5", "5"]
    assert row_of([msgspec.structs.replace(OUTCOME, hung=True), OUTCOME])[10] == "**hangs** in 1 of 2"


def test_the_page_names_every_scene_and_library() -> None:
    """Scenes and libraries of a result are in the page, and so are its remarks."""
    outcomes = [
        msgspec.structs.replace(OUTCOME, library=library, scene=scene, lines=["gone | all"])
        for scene in SCENES
        for library in LIBRARIES
    ]
    scenes = Scenes("2026-01-01T00:00Z", "abc", MACHINE, {"posthog": "1"}, outcomes, ["The clock was left out."])
    cost = Cost("whence", 10, {"small": (1.0, 2.0, 3.0)}, 4.0, 20, [100.0, 110.0, 150.0], 5.0, 6)
    costs = Costs("2026-01-01T00:00Z", "abc", MACHINE, {}, [cost], 10_000, 4.2)
    page = render(scenes, costs)
    assert all(f"### {scene.title}\n" in page for scene in SCENES.values())
    assert page.count("| opentelemetry-sdk |") == len(SCENES)
    assert "The clock was left out." in page
    assert "110 ms (at most 120 ms wanted: reached)" in page
    rows = [line for line in page.splitlines() if line.startswith("| Whence | 1 |")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {13}


def test_a_trial_counts_what_the_server_stored(tmp_path: Path) -> None:
    """A program that emits and ends is watched from its start to its end, and all of its events are in the log."""
    outcome = trial("whence", "exit", tmp_path)
    assert (outcome.emitted, outcome.arrived_later, outcome.lost, outcome.hung) == (100, 100, 0, False)
    assert outcome.lines == []
    assert outcome.worst_call_s > 0
    assert outcome.memory_mb > 1


def test_what_a_library_printed_is_kept_without_places_and_repetitions() -> None:
    """Lines that differ in numbers only are kept once, and no result names the folders of a machine."""
    lines = [f'  File "{ROOT}/bench/some/module.py", line 7', "dropped 3 events", "dropped 4 events", "done"]
    assert distinct(lines) == ['  File "…/module.py", line 7', "dropped 3 events", "done"]


def test_an_installed_size_counts_what_is_needed(tmp_path: Path) -> None:
    """A package that needs nothing is counted alone, and one with dependencies with all of them, once each."""
    alone = run_program("whence", tmp_path, "size", "msgspec", "")
    assert alone["packages"] == 1
    assert alone["installed_mb"] > 0
    sources = str(ROOT / "src" / "whence")
    whole = run_program("whence", tmp_path, "size", "whence", sources)
    assert whole["packages"] > 3
    assert whole["installed_mb"] > alone["installed_mb"]
