"""The calls of both clients about alert rules."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.api.conftest import Served, event, serving
from whence.client import AsyncWhence, Whence
from whence.client import alert_rules as calls
from whence.errors import Invalid, NotFound, WhenceError
from whence.permissions import ADMIN, READ, WRITE
from whence.wire.alert_bodies import AlertTestResultBody


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("alert-calls")) as running:
        yield running


def test_a_rule_is_made_changed_tried_and_deleted(served: Served) -> None:
    """The synchronous client; filters are those of `list`, and resources may be named by texts."""
    with Whence(served.url, served.key(READ, WRITE, ADMIN, tenant="calls")) as log:
        log.batch([event(eventType="action_run.failed") for _ in range(3)])
        rule = log.alert_rules.create(
            "three failures",
            {"kind": "count", "threshold": 3, "window_s": 600, "per": "actor"},
            outcome="failure",
            resource_type="action_run",
            resource_id="run-8841",
        )
        assert rule.filters["resourceType"] == ["action_run"] and len(rule.filters["resourceId"][0]) == 36
        changed = log.alert_rules.update(rule.id, name="failures", filters={"outcome": ["failure"]}, take_over=True)
        assert (changed.name, changed.filters, changed.condition) == (
            "failures",
            {"outcome": ["failure"]},
            rule.condition,
        )
        assert [each.id for each in log.alert_rules.list()] == [rule.id]
        assert log.alert_rules.get(rule.id).firing == []
        by_id = list(log.alert_rules.test(rule.id, over="1h"))
        assert [(each.type, each.count) for each in by_id] == [("fired", 3)]
        assert [each.type for each in log.alert_rules.test({"kind": "match"}, over="1h", outcome="failure")] == [
            "fired"
        ] * 3
        log.alert_rules.delete(rule.id)
        with pytest.raises(NotFound):
            log.alert_rules.delete(rule.id)
        with pytest.raises(Invalid):
            log.alert_rules.create("bad", {"kind": "count", "threshold": 1, "window_s": 600})


def test_the_asynchronous_client_has_the_same_calls(served: Served) -> None:
    """Each of them against the same server."""

    async def run() -> None:
        async with AsyncWhence(served.url, served.key(READ, WRITE, ADMIN, tenant="async-calls")) as log:
            await log.batch([event(eventType="action_run.failed") for _ in range(3)])
            rule = await log.alert_rules.create(
                "quiet", {"kind": "absence", "window_s": 60}, event_type="schedule.fired"
            )
            assert (await log.alert_rules.update(rule.id, condition={"kind": "match"})).condition.kind == "match"
            assert [each.id for each in await log.alert_rules.list()] == [rule.id]
            assert (await log.alert_rules.get(rule.id)).firing_total == 0
            found = [each async for each in log.alert_rules.test({"kind": "first_seen", "per": "actor"}, over="1h")]
            assert [(each.type, each.key) for each in found] == [
                ("fired", {"actorType": "agent", "actorId": "planner"})
            ]
            await log.alert_rules.delete(rule.id)
            with pytest.raises(NotFound):
                await log.alert_rules.get(rule.id)

    asyncio.run(run())


def test_a_test_that_is_not_exact_is_an_error() -> None:
    """After its last alert, when keys had to be forgotten."""
    with pytest.raises(WhenceError, match="7 keys were too many to remember"):
        calls._require_exact(AlertTestResultBody(alerts=[], continuation=None, dropped_keys=7))


def test_both_clients_have_the_same_calls() -> None:
    """By name."""
    names = [
        {name for name in vars(each) if not name.startswith("_")} for each in (calls.AlertRules, calls.AsyncAlertRules)
    ]
    assert names[0] == names[1]
