"""Each event stores the envelope version that its leaf was made with, and is verified with that version."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.made import add, new
from tests.storage.test_copy import KINDS, TENANT, alter, log, opened
from whence import integrity
from whence.copying import copy_log
from whence.errors import Unsound
from whence.events import Event
from whence.merkle import leaf_hash
from whence.storage import replication as importing
from whence.storage import sequencing, verification, verify_store
from whence.storage.postgres import append as postgres_append
from whence.storage.postgres import rows as postgres_rows
from whence.storage.sqlite import append as sqlite_append
from whence.storage.sqlite import rows as sqlite_rows

pytestmark = pytest.mark.slow

MADE_UP = 99
"""A version that no release has."""

FIRST, SECOND, THIRD = 1_200, 300, 40
"""Events of version 1, of the made-up version, and of version 1 again."""


def made_up_envelope(event: Event, payload_hash: str) -> bytes:
    """A made-up version: the fields in another order, and a field that version 1 does not have."""
    return msgspec.json.encode([MADE_UP, event.position, event.id, event.actor_id, payload_hash, event.recorded_at])


@pytest.fixture(params=KINDS)
async def mixed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> AsyncIterator[Any]:
    """A store with events of both versions."""
    monkeypatch.setitem(integrity.ENVELOPES, MADE_UP, made_up_envelope)
    monkeypatch.setitem(integrity.ENVELOPE_FIELDS, MADE_UP, integrity.ENVELOPE_FIELDS[1])
    store = await opened(request.param, tmp_path)
    await append_both(store, monkeypatch)
    yield store
    await store.close()


async def append_both(store: Any, patch: pytest.MonkeyPatch) -> None:
    await add(store, *[new(n) for n in range(FIRST)])
    patch.setattr(sequencing, "ENVELOPE_VERSION", MADE_UP)
    await add(store, *[new(FIRST + n) for n in range(SECOND)])
    await add(store, new(FIRST))  # a repeat
    patch.setattr(sequencing, "ENVELOPE_VERSION", 1)
    await add(store, *[new(FIRST + SECOND + n) for n in range(THIRD)])


async def findings(store: Any) -> list[tuple[int | None, str]]:
    return [(finding.position, finding.what) for finding in (await verify_store(store.url)).findings]


async def test_a_log_of_two_versions_is_sound(mixed: Any) -> None:
    """Each event keeps its version, its leaf is that of the version, and verification succeeds."""
    events = await log(mixed)
    assert [each.envelope_version for each in events] == [1] * FIRST + [MADE_UP] * SECOND + [1] * THIRD
    for each in (events[0], events[FIRST], events[-1]):
        encode = made_up_envelope if each.envelope_version == MADE_UP else integrity.envelope_v1
        assert each.leaf == leaf_hash(encode(each.event, each.payload_hash.hex()))
    assert await findings(mixed) == []


@pytest.mark.parametrize("through", KINDS)
async def test_a_log_of_two_versions_is_copied_there_and_back(mixed: Any, through: str, tmp_path: Path) -> None:
    """A copy in a store of either kind, and a copy of that in the first kind, have equal events, hashes, versions and
    root."""
    second, third = await opened(through, tmp_path), await opened(mixed.kind, tmp_path)
    await copy_log(mixed, second)
    await copy_log(second, third)
    assert await log(mixed) == await log(second) == await log(third)
    assert (await mixed.head(TENANT)).root == (await second.head(TENANT)).root == (await third.head(TENANT)).root
    assert await findings(second) == await findings(third) == []
    for store in (second, third):
        await store.close()


async def test_a_version_that_this_release_does_not_know_is_reported(
    mixed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Verification reports the first such event, and a copy refuses it with a message; neither raises another error."""
    monkeypatch.delitem(integrity.ENVELOPES, MADE_UP)
    [(position, what)] = await findings(mixed)
    assert position == FIRST + 1
    assert f"version {MADE_UP} of the envelope" in what
    target = await opened(mixed.kind, tmp_path)
    with pytest.raises(Unsound, match=f"position {FIRST + 1}: .* version {MADE_UP} of the envelope, .* later release"):
        await copy_log(mixed, target)
    assert (await target.head(TENANT)).size == 1_000
    await target.close()


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_a_version_that_was_changed_is_found(mixed: Any, version: int) -> None:
    """The leaf is checked under the stored version, so verification finds a changed version."""
    await set_version(mixed, FIRST + 1, version)
    [(position, _)] = await findings(mixed)
    assert position == FIRST + 1


async def set_version(store: Any, position: int, version: int) -> None:
    await alter(
        store,
        f"UPDATE event SET envelope_version = {version} WHERE key & 0xFFFF = {position}",
        f"UPDATE whence.event SET envelope_version = {version} WHERE position = {position}",
    )


def ignoring_the_version(module: Any) -> Callable[[pytest.MonkeyPatch], None]:
    def mutant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(
            module, "leaf_of", lambda event, payload_hash, _version: integrity.leaf_of(event, payload_hash, 1)
        )

    return mutant


def appending_without_the_version(patch: pytest.MonkeyPatch) -> None:
    """Mutant: events are inserted without their version, so the column has its default."""
    for module, columns in ((sqlite_append, sqlite_rows.EVENT_COLUMNS), (postgres_append, postgres_rows.EVENT_COLUMNS)):
        real, at = module.event_values, columns.index("envelope_version")
        patch.setattr(
            module,
            "event_values",
            lambda *args, real=real, at=at: [(*row[:at], 1, *row[at + 1 :]) for row in real(*args)],
        )


async def test_mutant_verification_that_ignores_the_version_is_caught(
    mixed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first event of the made-up version does not match its hash."""
    ignoring_the_version(verification)(monkeypatch)
    assert await findings(mixed) == [(FIRST + 1, "the event does not belong to its hash")]


async def test_mutant_import_that_ignores_the_version_is_caught(
    mixed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The copy stops at the first event of the made-up version."""
    ignoring_the_version(importing)(monkeypatch)
    target = await opened(mixed.kind, tmp_path)
    with pytest.raises(Unsound, match=f"position {FIRST + 1}"):
        await copy_log(mixed, target)
    await target.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_mutant_append_that_writes_no_version_is_caught(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, anyio_backend: str
) -> None:
    """Verification reports the first event of the made-up version."""
    monkeypatch.setitem(integrity.ENVELOPES, MADE_UP, made_up_envelope)
    monkeypatch.setitem(integrity.ENVELOPE_FIELDS, MADE_UP, integrity.ENVELOPE_FIELDS[1])
    appending_without_the_version(monkeypatch)
    store = await opened(kind, tmp_path)
    await append_both(store, monkeypatch)
    assert await findings(store) == [(FIRST + 1, "the event does not belong to its hash")]
    await store.close()
