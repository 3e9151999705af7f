"""The hashes in a store, against an independent implementation of their definition.

Only the events come from the package. A leaf is SHA-256(0x00 ‖ envelope). The envelope is a JSON object without white
space, its keys in code-point order, its strings escaped as in RFC 8785, its times in UTC with six fractional digits,
and `payloadHash` the hex of SHA-256(salt ‖ payload). The root is that of RFC 6962, section 2.1.
"""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from tests.contract import mutants, rarer_mutants
from tests.contract.faults import Kind, catches
from tests.contract.made import NOON, SECOND, TENANT, add, new, page, stored, uuid
from whence.errors import Invalid
from whence.events import Event


def plain_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 over leaf hashes, by its recursive definition: split at the largest power of two below n."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + plain_root(leaves[:split]) + plain_root(leaves[split:])).digest()


def plain_time(time_us: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return f"{at.year:04}-{at:%m-%dT%H:%M:%S}.{at.microsecond:06}Z"


def plain_leaf(event: Event, salt: bytes) -> bytes:
    members = {
        "actorId": event.actor_id,
        "actorType": event.actor_type,
        "causationId": event.causation_id,
        "correlationId": event.correlation_id,
        "eventType": event.event_type,
        "id": event.id,
        "occurredAt": plain_time(event.occurred_at),
        "outcome": event.outcome,
        "payloadHash": sha256(salt + event.payload).hexdigest(),
        "recordedAt": plain_time(event.recorded_at),
        "resourceId": event.resource_id,
        "resourceType": event.resource_type,
        "tenantId": event.tenant_id,
        "v": 1,
    }
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(b"\x00" + text.encode()).digest()


async def log(store: Any, tenant: str = TENANT) -> list[Event]:
    found = (await page(store, tenant, limit=10_000)).events
    return sorted(found, key=lambda event: event.position)


@catches(rarer_mutants.last_leaf_twice)
async def test_the_root_is_that_of_rfc_6962_at_every_size(real: Any, kind: Kind) -> None:
    """From 0 to 35 events, the root in the head equals that of the stored leaves; each tenant has its own tree."""
    assert (await real.head(TENANT)).root == plain_root([])
    assert plain_root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    size = 0
    for count in (1, 1, 1, 1, 1, 1, 1, 9, 1, 18):
        await stored(real, *(new(number) for number in range(size, size + count)))
        await stored(real, new(size), tenant="other")
        size += count
        leaves = [leaf for leaf, _ in await kind.hashes(real, TENANT)]
        head = await real.head(TENANT)
        assert (head.size, len(leaves)) == (size, size)
        assert head.root == plain_root(leaves)
    others = [leaf for leaf, _ in await kind.hashes(real, "other")]
    assert (await real.head("other")).root == plain_root(others)
    assert len({*leaves, *others}) == len(leaves) + len(others)


@catches(
    rarer_mutants.leaf_without_salt,
    rarer_mutants.leaf_without_its_prefix,
    rarer_mutants.envelope_with_short_times,
    rarer_mutants.payload_written_anew,
    mutants.batch_in_order_of_time,
)
async def test_each_leaf_is_the_hash_of_its_envelope(real: Any, kind: Kind) -> None:
    """Each leaf is recomputed from the returned event and its salt, for events with text that is hard to encode."""
    sent = [
        new(1, payload=b'{"b":1E2,"a":-0}', occurred_at=NOON),
        new(2, actor_id='"\\/\u007fé\U0001f600\u2028', correlation_id="flow/2 <&>", occurred_at=NOON - 1),
        new(3, causation_id=uuid(1), occurred_at=-62_135_596_800 * SECOND),
        new(4, causation_id="a text", payload='{"ä":"\\u0000"}'.encode(), occurred_at=-1),
        new(5, outcome="none", occurred_at=253_402_300_799 * SECOND + 999_999),
    ]
    await stored(real, *sent)
    events, hashes = await log(real), await kind.hashes(real, TENANT)
    assert [event.id for event in events] == [event.id for event in sent]
    for event, (leaf, salt) in zip(events, hashes, strict=True):
        assert len(salt) == 16
        assert leaf == plain_leaf(event, salt), event


@catches(rarer_mutants.one_salt_for_all)
async def test_every_event_has_a_salt_of_its_own(real: Any, kind: Kind) -> None:
    """Equal payloads have different hashes: within a batch, across batches and across tenants."""
    for first in (1, 11):
        await stored(real, *(new(number) for number in range(first, first + 10)))
        await stored(real, *(new(number) for number in range(first, first + 10)), tenant="other")
    salts = [salt for tenant in (TENANT, "other") for _, salt in await kind.hashes(real, tenant)]
    assert len(set(salts)) == 40


@catches(mutants.atomic_keeps_the_first)
async def test_what_is_refused_leaves_no_leaf(real: Any, kind: Kind) -> None:
    """Replays, conflicts and rolled-back requests change neither leaves nor root."""
    await stored(real, new(1), new(2), new(3))
    before, head = await kind.hashes(real, TENANT), await real.head(TENANT)
    await add(real, new(1), new(2, actor_id="eve"))
    with pytest.raises(Invalid):
        await add(real, new(4), new(2, actor_id="eve"), atomic=True)
    assert await kind.hashes(real, TENANT) == before
    assert await real.head(TENANT) == head
