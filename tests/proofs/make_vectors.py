"""Makes `verifier/vectors`: what a verifier has to accept and to refuse. Another verifier can be tried on them too.

    python -m tests.proofs.make_vectors

The same files come out each time, but for the signatures by ML-DSA-44, which are random: one that is there is kept.
"""

import base64
import json
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from tests.proofs.export_vectors import the_exports
from tests.proofs.vector_log import (
    COSIGNED_AT_S,
    ERASED,
    KEY,
    ORIGIN,
    SIGNER,
    SIZE,
    SPECIAL,
    WITNESS,
    MadeEvent,
    Tree,
    Witness,
    b64,
    checkpoint_text,
    envelope_text,
    extra_of,
    leaf_of,
    line_of,
    made_event,
    note_of,
    proof_of,
    proof_text,
    signed,
    whole_tree,
)
from whence.notes import KeyType, NoteSigner, VerifierKey

VECTORS = Path(__file__).parents[2] / "verifier" / "vectors"
SIZES = (1, 2, 3, 255, 256, 257, SIZE)
PLACES = (
    (0, 1),
    (1, 2),
    (2, 3),
    (3, 255),
    (4, 256),
    (ERASED, 257),
    (254, 255),
    (255, 256),
    (256, 257),
    (69_999, SIZE),
    (6, 255),
)
PAIRS = ((1, 1), (1, 2), (2, 3), (3, 255), (255, 256), (256, 257), (256, SIZE), (257, SIZE), (65_536, SIZE))
_MLDSA_BYTES = 2420

Made = dict[str, Any]


def the_log() -> Made:
    """The special events with everything that is hashed, and the roots of the sizes."""
    return {
        "key": KEY,
        "seed": sha256(b"whence test vector key 1").hexdigest(),
        "origin": ORIGIN,
        "events": [_event(index) for index in (0, *SPECIAL, 256, SIZE - 1)],
        "roots": {str(size): whole_tree().root(0, size).hex() for size in (0, *SIZES, 65_536)},
    }


def _event(index: int) -> Made:
    event = made_event(index)
    return {
        "index": index,
        "salt": event.salt.hex(),
        "payload": event.payload,
        "envelope": event.envelope.decode(),
        "leaf": leaf_of(event.envelope).hex(),
    }


def the_proofs() -> list[Made]:
    """Proofs that hold, and what has to be refused."""
    made = [_proven(f"event {index} of {size}", index, size, proof_of(index, size)) for index, size in PLACES]
    text = checkpoint_text(257, whole_tree().root(0, 257))
    ours = line_of(SIGNER, text)
    other = line_of(NoteSigner("other.example", bytes(32)), text)
    stranger = f"— {ORIGIN} {b64(bytes(4) + bytes(2_428))}\n"
    for name, lines in {
        "signature lines of unknown keys": other + stranger + ours,
        "a line of the log's key twice": ours + ours,
        "a witness that nobody asked about": ours + WITNESS.line(text),
    }.items():
        made.append(_proven(name, 7, 257, proof_of(7, 257, note=f"{text}\n{lines}")))
    return [*made, *({"name": name, "proof": proof, "proven": None} for name, proof in _refused().items())]


def _proven(name: str, index: int, size: int, proof: str) -> Made:
    event = made_event(index)
    claim = {
        "envelope": event.envelope.decode(),
        "payload": None if index == ERASED else event.payload,
        "position": index + 1,
        "root": whole_tree().root(0, size).hex(),
        "size": size,
    }
    return {"name": name, "proof": proof, "proven": claim}


def _refused() -> dict[str, str]:
    whole = proof_of(7, 257)
    event = made_event(7)
    path, note = whole_tree().path(7, 0, 257), note_of(257)
    extra = extra_of(event.envelope, event.salt, event.payload.encode())

    def with_extra(changed: str) -> str:
        return proof_text(7, path, note, changed)

    def of_parts(*parts: bytes | None) -> str:
        envelope, salt, payload = parts
        return with_extra(extra_of(envelope or b"", salt, payload))

    salt, payload = event.salt, event.payload.encode()
    refused = {
        "the proof of another event": of_parts(made_event(8).envelope, made_event(8).salt, b'{"n":8}'),
        "another payload": of_parts(event.envelope, salt, b'{"n":8}'),
        "another salt": of_parts(event.envelope, bytes(16), payload),
        "a byte moved from salt to payload": of_parts(event.envelope, salt[:15], salt[15:] + payload),
        "a payload without its salt": of_parts(event.envelope, None, payload),
        "a salt without its payload": of_parts(event.envelope, salt, None),
        "extra with another order of keys": with_extra(_reordered(extra)),
        "extra with white space": with_extra(extra.replace(",", ", ")),
        "extra with another key": with_extra(extra[:-1] + ',"x":null}'),
        "extra with a key twice": with_extra('{"envelope":"e30=",' + extra[1:]),
        "no extra": whole.replace(whole.split("\n")[1] + "\n", ""),
        "index with a leading zero": whole.replace("index 7\n", "index 07\n"),
        "another index": whole.replace("index 7\n", "index 8\n"),
        "an index after the end": whole.replace("index 7\n", "index 257\n"),
        "a negative index": whole.replace("index 7\n", "index -1\n"),
        "a hash is missing": whole.replace(b64(path[0]) + "\n", ""),
        "a hash too many": whole.replace(b64(path[0]), f"{b64(path[0])}\n{b64(path[0])}"),
        "two hashes exchanged": proof_text(7, [path[1], path[0], *path[2:]], note, extra),
        "64 hashes": proof_text(7, path * 8, note, extra),
        "a hash of 33 bytes": whole.replace(b64(path[0]), b64(path[0] + b"\0")),
        "another head": whole.replace("tlog-proof@v1", "tlog-proof@v2"),
        "base64 that is not canonical": whole.replace(b64(path[0]), _other_spelling(b64(path[0]))),
        "base64 without padding": whole.replace(b64(path[0]), b64(path[0]).rstrip("=")),
        "line endings of another system": whole.replace("\n", "\r\n"),
        "a mark of the byte order": "\ufeff" + whole,
        "an empty file": "",
    }
    return refused | _refused_notes(path, extra) | _refused_envelopes()


def _refused_notes(path: list[bytes], extra: str) -> dict[str, str]:
    root = whole_tree().root(0, 257)
    text = checkpoint_text(257, root)
    ours = line_of(SIGNER, text)
    bad = f"— {ORIGIN} {b64(SIGNER.key.id + bytes(64))}\n"
    short = f"— {ORIGIN} {b64(SIGNER.key.id + bytes(63))}\n"
    other_key = NoteSigner(ORIGIN, bytes(32))
    notes = {
        "not signed by the key": f"{text}\n{line_of(other_key, text)}",
        "signed by a key of another name": f"{text}\n{line_of(NoteSigner('log.example/acme/2', bytes(32)), text)}",
        "a valid line of the key and a wrong one": f"{text}\n{ours}{bad}",
        "a wrong line of the key and a valid one": f"{text}\n{bad}{ours}",
        "a short signature": f"{text}\n{short}",
        "a signature of another text": f"{text}\n{line_of(SIGNER, checkpoint_text(256, root))}",
        "another size": f"{checkpoint_text(258, root)}\n{ours}",
        "another origin": signed(checkpoint_text(257, root, "log.example/other/1")),
        "an extension line": signed(text + "more\n"),
        "a size with a leading zero": signed(text.replace("257", "0257")),
        "a size of 2^63": signed(text.replace("257", str(2**63))),
        "a root of 31 bytes": signed(text.replace(b64(root), b64(root[:31]))),
        "a signed root with other spelling": signed(text.replace(b64(root), _other_spelling(b64(root)))),
        "101 signature lines": f"{text}\n{ours * 101}",
        "no blank line before the signatures": text + ours,
        "no newline at the end": f"{text}\n{ours}"[:-1],
        "a hyphen for the dash": f"{text}\n{ours.replace('—', '-')}",
        "a name with a no-break space": f"{text}\n{ours}{ours.replace('/acme', chr(0xA0) + 'acme')}",
        "a name with a next line": f"{text}\n{ours}{ours.replace('/acme', chr(0x85) + 'acme')}",
        "a control character in an unknown line": f"{text}\n{ours}{ours.replace('log.', 'log' + chr(7))}",
    }
    return {name: proof_text(7, path, note, extra) for name, note in notes.items()}


def _refused_envelopes() -> dict[str, str]:
    """Envelopes that a log committed and signed, and that two readers might read differently."""
    event = made_event(7)
    members = {**event.members, "payloadHash": event.payload_hash, "v": 1}
    right = event.envelope.decode()
    changed = {
        "an envelope with a key twice": right.replace('{"actorId"', '{"actorId":"eve","actorId"'),
        "an envelope with another order of keys": json.dumps(dict(reversed(members.items())), separators=(",", ":")),
        "an envelope with white space": right.replace(":", ": "),
        "an envelope with another key": right[:-1] + ',"x":1}',
        "an envelope that lacks a key": envelope_text({k: v for k, v in members.items() if k != "outcome"}),
        "an envelope with other escapes": right.replace("agent-0", "\\u0061gent-0"),
        "an envelope with half a surrogate pair": right.replace("agent-0", "\\ud800"),
        "an envelope of another version": right.replace('"v":1', '"v":2'),
        "an envelope with a version of true": right.replace('"v":1', '"v":true'),
        "an envelope with a time without fraction": right.replace("05.007000Z", "05Z"),
        "an envelope with a number for a text": right.replace('"agent-0"', "7"),
        "an envelope with null for a text": right.replace('"agent-0"', "null"),
        "an envelope with a hash in capitals": right.replace(event.payload_hash, event.payload_hash.upper()),
        "an envelope that is an array": "[]",
        "an envelope that is no JSON": right[:-1],
    }
    proofs = {name: _alone(text.encode(), event) for name, text in changed.items()}
    for name, payload in {"a payload that is no object": b"[1]", "a payload that is no UTF-8": b'{"a":"\xff"}'}.items():
        hashed = sha256(event.salt + payload).hexdigest()
        envelope = right.replace(event.payload_hash, hashed).encode()
        proofs[name] = _alone(envelope, event, payload)
    return proofs


def _alone(envelope: bytes, event: MadeEvent, payload: bytes | None = None) -> str:
    """The proof of the only event of a log."""
    leaf = leaf_of(envelope)
    extra = extra_of(envelope, event.salt, event.payload.encode() if payload is None else payload)
    return proof_text(0, [], signed(checkpoint_text(1, leaf)), extra)


def the_consistency() -> list[Made]:
    """Pairs of checkpoints, with a proof that holds or does not."""
    made = [_pair(f"{older} and {newer}", older, newer) for older, newer in PAIRS]
    hashes = whole_tree().consistency(255, 257)
    changes: dict[str, Callable[[Made], None]] = {
        "a hash is missing": lambda pair: pair.update(proof=_answer(255, 257, hashes[1:])),
        "a hash too many": lambda pair: pair.update(proof=_answer(255, 257, [*hashes, hashes[0]])),
        "other sizes": lambda pair: pair.update(proof=_answer(254, 257, hashes)),
        "another older root": lambda pair: pair.update(old=signed(checkpoint_text(255, bytes(32)))),
        "another newer root": lambda pair: pair.update(new=signed(checkpoint_text(257, bytes(32)))),
        "the older one is larger": lambda pair: pair.update(old=pair["new"], new=pair["old"]),
        "another log": lambda pair: pair.update(old=signed(checkpoint_text(255, bytes(32), "log.example/b/1"))),
        "not signed": lambda pair: pair.update(new=pair["new"].replace("\n257\n", "\n256\n")),
        "one size and two roots": lambda pair: pair.update(
            old=signed(checkpoint_text(257, bytes(32))), proof=_answer(257, 257, [])
        ),
        "no JSON": lambda pair: pair.update(proof="{"),
        "a size that is no number": lambda pair: pair.update(proof=pair["proof"].replace("255", '"255"')),
    }
    for name, change in changes.items():
        pair = _pair(name, 255, 257) | {"holds": False}
        change(pair)
        made.append(pair)
    return made


def _pair(name: str, older: int, newer: int) -> Made:
    proof = _answer(older, newer, whole_tree().consistency(older, newer))
    return {"name": name, "old": note_of(older), "new": note_of(newer), "proof": proof, "holds": True}


def _answer(older: int, newer: int, hashes: list[bytes]) -> str:
    return json.dumps({"from": older, "hashes": [b64(each) for each in hashes], "to": newer}, separators=(",", ":"))


def the_notes() -> list[Made]:
    """Checkpoints with cosignatures. `cosigners` are those that have to be found, null if the note is refused."""
    text = checkpoint_text(257, whole_tree().root(0, 257))
    ours, cosigned = line_of(SIGNER, text), WITNESS.line(text)
    bad = f"— {WITNESS.key.name} {b64(WITNESS.key.id + COSIGNED_AT_S.to_bytes(8) + bytes(64))}\n"
    late = f"— {WITNESS.key.name} {b64(WITNESS.key.id + (2**63).to_bytes(8) + bytes(64))}\n"
    cases = {
        "a cosignature": (ours + cosigned, [WITNESS.key.name]),
        "a cosignature before the signature": (cosigned + ours, [WITNESS.key.name]),
        "no cosignature": (ours, []),
        "a cosignature that is not valid": (ours + bad, None),
        "a cosignature at an impossible time": (ours + late, None),
        "a cosignature without the log's signature": (cosigned, None),
    }
    return [
        {"name": name, "note": f"{text}\n{lines}", "witness": str(WITNESS.key), "cosigners": cosigners}
        for name, (lines, cosigners) in cases.items()
    ]


class MlDsaKey:
    """A key of type 0x06, of a log or of a witness, made from a seed. It signs by random numbers, so a signature that
    is in the file of the vectors is taken again."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = MLDSA44PrivateKey.from_seed_bytes(seed)
        self.key = VerifierKey(name, KeyType.COSIGNATURE_MLDSA44, self._private.public_key().public_bytes_raw())

    def line(self, kept: str, message: bytes, time_s: int = COSIGNED_AT_S, context: bytes = b"") -> str:
        """The line with a signature of the message. `kept` is the text in which it may be already."""
        public = MLDSA44PublicKey.from_public_bytes(self.key.public)
        for found in re.findall(rf"^— {re.escape(self.key.name)} (\S{{3000,}})$", kept, re.MULTILINE):
            signature = base64.b64decode(found)[12:][:_MLDSA_BYTES]
            try:
                public.verify(signature, message, context)
            except InvalidSignature:
                continue
            return self._line(time_s, signature)
        return self._line(time_s, self._private.sign(message, context))

    def _line(self, time_s: int, signature: bytes) -> str:
        return f"— {self.key.name} {b64(self.key.id + time_s.to_bytes(8) + signature)}\n"


MLDSA_WITNESS = MlDsaKey("witness.example/w2", sha256(b"whence test vector witness 2").digest())
MLDSA_LOG = MlDsaKey(ORIGIN, sha256(b"whence test vector key 1 by ML-DSA-44").digest())
MLDSA_NEXT = MlDsaKey("log.example/acme/2", sha256(b"whence test vector key 2 by ML-DSA-44").digest())


def mldsa_message(
    name: str, root: bytes, size: int = 257, time_s: int = COSIGNED_AT_S, origin: str = ORIGIN, *, start: int = 0
) -> bytes:
    """What is signed by ML-DSA-44, as C2SP tlog-cosignature defines it."""
    named, log = name.encode(), origin.encode()
    numbers = (start.to_bytes(8), size.to_bytes(8))
    return b"".join(
        [b"subtree/v1\n\0", bytes([len(named)]), named, time_s.to_bytes(8), bytes([len(log)]), log, *numbers, root]
    )


def the_mldsa_notes(kept: Made) -> list[Made]:
    """Checkpoints with signatures by ML-DSA-44, of a witness and of the log itself. `key` is the one of the log that is
    believed; `cosigners` is null if the note has to be refused."""
    before = {each["name"]: each["note"] for each in kept.get("notes", ())}
    root = whole_tree().root(0, 257)
    text, log, w2 = checkpoint_text(257, root), str(MLDSA_LOG.key), MLDSA_WITNESS.key.name
    ours = line_of(SIGNER, text)

    def made(
        name: str,
        cosigners: list[str] | None,
        lines: Callable[[str], str],
        key: str = KEY,
        witness: MlDsaKey | None = None,
    ) -> Made:
        asked = str((witness or MLDSA_WITNESS).key)
        note = f"{text}\n{lines(before.get(name, ''))}"
        return {"name": name, "key": key, "witness": asked, "note": note, "cosigners": cosigners}

    def by_witness(message: bytes, time_s: int = COSIGNED_AT_S, context: bytes = b"") -> Callable[[str], str]:
        return lambda was: ours + MLDSA_WITNESS.line(was, message, time_s, context)

    def by_log(was: str) -> str:
        return MLDSA_LOG.line(was, mldsa_message(ORIGIN, root))

    right, late = mldsa_message(w2, root), COSIGNED_AT_S + 1
    return [
        made("a witness", [w2], by_witness(right)),
        made("without a time", [w2], by_witness(mldsa_message(w2, root, time_s=0), 0)),
        made("a witness that is not asked about", [], by_witness(right), witness=MLDSA_NEXT),
        made("the log, whose other key is believed", [], lambda was: ours + by_log(was)),
        made("the log alone", [], by_log, key=log),
        made("the log as a witness", [ORIGIN], lambda was: ours + by_log(was), witness=MLDSA_LOG),
        made("the log did not sign by this key", None, lambda _: ours, key=log),
        made("the log signed as somebody else", None, lambda was: MLDSA_LOG.line(was, right), key=log),
        made("another time", None, by_witness(right, late)),
        made("another size", None, by_witness(mldsa_message(w2, root, 256))),
        made("another root", None, by_witness(mldsa_message(w2, bytes(32)))),
        made("another log", None, by_witness(mldsa_message(w2, root, origin="other.example"))),
        made("another name", None, by_witness(mldsa_message("witness.example/w3", root))),
        made("a part of the tree", None, by_witness(mldsa_message(w2, root, start=256, time_s=0), 0)),
        made("the text, as by Ed25519", None, by_witness(f"cosignature/v1\ntime {COSIGNED_AT_S}\n{text}".encode())),
        made("with a context", None, by_witness(right, context=b"c2sp.org")),
        made("after the end of time", None, by_witness(mldsa_message(w2, root, time_s=2**63), 2**63)),
        made("a byte too many", None, lambda was: ours + _longer(MLDSA_WITNESS.line(was, right))),
    ]


def _longer(line: str) -> str:
    """A signature line with another byte."""
    head, _, encoded = line.rstrip("\n").rpartition(" ")
    return f"{head} {b64(base64.b64decode(encoded) + bytes(1))}\n"


def the_mldsa_rotations(kept: Made) -> list[Made]:
    """As `the_rotations`, for the key of the log by ML-DSA-44."""
    before = {each["name"]: each["proof"] for each in kept.get("rotations", ())}
    following = NoteSigner(MLDSA_NEXT.key.name, sha256(b"whence test vector key 2").digest())
    right = {"newKey": str(following.key), "newMlDsaKey": str(MLDSA_NEXT.key), "newOrigin": following.key.name}
    right["origin"] = ORIGIN
    cases: list[tuple[str, Made, str | None]] = [
        ("a rotation of both keys", right, right["newMlDsaKey"]),
        ("a rotation of the other key alone", {**right, "newMlDsaKey": None}, None),
        ("a key of another type", {**right, "newMlDsaKey": right["newKey"]}, None),
        ("a key of another origin", {**right, "newMlDsaKey": str(MLDSA_WITNESS.key)}, None),
    ]
    made = []
    for name, payload, key in cases:

        def sign(text: str, name: str = name) -> str:
            root = base64.b64decode(text.split("\n")[2])
            own = MLDSA_LOG.line(before.get(name, ""), mldsa_message(ORIGIN, root, 3))
            return f"{text}\n{line_of(SIGNER, text)}{own}"

        proof = _announced("whence.log_key_rotated", payload, sign=sign)
        made.append({"name": name, "proof": proof, "next": key})
    return made


def the_witness() -> list[Made]:
    """Requests to a witness of the log, and the status that it has to answer with. `last` is what it cosigned last."""
    root, note = whole_tree().root, note_of(257)
    hashes, kept = whole_tree().consistency(255, 257), {"size": 255, "root": root(0, 255).hex()}
    other_key, other_log = NoteSigner(ORIGIN, bytes(32)), NoteSigner("other.example", bytes(32))
    text, same = checkpoint_text(257, root(0, 257)), {"size": 257, "root": root(0, 257).hex()}
    fork, bad = checkpoint_text(257, bytes(32)), f"— {ORIGIN} {b64(SIGNER.key.id + bytes(64))}\n"
    empty = signed(checkpoint_text(0, root(0, 0)))
    cases: list[tuple[str, Made | None, str, int]] = [
        ("the first checkpoint", None, _asked(0, [], note), 200),
        ("an empty log", None, _asked(0, [], empty), 200),
        ("a proven extension", kept, _asked(255, hashes, note), 200),
        ("the same checkpoint again", same, _asked(257, [], note), 200),
        ("with signatures of strangers", kept, _asked(255, hashes, note + line_of(other_log, text)), 200),
        ("another log", None, _asked(0, [], signed(checkpoint_text(257, root(0, 257), "b.example"), other_log)), 404),
        ("signed by another key", kept, _asked(255, hashes, signed(text, other_key)), 403),
        ("a wrong line of the key beside a right one", kept, _asked(255, hashes, note + bad), 403),
        ("an old size after the new one", kept, _asked(258, [], note), 400),
        ("another old size", kept, _asked(254, whole_tree().consistency(254, 257), note), 409),
        ("no old size, although one was cosigned", kept, _asked(0, [], note), 409),
        ("an old size, although none was cosigned", None, _asked(255, hashes, note), 409),
        ("a smaller log than was cosigned", same, _asked(255, [], note_of(255)), 409),
        ("another history of the same size", same, _asked(257, [], signed(fork)), 422),
        ("another history", kept, _asked(255, hashes, signed(fork)), 422),
        ("a hash is missing", kept, _asked(255, hashes[1:], note), 422),
        ("a hash after the first checkpoint", None, _asked(0, hashes[:1], note), 422),
        ("a hash for the same checkpoint", same, _asked(257, hashes[:1], note), 422),
        ("an empty log with another root", None, _asked(0, [], signed(checkpoint_text(0, bytes(32)))), 422),
        ("no old size", kept, _asked(255, hashes, note).partition("\n")[2], 400),
        ("an old size with a leading zero", kept, _asked(255, hashes, note).replace("old 255", "old 0255"), 400),
        ("64 hashes", kept, _asked(255, hashes * 64, note), 400),
        ("a hash that is not canonical", kept, _asked(255, hashes, note).replace("=\n", "\n", 1), 400),
        ("no empty line", kept, _asked(255, hashes, note).replace("\n\n", "\n", 1), 400),
        ("no signature", kept, _asked(255, hashes, text), 400),
    ]
    return [{"name": name, "last": last, "request": asked, "status": status} for name, last, asked, status in cases]


def the_rotations() -> list[Made]:
    """Proofs of events that the key of the log signed. `next` is the key that a verifier then believes too, null for
    none."""
    following = NoteSigner("log.example/acme/2", sha256(b"whence test vector key 2").digest())
    named = {"checkpoint": None, "newKey": str(following.key), "newOrigin": following.key.name, "origin": ORIGIN}
    right = {**named, "signedRoot": None, "signedSize": 2}
    witness = Witness(following.key.name, bytes(32)).key
    same_name = NoteSigner(ORIGIN, bytes(32)).key
    rotated = "whence.log_key_rotated"
    cases: list[tuple[str, str, Made | None, str | None]] = [
        ("a rotation", rotated, right, str(following.key)),
        ("a key that somebody else may have", "whence.log_key_compromised", right, None),
        ("a log that was restored", "whence.log_restored", right, None),
        ("an event of a client", "log.key_rotated", right, None),
        ("without its payload", rotated, None, None),
        ("the end of another origin", rotated, {**right, "origin": "log.example/acme/0"}, None),
        ("a key of another origin", rotated, {**right, "newOrigin": "log.example/acme/3"}, None),
        ("the same origin", rotated, {**right, "newKey": str(same_name), "newOrigin": ORIGIN}, None),
        ("the key of a witness", rotated, {**right, "newKey": str(witness)}, None),
        ("a key that is none", rotated, {**right, "newKey": "nonsense"}, None),
        ("a number for a key", rotated, {**right, "newKey": 1}, None),
        ("no key", rotated, {key: value for key, value in right.items() if key != "newKey"}, None),
    ]
    made = [
        {"name": name, "proof": _announced(event_type, payload), "next": key}
        for name, event_type, payload, key in cases
    ]
    by_resource = _announced(rotated, right, resource_type="order")
    by_itself = _announced(rotated, right, sign=lambda text: signed(text, following))
    return [
        *made,
        {"name": "about another resource", "proof": by_resource, "next": None},
        {"name": "signed by the next key alone", "proof": by_itself, "next": None},
    ]


def the_chain() -> Made:
    """Two rotations, one after the other. `last` is the key that is believed after both."""
    second, third = (
        NoteSigner(f"log.example/acme/{number}", sha256(f"whence test vector key {number}".encode()).digest())
        for number in (2, 3)
    )

    def named(former: str, following: VerifierKey) -> Made:
        return {"newKey": str(following), "newOrigin": following.name, "origin": former}

    def by_second(text: str) -> str:
        return signed(text.replace(ORIGIN, second.key.name, 1), second)

    rotated = "whence.log_key_rotated"
    first = _announced(rotated, named(ORIGIN, second.key))
    return {
        "proofs": [first, _announced(rotated, named(second.key.name, third.key), sign=by_second)],
        "last": str(third.key),
    }


def _announced(
    event_type: str, payload: Made | None, *, resource_type: str = "event_log", sign: Callable[[str], str] = signed
) -> str:
    """The proof of an event that is the third of its log; without a payload, as after an erasure."""
    text, salt = json.dumps(payload, separators=(",", ":")), made_event(2).salt
    members = {**made_event(2).members, "actorId": "whence", "actorType": "system", "eventType": event_type}
    event = MadeEvent({**members, "resourceType": resource_type}, salt, text)
    tree = Tree(lambda index: leaf_of(event.envelope) if index == 2 else whole_tree().leaf(index))
    parts = (None, None) if payload is None else (salt, text.encode())
    note = sign(checkpoint_text(3, tree.root(0, 3)))
    return proof_text(2, tree.path(2, 0, 3), note, extra_of(event.envelope, *parts))


def _asked(old: int, hashes: list[bytes], note: str) -> str:
    return "\n".join([f"old {old}", *map(b64, hashes), "", note])


def _reordered(extra: str) -> str:
    return json.dumps(dict(reversed(json.loads(extra).items())), separators=(",", ":"))


def _other_spelling(text: str) -> str:
    """Base64 of 32 bytes with unused bits that are set."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return f"{text[:-2]}{digits[digits.index(text[-2]) + 1]}="


def made_files() -> dict[str, str]:
    """Every file by its name."""
    return {
        "log.json": _json(the_log()),
        "proofs.json": _json({"key": KEY, "proofs": the_proofs()}),
        "consistency.json": _json({"key": KEY, "pairs": the_consistency()}),
        "notes.json": _json({"key": KEY, "notes": the_notes()}),
        "rotations.json": _json({"key": KEY, "rotations": the_rotations(), "chain": the_chain()}),
        "witness.json": _json({"key": KEY, "requests": the_witness()}),
        "exports.json": _json({"key": KEY, "exports": the_exports()}),
        "mldsa44.json": _json({"key": str(MLDSA_LOG.key), **_mldsa_vectors(VECTORS / "mldsa44.json")}),
    }


def _mldsa_vectors(file: Path) -> Made:
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {"notes": the_mldsa_notes(kept), "rotations": the_mldsa_rotations(kept)}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"


def main() -> int:
    """Write the files."""
    VECTORS.mkdir(exist_ok=True)
    for name, text in made_files().items():
        (VECTORS / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
