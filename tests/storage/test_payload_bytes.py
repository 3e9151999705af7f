"""The bytes of a tenant's payloads are counted by every append, import and migration."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.faults import reword
from tests.contract.made import new, stored
from tests.storage.test_copy import KINDS, TENANT, alter, opened
from whence.copying import copy_log
from whence.storage import verify_store

PAYLOADS = (b'{"a":1}', b'{"b":"2"}', b"{}")
ALL = sum(map(len, PAYLOADS))


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Any]:
    """A store with three events, of which a server of the previous release appended the last two."""
    opened_ = await opened(request.param, tmp_path)
    await stored(opened_, *(new(number, payload=payload) for number, payload in enumerate(PAYLOADS)))
    values = f"payload_bytes = {len(PAYLOADS[0])}, measured_to = 1"
    await alter(opened_, f"UPDATE tenant SET {values}", f"UPDATE whence.head SET {values}")
    yield opened_
    await opened_.close()


async def test_the_next_append_counts_what_an_earlier_release_left_out(store: Any) -> None:
    """What a server of the previous release appended is no finding, and counted by the next append."""
    assert (await verify_store(store.url)).findings == []
    await stored(store, new(9, payload=b'{"c":3}'))
    assert (await store.head(TENANT)).payload_bytes == ALL + 7
    assert (await verify_store(store.url)).findings == []


async def test_mutant_what_was_left_out_is_lost(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append that takes the count for complete is caught."""
    reword(monkeypatch, "payload_bytes", sqlite=("sum(", "0 * sum("), postgres=("sum(", "0 * sum("))
    with pytest.raises(AssertionError):
        await test_the_next_append_counts_what_an_earlier_release_left_out(store)


async def test_a_copy_counts_the_same_bytes(store: Any, tmp_path: Path) -> None:
    """A log that is copied into another store has the bytes of its events there."""
    target = await opened("sqlite", tmp_path)
    await copy_log(store, target)
    assert (await target.head(TENANT)).payload_bytes == ALL
    await target.close()
