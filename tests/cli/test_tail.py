"""`tail`: the last events, those that come, and how to go on after an interruption."""

import contextlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec

from tests.api.conftest import Served, event, serving
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"

NO_OVERLAP = Mutant("the_last_ones_come_again", "import whence.cli.tail as t; t.frozenset = lambda _ids: ()")
FROM_NOW = Mutant(
    "whatever_was_stored_meanwhile_is_missed",
    "import whence.client.following as f\n"
    "real = f.FollowState.repeat\n"
    "def forgets(self, error):\n"
    "    self._next = None; self._filters['since'] = 'now'; self._filters.pop('after', None)\n"
    "    return real(self, error)\n"
    "f.FollowState.repeat = forgets",
)


@contextlib.contextmanager
def tailing(cli: Cli, *arguments: str) -> Iterator["Tailing"]:
    """A running `tail`."""
    process = cli.start("tail", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield Tailing(process)
    finally:
        process.kill()
        process.communicate()


class Tailing:
    """The output of a running `tail`, which a thread reads."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    def wait_for(self, count: int, mutant: Mutant | None = None) -> list[str]:
        """Wait for so many lines, in the presence of a mutant not for long."""
        until = time.monotonic() + (10 if mutant is None else 2)
        while len(self.lines) < count:
            assert time.monotonic() < until, self.lines
            time.sleep(0.01)
        return self.lines

    def interrupt(self) -> tuple[int, str]:
        """The exit code and what it said."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        self._thread.join(5)
        return code, self.process.stderr.read().decode()


def post(api: httpx2.Client, count: int, **fields: Any) -> None:
    assert api.post(f"{EVENTS}/batch", json=[event(**fields) for _ in range(count)]).status_code == 201


def test_the_last_events(user: Cli, api: httpx2.Client) -> None:
    """Ten by default, the newest at the end; then it ends. Filters and columns are those of `list`."""
    post(api, 12)
    post(api, 1, actorId="ana")
    ran = user.ok("tail")
    assert [line.split()[0] for line in ran.lines[1:]] == [f"@{number}" for number in range(4, 14)]
    assert ran.err == ""
    ran = user.ok("tail", "-n", "2", "--actor-id", "planner", "--columns", "ref,actor")
    assert ran.lines[1:] == ["@11  agent/planner", "@12  agent/planner"]
    ran = user.ok("tail", "--after", "11", "--json")
    assert [msgspec.json.decode(line)["position"] for line in ran.lines] == [12, 13]
    assert len(user.ok("tail", "--since", "-1h", "--json").lines) == 13
    assert "only one" in user.fails(2, "tail", "--since", "-1h", "--after", "3")
    assert "after" in user.fails(2, "tail", "--after", "x")


@catches(NO_OVERLAP)
def test_what_comes_is_shown_at_once(user: Cli, api: httpx2.Client, mutant: Mutant | None) -> None:
    """Each event once, one a line. An interruption is no error, and the sentence that it prints goes on from there."""
    post(api, 3)
    with tailing(user, "-f", "--json", "-n", "2") as tail:
        tail.wait_for(2)
        for number in range(3, 6):
            post(api, 1, actorId="ana")
            tail.wait_for(number, mutant)
        post(api, 1)
        code, said = tail.interrupt()
    positions = [msgspec.json.decode(line)["position"] for line in tail.lines]
    assert positions[:5] == [2, 3, 4, 5, 6]
    assert code == 130
    found = re.fullmatch(r"Continue with: whence (tail -f --after (\d+))\n", said)
    assert found is not None, said
    assert int(found[2]) == positions[-1]
    with tailing(user, *found[1].split()[1:], "--json") as tail:
        post(api, 2)
        more = [msgspec.json.decode(line)["position"] for line in tail.wait_for(9 - positions[-1], mutant)]
    assert positions + more == [*range(2, 10)]


@catches(FROM_NOW)
def test_a_server_that_comes_back_misses_nothing(cli: Cli, tmp_path: Any, mutant: Mutant | None) -> None:
    """The tail says once that the connection is lost, and has every event when the server is there again."""
    with serving(tmp_path / "log") as served:
        key, port = served.key(READ, WRITE), served.address[1]
        user = cli.given(url=served.url, api_key=key)
        stack = contextlib.ExitStack()
        tail = stack.enter_context(tailing(user, "-f", "--json"))
        with httpx2.Client(base_url=served.url, headers={"X-API-Key": key}) as api:
            post(api, 1)
            tail.wait_for(1)
            time.sleep(0.5)  # it waits for the next one
    with stack:
        time.sleep(0.5)
        with serving(tmp_path / "log") as elsewhere, elsewhere.client(READ, WRITE) as api:
            post(api, 2)  # at an address that the tail does not ask
        with serving(tmp_path / "log", port=port):
            lines = tail.wait_for(3, mutant)
            _, said = tail.interrupt()
    assert [msgspec.json.decode(line)["position"] for line in lines] == [1, 2, 3]
    assert said.count("Trying again") == 1


def test_other_servers_have_no_feed(cli: Cli, served: Served) -> None:
    """Errors are those of every command: 4 without a valid key, 6 without a server."""
    assert "key" in cli.given(url=served.url, api_key="whk_x").run("tail", "-f").err
    assert cli.given(url="http://127.0.0.1:1", api_key="whk_x").run("tail").code == 6
