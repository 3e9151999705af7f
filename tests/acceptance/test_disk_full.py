"""On a full disk, appends fail, reads continue, and appends succeed again once there is space."""

import asyncio
import http.client
import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.acceptance.driven import Driven, driven, judge
from tests.acceptance.driver import swallow_commit_errors
from tests.acceptance.history import History, Verdict
from tests.acceptance.running import Running, seed
from tests.acceptance.traffic import Clients, body_of, counts, found, get, new_content, timed_id
from tests.examples import soak

ROUNDS = 100 if soak() else 3
MIB = 1024 * 1024
DISK = 8 * MIB
BALLAST = 3 * MIB
TRIES_WHILE_FULL = 6
FILLED_BY = 2_000
"""Requests that must be enough to fill a disk of that size."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB with a ballast file that can be deleted."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "whence-test", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        (disk / "ballast").write_bytes(bytes(BALLAST))
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(driver: Driven, rng: random.Random) -> None:
    """Append until the store refuses, and some more. It refuses with its own error and can still be read."""
    refused = 0
    for _ in range(FILLED_BY):
        answer = driver.append(count=rng.choice((1, 5, 20)), size=rng.choice((300, 4_000)))
        assert answer in ("acknowledged", "failed Unavailable"), answer
        refused += answer != "acknowledged"
        assert not refused or driver.read().startswith("found ")
        if refused == TRIES_WHILE_FULL:
            return
    pytest.fail("the disk never became full")


def fill_and_free(driver: Driven, path: Path, free: Callable[[Driven], None], rng: random.Random) -> Verdict:
    """Fill the disk of a store, free some space, and continue in the same process."""
    fill(driver, rng)
    free(driver)
    for _ in range(5):
        assert driver.append(count=3) == "acknowledged", "the store does not go on though there is space"
    driver.close()
    return asyncio.run(judge(path, driver.history))


def throw_ballast_off(path: Path) -> Callable[[Driven], None]:
    return lambda _driver: path.with_name("ballast").unlink()


def lift_the_limit(driver: Driven) -> None:
    resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def limit_files(driver: Driven) -> None:
    """Limit the size of files; a larger write is an error. Python ignores the signal SIGXFSZ."""
    resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (2 * MIB, resource.RLIM_INFINITY))


def report(kind: str, history: History, verdict: Verdict, record: Callable[[str, object], None]) -> None:
    figures = f"disk full, {kind}: {history} {verdict}"
    record("figures", figures)
    print(figures)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_full_disk_is_an_error_and_passes(
    number: int, small_disk: Path, record_property: Callable[[str, object], None]
) -> None:
    """On a full disk appends raise Unavailable and reads continue; the same process appends again once there is
    space."""
    rng, path = random.Random(seed() + number), small_disk / "log.db"
    with driven() as driver:
        driver.open(path)
        verdict = fill_and_free(driver, path, throw_ballast_off(path), rng)
        report("tmpfs", driver.history, verdict, record_property)
        assert verdict.clean, verdict


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_limit_on_files_is_an_error_and_passes(
    number: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The same holds under RLIMIT_FSIZE, until the limit is lifted from outside."""
    rng = random.Random(seed() + number)
    with driven() as driver:
        driver.open(tmp_path / "log.db")
        limit_files(driver)
        verdict = fill_and_free(driver, tmp_path / "log.db", lift_the_limit, rng)
        report("RLIMIT_FSIZE", driver.history, verdict, record_property)
        assert verdict.clean, verdict


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_server_on_a_full_disk_answers_503_and_passes(
    number: int, small_disk: Path, record_property: Callable[[str, object], None]
) -> None:
    """A server whose log file is on the full disk too answers 503 to appends, answers reads, and 201 once there is
    space."""
    rng, history = random.Random(seed() + number), History()
    server = Running(small_disk, WHENCE_LOG_LEVEL="info", WHENCE_DISK_FREE_MIN="0")
    key = server.key()
    server.start()
    try:
        clients = Clients(server, key, history, 0, threads=0)
        connection = server.connect()
        statuses = []
        while statuses.count(503) < TRIES_WHILE_FULL:
            assert len(statuses) < FILLED_BY, "the disk never became full"
            statuses.append(clients.send(connection, [new_content(rng) for _ in range(rng.choice((1, 5, 20)))]))
            if 503 in statuses:
                get(connection, "/api/v1/events?limit=1", key)
        check_refusal(server, key)
        (small_disk / "ballast").unlink()
        clients.retry()
        assert [clients.send(connection, [new_content(rng)]) for _ in range(5)] == [201] * 5
        assert clients.unexpected == []
        held, total = found(server, key)
        verdict = history.judge(held)
        report("server", history, verdict, record_property)
        assert verdict.clean, verdict
        assert counts(server, key) == {total} == {len(history.acknowledged)}
        code, _ = server.terminate()
        assert code == 0
    finally:
        if server.process is not None:
            server.kill()


LOG_THAT_MUST_BE_WRITTEN = """
import sys
from whence.api import server
from whence.cli import main

server._LossyStream = lambda stream: stream
sys.exit(main())
"""
"""Mutant: a log line that cannot be written fails the request."""


def test_mutant_a_log_that_must_be_written_is_caught(small_disk: Path, tmp_path: Path) -> None:
    """When an error of the log propagates, a client of the server on the full disk gets no answer."""
    rng, script = random.Random(seed()), tmp_path / "mutant.py"
    script.write_text(LOG_THAT_MUST_BE_WRITTEN)
    server = Running(small_disk, mutant=script, WHENCE_LOG_LEVEL="info", WHENCE_DISK_FREE_MIN="0")
    key = server.key()
    server.start()
    try:
        clients = Clients(server, key, History(), 0, threads=0)
        connection = server.connect()
        with pytest.raises((OSError, http.client.HTTPException)):
            for _ in range(FILLED_BY):
                clients.send(connection, [new_content(rng) for _ in range(10)])
    finally:
        server.kill()


def check_refusal(server: Running, key: str) -> None:
    """Check that a refusal names its cause and has Retry-After."""
    connection = server.connect()
    event = body_of(timed_id(random.Random()), b'{"more":"%s"}' % (b"x" * 200_000))  # exceeds the space left
    connection.request("POST", "/api/v1/events", event, {"X-API-Key": key, "Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, msgspec.json.decode(answer.read())["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    connection.close()


def test_mutant_a_catch_all_that_answers_success_is_caught(tmp_path: Path) -> None:
    """A store that reports success after a failed commit has lost events once the limit is lifted."""
    rng = random.Random(seed())
    with driven(swallow_commit_errors) as driver:
        driver.open(tmp_path / "log.db")
        limit_files(driver)
        for _ in range(300):
            assert driver.append(count=rng.choice((1, 5, 20)), size=4_000) == "acknowledged"
        lift_the_limit(driver)
        driver.close()
        assert asyncio.run(judge(tmp_path / "log.db", driver.history)).lost
