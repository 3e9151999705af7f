"""A new epoch of a log: after a restore, for another key, and whenever the process is stopped in between."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.made import NOON, TENANT
from tests.unit.mutants import catches, replaced
from tests.unit.test_merkle import root_of
from tests.unit.test_sealer import ORIGIN, append, keys, latest, leaves_of, sealing_of
from whence.checkpoints import LogProof, parse_checkpoint, verify_checkpoint
from whence.errors import Unavailable
from whence.events import Event, Viewer
from whence.merkle_proofs import inclusion_ranges
from whence.notes import decode_base64, parse_note, parse_verifier_key
from whence.proven_events import followed_keys
from whence.sealer import OVERLAP_US, Sealing
from whence.storage import create_store
from whence.storage.followers import Definition
from whence.storage.seals import EPOCH, EpochReason, EpochRequest, hashes_of
from whence.storage.sqlite.backup import restore
from whence.wire.ids import derived_uuid
from whence.wire.seals import encode_evidence

NEXT = "log.example/acme/2"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    """A log of three events that is sealed."""
    opened = create_store(f"sqlite:///{tmp_path}/log.db")
    await append(opened, 0, 3)
    await sealing_of(opened).seal_all()
    yield opened
    await opened.close()


async def ask(store: Any, reason: EpochReason) -> None:
    asked = EpochRequest(ended=ORIGIN, reason=reason, actor_type="api_key", actor_id="k1", requested_at=NOON)
    assert await store.followers.put_definition(Definition(TENANT, EPOCH, "2", 1, msgspec.json.encode(asked)))


async def end_of(store: Any, event_type: str) -> tuple[Event, dict[str, Any]]:
    """The event about the end of the first epoch, and its payload."""
    event = await store.get_event(Viewer(TENANT), derived_uuid(TENANT, event_type, ORIGIN))
    assert event is not None
    return event, msgspec.json.decode(event.payload)


async def _unrecorded(*_arguments: Any) -> None:
    """Mutant: an epoch ends without a word."""


async def _in_one_step(self: Sealing, tenant: str) -> bool:
    """Mutant: the former key does not sign the event that names the new one."""
    return True


ends_in_silence = replaced(Sealing, "_record_end", _unrecorded, "ends_in_silence")
vouches_for_nothing = replaced(Sealing, "seal", _in_one_step, "vouches_for_nothing")


@catches(ends_in_silence)
async def test_a_restored_log_goes_on_under_another_origin(tmp_path: Path) -> None:
    """Its first event of the epoch has the last checkpoint that it still extends, and what was signed beyond that."""
    path = tmp_path / "log.db"
    store = create_store(f"sqlite:///{path}")
    await append(store, 0, 4)
    await sealing_of(store).seal_all()
    common = (await latest(store)).note
    await store.close()
    shutil.copy(path, tmp_path / "copy.db")
    store = create_store(f"sqlite:///{path}")
    await append(store, 4, 9)
    await sealing_of(store).seal_all()
    lost = await latest(store)
    await store.close()

    assert restore(str(tmp_path / "copy.db"), str(path), force=True).epochs == 1
    store = create_store(f"sqlite:///{path}")
    sealing = sealing_of(store)
    await append(store, 100, 102)
    await sealing.seal_all()
    assert sealing.stopped == {}
    event, payload = await end_of(store, "whence.log_restored")
    assert (event.actor_type, event.actor_id, payload["checkpoint"]) == ("system", "whence", common)
    assert (payload["signedSize"], decode_base64(payload["signedRoot"])) == (9, lost.root)
    found = await latest(store)
    verified = verify_checkpoint(found.note.encode(), await keys(store)).checkpoint
    assert verified == (NEXT, 7, root_of(await leaves_of(store)))
    assert await store.followers.list_definitions(EPOCH) == []
    await store.close()


async def test_a_restore_of_all_that_was_signed_changes_no_origin(tmp_path: Path) -> None:
    """A backup that has every signed event is the same log."""
    path = tmp_path / "log.db"
    store = create_store(f"sqlite:///{path}")
    await append(store, 0, 4)
    await sealing_of(store).seal_all()
    await store.close()
    shutil.copy(path, tmp_path / "copy.db")
    assert restore(str(tmp_path / "copy.db"), str(path), force=True).epochs == 0


async def _none_later(*_arguments: Any) -> list[Any]:
    """Mutant: what was signed in a later epoch is not looked for."""
    return []


@catches(replaced(Sealing, "_signed_after", _none_later, "a_former_key_signs_again"))
async def test_a_backup_from_before_an_epoch_is_not_signed_by_its_former_key(tmp_path: Path) -> None:
    """Though it has all that this key signed. A restore begins another epoch; without one, sealing stops."""
    path = tmp_path / "log.db"
    store = create_store(f"sqlite:///{path}")
    await append(store, 0, 3)
    await sealing_of(store).seal_all()
    await store.close()
    shutil.copy(path, tmp_path / "copy.db")
    store = create_store(f"sqlite:///{path}")
    await ask(store, EpochReason.COMPROMISED)
    await sealing_of(store).seal_all()
    lost = await latest(store)
    await store.close()
    assert lost.size == 4

    (tmp_path / "other").mkdir()
    for name, origin in (("copy.db", "log.db"), ("log.db.signed", "log.db.signed")):
        shutil.copy(tmp_path / name, tmp_path / "other" / origin)
    store = create_store(f"sqlite:///{tmp_path}/other/log.db")
    await append(store, 100, 105)
    sealing = sealing_of(store)
    await sealing.seal_all()
    assert "a backup was restored" in sealing.stopped.get(TENANT, "")
    assert (await latest(store)).size == 3
    await store.close()

    assert restore(str(tmp_path / "copy.db"), str(path), force=True).epochs == 1
    store = create_store(f"sqlite:///{path}")
    await append(store, 100, 105)
    sealing = sealing_of(store)
    await sealing.seal_all()
    assert sealing.stopped == {}
    _, payload = await end_of(store, "whence.log_restored")
    assert (payload["newOrigin"], payload["signedSize"]) == ("log.example/acme/3", lost.size)
    assert parse_checkpoint(parse_note((await latest(store)).note.encode()).text).origin == "log.example/acme/3"
    await store.close()


@catches(vouches_for_nothing)
async def test_a_new_key_is_announced_under_the_former_one(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The former key signs the event that names the new one; then both sign for a week."""
    published = []
    put = store.seals.put_checkpoints

    async def note(new: Any) -> Any:
        published.extend(each.checkpoint.note for each in new)
        return await put(new)

    monkeypatch.setattr(store.seals, "put_checkpoints", note)
    await ask(store, EpochReason.ROTATED)
    sealing = sealing_of(store)
    for _ in range(2):
        await sealing.seal_all()
    event, payload = await end_of(store, "whence.log_key_rotated")
    former, new = await store.seals.list_origins(TENANT)
    assert (payload["newOrigin"], payload["newKey"], event.actor_id) == (NEXT, new.key, "k1")
    announced, begun = (parse_checkpoint(text.partition("\n\n")[0] + "\n") for text in published)
    assert (announced.origin, announced.size) == (ORIGIN, event.position)
    assert (begun.origin, begun.size) == (NEXT, event.position)
    assert [each.name for each in parse_note(published[1].encode()).signatures] == [NEXT, former.name]
    found = await store.seals.last_checkpoint(TENANT, 1)
    evidence = await store.seals.get_evidence(TENANT, event.id)
    hashes = await hashes_of(store.seals, TENANT, inclusion_ranges(event.position - 1, found.size))
    extra = encode_evidence(evidence.envelope, evidence.salt, evidence.payload)
    proof = str(LogProof(event.position - 1, tuple(hashes), found.note, extra))
    assert followed_keys([parse_verifier_key(former.key)], [proof])[1:] == (parse_verifier_key(new.key),)

    sealing._clock = lambda: NOON + OVERLAP_US
    await append(store, 10, 11)
    await sealing.seal_all()
    assert [each.name for each in parse_note(published[2].encode()).signatures] == [NEXT]
    assert await store.followers.list_definitions(EPOCH) == []


async def test_a_key_that_somebody_else_has_signs_no_more(store: Any) -> None:
    """The new epoch begins at once, and its event says from when on the former key proves nothing."""
    await ask(store, EpochReason.COMPROMISED)
    await sealing_of(store).seal_all()
    _, payload = await end_of(store, "whence.log_key_compromised")
    assert (payload["origin"], payload["signedSize"]) == (ORIGIN, 3)
    note = parse_note((await latest(store)).note.encode())
    assert [each.name for each in note.signatures] == [NEXT]


@pytest.mark.parametrize("reason", list(EpochReason))
@pytest.mark.parametrize(
    ("part", "step"),
    [("", "append"), ("seals", "record_signed"), ("seals", "add_origin"), ("followers", "delete_definition")],
)
async def test_an_epoch_begins_once_though_its_process_stops(
    store: Any, monkeypatch: pytest.MonkeyPatch, reason: EpochReason, part: str, step: str
) -> None:
    """Before and after each step: the next process goes on, with one event and one origin."""
    for after in (False, True):
        owner = getattr(store, part) if part else store
        real = getattr(owner, step)

        async def stop(*arguments: Any, real: Any = real, after: bool = after) -> Any:
            if after:
                await real(*arguments)
            raise Unavailable("The power went out.")

        if not after:
            await ask(store, reason)
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, stop)
            with contextlib.suppress(Unavailable):
                await sealing_of(store).seal_all()
    sealing = sealing_of(store)
    for _ in range(2):
        await sealing.seal_all()
    assert [each.name for each in await store.seals.list_origins(TENANT)] == [ORIGIN, NEXT]
    assert (await store.head(TENANT)).size == 4
    assert (await latest(store)).size == 4 and sealing.stopped == {}
