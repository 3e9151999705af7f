"""No test writes into the state of the user who runs it."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's state directory, empty, and an environment that names no server."""
    for name in ("WHENCE_URL", "WHENCE_API_KEY", "WHENCE_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
