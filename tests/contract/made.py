"""Events for tests: numbered events, and the values that tests and hypothesis draw from."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

from whence.errors import WhenceError
from whence.events import Event, NewEvent, Page, PageRequest, Query, Viewer
from whence.flows import FlowQuery
from whence.storage import Receipt, Store, Write

TENANT = "acme"
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
VIEWER = Viewer(TENANT)
"""The default viewer of tests, who may see every resource type."""

NOON = 1_700_000_000 * SECOND
"""A time in 2023, close to which events occur by default."""


def uuid(number: int) -> str:
    """The UUID with this number."""
    return str(UUID(int=number))


def new(number: int, **fields: Any) -> NewEvent:
    """An event whose id has this number, which occurred this number of seconds after noon; `fields` override its
    defaults."""
    values = {
        "event_type": "action_run.completed",
        "actor_type": "user",
        "actor_id": "ada",
        "resource_type": "action_run",
        "resource_id": uuid(1),
        "occurred_at": NOON + number * SECOND,
        **fields,
    }
    return NewEvent(id=uuid(number), **values)


def whole(number: int) -> NewEvent:
    """An event in which every field has a value, so that a store that loses one is found. A new field of `NewEvent`
    fails here until it is set."""
    event = new(
        number,
        payload=b'{"a":[1]}',
        correlation_id="flow/1",
        causation_id="no uuid",
        outcome="failure",
    )
    assert not unset(event), f"Give a value to: {unset(event)}."
    return event


def unset(event: NewEvent) -> list[str]:
    """The fields of an event that have their default, so that nobody would notice if they were lost."""
    return [field.name for field in msgspec.structs.fields(event) if getattr(event, field.name) == field.default]


async def add(store: Store, *events: NewEvent, tenant: str = TENANT, atomic: bool = False) -> list[Receipt]:
    """Store events in one request. Raises the error when the whole request is refused."""
    (result,) = await store.append(tenant, [Write(tuple(events), atomic)])
    if isinstance(result, WhenceError):
        raise result
    return result


async def stored(store: Store, *events: NewEvent, tenant: str = TENANT) -> list[Event]:
    """Store events that must all be accepted."""
    receipts = await add(store, *events, tenant=tenant)
    assert all(receipt.event is not None and not receipt.replayed for receipt in receipts), receipts
    return [receipt.event for receipt in receipts if receipt.event is not None]


def asked(fields: dict[str, Any], tenant: str = TENANT) -> tuple[Viewer, Query]:
    """A viewer and a query, from the fields of both."""
    rest = dict(fields)
    return Viewer(tenant, rest.pop("readable", None)), Query(**rest)


def asked_flows(fields: dict[str, Any], tenant: str = TENANT) -> tuple[Viewer, FlowQuery]:
    """A viewer and a flow query, from the fields of both."""
    rest = dict(fields)
    return Viewer(tenant, rest.pop("readable", None)), FlowQuery(**rest)


async def page(store: Store, tenant: str = TENANT, limit: int = 100, **fields: Any) -> Page:
    """Read a page. Each field is passed to the one of `PageRequest`, `Viewer` and `Query` that has it."""
    place = {name: fields.pop(name) for name in ("offset", "ascending", "as_of", "after") if name in fields}
    return await store.list_events(*asked(fields, tenant), PageRequest(limit=limit, **place))


async def numbers(store: Store, tenant: str = TENANT, **fields: Any) -> list[int]:
    """The numbers of the events of a page, after a check of its total."""
    found = await page(store, tenant, **fields)
    if "offset" not in fields and "after" not in fields and "limit" not in fields:
        assert found.total == len(found.events)
    return numbered(found.events)


def numbered(events: Iterable[Event]) -> list[int]:
    return [UUID(event.id).int for event in events]
