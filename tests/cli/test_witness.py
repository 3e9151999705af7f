"""`whence witness`: a witness as a process of its own, which is killed and goes on where it was."""

import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import httpx2

from tests.cli.program import SECONDS_MAX, Cli, Serving, running
from tests.documents import code_of, steps_of
from tests.proofs.vector_log import KEY, ORIGIN, WITNESS, note_of, whole_tree
from whence.checkpoints import verify_checkpoint
from whence.log_keys import LogKeys
from whence.notes import parse_verifier_key
from whence.sealing import StoreSecret
from whence.witness_protocol import encode_request, origin_hash

MAKE, SERVE = (
    shlex.split(step.command)[1:]
    for code in code_of("docs/proof.md", "console")
    for step in steps_of(code)
    if step.command.startswith("whence witness")
)
"""The commands of the document, which are run here in the home folder of the user."""


@contextmanager
def witnessing(cli: Cli, key: str = KEY) -> Iterator[Serving]:
    """Run a witness of a log until the block ends; by default of that of the vectors."""
    log = cli.home / f"said-{time.monotonic_ns()}.log"
    known = {"127.0.0.1:8710": "127.0.0.1:0", "$(cat acme.key)": key}
    command = [known.get(each, each) for each in in_home(cli, SERVE)]
    with log.open("wb") as stderr:
        serving = Serving(cli.start(*command, stderr=stderr), log)
    try:
        serving.url = serving.wait_for(r"Witness of .* at (\S+)\. Its key")[1]
        yield serving
    finally:
        serving.process.kill()
        serving.process.wait()


def in_home(cli: Cli, words: Sequence[str]) -> list[str]:
    """The words of a command with the paths of its files."""
    return [str(cli.home / each) if each in ("state", "key") else each for each in words]


def ask(witness: Serving, old: int, new: int) -> httpx2.Response:
    content = encode_request(old, whole_tree().consistency(old, new), note_of(new))
    return httpx2.post(f"{witness.url}/add-checkpoint", content=content)


def test_a_witness_that_is_killed_goes_on(cli: Cli) -> None:
    """After each kill it has every checkpoint that it answered for, and refuses to go back. `list` says what it has."""
    serve = [{"$(cat acme.key)": KEY}.get(each, each) for each in in_home(cli, SERVE)]
    assert "'whence witness new' makes it" in cli.fails(1, *serve)
    [key] = cli.ok(*in_home(cli, MAKE)).lines
    assert (cli.home / "key").stat().st_mode & 0o77 == 0
    for old, new in ((0, 3), (3, 255)):
        with witnessing(cli) as witness:
            line = ask(witness, old, new)
            assert line.status_code == 200
            witness.process.send_signal(signal.SIGKILL)
        note = note_of(new) + line.text
        assert verify_checkpoint(note.encode(), [parse_verifier_key(KEY)], [parse_verifier_key(key)]).witnesses
        assert cli.ok("witness", "list", "--state", str(cli.home / "state")).lines == [f"{ORIGIN}  {new} events"]
    with witnessing(cli) as witness:
        refused = ask(witness, 3, 255)
        assert (refused.status_code, refused.headers["content-type"], refused.text) == (
            409,
            "text/x.tlog.size",
            "255\n",
        )
        assert httpx2.get(f"{witness.url}/{origin_hash(ORIGIN)}/checkpoint").text == note
        for path, status in (("/", 404), ("/add-checkpoint", 405), ("/other/checkpoint", 404)):
            assert httpx2.get(f"{witness.url}{path}").status_code == status
        assert httpx2.post(f"{witness.url}/add-checkpoint", content=b"x" * 300_000).status_code == 413
        assert witness.stop() == 0
    assert cli.ok("witness", "list", "--state", str(cli.home / "state"), "--json").json["logs"][0]["size"] == 255


def test_a_server_asks_a_witness(cli: Cli) -> None:
    """What it cosigned is in the newest checkpoint. A policy that cannot be used ends the server at once."""
    [key] = cli.ok(*in_home(cli, MAKE)).lines
    policy, store = cli.home / "policy", f"sqlite:///{cli.home}/log.db"
    policy.write_text(f"witness w1 {key}\nquorum w1\n")
    served = cli.given(
        witness_policy=str(policy), store=store, log_name="log.example", store_secret="s" * 32, seal_ml_dsa="true"
    )
    assert "do not make the quorum" in served.fails(1, "serve", "--port", "0")
    log = str(LogKeys(StoreSecret("s" * 32, is_shared=True), ml_dsa=True).ml_dsa_key("log.example/default/1"))
    with witnessing(cli, log) as witness:
        policy.write_text(f"witness w1 {key} {witness.url}\nquorum w1\n")
        with running(served, "serve", "--port", "0"):
            cli.ok("emit", "a.noted", "--resource", f"decision/{UUID(int=1)}", "--actor", "user/ana")
            until = time.monotonic() + SECONDS_MAX
            while cli.run("checkpoint", "show", "--cosigned").code != 0:
                assert time.monotonic() < until
                time.sleep(0.1)
            note = cli.ok("checkpoint", "show").out
            keys = [parse_verifier_key(each) for each in (log, key)]
            assert verify_checkpoint(note.encode(), keys[:1], keys[1:]).witnesses == (keys[1],)
            cli.ok("proof", "@1", "-o", cli.home / "proof", "--cosigned")
            assert note in (cli.home / "proof").read_text()


def test_a_witness_never_forgets(cli: Cli) -> None:
    """It does not start without its state, and `new` replaces neither key nor state."""
    make, serve = in_home(cli, MAKE), [each if "$" not in each else KEY for each in in_home(cli, SERVE)]
    cli.ok(*make)
    assert "exists" in cli.fails(1, *make)
    (cli.home / "state").unlink()
    assert "forgot" in cli.fails(1, *serve)
    (cli.home / "state").write_text("{}")
    assert "damaged" in cli.fails(5, *serve)
    assert "damaged" in cli.fails(5, "witness", "list", "--state", str(cli.home / "state"))
    assert "HOST:PORT" in cli.fails(2, *serve[:5], "--listen", "8710", "--log", KEY)
    assert "--log is not the key" in cli.fails(2, *serve[:-1], "nonsense")
    assert "that of a witness" in cli.fails(2, *serve[:-1], str(WITNESS.key))
