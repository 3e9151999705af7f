"""What is deprecated is announced: in the headers of responses, and in the served document."""

import asyncio
import datetime as dt
import logging
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, event, serving
from whence.api.app import route_handlers
from whence.api.reads import aggregate, list_events
from whence.api.writes import create_batch, create_event
from whence.client import AsyncWhence, Whence, deprecations, parse_page
from whence.client.requests import ApiRequest
from whence.client.responses import ApiResponse
from whence.permissions import READ, WRITE
from whence.settings import Settings
from whence.wire.deprecation import (
    NOTICE_DAYS_MIN,
    Deprecation,
    DeprecationNotice,
    deprecation_headers,
    deprecation_notice,
)

OLD = Deprecation(since=dt.date(2027, 1, 1), sunset=dt.date(2027, 12, 1), instead="Use actor_id.")
OLDER = Deprecation(since=dt.date(2026, 6, 1), sunset=dt.date(2028, 1, 1), instead="Use limit.")
DEPRECATED = [
    name
    for handler in route_handlers(Settings())
    if "operation" in handler.opt
    for name, deprecation in [
        (handler.opt["operation"].summary, handler.opt["operation"].deprecation),
        *handler.opt["operation"].deprecated_fields.items(),
        *((each.name, each.deprecation) for each in handler.opt["operation"].parameters),
    ]
    if deprecation is not None
]
"""What this release deprecates. It is found before the fixture below adds to it."""

HEADERS = ("deprecation", "sunset", "link")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that deprecates parameters of lists and of new events, fields of these, and the route of counts."""
    patched = pytest.MonkeyPatch()
    listing, counting = list_events.opt["operation"], aggregate.opt["operation"]
    marks = {"actor_type": OLD, "offset": OLDER}
    parameters = tuple(
        msgspec.structs.replace(parameter, deprecation=marks.get(parameter.name)) for parameter in listing.parameters
    )
    patched.setitem(list_events.opt, "operation", msgspec.structs.replace(listing, parameters=parameters))
    patched.setitem(aggregate.opt, "operation", msgspec.structs.replace(counting, deprecation=OLD))
    for route in (create_event, create_batch):
        storing = route.opt["operation"]
        parameters = tuple(msgspec.structs.replace(each, deprecation=OLDER) for each in storing.parameters)
        fields = {"tenantId": OLD, "outcome": OLDER}
        changed = msgspec.structs.replace(storing, parameters=parameters, deprecated_fields=fields)
        patched.setitem(route.opt, "operation", changed)
    try:
        with serving(tmp_path_factory.mktemp("served")) as running:
            yield running
    finally:
        patched.undo()


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.client(READ) as made:
        yield made


def announced(answer: httpx2.Response) -> dict[str, str]:
    """The headers of an deprecation_notice that a response has."""
    return {name: answer.headers[name] for name in HEADERS if name in answer.headers}


@pytest.mark.parametrize("query", ["actor_type=user", "actor%5Ftype=user", "limit=1&actor_type=", "actor_type=no.such"])
def test_a_deprecated_parameter_is_announced(client: httpx2.Client, query: str) -> None:
    """Since when, until when, and where to read what to use instead; on a refusal too."""
    assert announced(client.get(f"/api/v1/events?{query}")) == {
        "deprecation": "@1798761600",
        "sunset": "Wed, 01 Dec 2027 00:00:00 GMT",
        "link": '</docs>; rel="deprecation"; type="text/html"',
    }


@pytest.fixture(scope="module")
def writer(served: Served) -> Iterator[httpx2.Client]:
    with served.client(WRITE) as made:
        yield made


def with_payload(**fields: Any) -> bytes:
    return msgspec.json.encode(event(payload={"tenantId": "a", "outcome": "b"}, **fields))


def test_a_deprecated_field_is_announced(writer: httpx2.Client) -> None:
    """When an event of the body has it, in whatever spelling and place, and also when the event is refused."""
    tenant = "test"
    marked, plain = with_payload(tenantId=tenant), with_payload()
    escaped = marked.replace(b'"tenantId":"test"', b'"tenan\\u0074Id":"test"')
    for body in (marked, escaped, with_payload(tenantId="another")):
        assert announced(writer.post("/api/v1/events", content=body))["deprecation"] == "@1798761600", body
    ndjson = {"Content-Type": "application/x-ndjson"}
    for answer in (
        writer.post("/api/v1/events/batch", content=b"[" + plain + b"," + marked + b"]"),
        writer.post("/api/v1/events/batch", content=plain + b"\nnot JSON\n" + marked, headers=ndjson),
    ):
        assert announced(answer)["deprecation"] == "@1798761600", answer.text


def test_fields_and_parameters_are_announced_together(writer: httpx2.Client) -> None:
    """With the earliest days of all of them, in one header each."""
    answer = writer.post(
        "/api/v1/events/batch?atomic=false", content=b"[" + with_payload(tenantId="test", outcome="none") + b"]"
    )
    assert answer.headers.get_list("deprecation") == ["@1780272000"]
    assert answer.headers.get_list("sunset") == ["Wed, 01 Dec 2027 00:00:00 GMT"]
    assert len(answer.headers.get_list("link")) == 1


def test_an_event_without_the_fields_announces_nothing(writer: httpx2.Client) -> None:
    """Its payload may have members with these names."""
    for answer in (
        writer.post("/api/v1/events", content=with_payload()),
        writer.post("/api/v1/events/batch", content=b"[" + with_payload() + b"]"),
        writer.post("/api/v1/events", content=b"not JSON"),
        writer.post("/api/v1/events/batch", content=b"[]"),
    ):
        assert announced(answer) == {}, answer.text


def test_of_several_the_earliest_days_are_announced(client: httpx2.Client) -> None:
    """The parameter offset was deprecated first, and actor_type goes first."""
    headers = announced(client.get("/api/v1/events?offset=0&actor_type=user"))
    assert (headers["deprecation"], headers["sunset"]) == ("@1780272000", "Wed, 01 Dec 2027 00:00:00 GMT")


def test_a_deprecated_route_is_announced(client: httpx2.Client) -> None:
    """Whatever its parameters are."""
    assert announced(client.get("/api/v1/events/aggregate"))["deprecation"] == "@1798761600"


def test_nothing_else_is_announced(client: httpx2.Client) -> None:
    """Neither on a request without the parameters, nor on another route with one of them."""
    for path in (
        "/api/v1/events",
        "/api/v1/events?actor_id=actor_type",
        "/api/v1/events/stats/by-actor?actor_type=user",
    ):
        assert announced(client.get(path)) == {}, path


def test_the_link_to_the_next_page_is_still_found() -> None:
    """A client finds it among the values of Link."""
    links = '</api/v1/events?cursor=x>; rel="next", </docs>; rel="deprecation"; type="text/html"'
    body = b'{"events":[],"total":0,"limit":1,"offset":0,"hasNext":true}'
    assert parse_page(ApiResponse(status=200, headers={"link": links}, body=body)).next == "/api/v1/events?cursor=x"


def test_the_document_names_what_is_deprecated(client: httpx2.Client) -> None:
    """With the days, and what to use instead."""
    paths = client.get("/openapi.json").json()["paths"]
    listing = {each["name"]: each for each in paths["/api/v1/events"]["get"]["parameters"] if each["in"] == "query"}
    assert [name for name, each in listing.items() if each.get("deprecated")] == ["actor_type", "offset"]
    assert listing["actor_type"]["description"].endswith(
        "Deprecated since 2027-01-01, and may be removed on 2027-12-01. Use actor_id."
    )
    counting = paths["/api/v1/events/aggregate"]["get"]
    assert counting["deprecated"] is True and counting["description"].endswith("Use actor_id.")
    assert "deprecated" not in paths["/api/v1/events"]["get"]
    fields = client.get("/openapi.json").json()["components"]["schemas"]["NewEvent"]["properties"]
    assert [name for name, each in fields.items() if each.get("deprecated")] == ["outcome", "tenantId"]
    assert fields["tenantId"]["description"] == str(OLD)


def test_the_time_of_notice_cannot_be_shorter() -> None:
    """A removal within less than the notice is a mistake that no server starts with."""
    day = dt.date(2027, 1, 1)
    Deprecation(since=day, sunset=day + dt.timedelta(days=NOTICE_DAYS_MIN), instead="")
    with pytest.raises(ValueError, match=str(NOTICE_DAYS_MIN)):
        Deprecation(since=day, sunset=day + dt.timedelta(days=NOTICE_DAYS_MIN - 1), instead="")


def test_what_this_release_deprecates_is_in_its_changelog() -> None:
    """Each deprecated route and parameter is named there."""
    changelog = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [name for name in DEPRECATED if name not in changelog] == []


def test_the_page_of_a_server_under_a_prefix_is_linked() -> None:
    """The link begins with the path under which clients reach the server."""
    assert (b"link", b'</log/docs>; rel="deprecation"; type="text/html"') in deprecation_headers([OLD], "/log/docs")


NOTICE = (
    "Something that GET /api/v1/events with offset uses is deprecated since 2026-06-01, "
    "and may be removed on 2028-01-01."
)


def test_the_client_logs_an_announcement_once(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each kind of request, whichever client sends it. It raises nothing, even where warnings are errors."""
    monkeypatch.setattr(deprecations, "_noted", set())
    key = served.key(READ)

    async def ask() -> None:
        async with AsyncWhence(served.url, key) as log:
            await log.list(offset=0)

    with caplog.at_level(logging.WARNING, "whence"), warnings.catch_warnings(), Whence(served.url, key) as log:
        warnings.simplefilter("error")
        log.list()
        assert caplog.messages == []
        for offset in range(3):
            log.list(offset=offset)
        asyncio.run(ask())
        assert caplog.messages == [f"{NOTICE} {served.url}/docs says what to use instead."]
        log.aggregate()
    assert caplog.messages[1].startswith(
        "Something that GET /api/v1/events/aggregate uses is deprecated since 2027-01-01"
    )


def test_the_notices_of_a_process_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are left out, so that a route has one."""
    monkeypatch.setattr(deprecations, "_noted", set())
    for number in range(300):
        path = f"/api/v1/events/{uuid.uuid4()}" if number < 100 else f"/api/v1/events/{number}"
        deprecations.log_deprecation("http://a", ApiRequest(method="GET", path=path), {"deprecation": "@1"})
    assert caplog.messages[0].startswith("Something that GET /api/v1/events/{id} uses is deprecated since 1970-01-01.")
    assert len(caplog.messages) == 100


DAY = dt.date(2027, 1, 1)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        ({"sunset": "Wed, 01 Dec 2027 00:00:00 GMT"}, None),
        ({"deprecation": "@1798761600"}, DeprecationNotice(DAY, None)),
        (
            {"deprecation": "@1798761600", "sunset": "Wed, 01 Dec 2027 00:00:00 GMT"},
            DeprecationNotice(DAY, dt.date(2027, 12, 1)),
        ),
        ({"deprecation": "true", "sunset": "soon"}, DeprecationNotice(None, None)),
        ({"deprecation": "@99999999999999999999", "sunset": ""}, DeprecationNotice(None, None)),
        ({"deprecation": "@²"}, DeprecationNotice(None, None)),
    ],
)
def test_an_announcement_is_read_as_far_as_it_can_be(headers: dict[str, str], found: DeprecationNotice | None) -> None:
    """A proxy may have written it."""
    assert deprecation_notice(headers) == found


def test_what_is_announced_is_read_again() -> None:
    """The headers of the server name the days."""
    headers = {name.decode(): value.decode() for name, value in deprecation_headers([OLD], "/docs")}
    assert deprecation_notice(headers) == DeprecationNotice(OLD.since, OLD.sunset)
    assert str(DeprecationNotice(None, None)) == "deprecated"
