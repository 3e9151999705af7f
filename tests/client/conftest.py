"""Fixtures that keep the tests away from the state of the user who runs them."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state directory, and an environment that names no server."""
    for name in ("WHENCE_URL", "WHENCE_API_KEY", "WHENCE_JWT_SECRET", "WHENCE_PROFILE", "WHENCE_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "state"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
