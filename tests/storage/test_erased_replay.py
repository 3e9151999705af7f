"""An event whose payload was erased is a replay when its other fields are equal, and the payload is never restored."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.contract.faults import everywhere
from tests.contract.made import add, new
from tests.storage.test_copy import KINDS, TENANT, alter, log, opened
from whence import integrity
from whence.copying import copy_log
from whence.errors import Conflict, Unavailable
from whence.events import EVENT_LOG
from whence.storage import Write, sequencing, verify_store
from whence.storage.removals import PAYLOAD_ERASED
from whence.wire.payload import same_json

ERASED = 3
"""The position of the event whose payload is erased."""

SENT = new(ERASED, payload=b'{"name":"Ada"}')

ANNOUNCED = new(
    5, event_type=PAYLOAD_ERASED, resource_type=EVENT_LOG, payload=b'{"ranges":[[%d,%d]]}' % (ERASED, ERASED)
)
"""The event that says which payload is erased."""


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Any]:
    """A store that imported five events, one of them with an erased payload."""
    source, target = [await opened(request.param, tmp_path) for _ in range(2)]
    await add(source, new(1), new(2), SENT, new(4), ANNOUNCED)
    [hashed] = await source.read_log(TENANT, ERASED - 1, 1)
    digest = hashed.payload_hash.hex()
    await alter(
        source,
        f"UPDATE event SET payload = NULL, salt = NULL, payload_hash = x'{digest}' WHERE key & 0xFFFF = {ERASED}",
        f"UPDATE whence.event SET payload = NULL, salt = NULL, payload_hash = '\\x{digest}' WHERE position = {ERASED}",
    )
    await copy_log(source, target)
    await source.close()
    yield target
    await target.close()


async def replays(store: Any) -> None:
    """Check that an event with any payload is a replay, and that the log is unchanged."""
    before = await log(store)
    for payload in (b'{"name":"Ada"}', b"{}", b'{"name":"Eve"}'):
        [receipt] = await add(store, new(ERASED, payload=payload))
        assert receipt.error is None
        assert (receipt.replayed, receipt.event) == (True, before[ERASED - 1].event)
        assert receipt.event.payload is None
    assert await log(store) == before
    assert before[ERASED - 1].salt is None


async def test_an_erased_event_replays_whatever_the_payload(store: Any) -> None:
    """The payload can no longer be compared, and the payload that was sent is not stored."""
    await replays(store)
    assert (await verify_store(store.url)).findings == []


async def test_every_other_field_of_an_erased_event_is_compared(store: Any) -> None:
    """A different actor, time or cause is a conflict, which names that field and not the payload."""
    for changes, field in (
        ({"actor_id": "eve"}, "actorId"),
        ({"occurred_at": SENT.occurred_at + 1}, "occurredAt"),
        ({"causation_id": "why"}, "causationId"),
        ({"outcome": "failure"}, "outcome"),
    ):
        [receipt] = await add(store, new(ERASED, payload=b'{"other":1}', **changes))
        assert isinstance(receipt.error, Conflict), changes
        assert receipt.error.fields == (field,)


async def test_a_batch_with_an_erased_event_is_stored(store: Any) -> None:
    """The other events of a batch with an erased event are stored."""
    results = await store.append(TENANT, [Write((new(ERASED), new(6)), atomic=True), Write((new(7),))])
    assert [[receipt.event.position for receipt in receipts] for receipts in results] == [[3, 6], [7]]


async def test_mutant_comparison_with_no_payload_is_caught(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the payload is compared anyway, the append fails."""
    real = integrity.differing_fields

    def differing(sent: Any, stored: Any) -> list[str]:
        return [*real(sent, stored), *([] if same_json(sent.payload, stored.payload) else ["payload"])]

    everywhere(monkeypatch, "differing_fields", lambda _real: differing)
    with pytest.raises((AssertionError, Unavailable)):
        await replays(store)


async def test_mutant_replay_that_answers_what_was_sent_is_caught(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receipt must hold the stored event, without a payload."""
    real = sequencing._sequence

    def sequence(log: Any, head: Any, batch: Any, sent: Any, readable: Any) -> Any:
        receipt = real(log, head, batch, sent, readable)
        return replace(receipt, event=replace(receipt.event, payload=sent.payload))

    monkeypatch.setattr(sequencing, "_sequence", sequence)
    with pytest.raises(AssertionError):
        await replays(store)
