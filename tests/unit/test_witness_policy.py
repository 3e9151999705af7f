"""Policies about witnesses: who has to cosign, and what is no policy."""

from collections.abc import Collection
from hashlib import sha256

import pytest

from tests.unit.mutants import catches, replaced
from whence.checkpoints import Cosigner
from whence.notes import NoteSigner, VerifierKey
from whence.witness_policy import BadPolicy, WitnessPolicy, parse_policy

LOG = NoteSigner("log.example/acme/1", bytes(32)).key


def key_of(name: str) -> VerifierKey:
    return Cosigner(f"{name}.example", sha256(name.encode()).digest()).key


def policy_of(text: str) -> WitnessPolicy:
    return parse_policy(text.encode())


NAMES = ("x1", "x2", "x3", "y1", "y2", "y3")
WITNESSES = "\n".join(f"witness {name} {key_of(name)} https://{name}.example/w/" for name in NAMES)
GROUPS = """
# two of one kind, and one of the other
group x 2 x1 x2 x3
  group\ty  any y1 y2 y3
group both all x y
quorum both
"""


def _by_members(self: WitnessPolicy, cosigners: object) -> bool:
    """Mutant: a group counts its members, and not which of them were met."""
    return bool(cosigners)


def _by_lines(self: WitnessPolicy, cosigners: Collection[VerifierKey]) -> bool:
    """Mutant: each cosignature counts, also the second one of a witness."""
    met = [name for key in cosigners for name, witness in self.witnesses.items() if witness.key == key]
    for name, (needed, members) in self.groups.items():
        met += [name] * (sum(met.count(member) for member in members) >= needed)
    return self.quorum in met


@catches(replaced(WitnessPolicy, "is_met", _by_members, "anybody_is_a_quorum"))
def test_a_quorum_of_groups() -> None:
    """Two of the one and one of the other; nothing else will do."""
    policy = policy_of(f"log {LOG}\n{WITNESSES}\n{GROUPS}")
    assert (policy.logs, policy.witnesses["x1"].url) == ((LOG,), "https://x1.example/w")
    for names, is_met in {
        ("x1", "x3", "y2"): True,
        NAMES: True,
        ("x1", "x2", "x3"): False,
        ("x1", "y1", "y2", "y3"): False,
        (): False,
    }.items():
        assert policy.is_met({key_of(name) for name in names}) == is_met, names


@catches(replaced(WitnessPolicy, "is_met", _by_lines, "lines_are_counted"))
def test_a_witness_counts_once() -> None:
    """However many times it is named among those who cosigned."""
    policy = policy_of(f"{WITNESSES}\ngroup two 2 x1 x2\nquorum two")
    assert not policy.is_met([key_of("x1"), key_of("x1"), key_of("x1")])
    assert policy.is_met([key_of("x2"), key_of("x1")])


def test_no_quorum_may_be_asked_for() -> None:
    """`none` is met by nobody; a single witness is a quorum too."""
    assert policy_of("quorum none").is_met(())
    assert not policy_of(f"witness w {key_of('w')}\nquorum w").is_met(())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quorum none\nquorum none",
        "quorum w",
        "quorum",
        "quorum later\nwitness later KEY",
        "witness w KEY\nwitness w OTHER\nquorum w",
        "witness w KEY\nwitness v KEY\nquorum w",
        "witness none KEY\nquorum none",
        "witness w LOG\nquorum w",
        "witness w KEY url more\nquorum w",
        "log KEY\nquorum none",
        "log LOG\nlog LOG\nquorum none",
        "log nonsense\nquorum none",
        "witness w KEY\ngroup g 2 w\nquorum g",
        "witness w KEY\ngroup g 0 w\nquorum g",
        "witness w KEY\ngroup g any\nquorum g",
        "witness w KEY\ngroup g any none\nquorum g",
        "witness w KEY\ngroup g any g\nquorum g",
        "witness w KEY\nwitness v OTHER\ngroup g 2 w w\nquorum g",
        "witness w KEY\nwitness v OTHER\ngroup g any w\ngroup h any w v\nquorum h",
        "witness w KEY\r\nquorum w",
        "nonsense\nquorum none",
        "# only a comment",
    ],
)
def test_what_is_no_policy(text: str) -> None:
    """A witness that could count in two ways, names that are not defined, and other mistakes: with the line."""
    made = text.replace("KEY", str(key_of("w"))).replace("OTHER", str(key_of("v"))).replace("LOG", str(LOG))
    with pytest.raises(BadPolicy):
        policy_of(made)


def test_the_line_is_named() -> None:
    """And nothing of it is repeated."""
    with pytest.raises(BadPolicy, match=r"^Line 2 of the policy: A line begins with log, witness, group or quorum\.$"):
        policy_of("quorum none\nsecret")
