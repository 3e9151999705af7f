"""Events come in: one, many, packed, as CloudEvents, or in a body that says nothing of itself."""

import asyncio
import gzip
import json
import time
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import zstandard

from tests.api.conftest import RUN_ID, Served, code_of, event, problems
from tests.contract.model import ModelStore
from tests.unit.mutants import catches, replaced
from whence.api import admission, middleware, request_body
from whence.permissions import READ, WRITE
from whence.settings import Settings

KEYS = [
    "actorId",
    "actorType",
    "causationId",
    "correlationId",
    "eventType",
    "id",
    "occurredAt",
    "payload",
    "resourceId",
    "resourceType",
    "tenantId",
]
EVENTS = "/api/v1/events"
BATCH = "/api/v1/events/batch"
GZIPPED = {"Content-Encoding": "gzip", "Content-Type": "application/json"}


def new_id() -> str:
    return str(uuid.uuid4())


def post(
    client: httpx2.Client, path: str, body: Any, content_type: str | None = None, **headers: str
) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=content, headers=sent | ({"Content-Type": content_type} if content_type else {}))


def test_a_new_event_is_answered_with_its_eleven_keys_and_its_address(client: httpx2.Client) -> None:
    answer = client.post(EVENTS, json=event(payload={"n": 1}))
    assert answer.status_code == 201
    assert list(answer.json()) == KEYS
    assert answer.headers["location"] == f"{EVENTS}/{answer.json()['id']}"
    assert "idempotent-replayed" not in answer.headers
    assert client.get(answer.headers["location"]).content == answer.content


def test_the_same_event_again_is_answered_as_before_and_said_to_be_a_replay(client: httpx2.Client) -> None:
    sent = event(id=new_id(), payload={"a": 1, "b": 2})
    first = client.post(EVENTS, json=sent)
    again = client.post(EVENTS, json=sent | {"payload": {"b": 2, "a": 1}, "occurredAt": "2026-01-02T04:04:05+01:00"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]


def test_the_same_id_with_other_content_is_a_conflict_that_names_the_fields(client: httpx2.Client) -> None:
    sent = event(id=new_id(), payload={"secretword": 1})
    client.post(EVENTS, json=sent)
    answer = client.post(EVENTS, json=sent | {"actorId": "other", "payload": {"secretword": 2}})
    assert answer.status_code == 409
    assert code_of(answer) == "event_id_conflict"
    assert "actorId" in answer.json()["detail"] and "payload" in answer.json()["detail"]
    assert "secretword" not in answer.text


def test_an_idempotency_key_gives_one_id(client: httpx2.Client) -> None:
    answers = [client.post(EVENTS, json=event(), headers={"Idempotency-Key": "order 7"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "ä"])
def test_an_idempotency_key_has_limits(client: httpx2.Client, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode()), (b"Content-Type", b"application/json")]
    answer = client.post(EVENTS, content=json.dumps(event()), headers=headers)
    assert problems(answer) == [(["header", "Idempotency-Key"], "value_error")]


def test_an_idempotency_key_of_a_batch_gives_each_event_its_own_id(client: httpx2.Client) -> None:
    sent = [event(), event(actorId="b")]
    answers = [client.post(BATCH, json=sent, headers={"Idempotency-Key": "batch 7"}) for _ in range(2)]
    ids = [[result["id"] for result in answer.json()["results"]] for answer in answers]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert ids[0] == ids[1] and len(set(ids[0])) == 2


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded"])
def test_a_bare_curl_gets_its_event_stored(client: httpx2.Client, content_type: str | None) -> None:
    assert post(client, EVENTS, event(), content_type).status_code == 201
    assert post(client, BATCH, [event()], content_type).status_code == 201
    lines = "\n".join(json.dumps(event()) for _ in range(2)).encode()
    assert len(post(client, BATCH, lines, content_type).json()["results"]) == 2


@pytest.mark.parametrize("path", [EVENTS, BATCH])
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "application/vnd.x+json",
        "application/json; charset=latin-1",
        "multipart/form-data",
    ],
)
def test_other_content_types_get_a_sentence(client: httpx2.Client, path: str, content_type: str) -> None:
    answer = post(client, path, event(), content_type)
    assert answer.status_code == 415
    assert code_of(answer) == "unsupported_media_type"


def test_a_form_gets_a_sentence_that_says_what_to_type(client: httpx2.Client) -> None:
    answer = post(client, EVENTS, b"eventType=a.b", "application/x-www-form-urlencoded")
    assert answer.status_code == 415
    assert "curl --json" in answer.json()["detail"]


def test_an_array_is_pointed_to_the_batch_route(client: httpx2.Client) -> None:
    answer = client.post(EVENTS, json=[event()])
    assert problems(answer)[0][0] == ["body"]
    assert BATCH in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("path", [EVENTS, BATCH])
@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"null", b"1", b'"x"', b"\xff", b"[" * 100_000, b'{"a":NaN}'])
def test_what_is_no_event_is_422_and_never_echoed(client: httpx2.Client, path: str, body: bytes) -> None:
    answer = post(client, path, body, "application/json")
    assert problems(answer)[0][0][0] == "body"
    assert b"nonsense" not in answer.content


def test_every_problem_of_an_event_is_told_at_its_own_place(client: httpx2.Client) -> None:
    sent = event(actorId=None, resourceId="x", extra=1, occurredAt="2026-01-02T03:04:05")
    found = {tuple(loc) for loc, _ in problems(client.post(EVENTS, json=sent))}
    assert found == {("body", "actorId"), ("body", "resourceId"), ("body", "extra"), ("body", "occurredAt")}


@pytest.mark.parametrize(("path", "query"), [(EVENTS, "a=1"), (EVENTS, "atomic=true"), (BATCH, "Atomic=true")])
def test_unknown_parameters_are_refused_on_writes_too(client: httpx2.Client, path: str, query: str) -> None:
    answer = client.post(f"{path}?{query}", json=[event()] if path == BATCH else event())
    assert problems(answer) == [(["query", query.partition("=")[0]], "extra_forbidden")]


@pytest.mark.parametrize("query", ["atomic=", "atomic=1", "atomic=True", "atomic=true&atomic=true"])
def test_atomic_is_true_or_false_once(client: httpx2.Client, query: str) -> None:
    assert problems(client.post(f"{BATCH}?{query}", json=[event()]))[0][0] == ["query", "atomic"]


def test_limits_are_413(client: httpx2.Client) -> None:
    for answer in (
        client.post(EVENTS, json=event(payload={"x": "y" * 256 * 1024})),
        client.post(EVENTS, json=event(payload={"x": "y" * 330 * 1024})),
        post(client, BATCH, b" " * (5 * 1024 * 1024 + 1), "application/json"),
        post(client, BATCH, gzip.compress(b" " * (5 * 1024 * 1024 + 1)), "application/json", Content_Encoding="gzip"),
    ):
        assert answer.status_code == 413, answer.text
        assert code_of(answer) == "too_large"


def test_413_comes_before_415_and_415_before_422(client: httpx2.Client) -> None:
    assert post(client, EVENTS + "?x=1", b"x" * 330 * 1024, "text/plain").status_code == 413
    assert post(client, EVENTS + "?x=1", b"x", "text/plain").status_code == 415
    assert post(client, EVENTS + "?x=1", b"{}", "application/json", Content_Encoding="br").status_code == 415


# Batches


def test_a_batch_answers_each_event_in_order_with_its_position(served: Served) -> None:
    with served.client(READ, WRITE, tenant="batch-order") as client:
        answer = client.post(BATCH, json=[event(id=new_id()) for _ in range(5)])
    assert answer.status_code == 201
    results = answer.json()["results"]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]
    assert [result["position"] for result in results] == [1, 2, 3, 4, 5]
    assert all(result.keys() == {"index", "id", "status", "position"} for result in results)


def test_the_joint_status_says_how_the_batch_fared(served: Served) -> None:
    with served.client(READ, WRITE, tenant="batch-status") as client:
        first, second = event(id=new_id()), event(id=new_id())
        bad, taken = event(actorType="nobody"), first | {"actorId": "other"}

        def status(*events: dict[str, Any]) -> tuple[int, list[int]]:
            answer = client.post(BATCH, json=list(events))
            return answer.status_code, [result["status"] for result in answer.json()["results"]]

        assert status(first) == (201, [201])
        assert status(first, first) == (200, [200, 200])
        assert status(first, bad) == (207, [200, 422])
        assert status(second, taken) == (207, [201, 409])
        assert status(bad, taken) == (422, [422, 409])
        assert status(first, event()) == (207, [200, 201])


def test_a_refused_event_of_a_batch_says_why(served: Served) -> None:
    with served.client(READ, WRITE, tenant="batch-why") as client:
        stored = event(id=new_id())
        client.post(EVENTS, json=stored)
        huge = event(payload={"x": "y" * 256 * 1024})
        answer = client.post(BATCH, json=[event(actorId=""), stored | {"actorId": "b"}, huge, event(id="x")])
    invalid, conflict, large, no_id = answer.json()["results"]
    assert [problem["loc"] for problem in invalid["detail"]] == [["body", 0, "actorId"]]
    assert (conflict["id"], conflict["status"], conflict["code"]) == (stored["id"], 409, "event_id_conflict")
    assert (large["status"], large["code"]) == (413, "too_large")
    assert [problem["loc"] for problem in no_id["detail"]] == [["body", 3, "id"]]


def test_an_atomic_batch_is_stored_whole_or_not_at_all(served: Served) -> None:
    with served.client(READ, WRITE, tenant="batch-atomic") as client:
        stored = event(id=new_id())
        assert client.post(f"{BATCH}?atomic=true", json=[stored]).status_code == 201
        bad = client.post(f"{BATCH}?atomic=true", json=[event(), event(actorId="")])
        assert [loc for loc, _ in problems(bad)] == [["body", 1, "actorId"]]
        taken = client.post(f"{BATCH}?atomic=true", json=[event(), stored | {"actorId": "b"}])
        assert problems(taken) == [(["body", 1, "id"], "event_id_conflict")]
        huge = client.post(f"{BATCH}?atomic=true", json=[event(), event(payload={"x": "y" * 256 * 1024})])
        assert problems(huge)[0][0][:2] == ["body", 1]
        assert client.get(EVENTS).json()["total"] == 1


def _unknown_keys(number: int) -> dict[str, Any]:
    return event(**{f"{key}-" + "k" * 228: 1 for key in range(20)}, id=new_id(), actorId=f"a{number}")


def test_a_batch_of_many_problems_gets_a_small_answer(client: httpx2.Client) -> None:
    """1,000 events with 20 unknown keys of 230 characters each: 20,000 problems, of which 1,099 are named."""
    batch = [_unknown_keys(number) for number in range(1000)]
    answer = client.post(BATCH, content=gzip.compress(json.dumps(batch).encode()), headers=GZIPPED)
    assert answer.status_code == 422
    assert len(answer.content) < 600_000
    results = answer.json()["results"]
    assert [result["index"] for result in results] == list(range(1000))
    assert all(result["detail"][0]["loc"][:2] == ["body", index] for index, result in enumerate(results))
    assert [len(result["detail"]) for result in results] == [20] * 5 + [1] * 994 + [2]
    more = results[-1]["detail"][-1]
    assert more == {"loc": ["body"], "msg": "18905 more problems are not listed.", "type": "more_problems"}


def test_the_last_problem_of_an_atomic_batch_counts_those_that_are_not_listed(client: httpx2.Client) -> None:
    """Also if an event that is too large follows."""
    batch = [_unknown_keys(number) for number in range(10)] + [event(payload={"x": "y" * 256 * 1024})]
    found = problems(client.post(f"{BATCH}?atomic=true", json=batch))
    assert found[-2:] == [(["body", 10, "payload"], "too_large"), (["body"], "more_problems")]
    assert len(found) == 100 + 5 + 2


@catches(replaced(admission, "_SLICE_S", 3600.0, "a_batch_is_parsed_in_one_go"))
def test_a_long_batch_is_parsed_in_slices() -> None:
    """Others run in between."""

    async def run() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        def slow() -> Iterator[Any]:
            for _ in range(10):
                time.sleep(0.006)
                yield None

        counting = asyncio.create_task(count())
        assert len(await admission.Admission(Settings(), ModelStore()).in_slices("acme", slow())) == 10
        counting.cancel()
        return turns

    assert asyncio.run(run()) >= 9


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/jsonlines"])
def test_lines_are_events(served: Served, content_type: str) -> None:
    with served.client(READ, WRITE, tenant="lines-" + content_type[-5:]) as client:
        lines = b"\n".join([json.dumps(event()).encode(), b"{nonsense", json.dumps(event()).encode(), b""])
        answer = post(client, BATCH, lines, content_type)
    assert answer.status_code == 207
    assert [result["status"] for result in answer.json()["results"]] == [201, 422, 201]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("path", [EVENTS, BATCH])
def test_bodies_may_be_packed(client: httpx2.Client, encoding: str, path: str) -> None:
    text = json.dumps(event() if path == EVENTS else [event()]).encode()
    packed = gzip.compress(text) if encoding == "gzip" else zstandard.compress(text)
    assert post(client, path, packed, "application/json", Content_Encoding=encoding).status_code == 201
    broken = post(client, path, packed[:-2], "application/json", Content_Encoding=encoding)
    assert problems(broken)[0][0] == ["body"]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_one_to_a_thousand_events(client: httpx2.Client, count: int) -> None:
    assert problems(client.post(BATCH, json=[event()] * count))[0][0] == ["body"]


# CloudEvents

CLOUD_EVENT = {
    "specversion": "1.0",
    "type": "action_run.completed",
    "source": "/tests",
    "subject": f"action_run/{RUN_ID}",
    "time": "2026-01-02T03:04:05Z",
    "authtype": "service_account",
    "authid": "runner",
    "data": {"n": 1},
}


def test_a_structured_cloudevent_is_an_event(client: httpx2.Client) -> None:
    for path in (EVENTS, BATCH):
        answer = post(client, path, CLOUD_EVENT | {"id": new_id()}, "application/cloudevents+json")
        assert answer.status_code == 201, answer.text
    assert "results" in answer.json()


def test_a_binary_cloudevent_is_an_event(client: httpx2.Client) -> None:
    headers = {f"ce-{name}": str(value) for name, value in CLOUD_EVENT.items() if name != "data"}
    for path in (EVENTS, BATCH):
        sent = headers | {"ce-id": new_id(), "Content-Type": "application/json"}
        answer = client.post(path, content=b'{"n":1}', headers=sent)
        assert answer.status_code == 201, answer.text


def test_an_attribute_of_a_binary_cloudevent_is_sent_once(client: httpx2.Client) -> None:
    """Of two values none is dropped in silence, not even when they are the same."""
    sent = [(f"ce-{name}", str(value)) for name, value in CLOUD_EVENT.items() if name != "data"]
    for path in (EVENTS, BATCH):
        for twice in (("CE-Id", new_id()), ("ce-extra", "1")):
            headers = [*sent, ("ce-id", new_id()), ("ce-extra", "1"), twice, ("Content-Type", "application/json")]
            answer = client.post(path, content=b"{}", headers=headers)
            assert problems(answer) == [(["header", twice[0].lower()], "repeated")]


def test_a_batch_of_cloudevents_is_a_batch_on_both_routes(client: httpx2.Client) -> None:
    for path in (EVENTS, BATCH):
        sent = [CLOUD_EVENT | {"id": new_id()}, CLOUD_EVENT | {"id": new_id(), "data": 7}]
        answer = post(client, path, sent, "application/cloudevents-batch+json")
        assert answer.status_code == 207, answer.text
        assert [result["status"] for result in answer.json()["results"]] == [201, 422]


@catches(
    replaced(request_body, "codecs", SimpleNamespace(BOM_UTF8=b""), "the_mark_is_left"),
    replaced(request_body, "_UTF16", (), "utf_16_is_not_noticed"),
)
@pytest.mark.parametrize("media", ["application/json", "application/x-ndjson"])
def test_a_byte_order_mark_is_skipped_and_utf_16_is_named(client: httpx2.Client, media: str) -> None:
    """What PowerShell and Excel write."""
    sent = json.dumps(event() if "ndjson" in media else [event()])
    assert post(client, BATCH, sent.encode("utf-8-sig"), media).status_code == 201
    refused = post(client, BATCH, sent.encode("utf-16"), media)
    assert refused.status_code == 415
    assert refused.json()["detail"] == "This is UTF-16 or UTF-32. Send the body in UTF-8."


def without_an_id(patch: pytest.MonkeyPatch) -> None:
    real = middleware._ResponseSender._send_start

    async def send_start(self: Any, status: int, headers: Any) -> None:
        if status == 422:
            self.common = [header for header in self.common if header[0] != b"x-request-id"]
        await real(self, status, headers)

    patch.setattr(middleware._ResponseSender, "_send_start", send_start)


@catches(without_an_id, replaced(middleware, "_request_id", lambda _headers: "0" * 32, "always_another_id"))
def test_a_422_has_the_id_of_the_request_in_its_header(client: httpx2.Client) -> None:
    """Its body is the contract's, which has no room for it."""
    refused = client.post(EVENTS, json={}, headers={"X-Request-Id": "mine-7"})
    assert refused.headers.get("x-request-id") == "mine-7"
    assert problems(refused)
    assert len(client.post(EVENTS, json={}).headers["x-request-id"]) == 32
