"""Stores with webhooks. Tests of what is sent run on asyncio, as the server does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.delivery.delivering import ENGINES, Delivering, delivering


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Delivering]:
    """An empty store of each engine."""
    async with delivering(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[Delivering]:
    """An empty SQLite store, for what does not depend on the engine."""
    async with delivering("sqlite", tmp_path) as made:
        yield made
