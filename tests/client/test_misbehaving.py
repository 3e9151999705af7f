"""The client against servers that are busy, break off or talk nonsense."""

import email.utils
import gzip
import json
import socket
import time
from typing import Any

import pytest

from tests.client.scripted import answer, error, reset, scripted, silent
from tests.unit.mutants import catches, replaced
from tests.unit.sent import EVENT_ID, event
from whence import client
from whence.client import Answer, Unreachable, Whence, create_key_request, http
from whence.client import requests as building
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
GOOD = answer(201, STORED)


class Patient(Whence):
    """Counts how long it would have slept."""

    def __init__(self, url: str, retries: int = 3, timeout_s: float = 5) -> None:
        self.slept_s: list[float] = []
        super().__init__(url, "whk_x", retries=retries, timeout_s=timeout_s, sleep=self.slept_s.append)


# ----------------------------------------------------------------------------------------------------- once and again


@catches(
    replaced(building, "new_uuid7", lambda: None, "the_server_makes_the_id"),
    replaced(http, "will_pass", lambda request, answer: False, "nothing_is_tried_again"),
)
def test_a_repeat_is_the_same_event() -> None:
    """Whatever broke, the event is sent again with the id that it had, so that it is stored once."""
    for id_ in (..., None, EVENT_ID):
        with scripted(reset, error(503, "unavailable"), error(429, "throttled"), GOOD) as server:
            with Patient(server.url) as whence:
                assert whence.emit(event(id=id_), durable=True).event.id == EVENT_ID
            bodies = [json.loads(body) for body in server.bodies()]
        assert len(bodies) == 4
        assert all(body == bodies[0] for body in bodies)
        assert isinstance(bodies[0].get("id"), str)
        assert id_ in (..., None) or bodies[0]["id"] == EVENT_ID


def test_a_repeated_batch_is_the_same_events() -> None:
    """Each event of a batch has its id before it is sent."""
    results = {"results": [{"index": at, "id": EVENT_ID, "status": 201, "position": at + 1} for at in range(3)]}
    with scripted(reset, answer(201, results)) as server:
        with Patient(server.url) as whence:
            assert len(whence.batch([event(), event(id=None), event(id=EVENT_ID)]).results) == 3
        first, second = server.bodies()
    assert first == second
    ids = [json.loads(line)["id"] for line in first.split(b"\n")]
    assert ids[2] == EVENT_ID
    assert len(set(ids)) == 3
    assert None not in ids


def test_an_id_that_is_none_is_not_made_up_for() -> None:
    """An empty id is the server's to refuse, not the client's to replace."""
    with scripted(GOOD) as server:
        with Patient(server.url) as whence:
            whence.emit(event(id=""), durable=True)
        assert json.loads(server.bodies()[0])["id"] == ""


@catches(replaced(http, "asked_after_s", lambda value, now: None, "retry_after_is_not_read"))
def test_retry_after_is_kept_to() -> None:
    """In seconds and as a date, and then a little longer, so that callers part."""
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    for status, code in ((429, "throttled"), (503, "busy")):
        replies = (error(status, code, Retry_After="7"), error(status, code, Retry_After=date), GOOD)
        with scripted(*replies) as server, Patient(server.url) as whence:
            whence.emit(event(), durable=True)
        first, second = whence.slept_s
        assert 7 <= first <= 7.25
        assert 25 <= second <= 30.5


def test_without_retry_after_pauses_grow_and_differ() -> None:
    """Each is drawn from twice the range of the one before."""
    with scripted(error(503, "unavailable")) as server:
        with Patient(server.url, retries=6) as whence, pytest.raises(Unavailable):
            whence.emit(event(), durable=True)
        assert len(server.requests) == 7
    assert all(0 <= slept <= 0.25 * 2**at for at, slept in enumerate(whence.slept_s))
    assert len(set(whence.slept_s)) == 6


def test_a_wait_that_is_too_long_is_left_to_the_caller() -> None:
    """Beyond a minute the error is raised at once, and says how long."""
    for told in ("61", "9" * 400, "Fri, 31 Dec 2199 23:59:59 GMT"):
        with scripted(error(429, "throttled", Retry_After=told)) as server:
            with Patient(server.url) as whence, pytest.raises(Throttled) as caught:
                whence.list()
            assert len(server.requests) == 1
        assert caught.value.retry_after_s >= 61
        assert whence.slept_s == []


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        *((None, None), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("0x5", None)),
        *(("0", 0.0), (" 12 ", 12.0), ("Thu, 01 Jan 1970 00:00:20 GMT", 10.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)),
        ("Thu, 01 Jan 1970 01:00:20 +0100", 10.0),
        *(("Mon, 99999999999999999999 Jan 2024 00:00:00 GMT", None), ("Mon, 01 Jan 2024 00:00:00 +9999999999", None)),
    ],
    ids=str,
)
def test_retry_after_is_read_or_left_alone(told: str | None, seconds: float | None) -> None:
    """What cannot be read asks for nothing; a time that has passed asks for no wait."""
    assert client.retry_after_s(told, 10.0) == seconds


@catches(replaced(http, "will_pass", lambda request, answer: True, "everything_is_tried_again"))
def test_what_will_not_pass_is_not_tried_again() -> None:
    """A refusal stays one, and a question that is too wide stays too wide."""
    for status, code in ((422, ""), (401, ""), (404, ""), (409, ""), (500, "internal"), (503, "query_too_expensive")):
        detail: Any = [{"loc": ["body"], "msg": "No.", "type": "x"}] if status == 422 else "No."
        with scripted(error(status, code, detail), GOOD) as server:
            with Patient(server.url) as whence, pytest.raises(WhenceError):
                whence.emit(event(), durable=True)
            assert len(server.requests) == 1, status
        assert whence.slept_s == []


def test_it_gives_up_in_the_end() -> None:
    """After so many repeats the last error is raised as it is."""
    for retries in (0, 2):
        with scripted(error(503, "busy")) as server:
            with Patient(server.url, retries=retries) as whence, pytest.raises(Busy):
                whence.list()
            assert len(server.requests) == retries + 1


def test_what_is_not_repeatable_is_sent_once() -> None:
    """A new key is asked for again only where it is sure that none was made."""
    for reply, error_type, requests in (
        (reset, Unreachable, 1),
        (error(503, "unavailable"), Unavailable, 1),
        (error(429, "throttled"), Throttled, 3),
    ):
        with scripted(reply) as server:
            with Patient(server.url, retries=2) as whence, pytest.raises(error_type):
                client.parse_body(whence.send(create_key_request(["events:read"])), client.CreatedKeyBody)
            assert len(server.requests) == requests


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
        (503, "unavailable", Unavailable),
        (503, "of_a_proxy", Unavailable),
        (500, "internal", WhenceError),
        (418, "teapot", WhenceError),
    ],
)
def test_each_refusal_is_an_error_of_the_tree(status: int, code: str, error_type: type[WhenceError]) -> None:
    """With the server's own sentence, and its request id as a note."""
    refused = error(status, code, "A sentence.")
    with scripted(refused) as server, Patient(server.url, 0) as whence, pytest.raises(WhenceError) as caught:
        whence.list()
    assert type(caught.value) is error_type
    assert caught.value.__notes__ == ["request req-7"]
    assert str(caught.value) == "A sentence." or error_type is Unauthenticated


def test_problems_keep_their_places() -> None:
    """A 422 is Invalid with each problem, told with the name of its field where its sentence lacks it."""
    detail = [
        {"loc": ["body", 3, "actorId"], "msg": "Too long.", "type": "string_too_long"},
        {"loc": ["query", "limit"], "msg": "The limit is wrong.", "type": "x"},
        {"loc": ["body"], "msg": "No JSON.", "type": "json_invalid"},
    ]
    refused = answer(422, {"detail": detail}, X_Request_Id="req-8")
    with scripted(refused) as server, Patient(server.url) as whence, pytest.raises(Invalid) as caught:
        whence.list()
    assert [(p.loc, p.msg, p.type) for p in caught.value.problems] == [
        (("body", 3, "actorId"), "actorId: Too long.", "string_too_long"),
        (("query", "limit"), "The limit is wrong.", "x"),
        (("body",), "No JSON.", "json_invalid"),
    ]
    assert caught.value.__notes__ == ["request req-8"]
    assert caught.value.request_id == "req-8"


def test_a_conflict_names_its_fields() -> None:
    """They are read back out of the server's sentence."""
    refused = error(409, "event_id_conflict", str(Conflict(["actorId", "payload"])))
    with scripted(refused) as server, Patient(server.url) as whence, pytest.raises(Conflict) as caught:
        whence.emit(event(), durable=True)
    assert caught.value.fields == ("actorId", "payload")


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"<html>", b"\xff", b'"x"', b"{", b"[" * 100_000, b'{"detail":5,"code":7,"requestId":[]}'],
    ids=lambda body: str(body)[:20],
)
def test_an_error_without_words_is_still_an_error(body: bytes) -> None:
    """Of a proxy, for instance: the status decides, and nothing is made up."""
    for status, error_type in (
        (404, NotFound),
        (422, Invalid),
        (500, WhenceError),
        (503, Unavailable),
        (409, Conflict),
    ):
        found = client.error_of(Answer(status=status, headers={"retry-after": "9" * 400}, body=body))
        assert type(found) is error_type
        assert str(found)


# ----------------------------------------------------------------------------------- broken and talking nonsense


def test_a_broken_connection_is_tried_again() -> None:
    """Broken off, closed without a word, closed in the middle of an answer, or with an answer that is no HTTP."""
    cut = answer(200, PAGE)[:-20]
    for broken in (reset, lambda connection: None, cut, b"hello\r\n\r\n", b"HTTP/1.1 banana\r\n\r\n", b"\x00" * 500):
        with scripted(broken, answer(200, PAGE)) as server:
            with Patient(server.url) as whence:
                assert whence.list().total == 1
            assert len(server.requests) == 2
        with scripted(broken) as server:
            with Patient(server.url, retries=1) as whence, pytest.raises(Unreachable, match="broke before an answer"):
                whence.list()
            assert len(server.requests) == 2


def test_where_nothing_listens_nothing_answers() -> None:
    """The error names the address and no key."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Patient(url, retries=2) as whence, pytest.raises(Unreachable) as caught:
        whence.emit(event(), durable=True)
    assert str(caught.value) == f"Nothing answers at {url}."
    assert len(whence.slept_s) == 2
    for url in ("http://127.0.0.1:99999", f"http://{'a' * 64}.example", "http://.", "http://a b"):
        with Patient(url, retries=0) as whence, pytest.raises(Unreachable, match="Nothing answers at"):
            whence.list()


def test_text_that_cannot_be_sent_is_no_matter_of_the_connection() -> None:
    """A lone surrogate in a filter is the caller's fault, and nothing is sent."""
    with scripted(answer(200, PAGE)) as server:
        with Patient(server.url) as whence, pytest.raises(UnicodeEncodeError):
            whence.list(actor_id="\ud800")
        assert server.requests == []


def test_a_silent_server_is_not_waited_for_without_end() -> None:
    """The time limit makes it unreachable."""
    with scripted(silent) as server, Patient(server.url, 0, timeout_s=0.2) as whence, pytest.raises(Unreachable):
        whence.list()


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b"<html>hello</html>"),
        answer(200, b""),
        answer(200, b"\xff\xfe"),
        answer(200, b"[" * 100_000),
        answer(200, []),
        answer(200, {"events": []}),
        answer(200, PAGE | {"total": "1"}),
        answer(200, PAGE | {"events": [{}]}),
        answer(204, b""),
        answer(302, b"", Location="http://127.0.0.1:1/"),
        answer(200, b"no gzip", Content_Encoding="gzip"),
    ],
    ids=range(11),
)
def test_what_does_not_speak_like_a_server_is_named(reply: bytes) -> None:
    """It is an error of ours, not tried again, and redirects are not followed."""
    with scripted(reply) as server:
        with Patient(server.url) as whence, pytest.raises(WhenceError, match="does not speak like a Whence server"):
            whence.list()
        assert len(server.requests) == 1


def test_a_packed_answer_is_unpacked() -> None:
    """As a proxy may send it."""
    packed = answer(200, gzip.compress(json.dumps(PAGE).encode()), Content_Encoding="gzip")
    with scripted(packed) as server, Patient(server.url) as whence:
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
def test_the_next_page_is_asked_of_the_same_server(link: str, following: str) -> None:
    """Whatever the link says of another host or path, the key goes nowhere else."""
    with scripted(answer(200, PAGE, Link=link), answer(200, PAGE)) as server:
        with Patient(server.url) as whence:
            page = whence.next(whence.list())
        assert page is not None
        assert whence.next(page) is None
        assert server.requests[1].split(b" ")[1].decode() == following
        assert all(b"\r\nx-api-key: whk_x\r\n" in request.lower() for request in server.requests)


def test_a_link_that_leads_nowhere_is_named() -> None:
    """It would be the first page again."""
    with scripted(answer(200, PAGE, Link='</api/v1/events>; rel="next"')) as server:
        with Patient(server.url) as whence, pytest.raises(WhenceError, match="does not speak"):
            whence.next(whence.list())
        assert len(server.requests) == 1
