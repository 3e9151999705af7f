"""Fixtures for the tests of the stores."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.faults import everywhere
from whence.storage.announced import Announced
from whence.storage.removals import PAYLOAD_ERASED


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def _nothing(*_: Any) -> Iterator[Any]:
    """A check that asks for nothing."""
    yield from ()


@pytest.fixture
def made_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the fixtures of earlier releases, payloads were erased before a log had to say so, and a tile is made up."""
    real = Announced.first_unannounced

    def first(self: Announced, type_: str, positions: Any) -> int | None:
        return None if type_ == PAYLOAD_ERASED else real(self, type_, positions)

    monkeypatch.setattr(Announced, "first_unannounced", first)
    everywhere(monkeypatch, "check_tiles", lambda _real: _nothing)
