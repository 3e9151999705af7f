"""A tenant may write only so much in a time, and only while the disk has room."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Served, code_of, event, serving
from tests.unit.mutants import catches, replaced
from whence.api import quotas
from whence.api.quotas import ByteQuota, DiskSpace, EventRate
from whence.errors import QuotaSpent, Throttled, Unavailable
from whence.permissions import READ, WRITE
from whence.storage.base import Head

EVENTS = "/api/v1/events"
BATCH = f"{EVENTS}/batch"
MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def unlimited(self: EventRate, tenant: str, events: int) -> None:
    """Mutant: the quota is only shown."""


@catches(replaced(EventRate, "take", unlimited, "a_quota_without_effect"))
def test_events_are_counted_by_tenant_and_time() -> None:
    """A bucket that holds ten seconds' worth, fills at the rate, and says when there is enough again."""
    clock = Clock()
    rate = EventRate(200, clock)
    rate.take("acme", 1900)
    with pytest.raises(Throttled) as caught:
        rate.take("acme", 300)
    assert caught.value.retry_after_s == 1
    rate.take("globex", 2000)
    clock.now += 1.0
    rate.take("acme", 300)
    with pytest.raises(Throttled) as caught:
        rate.take("acme", 1000)
    assert caught.value.retry_after_s == 5
    clock.now += 3600
    rate.take("acme", 2000)
    with pytest.raises(Throttled):
        rate.take("acme", 1)


def test_any_quota_lets_a_whole_batch_pass() -> None:
    clock = Clock()
    rate = EventRate(1, clock)
    rate.take("acme", 1000)
    with pytest.raises(Throttled) as caught:
        rate.take("acme", 1000)
    assert caught.value.retry_after_s == 1000
    assert rate.headers("acme") == [
        (b"ratelimit-policy", b'"events";q=1000;w=1000'),
        (b"ratelimit", b'"events";r=0;t=1000'),
    ]


def test_without_a_quota_there_is_none() -> None:
    rate = EventRate(0)
    for _ in range(100):
        rate.take("acme", 1000)
    assert rate.headers("acme") == []


def test_tenants_with_a_full_quota_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the memory of it is bounded by the tenants that are writing."""
    monkeypatch.setattr(quotas, "_TENANTS_MAX", 10)
    clock = Clock()
    rate = EventRate(1, clock)
    for number in range(1000):
        rate.take(f"tenant {number}", 1)
        clock.now += 1.5
    assert len(rate._buckets) <= 11


def test_a_client_sees_its_quota(tmp_path: Path) -> None:
    """On each answer to a write, the refusal included; an event of another tenant is stored."""
    with serving(tmp_path, tenant_events_per_s=100) as served, served.client(READ, WRITE) as client:
        stored = client.post(BATCH, json=[event() for _ in range(999)])
        assert stored.headers["ratelimit-policy"] == '"events";q=1000;w=10'
        assert stored.headers["ratelimit"].startswith('"events";r=')
        refused = client.post(BATCH, json=[event() for _ in range(999)])
        assert (refused.status_code, code_of(refused)) == (429, "throttled")
        assert 5 <= int(refused.headers["retry-after"]) <= 10
        assert "ratelimit" in refused.headers
        assert client.get(EVENTS).json()["total"] == 999
        assert "ratelimit" not in client.get(EVENTS).headers
        with served.client(WRITE, tenant="globex") as other:
            assert other.post(EVENTS, json=event()).status_code == 201


def test_a_key_that_does_not_see_every_event_does_not_see_the_quota(tmp_path: Path) -> None:
    """It would show how much the rest of the tenant stores."""
    with serving(tmp_path, tenant_events_per_s=100) as served, served.client(WRITE) as client:
        assert "ratelimit" not in client.post(EVENTS, json=event()).headers


def test_what_the_rate_refuses_does_not_count_as_bytes(tmp_path: Path) -> None:
    """Five tries of which one is stored use up the bytes of one."""
    batch = [event(payload={"x": "y" * 1000}) for _ in range(200)]
    with serving(tmp_path, tenant_events_per_s=1, tenant_bytes_max=MIB) as served, served.client(WRITE) as client:
        assert [client.post(BATCH, json=batch).status_code for _ in range(5)] == [201] * 5
        assert [client.post(BATCH, json=batch).status_code for _ in range(5)] == [429] * 5


def test_no_header_without_a_quota(served: Served) -> None:
    with served.client(WRITE) as client:
        assert "ratelimit" not in client.post(EVENTS, json=event()).headers


async def no_quota(self: ByteQuota, tenant: str, size: int) -> None:
    """Mutant: any number of bytes is kept."""


def _operator(served: Served) -> dict[str, str]:
    return {"X-API-Key": served.operator_key(READ)}


def test_an_operator_sees_the_quotas(tmp_path: Path) -> None:
    limits = {"tenant_bytes_max": MIB, "tenant_events_per_s": 7}
    with serving(tmp_path, **limits) as served, served.client(headers=_operator(served)) as operator:
        answer = operator.get("/api/v1/tenants").json()
    assert (answer["bytesMax"], answer["eventsPerS"]) == (MIB, 7)


@catches(replaced(ByteQuota, "require", no_quota, "any_number_of_bytes"))
def test_a_tenant_keeps_only_so_many_bytes(tmp_path: Path) -> None:
    """What would exceed the quota is a 403, which is not repeated; reading goes on, and others are stored."""
    large = event(payload={"x": "y" * 200_000})
    with serving(tmp_path, tenant_bytes_max=MIB) as served, served.client(READ, WRITE) as client:
        statuses = [client.post(EVENTS, json=large).status_code for _ in range(7)]
        assert statuses == [201] * 5 + [403] * 2
        refused = client.post(BATCH, json=[event(), large])
        assert (refused.status_code, code_of(refused)) == (403, "quota_spent")
        assert "retry-after" not in refused.headers
        assert client.post(EVENTS, json=event()).status_code == 201, "a small one still fits"
        assert client.get(EVENTS, params={"limit": 1}).json()["total"] == 6
        with served.client(WRITE, tenant="globex") as other:
            assert other.post(EVENTS, json=large).status_code == 201


def test_bytes_that_another_server_stored_count_too() -> None:
    """After a second at most. The store is not asked for each write."""
    asked: list[str] = []

    async def head_of(tenant: str) -> Head:
        asked.append(tenant)
        return Head(size=len(asked), root=b"", recorded_at=0, payload_bytes=100 * len(asked))

    async def scenario() -> None:
        quota = ByteQuota(head_of, 250)
        for _ in range(5):
            await quota.require("acme", 20)
        assert len(asked) == 1
        with pytest.raises(QuotaSpent):
            await quota.require("acme", 60)
        with pytest.raises(QuotaSpent):
            await quota.require("acme", 60)
        assert len(asked) == 2

    asyncio.run(scenario())


@catches(replaced(DiskSpace, "require", lambda self: None, "a_full_disk_is_not_noticed"))
def test_a_disk_that_is_nearly_full_takes_no_events(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on. Once there is room again, events are stored."""
    context: Any = served.app.app.context  # type: ignore[union-attr]  # of the lane inside the middleware
    free = [10 * MIB]
    monkeypatch.setattr(context.admission, "disk_space", DiskSpace(lambda: free[0], 64 * MIB))
    monkeypatch.setattr(quotas, "_DISK_CHECK_S", 0.0)
    with served.client(READ, WRITE, tenant="full") as client:
        for path, body in ((EVENTS, event()), (BATCH, [event()])):
            refused = client.post(path, json=body)
            assert (refused.status_code, code_of(refused)) == (503, "unavailable")
            assert refused.headers["retry-after"] == "30"
        assert client.get(EVENTS).json()["total"] == 0
        free[0] = 100 * MIB
        assert client.post(EVENTS, json=event()).status_code == 201


def test_the_disk_is_looked_at_seldom() -> None:
    looked: list[int] = []
    look: Callable[[], int] = lambda: looked.append(1) or 10 * MIB  # noqa: E731  (a counter)
    space = DiskSpace(look, 64 * MIB)
    for _ in range(100):
        with pytest.raises(Unavailable):
            space.require()
    assert len(looked) == 1
    DiskSpace(lambda: None, 64 * MIB).require()
    off = DiskSpace(look, 0)
    off.require()
    assert len(looked) == 1


def test_a_store_on_a_file_knows_its_disk(served: Served) -> None:
    free = served.store.free_bytes()
    assert free is not None
    assert free > MIB
