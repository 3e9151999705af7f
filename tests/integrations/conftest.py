"""Fixtures that keep the tests away from the state of the user, and the fixture of the plugin."""

from pathlib import Path

import pytest

from whence.integrations.pytest_plugin import whence_events

__all__ = ["whence_events"]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
