"""The marker `slow`, and the tests that should have it.

`make test` runs the tests without the marker, and should take five minutes for them on two idle cores. The tests that
slow_tests.txt names get it too. One that takes longer than `SLOW_S` is named at the end of the run, with what to do
about it.
"""

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.ast_parsing import pause_collector_in_ast_parse
from tests.databases import be_patient
from tests.ports import reserved_port
from tests.ssl_contexts import share_ssl_context

pause_collector_in_ast_parse()
share_ssl_context()

SLOW_TESTS = frozenset(
    line for line in (Path(__file__).parent / "slow_tests.txt").read_text().splitlines() if not line.startswith("#")
)
"""Tests that are slow though they have no marker, without their parameters."""

SLOW_S = 10.0
"""Processor time of one test, with the processes that it started and waited for, from which on it should be slow."""

CPU_S = "cpu_s"


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Stores wait long for PostgreSQL. Tests of how long they wait override this fixture."""
    with pytest.MonkeyPatch.context() as patch:
        be_patient(patch)
        yield


@pytest.fixture(autouse=True)
def logging_of_a_test() -> Iterator[None]:
    """Logging that a test configures, as commands do, ends with it: it would go to a file that is closed."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def port() -> Iterator[int]:
    """A port for a server that the test starts."""
    with reserved_port() as reserved:
        yield reserved


def _cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Keep the garbage collector from what the tests are made of: a million objects that stay until the end. It would
    take a third of the time of the collection of tests, and half a second whenever it is called."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, before pytest chooses by markers."""
    for item in items:
        if item.nodeid.partition("[")[0] in SLOW_TESTS:
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Note how much processor time a test takes, unless it is marked."""
    start = _cpu_s()
    try:
        return (yield)
    finally:
        if item.get_closest_marker("slow") is None:
            item.user_properties.append((CPU_S, _cpu_s() - start))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Save what `make coverage` has measured in this process. xdist kills its processes when they have not ended ten
    seconds after their last test, and a busy machine may need longer."""
    coverage = sys.modules.get("coverage")
    measured = None if coverage is None else coverage.Coverage.current()
    if measured is not None:
        measured.stop()
        measured.save()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that took too long for `make test`."""
    long = [
        f"{value:6.1f} s  {report.nodeid}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == CPU_S and isinstance(value, float) and value > SLOW_S
    ]
    if long:
        terminalreporter.section(f"over {SLOW_S:.0f} s of processor time: make them shorter, or mark them slow")
        terminalreporter.write_line("\n".join(sorted(long, reverse=True)))
