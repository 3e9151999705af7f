"""201 means stored, also when the server is killed repeatedly during writes to one growing file."""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.history import Found, History, Verdict
from tests.acceptance.running import ONE_PROCESS, Running, running, seed, tell
from tests.acceptance.tools import missing
from tests.acceptance.traffic import Clients, counts, found
from tests.examples import soak

ROUNDS = 500 if soak() else 10
MUTANT_ROUNDS = 12

ACKNOWLEDGE_FIRST = """
import sys, time
from whence.cli import main
from whence.storage.sqlite.writer import Writer

def commit_group(self, group):
    self._run_group(group)
    self._resolve(group)
    time.sleep(@PAUSE@)
    self._connection.execute("COMMIT")
    self._listener.group_committed()
    self._high_water.record()

Writer._commit_group = commit_group
sys.exit(main())
"""
"""Mutant: the answer is sent before the commit, which follows at once or after a pause, as in a background task.

Without the pause, only about one kill in twelve falls between the two.
"""


class Killing:
    """Rounds of traffic, SIGKILL, restart, retries and a check, on one file."""

    def __init__(self, server: Running, chance: random.Random) -> None:
        self.server = server
        self.chance = chance
        self.key = server.key()
        self.history = History()
        self.held: list[Found] = []
        self.kills = self.retried = self.caught_in_flight = self.miscounted = self.torn = 0

    def left_by_a_kill(self, around: tuple[str, ...]) -> Verdict:
        """Let clients write, kill the server meanwhile, restart it, and judge the whole log."""
        clients = Clients(self.server, self.key, self.history, self.chance.getrandbits(32))
        self._kill_under(clients, around)
        return self.judge()

    def _kill_under(self, clients: Clients, around: tuple[str, ...]) -> None:
        clients.start()
        time.sleep(self.chance.uniform(0.02, 0.4))
        self.server.kill()
        clients.join()
        self.kills += 1
        self.caught_in_flight += len(self.history.indeterminate) > 0
        self.server.start(around)

    def round(self, around: tuple[str, ...] = ()) -> Verdict:
        """Let clients write, kill the server meanwhile, restart it, and judge its log, both after the restart and
        after the unanswered events were sent again."""
        clients = Clients(self.server, self.key, self.history, self.chance.getrandbits(32))
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
        self._kill_under(clients, around)
        left_behind = self.judge(since)
        if not left_behind.clean:
            return left_behind
        self.torn += len(clients.torn(self.held))
        self.retried += clients.retry()
        assert not clients.unexpected
        assert not self.history.indeterminate, "what was sent again was answered"
        return self.judge(since)

    def judge(self, since: str | None = None) -> Verdict:
        """The faults of the log. Only the events since a time are read again."""
        events, total = found(self.server, self.key, since)
        again = {event.id for event in events}
        self.held = [event for event in self.held if since and event.id not in again] + events
        self.miscounted += not (counts(self.server, self.key) == {total} == {len(self.held)})
        return self.history.judge(self.held)

    def __str__(self) -> str:
        return (
            f"kills={self.kills} in_flight={self.caught_in_flight} retried={self.retried} "
            f"torn={self.torn} miscounted={self.miscounted} {self.history}"
        )


def slowly(chance: random.Random) -> tuple[str, ...]:
    """The strace command that delays the system calls of writes."""
    if shutil.which("strace") is None:
        missing("strace")
    calls = "fsync,fdatasync,pwrite64"
    delay_us = int(10 ** chance.uniform(2, 3.7))
    inject = f"inject={calls}:delay_enter={delay_us}"
    return ("strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject)


@pytest.mark.parametrize("slow", [False, True], ids=["clean", "delayed-writes"])
def test_nothing_acknowledged_is_lost_by_sigkill(slow: bool, record_property: Callable[[str, object], None]) -> None:
    """After each SIGKILL the log has every acknowledged event once and unchanged, at positions without gaps, and no
    event that was refused or never sent."""
    chance = random.Random(seed())
    with running() as server:
        killing = Killing(server, chance)
        server.start(slowly(chance) if slow else ())
        for _ in range(ROUNDS):
            verdict = killing.round(slowly(chance) if slow else ())
            assert verdict.clean, f"{killing} {verdict} {verdict.lost[:3]}"
            assert not killing.miscounted and not killing.torn, killing
        verdict = killing.judge()
        tell(record_property, f"{'delayed' if slow else 'clean'} rounds={ROUNDS} {killing} {verdict}")
        assert verdict.clean and not killing.miscounted
        assert killing.caught_in_flight > ROUNDS // 2, "most kills have to hit a request under way"
        assert len(killing.history.acknowledged) > 10 * ROUNDS
        assert server.terminate()[0] == 0


@pytest.mark.parametrize("slow", [False, True], ids=["clean", "delayed-writes"])
def test_an_early_acknowledgement_would_be_seen(slow: bool, tmp_path: Path) -> None:
    """A server that answers before it commits loses an acknowledged event within a few kills.

    When it commits at once, writes are delayed for the test; when it commits after a pause, they are not.
    """
    chance = random.Random(seed())
    mutant = tmp_path / "acknowledge_first.py"
    mutant.write_text(ACKNOWLEDGE_FIRST.replace("@PAUSE@", "0" if slow else "0.05"))
    with running(mutant=mutant, **ONE_PROCESS) as server:  # of several, an orphan commits before it ends
        killing = Killing(server, chance)
        server.start(slowly(chance) if slow else ())
        for number in range(1, MUTANT_ROUNDS + 1):
            verdict = killing.left_by_a_kill(slowly(chance) if slow else ())
            if verdict.lost:
                print(f"mutant caught in round {number}: {killing} {verdict}")
                return
        pytest.fail(f"the mutant survived {MUTANT_ROUNDS} kills: {killing}")
