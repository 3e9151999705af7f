"""`export --proof` and `verify --export` against a server that seals: a whole folder is accepted, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, event
from tests.cli.program import Cli, Ran
from tests.cli.test_checkpoints import served, store_and_seal
from whence.cli.export_check import check_folder, described
from whence.cli.trusted_keys import Trust
from whence.errors import Unsound
from whence.notes import parse_verifier_key
from whence.permissions import READ, WRITE
from whence.storage.removals import Purge
from whence.wire.export_manifests import decode_manifest, encode_manifest

__all__ = ["served"]  # the fixture

EVENTS = "/api/v1/events"
TENANT = "exported"
FILES = ["checkpoint", "entries.ndjson", "hashes", "key", "manifest.json"]


class Exports:
    """A tenant's log of 41 events, of which every fifth of the first 40 failed, and what is exported of it."""

    def __init__(self, user: Cli, folder: Path) -> None:
        self.user = user
        self.folder = folder
        self.key = user.ok("checkpoint", "key").out.strip()
        self.complete = self.make("complete", "--outcome", "failure", "--complete")

    def copy(self) -> Path:
        """A copy of the complete export of the failures, to be changed."""
        path = self.folder / f"copy-{len(list(self.folder.iterdir()))}"
        return Path(shutil.copytree(self.complete, path))

    def make(self, name: str, *arguments: str) -> Path:
        path = self.folder / name
        assert "exported and checked" in self.user.ok("export", "--proof", str(path), *arguments).err
        return path

    def verify(self, path: Path, *arguments: str) -> Ran:
        """Offline: the server that is named is not there."""
        offline = self.user.given(url="http://127.0.0.1:1", api_key="none")
        return offline.run("verify", "--export", str(path), "--key", self.key, *arguments)

    def refused(self, path: Path) -> str:
        """Why the folder is refused."""
        with pytest.raises(Unsound) as caught:
            check_folder(path, Trust((parse_verifier_key(self.key),)))
        return str(caught.value)


def fill(api: httpx2.Client, count: int = 40) -> None:
    sent = [
        event(
            eventType=("action_run.failed" if number % 5 == 0 else "action_run.completed"),
            occurredAt=f"2026-01-02T03:{number:02}:00Z",
            actorId=f"=actor {number}",
            payload={"n": number, "text": "\u2028 \U0001f600"},
        )
        for number in range(count)
    ]
    assert api.post(f"{EVENTS}/batch", json=sent).status_code == 201
    store_and_seal(api, 1)


@pytest.fixture(scope="module")
def exports(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """The log and its user are those of all tests here."""
    with served.client(READ, WRITE, tenant=TENANT) as client:
        fill(client)
    user = Cli(tmp_path_factory.mktemp("home")).given(url=served.url, api_key=served.key(READ, tenant=TENANT))
    return Exports(user, tmp_path_factory.mktemp("exports"))


def manifest_of(path: Path) -> Any:
    return decode_manifest((path / "manifest.json").read_bytes())


def entries_of(path: Path) -> list[bytes]:
    return (path / "entries.ndjson").read_bytes().splitlines(keepends=True)


def forge(path: Path, **fields: Any) -> None:
    """Write the manifest anew, with the sums of the files as they are now and other fields."""
    files = [described(path / each.name) for each in manifest_of(path).files]
    forged = msgspec.structs.replace(manifest_of(path), files=files, **fields)
    (path / "manifest.json").write_bytes(encode_manifest(forged))


def rewrite(path: Path, change: Callable[[list[bytes]], Any], **fields: Any) -> None:
    """Change the lines of the entries, and make the manifest fit."""
    lines = entries_of(path)
    change(lines)
    (path / "entries.ndjson").write_bytes(b"".join(lines))
    forge(path, **fields)


def test_matching_events_are_proven(exports: Exports) -> None:
    """The folder has the matching events alone, by position, and is checked offline with the log's key."""
    path = exports.make("failures", "--outcome", "failure")
    assert sorted(each.name for each in path.iterdir()) == FILES
    lines = [msgspec.json.decode(line) for line in entries_of(path)]
    assert [each["position"] for each in lines] == [1, 6, 11, 16, 21, 26, 31, 36]
    assert [each["payload"]["n"] for each in lines] == list(range(0, 40, 5))
    made = manifest_of(path)
    assert (made.events, made.entries, made.complete_from, made.as_of) == (8, 8, None, 41)
    assert made.filter.text == "outcome=failure" and made.filter.meaning == {"outcomes": ["failure"]}
    ran = exports.verify(path)
    assert ran.code == 0 and "8 events are proven" in ran.out and "--complete" in ran.out
    assert exports.verify(path, "--json").json["lastPosition"] == 36
    rewrite(path, _other_actor)
    assert exports.verify(path).code == 5
    for arguments in (("--export", str(path)), ("--export", str(path / "none"), "--key", exports.key)):
        assert exports.user.run("verify", *arguments).code == 2


def test_values_in_payloads_are_filters_of_an_export_that_is_not_complete(exports: Exports) -> None:
    """They are applied again offline. For --complete nobody could."""
    path = exports.make("by-payload", "--query", "payload.n:7")
    assert [each["payload"]["n"] for each in map(msgspec.json.decode, entries_of(path))] == [7]
    assert "1 event is proven" in exports.verify(path).out
    refused = exports.user.run("export", "--query", "payload.n:7", "--proof", str(path.with_name("all")), "--complete")
    assert refused.code == 2 and "has no payloads of other events" in refused.err


def test_nothing_that_matches_is_left_out(exports: Exports) -> None:
    """With --complete the envelopes of all events are there, and the payloads of those that match."""
    path = exports.complete
    lines = [msgspec.json.decode(line) for line in entries_of(path)]
    assert [each["position"] for each in lines] == list(range(1, 42))
    assert [each["position"] for each in lines if each["payload"] is not None] == [1, 6, 11, 16, 21, 26, 31, 36]
    assert all((each["salt"] is None) == (each["payload"] is None) for each in lines)
    assert "No other event matches, of those at the positions 1 to 41." in exports.verify(path).out


def _drop_other(lines: list[bytes]) -> None:
    del lines[7]


def _swap(lines: list[bytes]) -> None:
    lines[7], lines[8] = lines[8], lines[7]


def _renumber(lines: list[bytes]) -> None:
    """Two envelopes change places, and their positions do not."""
    lines[7], lines[8] = (
        lines[8].replace(b'"position":9,', b'"position":8,'),
        lines[7].replace(b'"position":8,', b'"position":9,'),
    )


def _other_payload(lines: list[bytes]) -> None:
    lines[5] = lines[5].replace(b'{"n":5,', b'{"n":6,')


def _other_actor(lines: list[bytes]) -> None:
    lines[0] = lines[0].replace(b"=actor 0", b"=actor 6")


def _lost_salt(lines: list[bytes]) -> None:
    lines[5] = lines[5][: lines[5].index(b'"salt":')] + b'"salt":null}\n'


def _payload_of_another(lines: list[bytes]) -> None:
    lines[6] = lines[6].replace(b'"payload":null', b'"payload":{}')


def _cut(lines: list[bytes]) -> None:
    del lines[-1]


@pytest.mark.parametrize(
    ("change", "fields", "sentence"),
    [
        (_drop_other, {"entries": 40}, "Position 8 is missing."),
        (_swap, {}, "Position 8 is missing."),
        (_renumber, {}, "do not lead to the root"),
        (_other_payload, {}, "Position 6: the payload is not the one that was recorded."),
        (_other_actor, {}, "do not lead to the root"),
        (_lost_salt, {}, "Position 6: there is a payload without its salt"),
        (_payload_of_another, {}, "Position 7: the event does not match the filter, and still has a payload."),
        (_cut, {"entries": 40}, "The entries end at position 40, and have to go on to 41."),
        (list.clear, {"entries": 0}, "something else about"),
        (lambda _: None, {"events": 9}, "something else about events"),
        (lambda _: None, {"erased": 1}, "something else about erased"),
        (lambda _: None, {"complete_from": None}, "Position 2: the event does not match the filter."),
        (lambda _: None, {"complete_from": 2}, "something else about completeFrom"),
        (lambda _: None, {"boundary": 1}, "something else about boundary"),
        (lambda _: None, {"first_position": 2}, "something else about firstPosition"),
        (lambda _: None, {"last_position": 37}, "something else about lastPosition"),
        (lambda _: None, {"as_of": 40}, "another log or size"),
        (lambda _: None, {"tenant_id": "other"}, "Position 1: the event is of another tenant"),
        (lambda _: None, {"format": "whence-export/2"}, "another format"),
    ],
)
def test_a_forged_export_is_refused(
    exports: Exports, change: Callable[[list[bytes]], Any], fields: dict[str, Any], sentence: str
) -> None:
    """Also when its manifest is made to fit."""
    path = exports.copy()
    rewrite(path, change, **fields)
    assert sentence in exports.refused(path)


def test_a_boundary_cannot_be_moved(exports: Exports) -> None:
    """The first entry was recorded long before the period begins; without it, less is shown than the manifest says."""
    future = ("--from", "2096-01-01", "--complete")
    path = exports.make("bounded", *future)
    made = manifest_of(path)
    assert (made.boundary, made.complete_from, made.entries, made.events) == (41, 42, 1, 0)
    assert "more than five minutes" in exports.verify(path).out
    rewrite(path, list.clear, entries=0)
    assert "something else about boundary" in exports.refused(path)
    whole = exports.make("whole", "--from", "2026-01-02T03:10:00Z", "--complete")
    assert (manifest_of(whole).boundary, manifest_of(whole).complete_from, manifest_of(whole).events) == (None, 1, 30)


def test_the_events_as_a_table_stand_beside(exports: Exports) -> None:
    """As CSV or Parquet, and are checked with the rest. A table of other events is refused."""
    for format_ in ("csv", "parquet"):
        path = exports.make(f"failures-{format_}", "--outcome", "failure", "--format", format_)
        assert sorted(each.name for each in path.iterdir()) == sorted([*FILES, f"events.{format_}"])
        assert exports.verify(path).code == 0
    assert (path.with_name("failures-csv") / "events.csv").read_text().splitlines()[1].startswith("1,")


def test_an_erased_payload_is_proven_by_its_hash(exports: Exports, served: Served) -> None:
    """It is counted, and its entry has neither payload nor salt."""
    erase(served, TENANT, 41)
    path = exports.make("erased", "--from", "-1000d", "--format", "csv")
    assert manifest_of(path).erased == 1 and manifest_of(path).events == 41
    assert msgspec.json.decode(entries_of(path)[40])["payload"] is None
    assert "The payload of 1 of them is left out" in exports.verify(path).out


def test_what_was_removed_is_not_claimed(served: Served, tmp_path: Path) -> None:
    """A complete export begins with the first event that is kept, and says so; the rest is proven as before."""
    with served.client(READ, WRITE, tenant="purged") as client:
        fill(client, 12)
    assert served.wait(served.store.removals.purge("purged", Purge(1, 8), [])) == 7
    user = Cli(tmp_path / "home").given(url=served.url, api_key=served.key(READ, tenant="purged"))
    exports = Exports(user, tmp_path)
    made = manifest_of(exports.complete)
    assert (made.complete_from, made.first_position, made.entries, made.as_of) == (8, 11, 6, 13)
    assert "Of earlier events nothing is claimed" in exports.verify(exports.complete).out


def test_what_holds_kept_and_whose_actor_was_replaced_is_exported(served: Served, tmp_path: Path) -> None:
    """Events before the first that is kept are proven as any other, and of an event whose actor has another id by now,
    there is the leaf. Both are said."""
    with served.client(READ, WRITE, tenant="erased") as client:
        fill(client, 12)
    assert served.wait(served.store.removals.purge("erased", Purge(1, 8, [2, 6]), [])) == 5
    assert served.wait(served.store.removals.erase_actor("erased", ("agent", "=actor 10"), "erased-1", 5, [])) == 1
    user = Cli(tmp_path / "home").given(url=served.url, api_key=served.key(READ, tenant="erased"))
    exports = Exports(user, tmp_path)
    made = manifest_of(exports.complete)
    assert (made.complete_from, made.first_position, made.last_position) == (8, 6, 6)
    assert (made.events, made.leaf_only, made.entries, made.as_of) == (1, 1, 7, 13)
    said = exports.verify(exports.complete).out
    assert "1 event may match too" in said and "Of earlier events nothing else is claimed" in said
    path = exports.make("all", "--format", "csv")
    assert [msgspec.json.decode(line)["position"] for line in entries_of(path)] == [2, 6, *range(8, 14)]
    assert exports.verify(path).code == 0
    path = exports.make("failures", "--outcome", "failure")
    assert [msgspec.json.decode(line)["envelope"] is None for line in entries_of(path)] == [False, True]
    rewrite(path, lambda lines: lines.pop(1), leaf_only=0, entries=1)
    assert exports.verify(path).code == 5


def erase(served: Served, tenant: str, position: int) -> None:
    """Erase a payload as a store does: its hash stays."""
    where = "key & 1099511627775 = ? AND key >> 40 = (SELECT tenant_no FROM tenant WHERE tenant = ?)"
    change(
        served,
        f"UPDATE event SET payload_hash = ?, payload = NULL, salt = NULL WHERE {where}",
        (payload_hash(served, tenant, position), position, tenant),
    )


def change(served: Served, sql: str, values: tuple[Any, ...]) -> None:
    """Change the one row of the server's store that a statement names. With the SQLite of the server: another one in
    this process would drop its locks."""
    connection = apsw.Connection(served.settings.store.removeprefix("sqlite:///"))
    connection.set_busy_timeout(10_000)
    connection.execute(sql, values)
    assert connection.changes() == 1
    connection.close()


def payload_hash(served: Served, tenant: str, position: int) -> bytes:
    [hashed] = served.wait(served.store.read_log(tenant, position - 1, 1))
    return bytes(hashed.payload_hash)


def test_what_cannot_be_exported_with_proof_is_refused(exports: Exports, tmp_path: Path) -> None:
    """With a sentence, and no folder is left."""
    (there := tmp_path / "there").mkdir()
    refused = tmp_path / "refused"
    for arguments, code in (
        (("--proof", str(there)), 2),
        (("--proof", str(refused), "-o", "x"), 2),
        (("--complete",), 2),
        (("--proof", str(refused), "--query", "since:-1h"), 2),
        (("--proof", str(refused), "--outcome", "bad"), 2),
        (("--format", "parquet"), 2),
    ):
        assert exports.user.run("export", *arguments).code == code, arguments
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("refused")]
