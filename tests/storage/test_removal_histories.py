"""Random histories with removals, whose processes are killed anywhere, are sound after every kill."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.running import seed
from tests.databases import cleared_database
from tests.examples import soak
from tests.storage.removal_histories import KilledHistory

pytestmark = pytest.mark.slow

HISTORIES = {"sqlite": 700 if soak() else 2, "postgres": 300 if soak() else 1}


@pytest.mark.parametrize("kind", list(HISTORIES))
def test_verify_raises_no_false_alarm(
    kind: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """After each kill, and at the end."""
    chosen, kills, checks = seed(), 0, 0
    for number in range(HISTORIES[kind]):
        url = f"sqlite:///{tmp_path}/{number}.db" if kind == "sqlite" else asyncio.run(cleared_database())
        history = KilledHistory(url, hash((chosen, number)))
        try:
            history.run()
        except AssertionError as error:
            raise AssertionError(f"WHENCE_TEST_SEED={chosen}, history {number}: {error}") from error
        kills, checks = kills + history.kills, checks + history.checks
        for path in tmp_path.glob(f"{number}.db*"):
            path.unlink()
    figures = f"removals: {kind} histories={HISTORIES[kind]} kills={kills} verified={checks}"
    record_property("figures", figures)
    print(figures)
    assert kills > HISTORIES[kind] // 2
