"""`migrate`, and other commands on a PostgreSQL store."""

import asyncio
import subprocess

import httpx2
import pytest

from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli, running
from tests.databases import empty_database, execute, server_url
from whence.storage.migrations import load_migrations

pytestmark = pytest.mark.slow

SERVES_UNCHECKED = Mutant(
    "serves_unchecked",
    """
from whence.storage.postgres import engine
async def skip(self): pass
engine.PostgresStore.check_servable = skip
""",
)
SHOWS_PASSWORD = Mutant(
    "shows_the_whole_url",
    "from whence.settings import Settings\nSettings.shown_store = property(lambda self: self.store)",
)

SEES_NO_HASH = Mutant(
    "sees_no_hash",
    "from whence.storage.verification import Chain\nChain._fault = lambda *_: ''",
)

SECRET = "made-up-password"


def database() -> str:
    """The URL of a database without a log. Its password is not checked by the server."""
    url = asyncio.run(empty_database())
    return url.replace("postgres:@", f"postgres:{SECRET}@") if "postgres:@" in url else url


def test_a_log_is_made_by_migrate(cli: Cli) -> None:
    """The first run takes the steps, the second none. A server then serves the log, and exits with 0."""
    url = database()
    steps = load_migrations("whence.storage.postgres")
    taken = cli.ok("migrate", "--store", url).err
    assert f"{len(steps)} steps taken, up to {steps[-1].number:04} {steps[-1].name}" in taken
    assert "up to date" in cli.given(store=url).ok("migrate").err
    key = cli.ok("key", "create", "--scope", "events:read", "--scope", "events:write", "--store", url).lines[0]
    with running(cli, "serve", "--store", url, "--port", "0") as serving:
        found = httpx2.get(f"{serving.url}/api/v1/events", headers={"X-API-Key": key})
        assert (found.status_code, found.json()["total"]) == (200, 0)
        assert httpx2.get(f"{serving.url}/readyz").status_code == 200
        cli.given(url=serving.url, api_key=key).ok(
            "emit",
            "decision.approved",
            "--actor",
            "user/ada",
            "--resource",
            "decision/00000000-0000-4000-8000-000000000001",
        )
        assert httpx2.get(f"{serving.url}/api/v1/events", headers={"X-API-Key": key}).json()["total"] == 1
        assert "Its first key" not in serving.said
        assert serving.stop() == 0


def refused(cli: Cli, url: str) -> str:
    """The output of a `serve` that refuses to start."""
    process = cli.start("serve", "--store", url, "--port", "0", stderr=subprocess.PIPE)
    said: list[bytes] = []
    for line in process.stderr or ():
        said.append(line)
        if line.startswith(b"Serving"):
            process.kill()
            process.communicate()
            raise AssertionError("the server started")
    assert process.wait() == 1
    return b"".join(said).decode()


@catches(SERVES_UNCHECKED)
def test_a_server_makes_no_log_by_itself(cli: Cli) -> None:
    """It exits at once, and names the command that makes one."""
    assert "whence migrate" in refused(cli, database())


@catches(SERVES_UNCHECKED)
def test_a_server_whose_log_may_be_lost_is_refused(cli: Cli) -> None:
    """Unless the operator accepts that, by flag or by variable."""
    url = database()
    cli.ok("migrate", "--store", url)
    name = url.partition("?")[0].rpartition("/")[2]
    asyncio.run(execute(server_url(), f"ALTER DATABASE {name} SET synchronous_commit = off"))
    assert "synchronous_commit" in refused(cli, url)
    with running(cli, "serve", "--store", url, "--port", "0", "--unsafe-durability") as serving:
        assert serving.stop() == 0
    with running(cli.given(unsafe_durability="true"), "serve", "--store", url, "--port", "0") as serving:
        assert serving.stop() == 0


def emit(cli: Cli, number: int) -> None:
    """Store an event about the decision with this number."""
    resource = f"decision/00000000-0000-4000-8000-{number:012}"
    cli.ok("emit", "decision.approved", "--actor", "user/ada", "--resource", resource)


@catches(SEES_NO_HASH)
def test_a_log_is_verified(cli: Cli) -> None:
    """A sound log passes. The position of a changed payload is reported, with exit code 5."""
    url = database()
    cli.ok("migrate", "--store", url)
    key = cli.ok("key", "create", "--scope", "events:write", "--store", url).lines[0]
    with running(cli, "serve", "--store", url, "--port", "0") as serving:
        for number in range(3):
            emit(cli.given(url=serving.url, api_key=key), number)
    said = cli.ok("verify", "--store", url).out
    assert said.startswith("3 events of 1 tenant in postgresql://") and said.endswith(" verified, no errors found.\n")
    asyncio.run(execute(url, "UPDATE whence.event SET payload = '[]' WHERE position = 2"))
    found = cli.run("verify", "--store", url)
    assert (found.code, found.out) == (5, "default: position 2: the event does not belong to its hash\n")
    told = cli.given(store=url).run("verify", "--json")
    assert (told.code, told.json["sound"], told.json["findings"][0]["position"]) == (5, False, 2)
    assert "PostgreSQL" in cli.fails(1, "verify", "--store", "postgresql://nobody@127.0.0.1:1/log")
    assert "whence migrate" in cli.fails(1, "verify", "--store", database())


@catches(SHOWS_PASSWORD)
def test_a_password_is_not_shown(cli: Cli) -> None:
    """Not by `migrate`, `key create` or `serve`."""
    url = database()
    said = cli.ok("migrate", "--store", url).err
    said += cli.ok("key", "create", "--scope", "admin", "--store", url).err
    with running(cli, "serve", "--store", url, "--port", "0") as serving:
        said += serving.said
    assert "postgresql://" in said
    assert SECRET not in said


def test_a_file_needs_no_migration(cli: Cli) -> None:
    """For a SQLite file the command fails and says so."""
    assert "SQLite" in cli.fails(1, "migrate", "--store", f"sqlite:///{cli.home}/log.db")


def test_an_unreachable_server_is_reported_in_a_sentence(cli: Cli) -> None:
    """By each command."""
    nowhere = "postgresql://nobody@127.0.0.1:1/log"
    for command in (("migrate",), ("serve", "--port", "0"), ("key", "list")):
        assert "PostgreSQL" in cli.fails(1, *command, "--store", nowhere)
