"""The client against servers that are busy, reset connections or send invalid responses."""

import email.utils
import gzip
import json
import socket
import time
from typing import Any

import pytest

from tests.client.scripted_server import error_response, reset, response, scripted, silent
from tests.unit.mutants import catches, replaced
from tests.unit.sent import EVENT_ID, event
from whence import client
from whence.client import ApiResponse, Unreachable, Whence, create_key_request, event_builder, requests, retries
from whence.client.responses import parse_batch_results
from whence.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    QueryTooExpensive,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    WhenceError,
)

STORED = {
    "actorId": "planner",
    "actorType": "agent",
    "causationId": None,
    "correlationId": "flow",
    "eventType": "action_run.completed",
    "id": EVENT_ID,
    "occurredAt": "2026-01-02T03:04:05Z",
    "payload": {},
    "resourceId": EVENT_ID,
    "resourceType": "action_run",
    "tenantId": "acme",
}
PAGE = {"events": [STORED], "hasNext": False, "limit": 100, "offset": 0, "total": 1}
GOOD = response(201, STORED)


class RecordedWaits(Whence):
    """A client that records its waits and does not sleep."""

    def __init__(self, url: str, retries: int = 3, timeout_s: float = 5) -> None:
        self.waits_s: list[float] = []
        super().__init__(url, "whk_x", retries=retries, timeout_s=timeout_s, sleep=self.waits_s.append)


# ----------------------------------------------------------------------------------------------------- retries


def the_server_makes_the_id(patch: pytest.MonkeyPatch) -> None:
    for module in (event_builder, requests):
        patch.setattr(module, "new_uuid7", lambda: None)


@catches(
    the_server_makes_the_id,
    replaced(retries, "_is_transient", lambda request, response: False, "nothing_is_retried"),
)
def test_a_retry_sends_the_same_event() -> None:
    """With the same id, so that the event is stored once, whatever went wrong."""
    for id_ in (..., None, EVENT_ID):
        with scripted(reset, error_response(503, "unavailable"), error_response(429, "throttled"), GOOD) as server:
            with RecordedWaits(server.url) as whence:
                assert whence.emit(event(id=id_), durable=True).event.id == EVENT_ID
            bodies = [json.loads(body) for body in server.bodies()]
        assert len(bodies) == 4
        assert all(body == bodies[0] for body in bodies)
        assert isinstance(bodies[0].get("id"), str)
        assert id_ in (..., None) or bodies[0]["id"] == EVENT_ID


def test_a_retry_sends_the_same_batch() -> None:
    """Each event gets its id before the first attempt."""
    results = {
        "results": [{"index": index, "id": EVENT_ID, "status": 201, "position": index + 1} for index in range(3)]
    }
    with scripted(reset, response(201, results)) as server:
        with RecordedWaits(server.url) as whence:
            assert len(whence.batch([event(), event(id=None), event(id=EVENT_ID)]).results) == 3
        first, second = server.bodies()
    assert first == second
    ids = [json.loads(line)["id"] for line in first.split(b"\n")]
    assert ids[2] == EVENT_ID
    assert len(set(ids)) == 3
    assert None not in ids


def test_an_empty_id_is_not_replaced() -> None:
    """It is refused, and nothing is sent."""
    with scripted(GOOD) as server:
        with RecordedWaits(server.url) as whence, pytest.raises(Invalid, match="UUID"):
            whence.emit(event(id=""), durable=True)
        assert server.bodies() == []


@catches(replaced(retries, "retry_after_s", lambda value, now: None, "retry_after_is_ignored"))
def test_retry_after_is_respected() -> None:
    """In seconds and as a date, with a small random wait in addition."""
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    for status, code in ((429, "throttled"), (503, "busy")):
        replies = (error_response(status, code, Retry_After="7"), error_response(status, code, Retry_After=date), GOOD)
        with scripted(*replies) as server, RecordedWaits(server.url) as whence:
            whence.emit(event(), durable=True)
        first, second = whence.waits_s
        assert 7 <= first <= 7.25
        assert 25 <= second <= 30.5


def test_without_retry_after_waits_grow_and_vary() -> None:
    """The range of each is twice that of the one before."""
    with scripted(error_response(503, "unavailable")) as server:
        with RecordedWaits(server.url, retries=6) as whence, pytest.raises(Unavailable):
            whence.emit(event(), durable=True)
        assert len(server.requests) == 7
    assert all(0 <= wait_s <= 0.25 * 2**attempt for attempt, wait_s in enumerate(whence.waits_s))
    assert len(set(whence.waits_s)) == 6


def test_a_long_retry_after_is_raised_at_once() -> None:
    """Over a minute, the client does not wait. The error carries the wait."""
    for header in ("61", "9" * 400, "Fri, 31 Dec 2199 23:59:59 GMT"):
        with scripted(error_response(429, "throttled", Retry_After=header)) as server:
            with RecordedWaits(server.url) as whence, pytest.raises(Throttled) as caught:
                whence.list()
            assert len(server.requests) == 1
        assert caught.value.retry_after_s >= 61
        assert whence.waits_s == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *((None, None), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("0x5", None)),
        *(("0", 0.0), (" 12 ", 12.0), ("Thu, 01 Jan 1970 00:00:20 GMT", 10.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)),
        ("Thu, 01 Jan 1970 01:00:20 +0100", 10.0),
        *(("Mon, 99999999999999999999 Jan 2024 00:00:00 GMT", None), ("Mon, 01 Jan 2024 00:00:00 +9999999999", None)),
    ],
    ids=str,
)
def test_retry_after_is_parsed_or_ignored(header: str | None, seconds: float | None) -> None:
    """A header that cannot be parsed is ignored. A date in the past means no wait."""
    assert client.retry_after_s(header, 10.0) == seconds


@catches(replaced(retries, "_is_transient", lambda request, response: True, "everything_is_retried"))
def test_permanent_errors_are_not_retried() -> None:
    """Refusals, internal errors, and queries that are too expensive, under the old code too."""
    too_expensive = ((503, "query_too_expensive"), (503, "query_too_wide"))
    for status, code in ((422, ""), (401, ""), (404, ""), (409, ""), (500, "internal"), *too_expensive):
        detail: Any = [{"loc": ["body"], "msg": "No.", "type": "x"}] if status == 422 else "No."
        with scripted(error_response(status, code, detail), GOOD) as server:
            with RecordedWaits(server.url) as whence, pytest.raises(WhenceError):
                whence.emit(event(), durable=True)
            assert len(server.requests) == 1, (status, code)
        assert whence.waits_s == []


def test_the_last_error_is_raised() -> None:
    """After `retries` repeats."""
    for count in (0, 2):
        with scripted(error_response(503, "busy")) as server:
            with RecordedWaits(server.url, retries=count) as whence, pytest.raises(Busy):
                whence.list()
            assert len(server.requests) == count + 1


def test_a_request_that_is_not_repeatable_is_sent_once() -> None:
    """The creation of a key is retried only when it is certain that no key was created."""
    for reply, error_type, count in (
        (reset, Unreachable, 1),
        (error_response(503, "unavailable"), Unavailable, 1),
        (error_response(429, "throttled"), Throttled, 3),
    ):
        with scripted(reply) as server:
            with RecordedWaits(server.url, retries=2) as whence, pytest.raises(error_type):
                client.parse_body(whence.send(create_key_request(["events:read"])), client.CreatedKeyBody)
            assert len(server.requests) == count


# -------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("status", "code", "error_type"),
    [
        (401, "unauthenticated", Unauthenticated),
        (403, "forbidden", Forbidden),
        (404, "not_found", NotFound),
        (413, "too_large", TooLarge),
        (415, "unsupported_media_type", UnsupportedMedia),
        (429, "throttled", Throttled),
        (429, "", Throttled),
        (503, "busy", Busy),
        (503, "query_too_expensive", QueryTooExpensive),
        (503, "query_too_wide", QueryTooExpensive),
        (503, "unavailable", Unavailable),
        (503, "of_a_proxy", Unavailable),
        (500, "internal", WhenceError),
        (418, "teapot", WhenceError),
    ],
)
def test_each_error_response_raises_its_error(status: int, code: str, error_type: type[WhenceError]) -> None:
    """With the server's sentence, and the request id as a note."""
    refused = error_response(status, code, "A sentence.")
    with scripted(refused) as server, RecordedWaits(server.url, 0) as whence, pytest.raises(WhenceError) as caught:
        whence.list()
    assert type(caught.value) is error_type
    assert caught.value.__notes__ == ["request req-7"]
    assert str(caught.value) == "A sentence." or error_type is Unauthenticated


def test_problems_keep_their_locations() -> None:
    """A 422 raises Invalid with every problem. The name of the field is added to a message that lacks it, and always
    that of a field that does not exist."""
    detail = [
        {"loc": ["body", 3, "actorId"], "msg": "Too long.", "type": "string_too_long"},
        {"loc": ["query", "limit"], "msg": "The limit is wrong.", "type": "x"},
        {"loc": ["body", "event"], "msg": "An event has no such field.", "type": "extra_forbidden"},
        {"loc": ["body"], "msg": "No JSON.", "type": "json_invalid"},
    ]
    refused = response(422, {"detail": detail}, X_Request_Id="req-8")
    with scripted(refused) as server, RecordedWaits(server.url) as whence, pytest.raises(Invalid) as caught:
        whence.list()
    assert [(p.loc, p.msg, p.type) for p in caught.value.problems] == [
        (("body", 3, "actorId"), "actorId: Too long.", "string_too_long"),
        (("query", "limit"), "The limit is wrong.", "x"),
        (("body", "event"), "event: An event has no such field.", "extra_forbidden"),
        (("body",), "No JSON.", "json_invalid"),
    ]
    assert caught.value.__notes__ == ["request req-8"]
    assert caught.value.request_id == "req-8"


def test_a_conflict_has_the_names_of_the_fields() -> None:
    """Parsed from the server's sentence."""
    refused = error_response(409, "event_id_conflict", str(Conflict(["actorId", "payload"])))
    with scripted(refused) as server, RecordedWaits(server.url) as whence, pytest.raises(Conflict) as caught:
        whence.emit(event(), durable=True)
    assert caught.value.fields == ("actorId", "payload")


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"<html>", b"\xff", b'"x"', b"{", b"[" * 100_000, b'{"detail":5,"code":7,"requestId":[]}'],
    ids=lambda body: str(body)[:20],
)
def test_an_error_response_of_a_proxy_raises_by_its_status(body: bytes) -> None:
    """Whatever its body."""
    for status, error_type in (
        (404, NotFound),
        (422, Invalid),
        (500, WhenceError),
        (503, Unavailable),
        (409, Conflict),
    ):
        found = client.error_of(ApiResponse(status=status, headers={"retry-after": "9" * 400}, body=body))
        assert type(found) is error_type
        assert str(found)


# ----------------------------------------------------------------------------------- invalid responses


def test_a_broken_connection_is_retried() -> None:
    """Reset, closed without a response, closed in the middle of one, or with a response that is not HTTP."""
    cut = response(200, PAGE)[:-20]
    for broken in (reset, lambda connection: None, cut, b"hello\r\n\r\n", b"HTTP/1.1 banana\r\n\r\n", b"\x00" * 500):
        with scripted(broken, response(200, PAGE)) as server:
            with RecordedWaits(server.url) as whence:
                assert whence.list().total == 1
            assert len(server.requests) == 2
        with scripted(broken) as server:
            with (
                RecordedWaits(server.url, retries=1) as whence,
                pytest.raises(Unreachable, match="broke before a response"),
            ):
                whence.list()
            assert len(server.requests) == 2


def test_an_unreachable_server_is_named() -> None:
    """The error contains the URL and the reason, and not the key."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with RecordedWaits(url, retries=2) as whence, pytest.raises(Unreachable) as caught:
        whence.emit(event(), durable=True)
    assert str(caught.value) == f"Nothing answers at {url}: the connection was refused."
    assert len(whence.waits_s) == 2
    for url in ("http://127.0.0.1:99999", f"http://{'a' * 64}.example", "http://.", "http://a b"):
        with RecordedWaits(url, retries=0) as whence, pytest.raises(Unreachable, match="Nothing answers at"):
            whence.list()


def test_a_lone_surrogate_in_a_filter_is_not_a_connection_error() -> None:
    """It raises UnicodeEncodeError, and nothing is sent."""
    with scripted(response(200, PAGE)) as server:
        with RecordedWaits(server.url) as whence, pytest.raises(UnicodeEncodeError):
            whence.list(actor_id="\ud800")
        assert server.requests == []


def test_a_silent_server_times_out() -> None:
    """The error is Unreachable."""
    with scripted(silent) as server, RecordedWaits(server.url, 0, timeout_s=0.2) as whence, pytest.raises(Unreachable):
        whence.list()


@pytest.mark.parametrize(
    "reply",
    [
        response(200, b"<html>hello</html>"),
        response(200, b""),
        response(200, b"\xff\xfe"),
        response(200, b"[" * 100_000),
        response(200, []),
        response(200, {"events": []}),
        response(200, PAGE | {"total": "1"}),
        response(200, PAGE | {"events": [{}]}),
        response(204, b""),
        response(302, b"", Location="http://127.0.0.1:1/"),
        response(200, b"no gzip", Content_Encoding="gzip"),
    ],
    ids=range(11),
)
def test_a_response_of_another_server_is_an_error(reply: bytes) -> None:
    """It is not retried, and redirects are not followed."""
    with scripted(reply) as server:
        with RecordedWaits(server.url) as whence, pytest.raises(WhenceError, match="did not come from a Whence server"):
            whence.list()
        assert len(server.requests) == 1


def test_a_batch_has_a_result_for_each_event() -> None:
    """Otherwise the response is not of a Whence server."""
    results = [{"index": 0, "id": EVENT_ID, "status": 201, "position": 1}]
    received = ApiResponse(status=201, headers={}, body=json.dumps({"results": results}).encode())
    assert [result.status for result in parse_batch_results(received, 1)] == [201]
    for count in (0, 2):
        with pytest.raises(WhenceError, match="did not come from"):
            parse_batch_results(received, count)


def test_a_compressed_response_is_decompressed() -> None:
    """A proxy may compress it."""
    packed = response(200, gzip.compress(json.dumps(PAGE).encode()), Content_Encoding="gzip")
    with scripted(packed) as server, RecordedWaits(server.url) as whence:
        assert whence.list().total == 1


@pytest.mark.parametrize(
    ("link", "following"),
    [
        ('</api/v1/events?limit=1&cursor=abc>; rel="next"', "/api/v1/events?limit=1&cursor=abc"),
        ('<http://evil.example/x?cursor=abc>; rel="next"', "/api/v1/events?cursor=abc"),
        ('</prefix/api/v1/events?cursor=a%2Fb>; rel="next"', "/api/v1/events?cursor=a%2Fb"),
        ('</a>; rel="prev", </b?cursor=2>; rel="next"', "/api/v1/events?cursor=2"),
    ],
)
def test_the_next_page_is_requested_from_the_same_server(link: str, following: str) -> None:
    """The host and path of the link are ignored, so that the key is sent nowhere else."""
    with scripted(response(200, PAGE, Link=link), response(200, PAGE)) as server:
        with RecordedWaits(server.url) as whence:
            page = whence.next(whence.list())
        assert page is not None
        assert whence.next(page) is None
        assert server.requests[1].split(b" ")[1].decode() == following
        assert all(b"\r\nx-api-key: whk_x\r\n" in request.lower() for request in server.requests)


def test_a_link_without_a_query_is_an_error() -> None:
    """It would lead to the first page again."""
    with scripted(response(200, PAGE, Link='</api/v1/events>; rel="next"')) as server:
        with RecordedWaits(server.url) as whence, pytest.raises(WhenceError, match="did not come from"):
            whence.next(whence.list())
        assert len(server.requests) == 1
