"""Resources whose ids are no UUIDs: the SDK and the commands derive the same id, in every process."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, serving
from tests.cli.program import Cli
from tests.unit.mutants import catches, replaced
from whence.client import Whence, event_builder
from whence.errors import Invalid
from whence.identities import RESOURCE_NAMESPACE, resource_uuid
from whence.permissions import ADMIN, READ, WRITE

ANA = ("user", "ana")

VECTORS = {
    ("order", "8841"): "871ef41f-022e-5e11-83a9-ff85500842c7",
    ("invoice", "8841"): "2dc2fbd5-2115-560b-9a72-0bc87f2b7b2c",
    ("customer", "Zoë/7"): "01da311c-ba33-529a-b701-0329a80dbe4b",
    ("customer", "Zoe\u0308/7"): "f8e91f35-e78d-51db-a15a-2a103be71af5",
    ("order", "871EF41F-022E-5E11-83A9-FF85500842C7"): "871ef41f-022e-5e11-83a9-ff85500842c7",
    ("order", "871ef41f022e5e1183a9ff85500842c7"): "cbe57c11-a0d9-5c64-8f31-b2146cd0b52b",
}
"""The test vectors of docs/sdk.md."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that admits any resource type."""
    with serving(tmp_path_factory.mktemp("ids"), resource_types=("*",)) as running:
        yield running


@pytest.fixture
def log(served: Served, request: pytest.FixtureRequest) -> Iterator[Whence]:
    tenant = request.node.name[:60].partition("[")[0]
    with Whence(served.url, served.key(READ, WRITE, tenant=tenant), spool=False) as client:
        yield client


def test_ids_are_derived_as_published() -> None:
    """By the vectors of docs/sdk.md, where they stand too."""
    assert {given: resource_uuid(*given) for given in VECTORS} == VECTORS
    page = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text(encoding="utf-8")
    assert str(RESOURCE_NAMESPACE) in page
    assert [expected for expected in VECTORS.values() if expected not in page] == []


@catches(replaced(event_builder, "RESOURCE_MEMBER", "_forgotten", "text_not_kept"))
def test_a_resource_may_have_a_name(log: Whence) -> None:
    """Its id is the UUIDv5 of type and name, and the payload keeps the name. It is found by its name again."""
    for payload in (None, {"a": 1}, msgspec.Raw(b'{"a":1E2}')):
        log.emit("order.shipped", actor=ANA, resource=("order", "8841"), payload=payload)
    log.emit({"eventType": "order.paid", "resourceType": "order", "resourceId": "8841"}, actor=ANA)
    log.emit("order.shipped", actor=ANA, resource=("order", "8842"))
    log.emit("invoice.sent", actor=ANA, resource=("invoice", "8841"))
    assert log.flush(10)
    found = log.list(resource_type="order", resource_id="8841", order="asc").events
    assert {event.resource_id for event in found} == {str(uuid.uuid5(RESOURCE_NAMESPACE, "order/8841"))}
    assert [event.payload_bytes for event in found] == [
        b'{"_resource":"8841"}',
        b'{"a":1,"_resource":"8841"}',
        b'{"a":1E2,"_resource":"8841"}',
        b'{"_resource":"8841"}',
    ]
    both = log.list(resource_type=["order", "invoice"], resource_id=["8841", found[0].resource_id])
    assert both.total == 5
    assert log.aggregate(resource_type="order", resource_id="8842").total == 1
    with pytest.raises(Invalid, match="needs its resource type"):
        log.list(resource_id="8841")
    with pytest.raises(Invalid, match="resource_id"):
        log.list(resource_type="order", resource_id="")


def test_the_commands_derive_the_same_id(served: Served, log: Whence, tmp_path: Path) -> None:
    """`whence emit` and the filters of `whence list` and `whence stats`."""
    log.emit("order.paid", actor=ANA, resource=("order", "8841"))
    assert log.flush(10)
    cli = Cli(tmp_path).given(url=served.url, api_key=log.credential()["X-API-Key"])
    cli.ok("emit", "order.shipped", "--actor", "user/ana", "--resource", "order/8841", "--payload", '{"a": 1E2}')
    listed = cli.ok("list", "--json", "--resource-type", "order", "--resource-id", "8841").json
    assert [event["payload"]["_resource"] for event in listed["events"]] == ["8841", "8841"]
    assert cli.ok("stats", "--json", "--resource-type", "order", "--resource-id", "8841").json["total"] == 2
    assert cli.ok("stats", "--json", "--resource-type", "order", "--resource-id", "8842").json["total"] == 0
    assert "resource type" in cli.fails(2, "list", "--resource-id", "8841")
    shipped = log.list(event_type="order.shipped").events[0]
    assert shipped.payload_bytes == b'{"a":1E2,"_resource":"8841"}'


def test_any_word_may_be_a_resource_type(served: Served) -> None:
    """With WHENCE_RESOURCE_TYPES=*, in events, filters, paths and scopes. What is no word is refused with the rule."""
    key = served.key(READ, WRITE, ADMIN, tenant="words")
    headers = {"X-API-Key": key}
    with Whence(served.url, key, spool=False) as log, httpx2.Client(base_url=served.url, headers=headers) as api:
        stored = log.emit("any.thing", actor=ANA, resource=("x9_y", "1"), durable=True).event
        log.emit("decision.approved", actor=ANA, resource=("decision", "1"), durable=True)
        for word in ("Order", "a-b", "9a", "a" * 64, "*"):
            with pytest.raises(Invalid, match=r"word of \[a-z\]"):
                log.emit("any.thing", actor=ANA, resource=(word, stored.resource_id), durable=True)
            with pytest.raises(Invalid, match=r"word of \[a-z\]"):
                log.list(resource_type=word)
        assert log.list(resource_type="never_seen").total == 0
        assert api.get(f"/api/v1/events/resource/x9_y/{stored.resource_id}").json()["total"] == 1
        made = api.post("/api/v1/keys", json={"scopes": ["events:read:x9_y"]})
        assert made.status_code == 201
        for scope in ("events:read:X", "events:read:", "events:write:x9_y", "events:read:*"):
            assert api.post("/api/v1/keys", json={"scopes": [scope]}).status_code == 422
        schemas = api.get("/openapi.json").json()["components"]["schemas"]
        assert schemas["ResourceType"]["pattern"] == "^[a-z][a-z0-9_]{0,62}$" and "enum" not in schemas["ResourceType"]
    with Whence(served.url, made.json()["key"]) as narrow:
        assert [event.id for event in narrow.events()] == [stored.id]


def test_a_narrowed_token_may_name_any_word(tmp_path: Path) -> None:
    """In a JWT as in a key."""
    secret = "a secret that program and server share"
    with (
        serving(tmp_path, resource_types=("*",), jwt_secret=secret) as served,
        Whence(served.url, jwt_secret=secret) as backend,
    ):
        for noun in ("order", "invoice"):
            backend.for_tenant("acme").emit(f"{noun}.sent", actor=ANA, resource=(noun, "1"), durable=True)
        narrow = backend.for_tenant("acme", scope="events:read:order")
        assert [event.resource_type for event in narrow.events()] == ["order"]
