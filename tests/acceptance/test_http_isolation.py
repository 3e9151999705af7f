"""A request that names something of another tenant gets the same answer as for something that never existed."""

import contextlib
import http.client
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import apsw
import hypothesis
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.acceptance.running import seed, tell
from tests.api.conftest import Served, serving
from tests.examples import soak
from whence.events import Event, Viewer
from whence.permissions import ADMIN, READ, WRITE
from whence.storage.sqlite import credentials, engine, resolve
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.rows import event_from, uuid_bytes
from whence.wire import query

PAIRS = 25_000 if soak() else 1_500
"""Pairs of requests: one names something of another tenant, and one something that does not exist."""

MUTANT_PAIRS = 1_500
SECRETS = {"asker": "quokka", "writer": "dingo", "other": "numbat", "third": "bilby"}
"""A word for each tenant that is in all its data, and that no other tenant may see."""
ASKER, WRITER = "asker", "writer"
"""The tenants that read and that write: separate, so that the reader's data does not change during the test."""
EVENTS = {"asker": 40, "writer": 40, "other": 150, "third": 260}
"""Numbers of events per tenant, so that some positions and pages exist only for the others."""

NEVER_WORD = "wombat"
FRESH = "<fresh id>"
_CURSOR = re.compile(rb"()[A-Za-z0-9_-]{100}(?![A-Za-z0-9_-])")
"""A cursor in a response. It is sealed, and bound to the query, which includes the text that was sent."""
FILTERS = ("actor_id", "correlation_id", "causation_id", "resource_id", "event_type")


class Token(msgspec.Struct, frozen=True):
    """Something that a request names: the text of another tenant's, and a text of the same form that no tenant has."""

    foreign: str
    never: str


class World:
    """A server with its tenants, and the tokens of the others that the asker tries."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.keys = {name: served.key(READ, WRITE, ADMIN, tenant=name) for name in SECRETS}
        self.connection = http.client.HTTPConnection(*served.address, timeout=20)
        self.requests = 0
        self.statuses: Counter[int] = Counter()
        self.owned: dict[str, dict[str, list[str]]] = {name: self._fill(name) for name in SECRETS}

    def _fill(self, tenant: str) -> dict[str, list[str]]:
        """Store the tenant's events, and collect every token that names something of it."""
        word = SECRETS[tenant]
        made = [_event(word, number) for number in range(EVENTS[tenant])]
        status, _, body = self.send("POST", "/api/v1/events/batch", msgspec.json.encode(made), tenant)
        assert status == 201, body
        key_status, _, key_body = self.send(
            "POST", "/api/v1/keys", msgspec.json.encode({"scopes": [READ], "name": f"{word} key"}), tenant
        )
        assert key_status == 201
        links = [self.send("GET", f"/api/v1/events?limit={limit}", b"", tenant)[1]["link"] for limit in (1, 7, 20)]
        return {
            "id": [event["id"] for event in made],
            "actor_id": [event["actorId"] for event in made],
            "correlation_id": [event["correlationId"] for event in made],
            "causation_id": [event["causationId"] for event in made],
            "resource_id": [event["resourceId"] for event in made],
            "event_type": [event["eventType"] for event in made],
            "key_id": [msgspec.json.decode(key_body)["id"]],
            "cursor": [re.findall(r"cursor=([A-Za-z0-9_-]+)", link)[0] for link in links],
        }

    def send(self, method: str, path: str, body: bytes = b"", tenant: str = ASKER) -> tuple[int, dict[str, str], bytes]:
        """Send one request over the keep-alive connection."""
        headers = {"X-API-Key": self.keys[tenant], "X-Request-Id": "fixed", "Content-Type": "application/json"}
        self.connection.request(method, path, body or None, headers)
        answer = self.connection.getresponse()
        kept_headers = {name.lower(): value for name, value in answer.getheaders() if name.lower() != "date"}
        self.requests += 1
        return answer.status, kept_headers, answer.read()

    def compare(self, method: str, path: str, body: str, token: Token) -> None:
        """Send a request with another tenant's text and with one that no tenant has. Both answers must be the same
        except for the text that was sent, and contain no word of another tenant."""
        answers = []
        tenant = WRITER if method == "POST" else ASKER
        for text in (token.foreign, token.never):
            fresh = str(uuid.uuid4())
            asked = path.replace("@", quote(text, safe=""))
            sent = body.replace("@", text).replace(FRESH, fresh).encode()
            status, headers, answer = self.send(method, asked, sent, tenant)
            length = headers.pop("content-length", None)  # the length depends on the text that was sent
            assert length is None or method == "HEAD" or int(length) == len(answer)
            everything = f"{status} {sorted(headers.items())} ".encode() + answer
            for form in () if text.isdigit() else (text, quote(text, safe="")):  # a number may occur there by chance
                everything = everything.replace(form.encode(), b"@")
            everything = everything.replace(fresh.encode(), FRESH.encode())
            everything = _CURSOR.sub(rb"\1", everything)
            answers.append(everything)
        self.statuses[status] += 1
        assert answers[0] == answers[1], f"{method} {path}: {answers[0][:400]!r} is not {answers[1][:400]!r}"
        for name, word in SECRETS.items():
            assert name == tenant or word.encode() not in answers[0], f"{method} {path}: {answers[0][:400]!r}"


def _event(word: str, number: int) -> dict[str, Any]:
    """An event with the tenant's word in every field that can hold it."""
    return {
        "id": str(uuid.uuid4()),
        "eventType": f"action_run.{word}" if number % 3 else f"{word}.completed",
        "actorType": "agent",
        "actorId": f"{word}-actor-{number % 5}",
        "resourceType": "action_run",
        "resourceId": str(uuid.uuid4()),
        "occurredAt": f"2026-01-02T03:{number // 60:02d}:{number % 60:02d}Z",
        "correlationId": f"{word}/flow {number % 11}",
        "causationId": f"{word}-cause-{number % 7}" if number % 2 else str(uuid.uuid4()),
        "payload": {word: f"{word} {number}"},
    }


def never_of(kind: str, foreign: str) -> str:
    """A text of the same form that no tenant has."""
    if kind in ("id", "resource_id") or (kind == "causation_id" and len(foreign) == 36):
        return str(uuid.uuid5(uuid.NAMESPACE_OID, foreign))
    if kind == "key_id":
        return foreign[:-6] + "000000"
    if kind == "cursor":  # damaged, so that no tenant has it
        return foreign[:-2] + ("AA" if not foreign.endswith("AA") else "BB")
    for word in SECRETS.values():
        foreign = foreign.replace(word, NEVER_WORD)
    return foreign


PAGED = ("", "limit=5", "order=asc", "from=2026-01-02", "include=position,recordedAt,outcome,nextCursor", "limit=1")
SUFFIXES = {
    "/api/v1/events/@": ("", "", "include=position,recordedAt,outcome"),
    "/api/v1/keys/@": ("",),
    "/api/v1/events/aggregate": ("", "from=2026-01-02"),
    "/api/v1/events/stats/by-actor": ("", "to=2026-01-03"),
}
"""Query strings to send with a path; other paths take those of a page."""
ROUTES = ("/api/v1/events", "/api/v1/events/aggregate", "/api/v1/events/stats/by-actor", "/api/v1/events/correlation/a")


def body_with(**changes: str) -> str:
    """A valid event as text, with a new id each time it is sent, and these fields. Its correlation is left to the
    store, which must not inherit it from another tenant's event."""
    event = _event(SECRETS[WRITER], 1) | {"id": FRESH, "payload": {}} | changes
    if "correlationId" not in changes:
        del event["correlationId"]
    return msgspec.json.encode(event).decode()


@st.composite
def attempts(draw: st.DrawFn, world: World) -> tuple[str, str, str, Token]:
    """Method, path and body, and the tokens to insert at each @ in them."""

    def token(kind: str) -> Token:
        foreign = draw(st.sampled_from(world.owned[draw(st.sampled_from(("other", "third")))][kind]))
        return Token(foreign, never_of(kind, foreign))

    def get(path: str, of: Token, query_string: str = "") -> tuple[str, str, str, Token]:
        suffix = draw(st.sampled_from(SUFFIXES.get(path, PAGED)))
        together = "&".join(part for part in (query_string, suffix) if part)
        return draw(st.sampled_from(("GET", "GET", "HEAD"))), f"{path}?{together}" if together else path, "", of

    def filtered() -> tuple[str, str, str, Token]:
        name = draw(st.sampled_from(FILTERS))
        route = draw(st.sampled_from(ROUTES[:3]))
        own = draw(st.sampled_from(("", f"&{name}={quote(world.owned[ASKER][name][0], safe='')}")))
        return get(route, token(name), f"{name}=@{own}")

    def position() -> tuple[str, str, str, Token]:
        foreign = draw(st.integers(EVENTS[ASKER] + 1, EVENTS["third"]))
        return get("/api/v1/events", Token(str(foreign), str(foreign + 100_000)), "as_of=@")

    def stored() -> tuple[str, str, str, Token]:
        kind = draw(st.sampled_from(("causationId", "correlationId", "tenantId", "id")))
        if kind == "tenantId":
            of = Token(draw(st.sampled_from(("other", "third"))), "nobody")
        else:
            of = token("correlation_id" if kind == "correlationId" else "id")
        # The id of another tenant is free here. The event is refused for its time, so the id stays free.
        late = {"occurredAt": "2999-01-01T00:00:00Z"} if kind == "id" else {}
        return "POST", "/api/v1/events", body_with(**{kind: "@"}, **late), of

    make = draw(
        st.sampled_from(
            (
                lambda: get("/api/v1/events/@", token("id")),
                lambda: get("/api/v1/events/correlation/@", token("correlation_id")),
                lambda: get("/api/v1/events/resource/action_run/@", token("resource_id")),
                filtered,
                lambda: get(draw(st.sampled_from((ROUTES[0], ROUTES[3]))), token("cursor"), "cursor=@"),
                position,
                lambda: ("DELETE", "/api/v1/keys/@", "", token("key_id")),
                stored,
            )
        )
    )
    return make()


def run(world: World, pairs: int, number: int) -> None:
    """Draw and compare this number of pairs of requests."""

    @hypothesis.seed(number)
    @settings(
        max_examples=pairs,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.data())
    def draws(data: st.DataObject) -> None:
        world.compare(*data.draw(attempts(world)))

    draws()


@contextlib.contextmanager
def world_of(folder: Any) -> Iterator[World]:
    with serving(folder) as served:
        yield World(served)


def free_ids_are_free(world: World) -> None:
    """Check that an id of another tenant can be used, and that the other tenant's event is unchanged."""
    for name in ("other", "third"):
        id_ = world.owned[name]["id"][0]
        before = world.send("GET", f"/api/v1/events/{id_}", b"", name)
        status, headers, answer = world.send("POST", "/api/v1/events", body_with(id=id_).encode(), WRITER)
        assert (status, "idempotent-replayed" in headers) == (201, False), answer
        assert world.send("GET", f"/api/v1/events/{id_}", b"", WRITER)[2] == answer
        assert world.send("GET", f"/api/v1/events/{id_}", b"", name) == before


def test_no_answer_tells_of_another_tenant(tmp_path: Any, record_property: Callable[[str, object], None]) -> None:
    """In thousands of requests, an id, filter, cursor, position or key of another tenant gets the answer for an unknown
    one, byte for byte, and the data of the other tenants is unchanged."""
    number = seed()
    with world_of(tmp_path) as world:
        run(world, PAIRS, number)
        tell(record_property, f"requests={world.requests} answers={dict(world.statuses)} leaks=0")
        assert world.requests >= 2 * PAIRS
        assert world.statuses.keys() >= {200, 201, 404, 422}
        free_ids_are_free(world)
        for name in ("other", "third"):
            status, _, body = world.send("GET", "/api/v1/events/aggregate", b"", name)
            assert (status, msgspec.json.decode(body)["total"]) == (200, EVENTS[name])
            listed = msgspec.json.decode(world.send("GET", "/api/v1/keys", b"", name)[2])["keys"]
            assert [key["revokedAt"] for key in listed] == [None, None]
            assert all(SECRETS[name] in key["name"] for key in listed if key["name"])


Break = Callable[[pytest.MonkeyPatch], None]


def _block(module: Any, name: str, old: str, new: str) -> Break:
    """Mutant: one SQL block without its condition on the tenant."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        blocks = dict(module._SQL)
        assert old in blocks[name]
        monkeypatch.setattr(module, "_SQL", blocks | {name: blocks[name].replace(old, new)})

    return apply


def any_tenants_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: an event is looked up by its id alone."""

    async def get_event(self: SQLiteStore, viewer: Viewer, event_id: str) -> Event | None:
        def find(connection: apsw.Connection) -> Event | None:
            row = connection.execute(engine._SQL["full_event"] + " WHERE e.id = ?", (uuid_bytes(event_id),)).fetchone()
            return None if row is None else event_from(viewer.tenant, row)

        found: Event | None = await self._readers.read(viewer.tenant, find)
        return found

    monkeypatch.setattr(SQLiteStore, "get_event", get_event)


def any_tenants_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a cursor is not bound to its tenant."""
    seed_of = query.cursor_seed
    monkeypatch.setattr(query, "cursor_seed", lambda viewer, *rest: seed_of(Viewer("", viewer.readable), *rest))


MUTANTS: dict[str, Break] = {
    "get": any_tenants_event,
    "cursor": any_tenants_cursor,
    "flow": _block(resolve, "flow_by_correlation", "tenant_no = ? AND", "? IS NOT NULL AND"),
    "resource": _block(resolve, "resources_by_id", "tenant_no = ? AND", "? IS NOT NULL AND"),
    "key": _block(credentials, "revoke_key", "tenant = ?", "? IS NOT NULL"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_dropped_tenant_filter_would_be_seen(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant without a condition on the tenant is found."""
    MUTANTS[name](monkeypatch)
    number = seed()
    with world_of(tmp_path) as world:
        before = world.requests
        with pytest.raises(AssertionError, match="is not") as caught:
            run(world, MUTANT_PAIRS, number)
        where = str(caught.value).partition(":")[0]
        print(f"mutant {name}: caught after {world.requests - before} requests by {where[:70]}")
