"""Whom `whence verify` believes: a policy of witnesses, and keys that were announced. Offline, by the vectors."""

import json
from pathlib import Path

import pytest

from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.proofs.make_vectors import VECTORS
from tests.proofs.vector_log import KEY, SIGNER, WITNESS, checkpoint_text, line_of, proof_of, whole_tree
from tests.unit.test_export_check import describe, manifest_of, put
from whence.checkpoints import Cosigner

ROTATIONS = json.loads((VECTORS / "rotations.json").read_text())["rotations"]
TEXT = checkpoint_text(257, whole_tree().root(0, 257))
OTHER = Cosigner("witness.example/w9", bytes(32)).key


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A proof by a checkpoint that one witness cosigned, twice, and policies."""
    cosigned = WITNESS.line(TEXT)
    (tmp_path / "proof").write_text(proof_of(7, 257, note=f"{TEXT}\n{line_of(SIGNER, TEXT)}{cosigned}{cosigned}"))
    (tmp_path / "plain").write_text(proof_of(7, 257))
    witnesses = f"witness a {WITNESS.key}\nwitness b {OTHER}\n"
    (tmp_path / "any").write_text(f"log {KEY}\n{witnesses}group g any a b\nquorum g\n")
    (tmp_path / "all").write_text(f"{witnesses}group g all a b\nquorum g\n")
    (tmp_path / "none").write_text("quorum none\n")
    (tmp_path / "broken").write_text("quorum x\n")
    for number in (0, 1):
        (tmp_path / f"rotation-{number}").write_text(ROTATIONS[number]["proof"])
    return tmp_path


def test_a_quorum_is_demanded(cli: Cli, files: Path) -> None:
    """By the policy, whose log keys count where no other key is given. One witness that signs twice is one."""
    proof = ("verify", "--proof", files / "proof")
    done = cli.ok(*proof, "--policy", files / "any")
    assert done.lines[-1] == "Cosigned by witness.example/w1 at 2026-01-02T03:04:05Z."
    body = cli.ok(*proof, "--policy", files / "any", "--json").json
    assert (body["position"], body["witnesses"]) == (8, ["witness.example/w1"])
    assert "not cosigned by the quorum" in cli.fails(5, *proof, "--key", KEY, "--policy", files / "all")
    plain = ("verify", "--proof", files / "plain")
    assert "not cosigned by the quorum" in cli.fails(5, *plain, "--policy", files / "any")
    cli.ok(*plain, "--key", KEY, "--policy", files / "none")
    assert "--key" in cli.fails(2, *plain, "--policy", files / "none")
    assert "Line 1" in cli.fails(2, *plain, "--policy", files / "broken")
    assert "belong to" in cli.fails(2, "verify", "--policy", files / "any")


def test_a_checkpoint_needs_its_quorum_too(cli: Cli, files: Path) -> None:
    """Before anything of the store is read."""
    for name in ("plain", "proof"):
        note = (files / name).read_text().partition("\n\n")[2]
        (files / f"{name}.checkpoint").write_text(note)
    kept = ("verify", "--store", f"sqlite:///{files}/none.db", "--key", KEY, "--policy", files / "any", "--checkpoint")
    assert "not cosigned by the quorum" in cli.fails(5, *kept, files / "plain.checkpoint")
    assert "quorum" not in cli.run(*kept, files / "proof.checkpoint").err


def test_an_announced_key_is_believed(cli: Cli, files: Path) -> None:
    """After a rotation; the former one stays good for what it signed. Nobody follows a key that others may have."""
    key = ("--key", KEY)
    done = cli.ok("verify", "--proof", files / "plain", *key, "--rotation", files / "rotation-0")
    assert "is proven" in done.out
    wrong = cli.fails(5, "verify", "--proof", files / "plain", *key, "--rotation", files / "rotation-1")
    assert "does not announce the rotation" in wrong
    assert "not valid" in cli.fails(5, "verify", "--proof", files / "plain", *key, "--rotation", files / "any")


NOBODY_IS_MISSED = Mutant(
    "a_quorum_is_not_demanded", "import whence.witness_policy as w\nw.WitnessPolicy.demand = lambda *_: None"
)
ANYBODY_COSIGNS = Mutant(
    "the_policy_is_not_asked",
    "import whence.cli.trusted_keys as t\nfrom whence.checkpoints import verify_checkpoint\n"
    "t.Trust.verify_checkpoint = lambda self, data: verify_checkpoint(data, self.keys)",
)


@catches(NOBODY_IS_MISSED, ANYBODY_COSIGNS)
def test_an_export_needs_its_quorum_and_follows_keys_too(cli: Cli, files: Path, tmp_path: Path) -> None:
    """As a proof does. It prints who has cosigned, and when."""
    folder = put(tmp_path / "export")
    export = ("verify", "--export", folder)
    cli.ok(*export, "--key", KEY, "--rotation", files / "rotation-0")
    assert "not the key" in cli.fails(5, *export, "--key", ROTATIONS[0]["next"])
    assert "not cosigned by the quorum" in cli.fails(5, *export, "--policy", files / "any")
    note = (folder / "checkpoint").read_text()
    (folder / "checkpoint").write_text(note + WITNESS.line(note.partition("\n\n")[0] + "\n"))
    describe(folder, manifest_of(folder))
    done = cli.ok(*export, "--policy", files / "any")
    assert done.lines[-1] == "Cosigned by witness.example/w1 at 2026-01-02T03:04:05Z."
    cli.fails(5, *export, "--key", KEY, "--policy", files / "all")
