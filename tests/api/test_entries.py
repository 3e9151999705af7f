"""The entries of a log over HTTP: what the leaves are made of, by position, as lines and as bundles."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, code_of, problems
from tests.api.test_seals import EVENTS, LOG, SIZE, client, leaves_of, sealed
from tests.unit.mutants import catches, replaced
from whence.api import entries
from whence.client import AsyncWhence, Whence
from whence.errors import NotFound
from whence.integrity import hash_payload, parse_envelope
from whence.merkle import leaf_hash
from whence.permissions import READ
from whence.storage.base import Head
from whence.wire.entries import Entry, decode_entry

__all__ = ["client", "sealed"]  # the fixtures

ENTRIES = f"{LOG}/entries"


def read(client: httpx2.Client, query: str = "") -> list[Entry]:
    answer = client.get(f"{ENTRIES}?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [decode_entry(line) for line in answer.content.splitlines(keepends=True)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an answer has several."""
    monkeypatch.setattr(entries, "_PART", 70)


def _none(*_: object) -> bool:
    return False


@catches(replaced(entries, "matches", _none, "shows_no_payload"))
def test_every_entry_makes_its_leaf(sealed: Served, client: httpx2.Client) -> None:
    """In the order of positions, each with the payload that is hashed in its envelope."""
    found = read(client)
    assert [each.position for each in found] == list(range(1, SIZE + 1))
    assert [leaf_hash(each.envelope) for each in found] == leaves_of(sealed)
    for each in found[::50]:
        assert each.salt is not None and each.payload is not None
        assert hash_payload(each.salt, each.payload) == parse_envelope(each.envelope, each.position)[1]


def test_only_what_matches_has_a_payload(client: httpx2.Client) -> None:
    """The others have an envelope with complete=true, and else are not there."""
    listed = client.get(f"{EVENTS}?limit=3&include=position&order=asc").json()["events"]
    wanted = sorted(each["position"] for each in listed)
    query = "&".join(f"q=actor%3A{each['actorId']}" for each in listed[:1])
    matching = {each.position for each in read(client, query)}
    assert set(wanted) <= matching
    found = read(client, "event_type=no.such&complete=true&as_of=100")
    assert [each.position for each in found] == list(range(1, 101))
    assert all(each.salt is None and each.payload is None for each in found)
    assert read(client, "event_type=no.such") == []


def test_entries_are_filtered_by_values_in_payloads(client: httpx2.Client) -> None:
    """An index of payload fields is not needed: each payload is read."""
    for query in ("payload.n=7", "q=payload.n:7", "payload.n=7&payload.n=no"):
        assert [each.payload for each in read(client, query)] == [b'{"n":7}']
    assert len(read(client, "q=-payload.n:7")) == SIZE - 1


def test_entries_begin_where_no_earlier_event_can_match(client: httpx2.Client) -> None:
    """With a time in from, at the last event that was recorded more than five minutes before."""
    assert [each.position for each in read(client, "from=2096-01-01&complete=true")] == [SIZE]
    assert [each.position for each in read(client, "from=2096-01-01&complete=true&as_of=7")] == [7]
    assert len(read(client, "from=2000-01-01&complete=true")) == SIZE
    assert read(client, "from=2096-01-01") == read(client, "as_of=0") == []


async def nothing_held(*_: object) -> list[int]:
    return []


def test_what_is_no_longer_kept_is_left_out(
    sealed: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries begin with the first event that is kept. When the next ones are removed meanwhile, the answer is cut."""
    real = sealed.store.head
    retained = 101

    async def head(tenant: str) -> Head:
        return msgspec.structs.replace(await real(tenant), retained_from=retained)

    monkeypatch.setattr(sealed.store, "head", head)
    monkeypatch.setattr(entries, "positions_matching", nothing_held)
    assert [each.position for each in read(client, "complete=true")] == list(range(101, SIZE + 1))
    real_log = sealed.store.read_log

    async def purged(tenant: str, after: int, limit: int) -> Any:
        return [each for each in await real_log(tenant, after, limit) if not 200 <= each.event.position <= 210]

    monkeypatch.setattr(sealed.store, "read_log", purged)
    with pytest.raises(httpx2.RemoteProtocolError):
        read(client, "complete=true")
    retained = 90

    async def gone(_tenant: str, _after: int, _limit: int) -> list[Any]:
        nonlocal retained
        retained = 150
        return []

    monkeypatch.setattr(sealed.store, "read_log", gone)
    assert client.get(f"{ENTRIES}?complete=true").status_code == 410


def test_what_cannot_be_answered_is_refused(sealed: Served, client: httpx2.Client) -> None:
    """What is not sealed yet, and parameters that are wrong."""
    assert code_of(client.get(f"{ENTRIES}?as_of={SIZE + 1}")) == "not_sealed_yet"
    assert problems(client.get(f"{ENTRIES}?complete=yes")) == [(["query", "complete"], "bool_parsing")]
    assert problems(client.get(f"{ENTRIES}?limit=1")) == [(["query", "limit"], "extra_forbidden")]
    for query in ("payload.n=1", "q=payload.n:1", "q=-payload.n:1"):
        refused = client.get(f"{ENTRIES}?{query}&complete=true")
        assert problems(refused) == [(["query", "complete"], "payload_filter")]
    assert client.head(ENTRIES).headers["content-disposition"] == 'attachment; filename="entries.ndjson"'


def split(bundle: bytes) -> Iterator[bytes]:
    while bundle:
        length = int.from_bytes(bundle[:2])
        yield bundle[2 : 2 + length]
        bundle = bundle[2 + length :]


def test_the_python_clients_read_entries_and_tiles(sealed: Served, client: httpx2.Client) -> None:
    """Both alike, and as over HTTP."""
    key = sealed.key(READ)
    wanted, hashes = client.get(f"{ENTRIES}?as_of=9&complete=true&outcome=none"), b"".join(leaves_of(sealed)[:17])
    with Whence(sealed.url, key) as log:
        assert b"".join(log.tree.entries(as_of=9, complete=True, outcome="none")) == wanted.content
        assert log.tree.tile("0/000.p/17") == hashes
        with pytest.raises(NotFound):
            log.tree.tile("0/009")

    async def by_async() -> None:
        async with AsyncWhence(sealed.url, key) as log:
            parts = [each async for each in log.tree.entries(as_of=9, complete=True, outcome="none")]
            assert b"".join(parts) == wanted.content
            assert await log.tree.tile("0/000.p/17") == hashes

    asyncio.run(by_async())


def test_bundles_have_the_envelopes(sealed: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of 256 events, and of the last one as many as the log has; each after its length."""
    leaves = leaves_of(sealed)
    found: list[bytes] = []
    for path in ("000", f"001.p/{SIZE - 256}"):
        answer = client.get(f"{LOG}/tile/entries/{path}")
        assert answer.headers["content-type"] == "application/octet-stream"
        found += [leaf_hash(each) for each in split(answer.content)]
    assert found == leaves
    for path in ("001", "002", f"001.p/{SIZE - 255}", "entries/000", "0/000"):
        assert client.get(f"{LOG}/tile/entries/{path}").status_code == 404
    real = sealed.store.read_log

    async def purged(tenant: str, after: int, limit: int) -> Any:
        return [each for each in await real(tenant, after, limit) if each.event.position > 3]

    monkeypatch.setattr(sealed.store, "read_log", purged)
    assert client.get(f"{LOG}/tile/entries/000").status_code == 404
