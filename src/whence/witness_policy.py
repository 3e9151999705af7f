"""Policies about witnesses: which logs and witnesses are known, and how many of them have to cosign a checkpoint. Pure.

A policy is a text. `witness NAME KEY [URL]` and `group NAME all|any|K MEMBER…` give names, and `quorum NAME`, or
`quorum none`, says who has to cosign. `log KEY [URL]` lists the keys of logs.

Source: C2SP tlog-policy, https://c2sp.org/tlog-policy
"""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from whence.addresses import parse_target
from whence.notes import BadNote, KeyType, VerifierKey, parse_verifier_key

__all__ = ["ASKED_MAX", "POLICY_BYTES_MAX", "BadPolicy", "Witness", "WitnessPolicy", "check_askable", "parse_policy"]

POLICY_BYTES_MAX = 256 * 1024
"""The longest policy that is read, in bytes."""

ASKED_MAX = 32
"""Witnesses that a log asks. Their cosignatures fit in a note."""

_NAMED_MAX = 256
"""Witnesses and groups that a policy may have together, and logs."""

_NONE = "none"
_BLANK = re.compile(r"[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_COSIGNING = (KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44)
_SIGNING = (KeyType.ED25519, KeyType.COSIGNATURE_MLDSA44)


class BadPolicy(ValueError):
    """A policy that cannot be used. The message is a sentence that names the line."""


class Witness(NamedTuple):
    """A witness of a policy: its key, and the URL before `/add-checkpoint`, which is not checked here, and is empty if
    the policy has none."""

    key: VerifierKey
    url: str


class WitnessPolicy(NamedTuple):
    """What a policy says. `groups` has the number that is needed and the members of each; members and `quorum` are
    names of witnesses and groups. `quorum` is None if nobody has to cosign."""

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, tuple[int, tuple[str, ...]]]
    quorum: str | None

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The keys of the witnesses."""
        return tuple(witness.key for witness in self.witnesses.values())

    def is_met(self, cosigners: Collection[VerifierKey]) -> bool:
        """Whether the quorum is among these, whose cosignatures were verified. A witness counts once."""
        if self.quorum is None:
            return True
        met = {name for name, witness in self.witnesses.items() if witness.key in cosigners}
        for name, (needed, members) in self.groups.items():  # a group has only members that were defined before it
            if sum(member in met for member in members) >= needed:
                met.add(name)
        return self.quorum in met

    def demand(self, cosigners: Collection[VerifierKey]) -> None:
        """Raise BadNote unless the quorum is among these."""
        if not self.is_met(cosigners):
            raise BadNote("The checkpoint is not cosigned by the quorum of the policy.")


def parse_policy(data: bytes) -> WitnessPolicy:
    """The policy of a text. Raises BadPolicy, which names the first line that is wrong."""
    if len(data) > POLICY_BYTES_MAX:
        raise BadPolicy(f"A policy has at most {POLICY_BYTES_MAX // 1024} KiB.")
    reader = _Reader()
    # Octets that are not ASCII have no meaning of their own, so each becomes a character.
    for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
        try:
            reader.read(line)
        except (BadNote, ValueError) as error:
            raise BadPolicy(f"Line {number} of the policy: {error}") from None
    return reader.policy()


def check_askable(policy: WitnessPolicy) -> None:
    """Raise BadPolicy unless a log can ask the witnesses of the policy: those with a URL, and they make a quorum."""
    asked = [witness for witness in policy.witnesses.values() if witness.url]
    if len(asked) > ASKED_MAX:
        raise BadPolicy(f"At most {ASKED_MAX} witnesses have a URL.")
    if not asked or not policy.is_met([witness.key for witness in asked]):
        raise BadPolicy("The witnesses with a URL do not make the quorum.")
    for witness in asked:
        try:
            target = parse_target(witness.url)
        except ValueError as error:
            raise BadPolicy(f"The URL of a witness cannot be used. {error}") from None
        if "?" in target.path:
            raise BadPolicy("The URL of a witness has no query.")


class _Reader:
    """Reads a policy line by line."""

    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: dict[str, Witness] = {}
        self._groups: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._members: set[str] = set()
        self._quorum: str | None = None

    def read(self, line: str) -> None:
        """Take one line. Raises ValueError."""
        if _CONTROL.search(line):
            raise ValueError("There is a control character.")
        keyword, *items = _BLANK.split(line.strip(" \t"))
        if not keyword or keyword.startswith("#"):
            return
        readers = {"log": self._log, "witness": self._witness, "group": self._group, "quorum": self._take_quorum}
        if keyword not in readers:
            raise ValueError("A line begins with log, witness, group or quorum.")
        readers[keyword](items)

    def policy(self) -> WitnessPolicy:
        """What was read. Raises BadPolicy without a quorum."""
        if self._quorum is None:
            raise BadPolicy("The policy has no line 'quorum NAME' or 'quorum none'.")
        quorum = None if self._quorum == _NONE else self._quorum
        return WitnessPolicy(tuple(self._logs), self._witnesses, self._groups, quorum)

    def _log(self, items: list[str]) -> None:
        if len(items) not in (1, 2):
            raise ValueError("A log is 'log KEY' or 'log KEY URL'.")
        key = parse_verifier_key(_utf8(items[0]))
        if key.type not in _SIGNING:
            raise ValueError("The key of a log is of type 0x01 or 0x06.")
        if any(each.public == key.public for each in self._logs):
            raise ValueError("This key is listed twice.")
        if len(self._logs) >= _NAMED_MAX:
            raise ValueError(f"A policy has at most {_NAMED_MAX} logs.")
        self._logs.append(key)

    def _witness(self, items: list[str]) -> None:
        if len(items) not in (2, 3):
            raise ValueError("A witness is 'witness NAME KEY' or 'witness NAME KEY URL'.")
        self._check_new(items[0])
        key = parse_verifier_key(_utf8(items[1]))
        if key.type not in _COSIGNING:
            raise ValueError("The key of a witness is of type 0x04 or 0x06.")
        if any(each.key.public == key.public for each in self._witnesses.values()):
            raise ValueError("This key is listed twice.")
        self._witnesses[items[0]] = Witness(key, items[2].rstrip("/") if len(items) == 3 else "")

    def _group(self, items: list[str]) -> None:
        if len(items) < 3:
            raise ValueError("A group is 'group NAME all|any|NUMBER MEMBER…'.")
        name, number, *members = items
        self._check_new(name)
        for member in members:
            if member not in self._witnesses and member not in self._groups:
                raise ValueError("A member of a group is a witness or a group that is defined before it.")
            if member in self._members or members.count(member) > 1:
                raise ValueError("A name is a member of one group at most, and once.")
        if number not in ("all", "any") and not _NUMBER.fullmatch(number):
            raise ValueError("How many members are needed is 'all', 'any' or a number.")
        needed = {"all": len(members), "any": 1}.get(number) or int(number)
        if needed > len(members):
            raise ValueError("A group cannot need more members than it has.")
        self._groups[name] = needed, tuple(members)
        self._members.update(members)

    def _take_quorum(self, items: list[str]) -> None:
        if len(items) != 1:
            raise ValueError("The quorum is 'quorum NAME' or 'quorum none'.")
        if self._quorum is not None:
            raise ValueError("There is a second quorum.")
        if items[0] != _NONE and items[0] not in self._witnesses and items[0] not in self._groups:
            raise ValueError("The quorum is a witness or a group that is defined before it.")
        self._quorum = items[0]

    def _check_new(self, name: str) -> None:
        if name == _NONE or name in self._witnesses or name in self._groups:
            raise ValueError("A name is given once, and is not 'none'.")
        if len(self._witnesses) + len(self._groups) >= _NAMED_MAX:
            raise ValueError(f"A policy has at most {_NAMED_MAX} witnesses and groups.")


def _utf8(text: str) -> str:
    """A key as text. Raises ValueError if it is not UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise ValueError("The key is not valid UTF-8.") from None
