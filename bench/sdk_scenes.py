"""Eight scenes in which an SDK can hang a program or lose its events, for Whence and for its peers.

python -m bench.sdk_scenes                        every scene and library; writes results/sdk and docs/sdk-comparison.md
python -m bench.sdk_scenes --only exit,fork       some scenes; writes nothing
python -m bench.sdk_scenes --libraries whence     some libraries; writes nothing

Each trial is a program of its own (`peers/sdks/program.py`), with a server, a home folder and a spool of its own.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.peers.sdks.record import RECORD_BYTES, read
from bench.result import commit, machine, new_run
from bench.sdk_page import LIBRARIES, ONLY_IN, PAGE, SCENES, render, row_of
from bench.sdk_result import Outcome, Scenes, load_costs, save
from bench.sdk_servers import Collector, Server, WhenceServer
from bench.servers import ROOT, peer_python

__all__ = ["Program", "distinct", "main", "trial", "versions"]

_PROGRAM = Path(__file__).parent / "peers" / "sdks" / "program.py"
_DISK = "2m"
_TASKS = 32
_LATER_S = 100.0
_EMPTY_WORDS = re.compile(
    r"attempting to send|Waiting up to|Press Ctrl|SecurityWarning|warnings\.warn|superuser|"
    r"not recommended|--uid option|User information|egid|uid=|^\s*$"
)
"""Lines of output that say nothing of losses: what sentry-sdk prints while it waits, and Celery about root."""


_HERE = (ROOT, Path.home(), Path(sys.base_prefix), Path(tempfile.gettempdir()))
_PATHS = re.compile("(?:" + "|".join(re.escape(str(path)) for path in _HERE) + r")/\S*/")
"""The places of this machine, which do not belong into a result."""


class Ended(msgspec.Struct, frozen=True):
    """How a program ended."""

    at: float
    hung: bool
    memory_mb: float
    lines: list[str]


class Program:
    """A running scene. Its standard error is in a file of its folder."""

    def __init__(self, folder: Path, library: str, scene: str, server: Server, extra: dict[str, str]) -> None:
        self.record = folder / f"{scene}.record"
        self.record.write_bytes(bytes(RECORD_BYTES))
        self._log = folder / f"{scene}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WHENCE_")}
        environment |= {"SCENE_RECORD": str(self.record), "HOME": str(folder), "TMPDIR": str(folder)}
        environment |= {"XDG_STATE_HOME": str(folder / "state"), "PYTHONDONTWRITEBYTECODE": "1"} | extra
        python = sys.executable if library.startswith("whence") else str(peer_python("sdks"))
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [python, str(_PROGRAM), library, scene, server.url, server.key],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=out,
                start_new_session=True,
            )

    def slots(self) -> list[dict[str, float]]:
        """What its slots hold now."""
        return list(read(self.record))

    def terminate(self) -> None:
        """Send SIGTERM, and note that as the moment when its exit begins."""
        self.asked_at = time.monotonic()
        self._process.send_signal(signal.SIGTERM)

    asked_at = 0.0

    def wait(self, limit_s: float) -> Ended:
        """Wait for its end while looking at its memory. Kills its process group when it takes too long."""
        until = time.monotonic() + limit_s
        memory_kb = 0
        while self._process.poll() is None and time.monotonic() < until:
            memory_kb = max(memory_kb, _memory_kb(self._process.pid))
            time.sleep(0.005)
        at, hung = time.monotonic(), self._process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return Ended(at, hung, memory_kb / 1_000, [line for line in lines if not _EMPTY_WORDS.search(line)])


def _memory_kb(pid: int) -> int:
    """VmHWM of a process; zero when it has just ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
        return int(found[1]) if found else 0
    return 0


def trial(library: str, scene: str, folder: Path) -> Outcome:
    """One scene of one library. The folder is fresh."""
    what = SCENES[scene]
    with contextlib.ExitStack() as stack:
        server: Server
        if library.startswith("whence"):
            (folder / "server").mkdir()
            server = WhenceServer(folder / "server")
        else:
            server = Collector()
        stack.callback(server.stop)
        home = stack.enter_context(_small_disk(folder)) if scene == "full_disk" else _made(folder / "home")
        if what.server_up:
            server.start()
        program = Program(home, library, scene, server, {})
        if scene == "prefork":
            _end_worker(program, what.limit_s)
        ended = program.wait(what.limit_s)
        slots = program.slots()
        if not what.server_up:
            server.start()
        arrived = server.arrived()
        Program(_made(folder / "later"), library, "later", server, _state_of(home)).wait(_LATER_S)
        later = server.arrived()
    began_exit = program.asked_at or slots[0]["ended"]
    return Outcome(
        library=library,
        scene=scene,
        emitted=int(sum(slot["emitted"] for slot in slots)),
        arrived=arrived.events,
        arrived_later=later.events,
        repeated=later.repeated,
        refused=int(sum(slot["refused"] for slot in slots)),
        reported=int(sum(slot["reported"] for slot in slots)),
        dropped=later.dropped,
        lines=distinct(ended.lines),
        worst_call_s=round(max(_longest(slot, ended.at) for slot in slots), 4),
        exit_s=round(ended.at - began_exit, 3) if began_exit else 0.0,
        hung=ended.hung,
        memory_mb=round(ended.memory_mb, 1),
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _state_of(home: Path) -> dict[str, str]:
    """The variables by which the next start finds what the first one left."""
    return {"HOME": str(home), "XDG_STATE_HOME": str(home / "state")}


def _longest(slot: dict[str, float], ended_at: float) -> float:
    """The longest call of a slot, also when it never returned."""
    return max(slot["worst_s"], ended_at - slot["began"] if slot["began"] else 0.0)


def distinct(lines: Sequence[str], at_most: int = 5) -> list[str]:
    """The first few lines that differ in more than numbers."""
    lines = [_PATHS.sub("…/", line) for line in lines]
    kept = {re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+(?:\.\d+)?", "N", line): line[:300] for line in reversed(lines)}
    return list(kept.values())[::-1][:at_most]


def _end_worker(program: Program, limit_s: float) -> None:
    """Ask a Celery worker to stop, once all its tasks have run."""
    until = time.monotonic() + limit_s / 2
    while time.monotonic() < until and sum(slot["emitted"] for slot in program.slots()) < _TASKS:
        time.sleep(0.05)
    time.sleep(1)
    program.terminate()


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 2 MiB in memory. Raises PermissionError where it cannot be mounted."""
    disk = _made(folder / "disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "whence-scenes", str(disk)], capture_output=True, check=False
    )
    if done.returncode != 0:
        raise PermissionError("only root can mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def versions() -> dict[str, str]:
    """The versions of the peers that are installed."""
    listing = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    done = subprocess.run([str(peer_python("sdks")), "-c", listing], capture_output=True, text=True, check=True)
    found = dict(pair.split("==") for pair in done.stdout.split())
    wanted = (_PROGRAM.parent / "requirements.txt").read_text(encoding="utf-8")
    return {name: found[name] for name in re.findall(r"^([\w-]+)==", wanted, re.MULTILINE)}


def _run(names: Sequence[str], libraries: Sequence[str], trials: int) -> tuple[list[Outcome], list[str]]:
    """Every scene by every library, taking turns. Prints each outcome as it comes."""
    outcomes: list[Outcome] = []
    remarks: list[str] = []
    for scene in names:
        try:
            for number in range(min(trials, SCENES[scene].trials_max)):
                for library in libraries if number % 2 == 0 else libraries[::-1]:
                    if scene not in ONLY_IN.get(library, (scene,)):
                        continue
                    folder = Path(tempfile.mkdtemp(prefix="whence-scene-"))
                    try:
                        outcomes.append(trial(library, scene, folder))
                    finally:
                        shutil.rmtree(folder, ignore_errors=True)
                    print(scene, *row_of([outcomes[-1]]), *outcomes[-1].lines[:2], sep=" | ", flush=True)
        except PermissionError as error:
            remarks.append(f"The scene “{SCENES[scene].title}” was left out: {error}.")
            print(remarks[-1])
    return outcomes, remarks


def main() -> None:
    """Run the scenes and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="some scenes, separated by commas")
    parser.add_argument("--libraries", help="some libraries, separated by commas")
    parser.add_argument("--trials", type=int, default=3)
    given = parser.parse_args()
    run = new_run("sdk", {})
    names = given.only.split(",") if given.only else list(SCENES)
    libraries = given.libraries.split(",") if given.libraries else list(LIBRARIES)
    outcomes, remarks = _run(names, libraries, given.trials)
    if given.only or given.libraries:
        return
    here = msgspec.structs.replace(run.machine, load_after=machine().load_before)
    scenes = Scenes(run.date, commit(), here, versions(), outcomes, remarks)
    save("scenes", scenes)
    PAGE.write_text(render(scenes, load_costs()), encoding="utf-8")


if __name__ == "__main__":
    main()
