"""The calls of both clients about retention, legal holds and erasures."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.api.conftest import Served, event, serving
from whence.client import AsyncWhence, Whence
from whence.errors import Forbidden, Invalid, NotFound
from whence.permissions import ADMIN, READ, WRITE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("removal-calls")) as running:
        yield running


def test_the_synchronous_client(served: Served) -> None:
    """A policy, a hold and an erasure, from their making to their end."""
    with Whence(served.url, served.key(READ, WRITE, ADMIN, tenant="calls")) as log:
        kept = log.emit(event(correlationId="case 4", payload={"a": 1}), durable=True)
        erased = log.emit(event(payload={"a": 2}), durable=True)
        assert log.retention.set(365, {"chat_thread.*": 30}).source == "tenant"
        assert [(rule.event_type, rule.max_age_days) for rule in log.retention.get().rules] == [("chat_thread.*", 30)]
        assert log.retention.preview().events == 0
        assert log.retention.preview_of(1, {"chat_thread.*": 1}).events == 0
        run = log.retention.apply()
        assert run.id in [each.id for each in log.retention.get().runs]
        hold = log.holds.create('flow:"case 4"', "Case 2026-4")
        assert [each.id for each in log.holds.list()] == [hold.id]
        preview = log.erasures.preview(event_ids=[kept.event.id, erased.event.id])
        assert (preview.payloads, preview.held) == (1, 1)
        erasure = log.erasures.create("Request 117", event_ids=[kept.event.id, erased.event.id])
        until = time.monotonic() + 20
        while log.erasures.get(erasure.id).state != "done" and time.monotonic() < until:
            time.sleep(0.05)
        assert (log.erasures.get(erasure.id).payloads, log.get(kept.event.id).payload) == (1, {"a": 1})
        gone = log.get(erased.event.id, include="erasedAt")
        assert (gone.payload, gone.payload_bytes) == (None, b"null") and gone.erased_at is not None
        assert [each.id for each in log.erasures.list()] == [erasure.id]
        log.holds.release(hold.id)
        with pytest.raises(NotFound):
            log.holds.release(hold.id)
        with pytest.raises(Invalid):
            log.erasures.create("Request 117")
    with Whence(served.url, served.key(READ, tenant="calls")) as log, pytest.raises(Forbidden):
        log.holds.list()


def test_the_asynchronous_client_has_the_same_calls(served: Served) -> None:
    """Each of them against the same server."""

    async def run() -> None:
        async with AsyncWhence(served.url, served.key(READ, WRITE, ADMIN, tenant="async-calls")) as log:
            await log.emit(event(actorType="user", actorId="u-17"), durable=True)
            assert (await log.retention.set(None)).max_age_days is None
            assert (await log.retention.get()).source == "tenant"
            assert (await log.retention.preview()).payloads == 0
            assert (await log.retention.preview_of(1, {"chat_thread.*": 1})).payloads == 0
            assert (await log.retention.get()).max_age_days is None
            assert (await log.retention.apply()).kind == "retention"
            hold = await log.holds.create("flow:a", "Case 2026-4")
            assert [each.q for each in await log.holds.list()] == ["flow:a"]
            await log.holds.release(hold.id)
            assert (await log.erasures.preview(q="actor:user/u-17")).payloads == 1
            erasure = await log.erasures.create("Request 117", q="actor:user/u-17", names=True)
            assert (await log.erasures.get(erasure.id)).reason == "Request 117"
            assert [each.id for each in await log.erasures.list()] == [erasure.id]

    asyncio.run(run())
