"""The log asks witnesses on loopback: what is kept of their answers, and what becomes of each refusal."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import TENANT
from tests.unit.mutants import catches, replaced
from tests.unit.test_sealer import append, keys, latest, sealing_of, store
from whence import witness_policy, witnesses
from whence.addresses import Allowed
from whence.checkpoints import Cosigner, verify_checkpoint
from whence.errors import Unavailable, WhenceError
from whence.notes import KeyType, NoteSignature, parse_note, signature_line
from whence.outbound import Sender
from whence.storage.deletions import TenantDeletion
from whence.witness import WitnessRecord, WitnessService, create_record
from whence.witness_policy import BadPolicy, WitnessPolicy, check_askable, parse_policy
from whence.witness_protocol import Refusal, parse_request
from whence.witnesses import QUORUM_MISSED, Witnesses, cosigned_checkpoint, read_policy, witness_sender

__all__ = ["store"]

PATIENCE_S = 5.0
"""How long a witness that answers may take."""

Respond = Callable[[bytes], Awaitable[bytes | None]]
"""The whole answer to the body of a request; None for none at all."""


class Recorder:
    """Notes what is logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def note(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})

    info = warning = error = note


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(witnesses, "_log", recorder)
    return recorder


def cosigner(number: int) -> Cosigner:
    """A witness by its number. The second one cosigns by ML-DSA-44."""
    type_ = KeyType.COSIGNATURE_MLDSA44 if number == 1 else KeyType.COSIGNATURE_ED25519
    return Cosigner(f"witness.example/w{number}", bytes([number]) * 32, type_)


def answer(status: int, body: str | bytes = b"", media: str = "text/plain") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status} X\r\nContent-Type: {media}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


class Scripted:
    """A witness over HTTP that answers as `respond` does. `asked` has the old size of each request."""

    def __init__(self, respond: Respond) -> None:
        self.respond, self.asked, self.url = respond, list[int](), ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)content-length: (\d+)", head)
                assert head.startswith("POST /w/add-checkpoint ")
                assert length is not None
                body = await reader.readexactly(int(length[1]))
                self.asked.append(parse_request(body).old)
                response = await self.respond(body)
                if response is None:
                    break
                writer.write(response)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(*responds: Respond) -> AsyncIterator[list[Scripted]]:
    made = [Scripted(respond) for respond in responds]
    servers = [await asyncio.start_server(each.serve, "127.0.0.1", 0) for each in made]
    for each, server in zip(made, servers, strict=True):
        each.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/w"
    try:
        yield made
    finally:
        for server in servers:
            server.close()


async def real(tmp_path: Path, opened: Any, number: int) -> Respond:
    """A witness that judges as ours does."""
    path = tmp_path / f"state-{number}"
    create_record(path, cosigner(number).key)
    record = WitnessRecord(path, cosigner(number).key)

    async def respond(body: bytes) -> bytes:
        logs = await keys(opened)
        found = WitnessService(record, cosigner(number), logs).add_checkpoint(parse_request(body))
        if not isinstance(found, Refusal):
            return answer(200, found)
        if found.size is not None:
            return answer(409, f"{found.size}\n", "text/x.tlog.size; charset=utf-8")
        return answer(found.status, found.sentence)

    return respond


async def silent(_body: bytes) -> None:
    """No answer."""


async def slow(_body: bytes) -> None:
    await asyncio.sleep(60)


def policy_of(made: list[Scripted], quorum: str) -> WitnessPolicy:
    lines = [f"witness w{n} {cosigner(n).key} {each.url}" for n, each in enumerate(made)]
    names = " ".join(f"w{n}" for n in range(len(made)))
    return parse_policy("\n".join([*lines, f"group all-of-them {quorum} {names}", "quorum all-of-them"]).encode())


@asynccontextmanager
async def asking(opened: Any, policy: WitnessPolicy, timeout_s: float = PATIENCE_S) -> AsyncIterator[Witnesses]:
    """Witnesses that are asked, by a process that seals, without pauses."""
    sealing = sealing_of(opened)
    await sealing.seal_all()
    sender = witness_sender(policy, timeout_s)
    try:
        yield Witnesses(opened, sealing, policy, sender)
    finally:
        await sender.close()


async def cosigners(opened: Any, policy: WitnessPolicy) -> tuple[int, set[str]]:
    """The size of the cosigned checkpoint and the names of those whose cosignatures on it are valid."""
    kept = await cosigned_checkpoint(opened, TENANT)
    if kept is None:
        return 0, set()
    found = verify_checkpoint(kept.note.encode(), await keys(opened), policy.keys)
    assert (found.checkpoint.size, found.checkpoint.root) == (kept.size, kept.root)
    return kept.size, {key.name for key in found.witnesses}


def names(*numbers: int) -> set[str]:
    return {cosigner(number).key.name for number in numbers}


def _any_line(_checkpoint: Any, lines: bytes, key: Any) -> NoteSignature:
    """Mutant: whatever a witness answers is taken for its cosignature."""
    return NoteSignature(key.name, key.id, bytes(72))


@catches(replaced(witnesses, "cosignature_of", _any_line, "cosignatures_are_not_checked"))
async def test_a_quorum_cosigns_as_the_log_grows(store: Any, tmp_path: Path) -> None:
    """Each new size, with the proof from the one before. A slow witness, and one that signs for another, delay nobody
    and are not counted."""

    async def of_another(body: bytes) -> bytes:
        return answer(200, signature_line(cosigner(9).cosign(parse_request(body).checkpoint, 7)))

    counted = asyncio.Event()

    async def late(_body: bytes) -> None:
        await counted.wait()

    responds = [await real(tmp_path, store, 0), await real(tmp_path, store, 1), late, of_another]
    await append(store, 0, 3)
    async with listening(*responds) as made:
        policy = policy_of(made, "2")
        async with asking(store, policy, 2 * PATIENCE_S) as asked:
            first, until = asyncio.create_task(asked.ask(TENANT)), time.monotonic() + PATIENCE_S
            while await cosigners(store, policy) != (3, names(0, 1)):
                assert time.monotonic() < until
                await asyncio.sleep(0.01)
            assert not first.done()
            counted.set()
            assert await first
            await append(store, 3, 300)
            await asked._sealing.seal_all()
            assert await asked.ask(TENANT)
            assert await cosigners(store, policy) == (300, names(0, 1))
            assert await asked.ask(TENANT)
            assert [each.asked for each in made] == [[0, 3], [0, 3], [0], [0]]


async def test_another_process_goes_on(store: Any, tmp_path: Path) -> None:
    """It knows the last size with a quorum. A witness that has another one says which, and gets that proof."""
    first, second = await real(tmp_path, store, 0), await real(tmp_path, store, 1)
    await append(store, 0, 3)
    async with listening(first, silent) as made:
        policy = policy_of(made, "1")
        async with asking(store, policy) as asked:
            assert await asked.ask(TENANT)
        made[1].respond = second
        await append(store, 3, 5)
        async with asking(store, policy) as asked:
            assert await asked.ask(TENANT)
        assert [each.asked for each in made] == [[0, 3], [0, 3, 0]]
        assert await cosigners(store, policy) == (5, names(0, 1))


REFUSALS = {
    403: "does not trust the key",
    404: "does not know this log",
    422: "another history",
    400: "status 400",
    302: "status 302",
    500: "status 500",
}


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_refusal_is_logged_and_not_repeated(store: Any, status: int, logged: Recorder) -> None:
    """The reason is ours, and nothing that the witness wrote. It is left alone for a while."""

    async def refuse(_body: bytes) -> bytes:
        return answer(status, "written by the witness")

    await refused_for(store, refuse, REFUSALS[status], logged)


async def garbage(_body: bytes) -> bytes:
    return answer(200, b"\xff\n\n garbage")


async def size_unnamed(_body: bytes) -> bytes:
    return answer(409, "3\n")


async def size_larger(_body: bytes) -> bytes:
    return answer(409, "4\n", "text/x.tlog.size")


async def no_http(_body: bytes) -> bytes:
    return b"garbage\r\n\r\n"


@pytest.mark.parametrize(
    ("respond", "sentence"),
    [
        (garbage, "no valid cosignature"),
        (size_unnamed, "did not say which"),
        (size_larger, "larger size"),
        (no_http, "did not answer in HTTP"),
        (silent, "without an answer"),
        (slow, "no answer within"),
    ],
)
async def test_a_wrong_answer_is_no_cosignature(store: Any, respond: Respond, sentence: str, logged: Recorder) -> None:
    await refused_for(store, respond, sentence, logged)


async def refused_for(opened: Any, respond: Respond, sentence: str, logged: Recorder) -> None:
    await append(opened, 0, 3)
    async with listening(respond) as made:
        policy = policy_of(made, "all")
        async with asking(opened, policy, 0.3 if respond is slow else PATIENCE_S) as asked:
            assert not await asked.ask(TENANT)
            times = len(made[0].asked)
            assert not await asked.ask(TENANT)
            assert len(made[0].asked) == times
            [line] = [each for each in logged.lines if each["event"] == "not_cosigned"]
            assert sentence in line["reason"]
            assert "written by" not in line["reason"]
    assert await cosigned_checkpoint(opened, TENANT) is None
    assert (await latest(opened)).size == 3


async def test_an_earlier_quorum_stays(store: Any, tmp_path: Path) -> None:
    """When later checkpoints miss it, and when a slower process keeps an earlier one."""
    await append(store, 0, 3)
    async with listening(await real(tmp_path, store, 0), await real(tmp_path, store, 1)) as made:
        policy = policy_of(made, "all")
        async with asking(store, policy) as asked:
            earlier = await latest(store)
            assert await asked.ask(TENANT)
            await append(store, 3, 5)
            await asked._sealing.seal_all()
            good, made[1].respond = made[1].respond, silent
            assert not await asked.ask(TENANT)
            assert await cosigners(store, policy) == (3, names(0, 1))
            made[1].respond = good
        async with asking(store, policy) as asked:
            assert await asked.ask(TENANT)
            await asked._keep(TENANT, earlier, parse_note(earlier.note.encode()), {})
            assert await cosigners(store, policy) == (5, names(0, 1))


def _whatever_is_kept(*_arguments: Any) -> bool:
    """Mutant: a checkpoint that was kept is good for every policy."""
    return True


@catches(replaced(Witnesses, "_is_met_by", _whatever_is_kept, "an_earlier_policy_will_do"))
async def test_another_policy_is_met_without_new_events(store: Any, tmp_path: Path) -> None:
    """A log that does not grow is cosigned by the witnesses that were added, too."""
    await append(store, 0, 3)
    async with listening(await real(tmp_path, store, 0), await real(tmp_path, store, 1)) as made:
        async with asking(store, policy_of(made[:1], "all")) as asked:
            assert await asked.ask(TENANT)
        policy = policy_of(made, "all")
        async with asking(store, policy) as asked:
            assert await asked.ask(TENANT)
        assert await cosigners(store, policy) == (3, names(0, 1))


async def test_a_checkpoint_of_a_former_log_is_not_kept(store: Any, tmp_path: Path) -> None:
    """The tenant was deleted while the witnesses were asked, and another one has the name."""
    await append(store, 0, 3)
    async with listening(await real(tmp_path, store, 0)) as made:
        policy = policy_of(made, "all")
        async with asking(store, policy) as asked:
            former = await latest(store)
            await store.deletions.delete_tenant(TENANT, TenantDeletion(size=3, deleted_at=1))
            await append(store, 0, 2)
            await asked._keep(TENANT, former, parse_note(former.note.encode()), {})
            assert await cosigned_checkpoint(store, TENANT) is None
            await asked._sealing.seal_all()
            assert await cosigned_checkpoint(store, TENANT) is None
            assert await asked.ask(TENANT)
            assert (await cosigners(store, policy))[0] == 2


async def test_a_missing_quorum_is_an_alert(store: Any, monkeypatch: pytest.MonkeyPatch, logged: Recorder) -> None:
    """After some minutes: in the server's log, in the metric and as one event of the log, which is sealed at once."""
    await append(store, 0, 3)
    async with listening(silent) as made:
        for _ in range(2):  # the second process says it again, but not in the log
            async with asking(store, policy_of(made, "all")) as asked:
                await asked.ask_all()
                assert asked.missing == []
                monkeypatch.setattr(witnesses, "QUORUM_MISSED_S", 0.0)
                asked._due[TENANT] = 0.0
                await asked.ask_all()
                assert asked.missing == [TENANT]
                assert logged.lines[-1]["event"] == "quorum_missed"
                await asked._sealing.seal_all()
                monkeypatch.setattr(witnesses, "QUORUM_MISSED_S", 300.0)
    log = [each.event for each in await store.read_log(TENANT, 0, 99)]
    [found] = [each for each in log if each.event_type == QUORUM_MISSED]
    assert (found.payload, found.outcome) == (b'{"cosignedSize":0,"origin":"log.example/acme/1","size":3}', "failure")
    assert (await latest(store)).size == 4


async def test_only_the_process_that_seals_asks(store: Any, tmp_path: Path) -> None:
    """Every log once it begins to seal, and then those with a new checkpoint."""
    await append(store, 0, 3)
    async with listening(await real(tmp_path, store, 0)) as made:
        policy = policy_of(made, "all")
        async with asking(store, policy) as asked:
            asked._sealing._leads = False
            await asked.ask_all()
            assert made[0].asked == []
            asked._sealing._leads = True
            for _ in range(2):
                await asked.ask_all()
            assert made[0].asked == [0]
            await append(store, 3, 5)
            await asked._sealing.seal_all()
            await asked.ask_all()
            assert made[0].asked == [0, 3]


async def test_an_error_of_one_log_harms_no_other(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again later."""

    async def fails(_self: Any, tenant: str) -> bool:
        raise {"a": Unavailable("The store is busy."), "b": ValueError("unforeseen")}[tenant]

    await append(store, 0, 3)
    async with listening(silent) as made, asking(store, policy_of(made, "all")) as asked:
        monkeypatch.setattr(Witnesses, "ask", fails)
        asked._due |= {"a": 0.0, "b": 0.0}
        asked._sealing.take_published()
        await asked.ask_all()
        assert {"a", "b"} <= asked._due.keys() & asked._waiting.keys()  # which becomes an alert
        assert all(at > 0 for at in asked._due.values())


async def test_a_witness_is_reached_where_the_operator_says(tmp_path: Path) -> None:
    """At any address, over http too; no other host is."""
    key = cosigner(0).key
    policy = parse_policy(f"witness w {key} http://127.0.0.1:9/w\nquorum w".encode())
    sender = witness_sender(policy)
    assert sender._guard._allowed == Allowed(hosts=frozenset({("127.0.0.1", 9)}))
    assert isinstance(sender, Sender)
    await sender.close()


def test_a_policy_must_be_askable(tmp_path: Path) -> None:
    """Its witnesses with a URL make the quorum, and each URL can be called."""
    one, two = cosigner(0).key, cosigner(1).key
    for text, sentence in (
        (f"witness w {one}\nquorum w", "do not make the quorum"),
        (f"witness w {one}\nquorum none", "do not make the quorum"),
        (f"witness a {one} https://a.example\nwitness b {two}\ngroup g all a b\nquorum g", "do not make the quorum"),
        (f"witness w {one} ftp://a.example\nquorum w", "URL"),
        (f"witness w {one} https://a.example/?x=1\nquorum w", "query"),
    ):
        with pytest.raises(BadPolicy, match=re.escape(sentence)):
            check_askable(parse_policy(text.encode()))
    many = "\n".join(f"witness w{n} {cosigner(n).key} https://a.example/{n}" for n in range(33)) + "\nquorum w0"
    with pytest.raises(BadPolicy, match=str(witness_policy.ASKED_MAX)):
        check_askable(parse_policy(many.encode()))
    file = tmp_path / "policy"
    with pytest.raises(WhenceError, match="can be read"):
        read_policy(file)
    file.write_text("nonsense")
    with pytest.raises(WhenceError, match="Line 1"):
        read_policy(file)
    file.write_text(f"witness w {one} https://a.example\nquorum w")
    assert read_policy(file).keys == (one,)
