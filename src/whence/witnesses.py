"""Asks witnesses to cosign the checkpoints of the logs that this process seals.

    published    the sealer says which logs have a new checkpoint; nothing waits for what happens here
    asked        each witness of the policy gets the newest checkpoint, with the proof from what it cosigned last
    kept         once the quorum has cosigned it, the note with all cosignatures is a place of the log

The place goes forward only, so a log always has a checkpoint with a quorum once it had one. A log whose newest
checkpoints miss the quorum for some minutes is an alert: an error in the server's log, a metric, and an event.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from whence.addresses import Allowed, parse_target
from whence.checkpoints import Checkpoint, cosignature_of, parse_checkpoint
from whence.errors import WhenceError
from whence.events import Viewer
from whence.merkle_proofs import consistency_ranges
from whence.notes import BadNote, Note, NoteSignature, VerifierKey, parse_note
from whence.outbound import Answer, Sender
from whence.sealer import Sealing
from whence.storage.base import Store, Write, refusal_of
from whence.storage.followers import Place
from whence.storage.seals import SealedCheckpoint, hashes_of
from whence.wire.ids import derived_uuid
from whence.wire.log_events import log_event
from whence.witness_policy import POLICY_BYTES_MAX, BadPolicy, Witness, WitnessPolicy, check_askable, parse_policy
from whence.witness_protocol import ADD_CHECKPOINT, SIZE_MEDIA, encode_request, parse_size

__all__ = ["QUORUM_MISSED", "QUORUM_MISSED_S", "Witnesses", "cosigned_checkpoint", "read_policy", "witness_sender"]

QUORUM_MISSED = "whence.quorum_missed"
"""The type of the event that says that a log lacks the cosignatures of its quorum."""

QUORUM_MISSED_S = 300.0
"""After this time without a quorum, in seconds, a log is one that misses it."""

_PLACE = "witnesses"
_EVERY_S = 1.0
_AGAIN_S = 10.0
"""A log that missed its quorum is tried again after this time, or with its next checkpoint."""

_AT_ONCE = 32
"""Logs that are tried at the same time."""

_TIMEOUT_S = 5.0
_ANSWER_BYTES = 32 * 1024
_PAUSE_S, _PAUSE_MAX_S = 1.0, 300.0
"""A witness that does not serve is left alone for a second, then twice as long each time, up to five minutes."""

_REFUSED_S = 60.0
"""A witness that refuses a log is not asked about it for this time."""

_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "Whence"}
_REFUSALS = {
    403: "It does not trust the key that signed the checkpoint.",
    404: "It does not know this log: start it with the key of the log, or mend its URL in the policy.",
    409: "It cosigned another size, and did not say which.",
    422: "It refused the proof: it cosigned another history of this log.",
}
_UNAVAILABLE = frozenset({408, 429, 500, 502, 503, 504})

_log = structlog.get_logger("whence.witnesses")


async def cosigned_checkpoint(store: Store, tenant: str) -> SealedCheckpoint | None:
    """The newest checkpoint of a log that a quorum has cosigned, with their cosignatures; None before the first."""
    place = await store.followers.get_place(tenant, _PLACE)
    if place is None:
        return None
    found = msgspec.json.decode(place.state, type=SealedCheckpoint)
    # A witness may have answered after the tenant was deleted, and another one of the name was made.
    origins = {origin.epoch: origin.name for origin in await store.seals.list_origins(tenant)}
    return found if _checkpoint_in(found).origin == origins.get(found.epoch) else None


def read_policy(path: Path) -> WitnessPolicy:
    """The policy of WHENCE_WITNESS_POLICY. Raises WhenceError for a file that cannot be read, or is no policy by which
    witnesses can be asked."""
    try:
        with path.open("rb") as file:
            policy = parse_policy(file.read(POLICY_BYTES_MAX + 1))
        check_askable(policy)
    except OSError:
        raise WhenceError("WHENCE_WITNESS_POLICY must name a file that can be read.") from None
    except BadPolicy as error:
        raise WhenceError(f"WHENCE_WITNESS_POLICY names a file that cannot be used. {error}") from None
    return policy


def witness_sender(policy: WitnessPolicy, timeout_s: float = _TIMEOUT_S) -> Sender:
    """What sends requests to the witnesses of a policy. The operator names them, so each may be at any address. What
    they answer leads nowhere else."""
    targets = [parse_target(witness.url) for witness in policy.witnesses.values() if witness.url]
    allowed = Allowed(hosts=frozenset((target.host, target.port) for target in targets))
    return Sender(allowed, timeout_s=timeout_s, kept=_ANSWER_BYTES)


class Witnesses:
    """Asks the witnesses of a policy about the logs that the same process seals."""

    def __init__(
        self,
        store: Store,
        sealing: Sealing,
        policy: WitnessPolicy,
        sender: Sender,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        """`clock` is the time in microseconds since the epoch."""
        self._store, self._sealing, self._policy, self._sender, self._clock = store, sealing, policy, sender, clock
        self._asked = [_AskedWitness(witness, sender) for witness in policy.witnesses.values() if witness.url]
        self._due: dict[str, float] = {}
        self._waiting: dict[str, _Waiting] = {}

    @property
    def missing(self) -> list[str]:
        """The tenants whose log misses its quorum."""
        now = time.monotonic()
        return [tenant for tenant, waiting in self._waiting.items() if now - waiting.since >= QUORUM_MISSED_S]

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                try:
                    await self.ask_all()
                except WhenceError as error:
                    _log.warning("witnesses_wait", error=str(error))
                await asyncio.sleep(_EVERY_S)
        finally:
            await self._sender.close()

    async def ask_all(self) -> None:
        """Ask about every log that has a new checkpoint, and again about those without a quorum."""
        if not self._sealing.leads:
            self._due.clear()
            self._waiting.clear()
            return
        now = time.monotonic()
        self._due |= dict.fromkeys(self._sealing.take_published(), now)
        due = [tenant for tenant, at in self._due.items() if at <= now]
        for at in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*map(self._ask_about, due[at : at + _AT_ONCE]))

    async def _ask_about(self, tenant: str) -> None:
        """Ask about one log, and note since when it has no quorum. An error harms no other log."""
        self._due[tenant] = time.monotonic() + _AGAIN_S
        waiting = self._waiting.setdefault(tenant, _Waiting())
        try:
            if await self.ask(tenant):
                del self._due[tenant], self._waiting[tenant]
                if waiting.is_announced:
                    _log.info("quorum_met", tenant=tenant)
            elif not waiting.is_announced and time.monotonic() - waiting.since >= QUORUM_MISSED_S:
                await self._announce_missed(tenant)
                waiting.is_announced = True
        except WhenceError as error:
            _log.warning("witnesses_wait", tenant=tenant, error=str(error))
        except Exception as error:
            _log.error("witnesses_failed", tenant=tenant, error=type(error).__name__, exc_info=True)

    async def ask(self, tenant: str) -> bool:
        """Ask the witnesses to cosign the newest checkpoint of a log. Returns whether the quorum has. Raises
        Unavailable, and Unsound when hashes are missing."""
        seals = self._store.seals
        found = await seals.list_checkpoints(tenant, None, 1)
        kept = await cosigned_checkpoint(self._store, tenant)
        if not found:
            return True
        if kept is not None and (kept.epoch, kept.size) >= (found[0].epoch, found[0].size) and self._is_met_by(kept):
            return True
        [latest] = found

        async def proof(old: int) -> list[bytes]:
            return await hashes_of(seals, tenant, consistency_ranges(old, latest.size))

        note = parse_note(latest.note.encode())
        guess = kept.size if kept is not None and kept.epoch == latest.epoch else 0
        tasks = [asyncio.create_task(witness.cosignature(note, guess, proof)) for witness in self._asked]
        cosigned: dict[VerifierKey, NoteSignature] = {}
        try:
            for task in asyncio.as_completed(tasks):
                answer = await task
                if answer is not None:
                    cosigned[answer.key] = answer.signature
                    if self._policy.is_met(cosigned):  # a slow witness does not delay the others
                        await self._keep(tenant, latest, note, cosigned)
        finally:
            for each in tasks:
                each.cancel()
        return self._policy.is_met(cosigned)

    def _is_met_by(self, kept: SealedCheckpoint) -> bool:
        """Whether a kept checkpoint has the quorum of this policy: it may be of an earlier one."""
        signatures = parse_note(kept.note.encode()).signatures
        named = {(each.name, each.key_id) for each in signatures}
        return self._policy.is_met([key for key in self._policy.keys if (key.name, key.id) in named])

    async def _keep(
        self, tenant: str, sealed: SealedCheckpoint, note: Note, cosigned: Mapping[VerifierKey, NoteSignature]
    ) -> None:
        """Keep a checkpoint that the quorum has cosigned, unless a newer one is kept already."""
        kept = await cosigned_checkpoint(self._store, tenant)
        if kept is not None and (kept.epoch, kept.size) > (sealed.epoch, sealed.size):
            return
        text = str(Note(note.text, (*note.signatures, *cosigned.values())))
        state = msgspec.json.encode(msgspec.structs.replace(sealed, note=text))
        await self._store.followers.save_place(tenant, Place(_PLACE, sealed.size, state))

    async def _announce_missed(self, tenant: str) -> None:
        """Say in the server's log and in an event that a log misses its quorum. There is one event for each size from
        which on it is missing, whichever process says so."""
        [latest] = await self._store.seals.list_checkpoints(tenant, None, 1)
        kept = await cosigned_checkpoint(self._store, tenant)
        origin = _checkpoint_in(latest).origin
        size = kept.size if kept is not None and kept.epoch == latest.epoch else 0
        event_id = derived_uuid(tenant, QUORUM_MISSED, origin, str(size))
        if await self._store.get_event(Viewer(tenant), event_id) is None:
            payload = {"cosignedSize": size, "origin": origin, "size": latest.size}
            event = log_event(tenant, QUORUM_MISSED, payload, event_id=event_id, at=self._clock())
            [result] = await self._store.append(tenant, [Write((event,))])
            error = refusal_of(result)
            if error is not None:
                raise error
        _log.error("quorum_missed", tenant=tenant, size=latest.size, cosigned_size=size)


def _checkpoint_in(sealed: SealedCheckpoint) -> Checkpoint:
    return parse_checkpoint(parse_note(sealed.note.encode()).text)


class _Waiting:
    """Since when a log has no quorum, by the monotonic clock, and whether that was said."""

    def __init__(self) -> None:
        self.since, self.is_announced = time.monotonic(), False


class _Cosignature(NamedTuple):
    key: VerifierKey
    signature: NoteSignature


class _Refused(Exception):
    """Why a witness gave no cosignature. Unless `serves`, it is not asked about other logs either."""

    def __init__(self, sentence: str, *, serves: bool = True, wait_s: float | None = None) -> None:
        super().__init__(sentence)
        self.serves, self.wait_s = serves, wait_s


class _AskedWitness:
    """A witness, what it is known to have cosigned, and when it is asked again."""

    def __init__(self, witness: Witness, sender: Sender) -> None:
        self._key, self._sender = witness.key, sender
        self._target = parse_target(witness.url + ADD_CHECKPOINT)
        self._sizes: dict[str, int] = {}
        self._again: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._serves_at = 0.0
        self._pause_s = _PAUSE_S

    async def cosignature(
        self, note: Note, guess: int, proof: Callable[[int], Awaitable[list[bytes]]]
    ) -> _Cosignature | None:
        """Ask for the cosignature of a checkpoint; None if there is none. `guess` is the size that the witness may have
        cosigned last, and `proof` gives the hashes of the proof from a size."""
        checkpoint = parse_checkpoint(note.text)
        now = time.monotonic()
        if now < max(self._serves_at, self._again.get(checkpoint.origin, 0.0)):
            return None
        try:
            found = await self._ask(checkpoint, str(note), guess, proof)
        except _Refused as error:
            self._leave_alone(checkpoint.origin, error)
            return None
        self._serves_at, self._pause_s = 0.0, _PAUSE_S
        self._again.pop(checkpoint.origin, None)
        for place in ("", checkpoint.origin):
            self._reasons.pop(place, None)
        return _Cosignature(self._key, found)

    async def _ask(
        self, checkpoint: Checkpoint, note: str, guess: int, proof: Callable[[int], Awaitable[list[bytes]]]
    ) -> NoteSignature:
        """The cosignature. Raises _Refused."""
        old = min(self._sizes.get(checkpoint.origin, guess), checkpoint.size)
        answer = await self._post(encode_request(old, await proof(old), note))
        size = parse_size(answer.body) if answer.status == 409 and answer.media == SIZE_MEDIA else None
        if size is not None and size > checkpoint.size:
            raise _Refused("It cosigned a larger size of this log. The log may have lost events.")
        if size is not None and size != old:
            answer = await self._post(encode_request(size, await proof(size), note))
        if answer.status != 200:
            raise _refused(answer)
        try:
            cosignature = cosignature_of(checkpoint, answer.body, self._key)
        except BadNote as error:
            raise _Refused(f"Its answer has no valid cosignature. {error}") from None
        self._sizes[checkpoint.origin] = checkpoint.size
        return cosignature

    async def _post(self, body: bytes) -> Answer:
        return await self._sender.post(self._target, self._key.name, _HEADERS, body)

    def _leave_alone(self, origin: str, refused: _Refused) -> None:
        """Do not ask for a while, and log the reason when it is another one than before."""
        now = time.monotonic()
        if refused.serves:
            self._again[origin] = now + _REFUSED_S
        else:
            self._serves_at = now + max(self._pause_s, min(refused.wait_s or 0.0, _PAUSE_MAX_S))
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
            origin = ""  # of no log alone
        reason = str(refused)
        if self._reasons.get(origin) != reason:
            self._reasons[origin] = reason
            _log.warning("not_cosigned", witness=self._key.name, origin=origin or None, reason=reason)


def _refused(answer: Answer) -> _Refused:
    """Why there is no cosignature, from an answer other than 200. What the witness wrote is not repeated."""
    if answer.status is None or answer.status in _UNAVAILABLE:
        reason = answer.error or f"It answered with status {answer.status}."
        return _Refused(reason, serves=False, wait_s=answer.retry_after_s)
    return _Refused(_REFUSALS.get(answer.status, f"It answered with status {answer.status}."))
