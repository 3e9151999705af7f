"""Compressed answers, ETags and 304, as a client gets them from a server."""

import http.client
import json
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import zstandard

from tests.api.conftest import Served, event
from tests.unit.mutants import catches, replaced
from whence.api import middleware, representation
from whence.permissions import ADMIN, READ, WRITE

EVENTS = "/api/v1/events"
ID = "01941f29-7c00-7aaa-8000-000000000001"
MANY = 60


class Answer(NamedTuple):
    """What the socket gave: `vary` is joined, the body is as sent."""

    status: int
    headers: dict[str, str]
    body: bytes


class Asking:
    """Sends requests that have no headers but those that a test gives them."""

    def __init__(self, served: Served, key: str) -> None:
        self.served = served
        self.key = key

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(*self.served.address, timeout=20)
        connection.putrequest(method, path, skip_accept_encoding=True)
        content = b"" if body is None else json.dumps(body).encode()
        given = {"X-API-Key": self.key, "Content-Length": str(len(content)), "Content-Type": "application/json"}
        for name, value in (given | {name.replace("_", "-"): value for name, value in headers.items()}).items():
            connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        found = Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        connection.close()
        return found

    def get(self, path: str, **headers: str) -> Answer:
        return self("GET", path, **headers)


@pytest.fixture(scope="module")
def asking(served: Served) -> Iterator[Asking]:
    """A tenant with one large event, and many small ones of other actors."""
    asking = Asking(served, served.key(READ, WRITE, ADMIN, tenant="represented"))
    sent = [event(id=ID, payload={"text": "lorem ipsum " * 2_000})]
    sent += [event(actorId=f"agent-{number}") for number in range(MANY)]
    assert asking("POST", f"{EVENTS}/batch", sent).status == 201
    yield asking


def inflated(answer: Answer) -> bytes:
    coding = answer.headers["content-encoding"]
    if coding == "gzip":
        return zlib.decompress(answer.body, wbits=31)
    assert coding == "zstd"
    return zstandard.ZstdDecompressor().decompressobj().decompress(answer.body)


LARGE = [
    f"{EVENTS}/{ID}",
    f"{EVENTS}?limit=20",
    f"{EVENTS}/resource/action_run/5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001",
    f"{EVENTS}/stats/by-actor",
    f"{EVENTS}/stats/by-actor?from=2020-01-01",
    "/api/v1/flows",
    "/openapi.json",
]


async def whole_always(scope: Any, status: int, headers: Any, body: bytes) -> Any:
    return status, headers, body


def never_in_parts(_scope: Any, headers: Any) -> Any:
    return headers, None


@catches(
    replaced(middleware, "represent", whole_always, "whole_answers_stay_as_they_are"),
    replaced(middleware, "stream_encoder", never_in_parts, "streams_stay_as_they_are"),
    replaced(representation, "_VARY", (b"vary", b"Origin"), "vary_is_missing"),
)
def test_a_large_answer_is_compressed_if_asked(asking: Asking) -> None:
    """Single events, pages, streamed statistics and documents: the same bytes in each coding."""
    for path in LARGE:
        plain = asking.get(path)
        assert "content-encoding" not in plain.headers and plain.headers.get("vary") == "Accept-Encoding", path
        for coding in ("gzip", "zstd"):
            answer = asking.get(path, Accept_Encoding=coding)
            assert (answer.status, answer.headers.get("vary")) == (200, "Accept-Encoding"), path
            assert answer.headers.get("content-encoding") == coding, path
            assert inflated(answer) == plain.body
            assert len(answer.body) < len(plain.body) / 2


def test_answers_to_writes_and_errors_are_compressed_too(asking: Asking) -> None:
    """The results of a batch and a long list of problems."""
    batch = [event() for _ in range(MANY)]
    answer = asking("POST", f"{EVENTS}/batch", batch, Accept_Encoding="gzip")
    assert answer.status == 201 and len(json.loads(inflated(answer))["results"]) == MANY
    query = "&".join(f"x{number}=1" for number in range(MANY))
    answer = asking.get(f"{EVENTS}?{query}", Accept_Encoding="gzip")
    assert answer.status == 422 and len(json.loads(inflated(answer))["detail"]) > 1


def test_a_small_answer_is_sent_as_it_is(asking: Asking) -> None:
    """Below 1 KiB an answer is not compressed; a probe says nothing of codings either."""
    answer = asking.get(f"{EVENTS}/{ID}x", Accept_Encoding="gzip")
    assert answer.status == 422 and not {"content-encoding", "vary"} & answer.headers.keys()
    assert not {"content-encoding", "vary", "etag"} & asking.get("/livez", Accept_Encoding="gzip").headers.keys()


@catches(replaced(representation, "is_compressible", lambda _headers: True, "secrets_are_compressed"))
def test_a_new_secret_is_never_compressed(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers that make a key or a session, whatever their size, and proxies are asked to leave them alone too."""
    monkeypatch.setattr(representation, "COMPRESSED_MIN", 1)
    new = {"scopes": [f"events:read:{name}" for name in ("action_run", "artifact")], "name": "n" * 100}
    for path, body in (("/api/v1/keys", new), ("/api/v1/session", None)):
        answer = asking("POST", path, body, Accept_Encoding="gzip")
        assert (answer.status, answer.headers["cache-control"]) == (201, "no-store, no-transform")
        assert "content-encoding" not in answer.headers
        json.loads(answer.body)


def test_the_docs_script_keeps_its_own_coding(asking: Asking) -> None:
    """What is stored compressed is sent as it is."""
    answer = asking.get("/docs/scalar.js", Accept_Encoding="zstd")
    if answer.status == 200:  # a build without the console has no script
        assert answer.headers["content-encoding"] == "gzip" and b"function" in inflated(answer)


def etag_without_coding(digest: Any, _coding: str | None) -> bytes:
    return f'"{digest.hexdigest()}"'.encode()


@catches(replaced(representation, "_etag_of", etag_without_coding, "one_etag_for_all_codings"))
def test_an_etag_is_of_one_coding(asking: Asking) -> None:
    """Each coding of an answer has an ETag of its own, the same at each request, and that of another answer differs."""
    found = {}
    for path in (f"{EVENTS}/{ID}", f"{EVENTS}?limit=20", f"{EVENTS}?limit=21", f"{EVENTS}/aggregate"):
        for coding in ("identity", "gzip", "zstd"):
            etag = asking.get(path, Accept_Encoding=coding).headers["etag"]
            assert etag == asking.get(path, Accept_Encoding=coding).headers["etag"]
            assert etag.startswith('"') and etag.endswith('"')
            assert found.get(etag) in (None, f"{EVENTS}/aggregate")  # which is too small to be compressed
            found[etag] = path


def never_known(_etag: bytes, _asked: bytes | None) -> bool:
    return False


def by_substring(etag: bytes, asked: bytes | None) -> bool:
    return asked is not None and (etag.strip(b'"') in asked or asked == b"*")


@catches(
    replaced(representation, "_is_known", never_known, "no_304"),
    replaced(representation, "_is_known", by_substring, "parts_of_an_etag_match"),
)
def test_what_the_client_has_is_a_304(asking: Asking) -> None:
    """If-None-Match with the ETag of the coding that would be sent: a head without a body, for GET and HEAD."""
    for coding in ("identity", "gzip"):
        for path in (f"{EVENTS}/{ID}", f"{EVENTS}?limit=20"):
            good = asking.get(path, Accept_Encoding=coding)
            etag = good.headers["etag"]
            for known in (etag, f"W/{etag}", f'"a", {etag}', "*"):
                for method in ("GET", "HEAD"):
                    answer = asking(method, path, Accept_Encoding=coding, If_None_Match=known)
                    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
                    assert answer.headers["cache-control"] == good.headers["cache-control"]
                    assert answer.headers["vary"] == "Accept-Encoding"
                    assert answer.headers.get("link") == good.headers.get("link")
                    assert not {"content-type", "content-encoding"} & answer.headers.keys()
            for other in ('"a"', f'"{etag}"', etag.replace('"', '"x', 1), etag.strip('"') + "x"):
                answer = asking.get(path, Accept_Encoding=coding, If_None_Match=other)
                assert (answer.status, answer.body) == (200, good.body)
    plain = asking.get(f"{EVENTS}/{ID}").headers["etag"]
    assert asking.get(f"{EVENTS}/{ID}", Accept_Encoding="gzip", If_None_Match=plain).status == 200


def test_a_page_that_changes_has_another_etag(asking: Asking) -> None:
    """After a write, the earlier ETag of a page is answered with the new page."""
    path = f"{EVENTS}?correlation_id=changing"
    before = asking.get(path).headers["etag"]
    assert asking.get(path, If_None_Match=before).status == 304
    asking("POST", EVENTS, event(correlationId="changing"))
    after = asking.get(path, If_None_Match=before)
    assert after.status == 200 and after.headers["etag"] != before and json.loads(after.body)["total"] == 1


def test_a_single_event_may_be_kept_but_is_asked_for_again(asking: Asking) -> None:
    """An event may be erased, so its reader's browser may keep it and has to ask each time. Nothing else is kept."""
    assert asking.get(f"{EVENTS}/{ID}").headers["cache-control"] == "private, no-cache"
    for path in (f"{EVENTS}/{ID}x", f"{EVENTS}/00000000-0000-0000-0000-000000000000", EVENTS, f"{EVENTS}/{ID}/trace"):
        assert asking.get(path).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_head_has_the_headers_of_get(asking: Asking, coding: str) -> None:
    """Length, coding and ETag included."""
    for path in (f"{EVENTS}/{ID}", f"{EVENTS}?limit=20"):
        got = asking.get(path, Accept_Encoding=coding)
        head = asking("HEAD", path, Accept_Encoding=coding)
        varying = ("x-request-id", "date")
        assert head.body == b""
        assert {name: value for name, value in head.headers.items() if name not in varying} == {
            name: value for name, value in got.headers.items() if name not in varying
        }


def test_other_tenants_get_no_304(asking: Asking, served: Served) -> None:
    """An ETag tells nothing to another tenant: its 404 is that of an id that never was."""
    etag = asking.get(f"{EVENTS}/{ID}").headers["etag"]
    stranger = Asking(served, served.key(READ, tenant="stranger"))
    for known in (etag, "*"):
        assert stranger.get(f"{EVENTS}/{ID}", If_None_Match=known).status == 404
