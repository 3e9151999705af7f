"""The verifier for Node against Whence's own: on mutations of proofs, on recorded logs; and what its tests catch."""

import gzip
import os
import random
import re
import shutil
import subprocess
import time
from itertools import chain
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.examples import examples, soak
from tests.proofs.mutations import any_mutation, every_bit, whole_proofs
from tests.proofs.vector_log import KEY, ORIGIN, made_event, whole_tree
from tests.proofs.verifiers import NODE, Claim, judged_by_node, judged_by_whence
from whence.checkpoints import LogProof
from whence.demo import recording
from whence.events import NewEvent, Vocabulary
from whence.merkle_proofs import inclusion_ranges
from whence.notes import parse_verifier_key
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.storage import Store, Write, create_store
from whence.storage.seals import hashes_of
from whence.wire.event import IngestContext, parse_batch
from whence.wire.seals import encode_evidence

pytestmark = pytest.mark.skipif(NODE is None and not os.environ.get("CI"), reason="Node is not installed")

VERIFIER = ROOT / "verifier"
LOANS = ROOT / "tests" / "data" / "loan-applications-sample.ndjson.gz"
MUTATIONS = 100_000 if soak() else examples(1_500)
EVENTS = 5_000 if soak() else 60
"""Of each recording."""


def is_true(claim: Claim) -> bool:
    """Whether the log of the vectors really has what is claimed."""
    if claim.origin != ORIGIN or not 0 < claim.position <= claim.size <= 70_000:
        return False
    event = made_event(claim.position - 1)
    root = whole_tree().root(0, claim.size).hex()
    return (claim.root, claim.envelope) == (root, event.envelope.decode()) and claim.payload in (None, event.payload)


def test_no_mutation_makes_a_verifier_believe_something_false() -> None:
    """Each bit of leaf, index, hashes, size, root, signature and origin, and the text: no false claim is accepted, and
    both verifiers judge alike."""
    rng = random.Random(6962)
    proofs = whole_proofs()
    bits = list(chain.from_iterable(every_bit(proof) for proof in proofs))
    rng.shuffle(bits)
    mutated = bits[: MUTATIONS * 2 // 3]
    mutated += [any_mutation(rng, proofs) for _ in range(MUTATIONS - len(mutated))]
    key = parse_verifier_key(KEY)
    ours = [judged_by_whence(each, key) for each in mutated]
    theirs = judged_by_node([each.encode() for each in proofs] + mutated, key)
    assert all(claim is not None and is_true(claim) for claim in theirs[: len(proofs)])
    assert theirs[len(proofs) :] == ours
    accepted = [claim for claim in ours if claim is not None]
    assert all(map(is_true, accepted))
    assert len(accepted) < len(mutated) / 5  # what is accepted differs in lines that mean nothing


async def test_the_recorded_logs_are_proven_to_both(tmp_path: Path) -> None:
    """Events of both recordings, stored, sealed and proven as a server does."""
    store = create_store(f"sqlite:///{tmp_path}/log.db")
    sealing = Sealing(
        store, StoreSecret("the secret of a store with recorded logs", is_shared=True), "log.example", int
    )
    try:
        for tenant, log in (("airline", recording()), ("loans", gzip.decompress(LOANS.read_bytes()))):
            ids = await _stored(store, tenant, log.splitlines()[:EVENTS])
            await sealing.seal(tenant)
            [key] = [parse_verifier_key(each.key) for each in await store.seals.list_origins(tenant)]
            proofs = [await _proof(store, tenant, event_id) for event_id in ids]
            ours = [judged_by_whence(proof, key) for proof in proofs]
            assert [None if claim is None else claim.position for claim in ours] == list(range(1, EVENTS + 1))
            assert judged_by_node(proofs, key) == ours
    finally:
        await store.close()


async def _stored(store: Store, tenant: str, lines: list[bytes]) -> list[str]:
    """Store recorded events, and return their ids in order."""
    context = IngestContext(tenant, Vocabulary.extended(["*"]), time.time_ns() // 1_000)
    ids: list[str] = []
    for first in range(0, len(lines), 1_000):
        events = parse_batch(b"\n".join(lines[first : first + 1_000]), True, context)
        new = tuple(event for event in events if isinstance(event, NewEvent))
        assert len(new) == len(events)
        await store.append(tenant, [Write(new, atomic=True)])
        ids += [str(event.id) for event in new]
    return ids


async def _proof(store: Store, tenant: str, event_id: str) -> bytes:
    """The proof as the server answers with it."""
    evidence = await store.seals.get_evidence(tenant, event_id)
    [checkpoint] = await store.seals.list_checkpoints(tenant, None, 1)
    assert evidence is not None
    index = evidence.position - 1
    hashes = await hashes_of(store.seals, tenant, inclusion_ranges(index, checkpoint.size))
    extra = encode_evidence(evidence.envelope, evidence.salt, evidence.payload)
    return str(LogProof(index, tuple(hashes), checkpoint.note, extra)).encode()


BROKEN = {
    "verifies no signature": ("ed25519.mjs", "return expected.every(", "return true || expected.every("),
    "takes any S": ("ed25519.mjs", "s >= ORDER || ", ""),
    "takes keys of small order": ("ed25519.mjs", " || hasSmallOrder(a)", ""),
    "passes over wrong lines of the key": ("verify.mjs", "if (!own.every(", "if (!own.some("),
    "needs no signature": ("verify.mjs", "return own.length > 0;", "return true;"),
    "takes any origin": ("verify.mjs", "if (key.name !== checkpoint.origin)", "if (false)"),
    "takes any id of a key": ("verify.mjs", "if (id !== hexOf(", "if (false && id !== hexOf("),
    "takes the size from the proof": (
        "verify.mjs",
        "return last === 0n && areEqual(result, root)",
        "return areEqual(result, root)",
    ),
    "compares the newer root alone": ("verify.mjs", "areEqual(before, olderRoot) && ", ""),
    "hashes leaves without a prefix": (
        "verify.mjs",
        "sha256(joined(Uint8Array.of(0), envelopeBytes))",
        "sha256(envelopeBytes)",
    ),
    "takes any payload": ("verify.mjs", "!== hash) {", "=== null) {"),
    "takes any spelling of an envelope": ("verify.mjs", "`{${written}}` !== text || !areTexts", "!areTexts"),
    "takes half of a surrogate pair": ("verify.mjs", "!areWhole || ", ""),
    "takes any spelling of extra": ("verify.mjs", "written !== text || typeof", "typeof"),
    "takes a salt without its payload": ("verify.mjs", " || (payload === null) !== (salt === null)", ""),
    "takes any base64": ("verify.mjs", "binary === null || btoa(binary) !== text", "binary === null"),
    "takes extension lines": ("verify.mjs", 'lines.length !== 4 || lines[3] !== ""', "lines.length < 4"),
    "takes leading zeros": ("verify.mjs", "/^(0|[1-9][0-9]{0,18})$/", "/^[0-9]{1,19}$/"),
    "forgets the time of a cosignature": ("verify.mjs", "time ${seconds}", "time 0"),
    "exits with 0 whatever it finds": ("whence-verify.mjs", "process.exitCode = await main(", "await main("),
    "takes a gap in a complete export": ("exports.mjs", "!this.mayBeginAt(position)", "false"),
    "takes a gap after any events": ("exports.mjs", "return this.onlyMatches && ", "return "),
    "takes the payloads of other events": (
        "exports.mjs",
        "else if (salt !== null || payload !== null)",
        "else if (false)",
    ),
    "takes any counts of a manifest": ("exports.mjs", "if (other !== undefined) throw", "if (false) throw"),
    "takes any root of an export": ("exports.mjs", "!areEqual(root, checkpoint.root)", "false"),
    "takes too many hashes": ("exports.mjs", "this.at < this.held.length || ", ""),
    "takes files that are not listed": ("exports.mjs", "if (there.some(", "if (false && there.some("),
    "takes any sum of a file": ("exports.mjs", " || found.sha256 !== sum", ""),
    "takes any spelling of a manifest": ("exports.mjs", " === text && haveKeys(fields", ".length && haveKeys(fields"),
    "forgets what a filter excludes": ("filters.mjs", " !== isExcluded", " || isExcluded"),
    "takes an event at the end of a period": ("filters.mjs", "time < until", "time <= until"),
    "misses a witness that was asked for": ("verify.mjs", "if (missing) throw", "if (false) throw"),
    "follows a key that somebody else may have": ("verify.mjs", "envelope.eventType !== KEY_ROTATED || ", ""),
    "follows another log's announcement": ("verify.mjs", "if (origin !== checkpoint.origin) throw", "if (false) throw"),
    "takes any signature by ML-DSA-44": (
        "mldsa44.mjs",
        "expected.every((byte, place) => byte === challenge[place])",
        "true",
    ),
    "takes a signature by ML-DSA-44 of any size": ("mldsa44.mjs", "Math.min(value, Q - value) >= Z_BOUND", "false"),
    "takes hints in any order": ("mldsa44.mjs", "data[place - 1] >= data[place]", "false"),
    "takes hints after the end": (
        "mldsa44.mjs",
        "data.subarray(place, HINTS_MAX).every((byte) => byte === 0)",
        "true",
    ),
    "forgets the context": ("mldsa44.mjs", "Uint8Array.of(0, context.length), context, ", "Uint8Array.of(0, 0), "),
    "forgets the name of a cosigner": ("verify.mjs", "Uint8Array.of(name.length), name, ", ""),
    "forgets the time by ML-DSA-44": ("verify.mjs", "name, numberBytes(seconds)", "name, numberBytes(0n)"),
    "follows a key by one of another type": (
        "verify.mjs",
        "key.type === COSIGNATURE_MLDSA44 ? newMlDsaKey : newKey",
        "newKey ?? newMlDsaKey",
    ),
    "takes any key in an export": ("exports.mjs", "if (key.type !== ED25519 && text", "if (text"),
    "misses a witness of an export": ("exports.mjs", "    demandCosigned(checkpoint, witnesses);\n", ""),
    "follows to any key": ("verify.mjs", "if (next.type !== key.type || ", "if ("),
}
"""What is wrong, and how it is made: the file, what stands there, and what is put in its place."""


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BROKEN)[:: 1 if soak() else 4])
def test_a_broken_verifier_fails_its_tests(name: str, tmp_path: Path) -> None:
    """The tests beside the verifier find every rule that is broken."""
    shutil.copytree(VERIFIER, tmp_path / "verifier")
    file, old, new = BROKEN[name]
    source = (tmp_path / "verifier" / file).read_text(encoding="utf-8")
    assert source.count(old) == 1
    (tmp_path / "verifier" / file).write_text(source.replace(old, new), encoding="utf-8")
    tests = "exports.test.mjs" if file in ("exports.mjs", "filters.mjs") else "verify.test.mjs"
    command = [str(NODE), "--test", str(tmp_path / "verifier" / tests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = re.search(r"^# fail (\d+)$", done.stdout, re.MULTILINE)
    assert done.returncode == 1 and failed is not None and int(failed[1]) > 0, done.stdout
