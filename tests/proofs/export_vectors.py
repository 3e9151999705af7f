"""Folders of exports for `verifier/vectors/exports.json`, made by the definitions of docs/proof.md alone.

Some hold. The others have one thing wrong, which the sums in their manifest do not show.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from tests.proofs.vector_log import (
    KEY,
    ORIGIN,
    WITNESS,
    MadeEvent,
    Tree,
    b64,
    checkpoint_text,
    leaf_of,
    made_event,
    signed,
    time_of,
)
from whence.notes import NoteSigner

__all__ = ["the_exports"]

SIZE = 16
_APART_MS = 600_000
_ERASED = 12
_SINCE = 8
_FAILED = range(0, SIZE, 4)


def _event(index: int) -> MadeEvent:
    """Events ten minutes apart, of which every fourth is a failure."""
    at = index * _APART_MS
    changed = {
        "occurredAt": time_of(at),
        "recordedAt": time_of(at, 120_000),
        "outcome": "failure" if index in _FAILED else "success",
    }
    made = made_event(index)
    return replace(made, members={**made.members, **changed})


_TREE = Tree(lambda index: leaf_of(_event(index).envelope))
_NOTE = signed(checkpoint_text(SIZE, _TREE.root(0, SIZE)))


@dataclass(frozen=True)
class _Export:
    """What the files of an export are made of. `entries` are indexes; `lines` and `hashes` follow from them."""

    lines: Sequence[str]
    hashes: Sequence[bytes]
    manifest: dict[str, Any]
    note: str = _NOTE
    key: str = KEY
    more: dict[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """The text of each file by its name; `hashes` in hexadecimal digits."""
        made = {
            "checkpoint": self.note,
            "entries.ndjson": "".join(self.lines),
            "hashes": b"".join(self.hashes).hex(),
            "key": f"{self.key}\n",
        }
        listed = []
        for name, text in made.items():
            data = bytes.fromhex(text) if name == "hashes" else text.encode()
            listed.append({"bytes": len(data), "name": name, "sha256": sha256(data).hexdigest()})
        manifest = dict(sorted({**self.manifest, "files": listed}.items()))
        return {**made, "manifest.json": json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", **self.more}


def _line(index: int, *, with_payload: bool) -> str:
    event = _event(index)
    known = with_payload and index != _ERASED
    payload, salt = (event.payload, f'"{b64(event.salt)}"') if known else ("null", "null")
    return f'{{"envelope":{event.envelope.decode()},"payload":{payload},"position":{index + 1},"salt":{salt}}}\n'


def _uncovered(indexes: Sequence[int], first: int = 0, end: int = SIZE) -> list[bytes]:
    """The hashes of the parts without any of these leaves, as docs/proof.md divides the tree."""
    if not any(first <= index < end for index in indexes):
        return [_TREE.root(first, end)]
    if end - first == 1:
        return []
    split = first + (1 << ((end - first - 1).bit_length() - 1))
    return [*_uncovered(indexes, first, split), *_uncovered(indexes, split, end)]


def _made(
    indexes: Sequence[int],
    matching: Sequence[int],
    text: str,
    meaning: dict[str, Any],
    boundary: int | None = None,
    complete_from: int | None = None,
) -> _Export:
    found = [index for index in indexes if index in matching]
    manifest = {
        "asOf": SIZE,
        "boundary": boundary,
        "completeFrom": complete_from,
        "entries": len(indexes),
        "erased": sum(index == _ERASED for index in found),
        "events": len(found),
        "filter": {"meaning": meaning, "text": text},
        "firstPosition": found[0] + 1 if found else None,
        "format": "whence-export/1",
        "lastPosition": found[-1] + 1 if found else None,
        "leafOnly": 0,
        "origin": ORIGIN,
        "tenantId": "acme",
    }
    return _Export([_line(index, with_payload=index in matching) for index in indexes], _uncovered(indexes), manifest)


_FAILURES = ("outcome=failure", {"outcomes": ["failure"]})
_LATER = (
    f"outcome=failure&from={time_of(_SINCE * _APART_MS)[:19]}Z",
    {"outcomes": ["failure"], "since": f"{time_of(_SINCE * _APART_MS)[:19]}Z"},
)


def _leaf_line(index: int, leaf: bytes | None = None) -> str:
    """The line of an event whose actor has another id by now."""
    leaf = leaf_of(_event(index).envelope) if leaf is None else leaf
    return f'{{"envelope":null,"leaf":"{b64(leaf)}","payload":null,"position":{index + 1},"salt":null}}\n'


def _with_leaf(one: _Export, at: int, line: str) -> _Export:
    """An export of all events that do not match, in which only the leaf is left of one of them."""
    return replace(one, lines=[*one.lines[:at], line, *one.lines[at + 1 :]], manifest={**one.manifest, "leafOnly": 1})


def _whole() -> dict[str, _Export]:
    everything, failed, later = range(SIZE), list(_FAILED), [index for index in _FAILED if index >= _SINCE]
    query = (
        "q=-actor%3Aagent%2F1+-type%3A*.failed",
        {
            "excluded_actors": ["agent/1"],
            "excluded_event_types": ["*.failed"],
        },
    )
    return {
        "failures": _made(failed, failed, *_FAILURES),
        "all failures": _made(everything, failed, *_FAILURES, complete_from=1),
        "all failures since a time": _made(range(_SINCE - 1, SIZE), later, *_LATER, _SINCE, _SINCE + 1),
        "all events": _made(everything, everything, "", {}, complete_from=1),
        "no event": _made([], [], "outcome=none", {"outcomes": ["none"]}),
        "excluded": _made(everything, everything, *query, complete_from=1),
        "an event with a leaf alone": _with_leaf(
            _made(everything, failed, *_FAILURES, complete_from=1), 5, _leaf_line(5)
        ),
        "cosigned by a witness": replace(
            _made(failed, failed, *_FAILURES), note=_NOTE + WITNESS.line(_NOTE.partition("\n\n")[0] + "\n")
        ),
        "events that were held": _made([0, 4, *range(6, SIZE)], failed, *_FAILURES, complete_from=7),
    }


def _of(one: _Export, **changes: Any) -> _Export:
    """Another manifest."""
    return replace(one, manifest={**one.manifest, **changes})


def _meaning(one: _Export, meaning: dict[str, Any]) -> _Export:
    return _of(one, filter={**one.manifest["filter"], "meaning": meaning})


def _without(one: _Export, at: int) -> _Export:
    """A line is gone, and the manifest counts the others."""
    return _of(replace(one, lines=[*one.lines[:at], *one.lines[at + 1 :]]), entries=len(one.lines) - 1)


def _refused() -> dict[str, _Export]:
    """By what is wrong: first in the entries, then in the other files, then in single lines."""
    return {**_refused_entries(), **_refused_files(), **_refused_lines()}


def _refused_entries() -> dict[str, _Export]:
    whole = _whole()
    full, later = whole["all failures"], whole["all failures since a time"]
    lines = list(full.lines)
    changed = lines[8].replace('{"n":8}', '{"n":9}')
    others = [index for index in range(SIZE) if index != 5]
    return {
        "an event that does not match is dropped": _without(full, 5),
        "it is dropped, and its hash is there": replace(_without(full, 5), hashes=_uncovered(others)),
        "an event that matches is dropped": _of(_without(full, 4), events=3),
        "two are swapped": replace(full, lines=[*lines[:5], lines[6], lines[5], *lines[7:]]),
        "the positions of two are swapped": replace(
            full,
            lines=[
                *lines[:5],
                lines[6].replace('"position":7', '"position":6'),
                lines[5].replace('"position":6', '"position":7'),
                *lines[7:],
            ],
        ),
        "the boundary is moved": _of(later, boundary=_SINCE + 1, completeFrom=_SINCE + 2),
        "the boundary is dropped": replace(
            _of(_without(later, 0), boundary=_SINCE, completeFrom=_SINCE + 1), hashes=_uncovered(range(_SINCE, SIZE))
        ),
        "the end is cut off": _of(
            replace(full, lines=lines[:-1], hashes=_uncovered(range(SIZE - 1))), entries=len(lines) - 1
        ),
        "another payload": replace(full, lines=[*lines[:8], changed, *lines[9:]]),
        "a payload of an event that does not match": replace(
            full, lines=[*lines[:5], _line(5, with_payload=True), *lines[6:]]
        ),
        "an event that does not match, not complete": _of(
            replace(_made([0, 1, 4, 8, 12], list(_FAILED), *_FAILURES)), entries=5
        ),
    }


def _refused_files() -> dict[str, _Export]:
    whole = _whole()
    plain, full = whole["failures"], whole["all failures"]
    return {
        "another count": _of(full, events=5),
        "another log's size": _of(full, asOf=SIZE - 1),
        "another tenant": _of(full, tenantId="other"),
        "another format": _of(full, format="whence-export/2"),
        "a hash is missing": replace(plain, hashes=plain.hashes[1:]),
        "a hash too many": replace(plain, hashes=[*plain.hashes, bytes(32)]),
        "a hash with a byte more": replace(plain, hashes=[*plain.hashes, b"\0"]),
        "another hash": replace(plain, hashes=[bytes(32), *plain.hashes[1:]]),
        "another root": replace(plain, note=signed(checkpoint_text(SIZE, bytes(32)))),
        "another key": replace(plain, key=str(NoteSigner(ORIGIN, bytes(32)).key)),
        "a file that is not listed": replace(plain, more={"notes.txt": "read me\n"}),
        "a filter that means something else": _meaning(full, {"outcomes": ["success"]}),
        "a filter with a field that nobody knows": _meaning(full, {"outcomes": ["failure"], "more": ["x"]}),
    }


def _refused_lines() -> dict[str, _Export]:
    full = _whole()["all failures"]
    lines = list(full.lines)
    with_leaf = _with_leaf(full, 5, _leaf_line(5))
    return {
        "a white space in an entry": replace(full, lines=[lines[0].replace("{", "{ ", 1), *lines[1:]]),
        "a payload twice": replace(full, lines=[lines[0].replace('"payload":', '"payload":{},"payload":'), *lines[1:]]),
        "a leaf of another event": _with_leaf(full, 5, _leaf_line(5, leaf_of(_event(6).envelope))),
        "a leaf that is no hash": _with_leaf(full, 5, _leaf_line(5, bytes(31))),
        "a leaf that is not counted": _of(with_leaf, leafOnly=0),
        "a leaf and an envelope": replace(
            full, lines=[*lines[:5], lines[5].replace('"payload"', '"leaf":null,"payload"'), *lines[6:]]
        ),
        "a gap after an event that does not match": _made(
            [0, 1, 4, *range(6, SIZE)], list(_FAILED), *_FAILURES, complete_from=7
        ),
        "a gap after the first position that is claimed": _of(
            _made([0, 4, *range(6, SIZE)], list(_FAILED), *_FAILURES), completeFrom=1
        ),
        "a last line that does not end": replace(full, lines=[*lines[:-1], lines[-1][:-1]]),
    }


def the_exports() -> list[dict[str, Any]]:
    """Every folder: the text of each file, with `hashes` in hexadecimal digits."""
    made: list[dict[str, Any]] = [
        {"name": name, "holds": True, "files": each.files()} for name, each in _whole().items()
    ]
    made += [{"name": name, "holds": False, "files": each.files()} for name, each in _refused().items()]
    spelled = made[0]["files"]["manifest.json"].replace("  ", " ")
    sum_of_the_key = sha256(f"{KEY}\n".encode()).hexdigest()
    other_sum = made[0]["files"]["manifest.json"].replace(sum_of_the_key, sha256().hexdigest())
    for name, text in {"a manifest in another form": spelled, "another sum": other_sum}.items():
        made.append({"name": name, "holds": False, "files": {**made[0]["files"], "manifest.json": text}})
    return made
