"""Checkpoints, tiles and proofs over HTTP, from a server that seals."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, code_of, event, problems
from tests.unit.mutants import catches, replaced
from tests.unit.test_merkle import root_of
from whence import sealer
from whence.api import seals
from whence.api.followers import new_worker
from whence.api.metrics import Metrics
from whence.api.server import configure_logging
from whence.checkpoints import Cosigner, parse_checkpoint, parse_proof, verify_checkpoint, verify_proof
from whence.integrity import hash_payload
from whence.log_keys import LogKeys
from whence.merkle import leaf_hash
from whence.merkle_proofs import inclusion_ranges, is_consistent
from whence.notes import decode_base64, parse_note, parse_verifier_key, signature_line
from whence.permissions import ADMIN, READ, WRITE
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import create_store
from whence.storage.followers import Place
from whence.storage.seals import Origin, SealedCheckpoint
from whence.wire.seals import decode_evidence

LOG = "/api/v1/log"
EVENTS = "/api/v1/events"
SIZE = 300


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that seals at once, with a log of `SIZE` events and an hourly checkpoint of its first one. The only
    witness that it asks is not there."""
    folder = tmp_path_factory.mktemp("sealed")
    url, policy = f"sqlite:///{folder}/whence.db", folder / "policy"
    policy.write_text(f"witness w {Cosigner('w', bytes(32)).key} http://127.0.0.1:9\nquorum w\n")
    configure_logging("error")
    settings = Settings(store=url, port=0, log_name="log.example", witness_policy=policy, seal_ml_dsa=True)
    served = Served(settings, create_store(url), StoreSecret("the secret of the store that is sealed", is_shared=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealer, "_EVERY_S", 0.02)
        served.start()
        try:
            with served.client(READ, WRITE) as client:
                client.post(EVENTS, json=event())
                until(lambda: size_of(client) == 1)
                client.post(f"{EVENTS}/batch", json=[event(payload={"n": number}) for number in range(SIZE - 1)])
                until(lambda: size_of(client) == SIZE)
            yield served
        finally:
            served.stop()


@pytest.fixture(scope="module")
def client(sealed: Served) -> Iterator[httpx2.Client]:
    with sealed.client(READ, WRITE) as made:
        yield made


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def size_of(client: httpx2.Client) -> int:
    answer = client.get(f"{LOG}/checkpoint")
    return 0 if answer.status_code == 404 else int(answer.text.split("\n")[1])


def keys_of(client: httpx2.Client) -> list[Any]:
    return [parse_verifier_key(each["key"]) for each in client.get(f"{LOG}/key").json()["keys"]]


def leaves_of(served: Served) -> list[bytes]:
    return [each.leaf for each in served.wait(served.store.read_log("acme", 0, 1_000))]


def ids_of(client: httpx2.Client) -> list[str]:
    """Ids by position."""
    return [each["id"] for each in client.get(f"{EVENTS}/feed?limit=1000&from=start").json()["events"]]


def test_the_newest_checkpoint_is_signed(sealed: Served, client: httpx2.Client) -> None:
    """It is a note of the log's own key, of the root of the stored leaves."""
    answer = client.get(f"{LOG}/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    [key] = keys_of(client)
    found = verify_checkpoint(answer.content, [key]).checkpoint
    assert found == ("log.example/acme/1", SIZE, root_of(leaves_of(sealed)))


@catches(replaced(seals, "_ml_dsa_key", lambda *_: None, "lists_no_second_key"))
def test_the_second_key_is_listed(client: httpx2.Client) -> None:
    """The server signs by ML-DSA-44 too, by the key that stands beside the one by Ed25519."""
    [listed] = client.get(f"{LOG}/key").json()["keys"]
    assert listed["mlDsaKey"] is not None
    key = parse_verifier_key(listed["mlDsaKey"])
    assert verify_checkpoint(client.get(f"{LOG}/checkpoint").content, [key]).signers == (key,)


def test_a_key_that_does_not_follow_from_the_secret_of_the_server_is_not_listed() -> None:
    """The secret was replaced since, so the server cannot know the second key of that origin."""
    keys, other = (LogKeys(StoreSecret.random(), ml_dsa=True) for _ in range(2))
    origin = Origin(1, "log.example/acme/1", str(keys.key("log.example/acme/1")))
    assert seals._ml_dsa_key(keys, origin) == str(keys.ml_dsa_key(origin.name))
    assert seals._ml_dsa_key(other, origin) is None


def test_checkpoints_are_listed(client: httpx2.Client) -> None:
    """The newest, and the first of the hour; page by page."""
    found = client.get(f"{LOG}/checkpoints").json()["checkpoints"]
    assert [each["size"] for each in found][-1] == 1
    assert found[0]["note"] == client.get(f"{LOG}/checkpoint").text
    older = client.get(f"{LOG}/checkpoints?before={SIZE}&limit=1").json()["checkpoints"]
    assert [each["size"] for each in older] == [1]
    assert problems(client.get(f"{LOG}/checkpoints?before=0")) == [(["query", "before"], "out_of_range")]


def test_the_root_is_made_of_the_tiles(sealed: Served, client: httpx2.Client) -> None:
    """Leaves and the tile above them. What the checkpoint does not have is not there."""
    leaves = leaves_of(sealed)
    assert client.get(f"{LOG}/tile/0/000").content == b"".join(leaves[:256])
    assert client.get(f"{LOG}/tile/0/001.p/44").content == b"".join(leaves[256:])
    assert client.get(f"{LOG}/tile/1/000.p/1").content == root_of(leaves[:256])
    for missing in ("0/001", "0/001.p/45", "0/002.p/1", "1/000.p/2", "2/000.p/1", "0/0", "nonsense", "-1/000"):
        assert code_of(client.get(f"{LOG}/tile/{missing}")) == "not_found"


def test_checkpoints_are_consistent(sealed: Served, client: httpx2.Client) -> None:
    """An earlier size is the beginning of a later one, for sizes around a tile too."""
    leaves = leaves_of(sealed)
    for old, new in ((1, SIZE), (255, 257), (256, 299), (0, 5), (7, 7)):
        body = client.get(f"{LOG}/consistency?from={old}&to={new}").json()
        hashes = [decode_base64(each) for each in body["hashes"]]
        assert is_consistent(old, new, hashes, root_of(leaves[:old]), root_of(leaves[:new]))
    assert client.get(f"{LOG}/consistency?from=3").json()["to"] == SIZE
    assert code_of(client.get(f"{LOG}/consistency?from=1&to={SIZE + 1}")) == "not_sealed_yet"
    for query in (f"from={SIZE + 1}", "from=5&to=4"):
        assert problems(client.get(f"{LOG}/consistency?{query}")) == [(["query", "from"], "size_range")]


def _first_index(_index: int, size: int) -> Any:
    """Mutant: the hashes are those of the first event."""
    return inclusion_ranges(0, size)


@catches(replaced(seals, "inclusion_ranges", _first_index, "proves_another_event"))
def test_each_event_is_proven(client: httpx2.Client) -> None:
    """The proof has all of the event: its envelope makes the leaf, and salt and payload make the envelope's hash."""
    ids, keys = ids_of(client), keys_of(client)
    for position in (1, 2, 256, 257, SIZE):
        answer = client.get(f"{EVENTS}/{ids[position - 1]}/proof")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        proof = parse_proof(answer.text)
        assert proof.extra is not None
        envelope, salt, payload = decode_evidence(proof.extra)
        verified = verify_proof(proof, leaf_hash(envelope), keys)
        assert (proof.index, verified.checkpoint.size) == (position - 1, SIZE)
        assert f'"id":"{ids[position - 1]}"'.encode() in envelope
        assert salt is not None
        assert payload is not None
        assert f'"payloadHash":"{hash_payload(salt, payload).hex()}"'.encode() in envelope


async def test_what_is_not_sealed_yet_is_said(sealed: Served, client: httpx2.Client) -> None:
    """An event that is newer than the newest checkpoint, and a log without one."""
    with pytest.MonkeyPatch.context() as patch:
        real = sealed.store.seals.list_checkpoints

        async def older(tenant: str, _before: int | None, limit: int) -> Any:
            return await real(tenant, SIZE, limit)

        async def last(tenant: str, _epoch: int) -> Any:
            return (await real(tenant, SIZE, 1))[0]

        patch.setattr(sealed.store.seals, "list_checkpoints", older)
        patch.setattr(sealed.store.seals, "last_checkpoint", last)
        newest = ids_of(client)[-1]
        assert code_of(client.get(f"{EVENTS}/{newest}/proof")) == "not_sealed_yet"
        of_epoch = client.get(f"{EVENTS}/{newest}/proof?epoch=1").json()
        assert (of_epoch["code"], "of this epoch" in of_epoch["detail"]) == ("not_sealed_yet", True)
        assert client.get(f"{EVENTS}/{ids_of(client)[0]}/proof").status_code == 200
    with sealed.client(READ, tenant="empty") as other:
        for path in ("checkpoint", "consistency", "tile/0/000"):
            assert code_of(other.get(f"{LOG}/{path}")) == "not_sealed_yet"
        assert other.get(f"{LOG}/checkpoints").json() == {"checkpoints": []}
        assert code_of(other.get(f"{EVENTS}/{newest}/proof")) == "not_found"
        assert keys_of(other) == []


async def test_the_newest_with_a_quorum_is_served_when_asked_for(sealed: Served, client: httpx2.Client) -> None:
    """Before, and for an event that it does not have: not sealed yet. One of another epoch is not served."""
    for path in (f"{LOG}/checkpoint", f"{EVENTS}/{ids_of(client)[0]}/proof"):
        assert code_of(client.get(f"{path}?cosigned=true")) == "not_sealed_yet"
        assert problems(client.get(f"{path}?cosigned=1")) == [(["query", "cosigned"], "bool_parsing")]
    latest, first = sealed.wait(sealed.store.seals.list_checkpoints("acme", None, 2))

    def keep(kept: SealedCheckpoint) -> None:
        place = Place("witnesses", kept.size, msgspec.json.encode(kept))
        sealed.wait(sealed.store.followers.save_place("acme", place))

    keep(first)
    assert client.get(f"{LOG}/checkpoint?cosigned=true").text == first.note
    assert client.get(f"{LOG}/checkpoint").text == latest.note
    proof = client.get(f"{EVENTS}/{ids_of(client)[0]}/proof?cosigned=true").text
    assert verify_proof(parse_proof(proof), leaves_of(sealed)[0], keys_of(client)).checkpoint.size == 1
    assert code_of(client.get(f"{EVENTS}/{ids_of(client)[1]}/proof?cosigned=true")) == "not_sealed_yet"
    of_epoch = client.get(f"{EVENTS}/{ids_of(client)[1]}/proof?epoch=1").text
    assert verify_proof(parse_proof(of_epoch), leaves_of(sealed)[1], keys_of(client)).checkpoint.size == SIZE
    assert code_of(client.get(f"{EVENTS}/{ids_of(client)[1]}/proof?epoch=2")) == "not_sealed_yet"
    refused = client.get(f"{EVENTS}/{ids_of(client)[1]}/proof?epoch=1&cosigned=true")
    assert problems(refused) == [(["query", "epoch"], "epoch_with_cosigned")]
    checkpoint = parse_checkpoint(parse_note(latest.note.encode()).text)
    noted = latest.note + signature_line(Cosigner("w", bytes(32)).cosign(checkpoint, 1))
    keep(msgspec.structs.replace(latest, note=noted))
    assert client.get(f"{LOG}/checkpoint").text == client.get(f"{LOG}/checkpoint?cosigned=true").text == noted
    assert [each["note"] for each in client.get(f"{LOG}/checkpoints").json()["checkpoints"]] == [noted, first.note]
    assert client.get(f"{EVENTS}/{ids_of(client)[1]}/proof").text.endswith(noted)
    keep(msgspec.structs.replace(latest, epoch=7))
    assert code_of(client.get(f"{LOG}/checkpoint?cosigned=true")) == "not_sealed_yet"
    sealed.wait(sealed.store.followers.delete_place("acme", "witnesses"))


@pytest.mark.parametrize(
    ("secret", "more", "works"),
    [
        (StoreSecret("x" * 32, is_shared=True), {}, 1),
        (StoreSecret("x" * 32, is_shared=True), {"seal": False}, 0),
        (StoreSecret("x" * 32), {}, 0),
    ],
    ids=["sealed", "switched off", "no shared secret"],
)
async def test_who_seals(tmp_path: Path, secret: StoreSecret, more: dict[str, Any], works: int) -> None:
    """A server whose secret all servers of the store have, unless a setting switches it off."""
    url = f"sqlite:///{tmp_path}/whence.db"
    store = create_store(url)
    worker = new_worker(Settings(store=url, **more), store, secret, Metrics([]))
    assert len([run for run in worker._beside if isinstance(getattr(run, "__self__", None), Sealing)]) == works
    await store.close()


def test_an_epoch_is_asked_for_once(sealed: Served) -> None:
    """By an admin, with one of the reasons. Until it has begun, the same request asks for nothing more."""
    with sealed.client(READ, WRITE, ADMIN, tenant="turned") as client:
        path = f"{LOG}/epochs"
        assert code_of(client.post(path, json={"reason": "rotated"})) == "not_sealed_yet"
        client.post(EVENTS, json=event())
        until(lambda: size_of(client) == 1)
        assert problems(client.post(path, json={"reason": "bored", "x": 1})) == [
            (["body", "x"], "extra_forbidden"),
            (["body", "reason"], "enum"),
        ]
        assert problems(client.post(path, json={})) == [(["body", "reason"], "missing")]
        answer = client.post(path, json={"reason": "compromised"})
        assert (answer.status_code, answer.json()["ended"], answer.json()["epoch"]) == (202, "log.example/turned/1", 2)
        until(lambda: len(keys_of(client)) == 2)
        until(lambda: size_of(client) == 2)
        assert client.get(f"{LOG}/checkpoint").text.startswith("log.example/turned/2\n")
    with sealed.client(READ, tenant="turned") as reader:
        assert code_of(reader.post(path, json={"reason": "rotated"})) == "forbidden"
