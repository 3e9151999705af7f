"""`key create`, `key list` and `key revoke`, over HTTP and on the store directly."""

import re
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served
from tests.cli import mutants
from tests.cli.mutants import catches
from tests.cli.program import KEY, Cli, Ran
from whence.permissions import READ

WAYS = ("http", "store")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, user: Cli, served: Served, tenant: str) -> tuple[Cli, tuple[str, ...]]:
    """The program, and its options to reach the keys of one server over HTTP or on its store."""
    if request.param == "http":
        return user, ()
    return user.given(url=None, api_key=None), ("--store", served.settings.store, "--tenant", tenant)


def key_of(ran: Ran) -> str:
    """The key, which is all that stdout contains."""
    assert re.fullmatch(rf"{KEY.pattern}\n", ran.out), ran
    return ran.out.strip()


def status(served: Served, key: str) -> int:
    return httpx2.get(f"{served.url}/api/v1/events", headers={"X-API-Key": key}).status_code


@catches(mutants.MESSAGES_ON_STDOUT)
def test_create_prints_the_key_alone(served: Served, user: Cli, tenant: str) -> None:
    """Over HTTP and on the store, stdout is only the new key, which works at once."""
    on_store = ("--store", served.settings.store, "--tenant", tenant)
    for options in ((), on_store):
        ran = user.ok("key", "create", "--scope", "events:read", "--name", "a key", *options)
        assert status(served, key_of(ran)) == 200
        assert KEY.search(ran.err) is None


def test_create_takes_scopes_and_expiry(way: tuple[Cli, tuple[str, ...]], api: httpx2.Client) -> None:
    """Scopes may be repeated, and an expiry is a duration or a time; the API shows the key as requested."""
    cli, options = way
    scopes = ["--scope", "events:write", "--scope", "events:read:decision"]
    made = cli.ok("key", "create", *scopes, "--expires", "2199-01-02T03:04:05+01:00", "--name", "n", "--json", *options)
    spanned = cli.ok("key", "create", *scopes, "--expires", "2w", "--json", *options).json
    shown = {key["id"]: key for key in api.get("/api/v1/keys").json()["keys"]}
    kept = shown[made.json["id"]]
    assert kept == {name: value for name, value in made.json.items() if name != "key"}
    assert kept["expiresAt"] == "2199-01-02T02:04:05Z" and kept["name"] == "n"
    assert kept["scopes"] == ["events:read:decision", "events:write"]
    left_s = time.mktime(time.strptime(spanned["expiresAt"][:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.gmtime())
    assert abs(left_s - 14 * 86_400) < 300


def test_list_shows_keys_without_secrets(way: tuple[Cli, tuple[str, ...]], api: httpx2.Client) -> None:
    """Every key has a row with its state, and `--json` prints the response of the API."""
    cli, options = way
    secret = key_of(cli.ok("key", "create", "--scope", "events:read", "--name", "to go", *options))
    key_id = api.get("/api/v1/keys").json()["keys"][-1]["id"]
    cli.ok("key", "revoke", key_id, *options)
    ran = cli.ok("key", "list", *options)
    assert secret not in ran.out and ran.err == ""
    assert ran.lines[0].split() == ["ID", "SCOPES", "NAME", "CREATED", "LAST", "USED", "STATE"]
    (row,) = (line for line in ran.lines if key_id in line)
    assert re.search(r"events:read +to go .* never +revoked$", row)
    assert "active" in ran.out
    listed = cli.ok("key", "list", "--json", *options).json["keys"]
    forget = [key | {"lastUsedAt": None} for key in listed]
    assert forget == [key | {"lastUsedAt": None} for key in api.get("/api/v1/keys").json()["keys"]]


def test_a_revoked_key_ends_within_a_second(
    way: tuple[Cli, tuple[str, ...]], served: Served, api: httpx2.Client
) -> None:
    """A running server refuses a used key a second after it was revoked, also on the store."""
    cli, options = way
    secret = key_of(cli.ok("key", "create", "--scope", "events:read", *options))
    key_id = api.get("/api/v1/keys").json()["keys"][-1]["id"]
    assert status(served, secret) == 200
    ran = cli.ok("key", "revoke", key_id, *options)
    assert (ran.out, ran.err) == ("", "Revoked.\n")
    (revoked,) = (key["revokedAt"] for key in api.get("/api/v1/keys").json()["keys"] if key["id"] == key_id)
    ran = cli.ok("key", "revoke", key_id, *options)
    assert (ran.out, ran.err) == ("", f"This key was revoked already, at {revoked}.\n")
    time.sleep(1)
    assert status(served, secret) == 401


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("create", "--scope", "bogus"), 2),
        (("create", "--scope", "events:read", "--name", "\x1b[31m"), 2),
        (("create", "--scope", "events:read", "--name", "x" * 101), 2),
        (("revoke", "key_nope"), 3),
        (("revoke", "../events"), 3),
    ],
    ids=str,
)
def test_both_ways_refuse_alike(way: tuple[Cli, tuple[str, ...]], words: tuple[str, ...], code: int) -> None:
    """Invalid and unknown keys get the same exit code over HTTP and on the store."""
    cli, options = way
    cli.fails(code, "key", *words, *options)


def test_a_list_of_keys_fits_the_terminal(user: Cli, api: httpx2.Client) -> None:
    """A key in lines of its own where a table would be too wide. Ids, scopes and times are whole."""
    made = user.ok(
        "key", "create", "--scope", "events:write", "--expires", "2w", "--name", "a long note " * 8, "--json"
    )
    width = {"COLUMNS": "80"}
    lines = user.ok("key", "list", env=width).lines
    assert max(map(len, lines)) <= 80
    place = next(number for number, line in enumerate(lines) if made.json["id"] in line)
    shown = " ".join(line.strip() for line in lines[place : place + 5])
    assert shown == (
        f"{made.json['id']} · {('a long note ' * 8).strip()} · until {made.json['expiresAt']} events:write · created "
        f"{made.json['createdAt']} · last used never"
    )
    wide, piped = user.ok("key", "list", env={"COLUMNS": "250"}).out, user.ok("key", "list").out
    assert without_times(wide) == without_times(piped)


def without_times(table: str) -> str:
    """A table without its times: a server may note the last use of a key between two of them."""
    return re.sub(r" +", " ", re.sub(r"\d{4}-\S+Z|never", "…", table))


@catches(mutants.NO_TENANT_IS_THE_DEFAULT)
def test_an_empty_tenant_is_refused(cli: Cli, tmp_path: Path) -> None:
    """An empty tenant, as of a variable that is not set, makes no key for the default tenant."""
    store = ("--store", f"sqlite:///{tmp_path}/log.db", "--tenant", "")
    assert "A tenant has" in cli.fails(2, "key", "create", "--scope", "admin", *store)
    assert not (tmp_path / "log.db").exists()
    assert "A tenant has" in cli.fails(2, "key", "list", *store)


def test_an_operators_key_is_made_listed_and_revoked_on_the_store(served: Served, cli: Cli) -> None:
    """The scopes are its ceiling. It belongs to no tenant, and no list of a tenant has it."""
    store = ("--store", served.settings.store)
    scopes = ("--scope", "events:read", "--scope", "events:write")
    ran = cli.ok("key", "create", "--operator", *scopes, "--name", "platform", *store)
    assert ran.err == f"Created in {served.settings.store} for an operator.\n"
    key = {"X-API-Key": key_of(ran)}
    assert httpx2.get(f"{served.url}/api/v1/tenants", headers=key).status_code == 200
    assert httpx2.get(f"{served.url}/api/v1/events", headers=key).status_code == 403
    asked = {"scopes": ["events:write"]}
    made = httpx2.post(f"{served.url}/api/v1/tenants/acme/token", headers=key, json=asked)
    assert made.status_code == 201
    (row,) = (line for line in cli.ok("key", "list", "--operator", *store).lines if "platform" in line)
    assert "events:read events:write" in row and row.endswith("active")
    (shown,) = (each for each in cli.ok("key", "list", "--operator", "--json", *store).json["keys"])
    assert (shown["tenantId"], shown["scopes"]) == ("", ["events:read", "events:write"])
    assert shown["id"] not in cli.ok("key", "list", "--tenant", "acme", *store).out
    cli.fails(3, "key", "revoke", shown["id"], "--tenant", "acme", *store)
    cli.ok("key", "revoke", shown["id"], "--operator", *store)
    time.sleep(1)
    assert httpx2.get(f"{served.url}/api/v1/tenants", headers=key).status_code == 401
    token = {"Authorization": f"Bearer {made.json()['token']}"}
    assert httpx2.get(f"{served.url}/api/v1/events", headers=token).status_code == 401


def test_an_operators_key_has_no_tenant(cli: Cli, tmp_path: Path) -> None:
    """Both options together are refused, and so is a scope that does not exist."""
    store = ("--store", f"sqlite:///{tmp_path}/log.db")
    for words in (("create", "--scope", "events:read"), ("list",), ("revoke", "key_x")):
        assert "no tenant" in cli.fails(2, "key", *words, "--operator", "--tenant", "acme", *store)
    assert "scope" in cli.fails(2, "key", "create", "--operator", "--scope", "operator", *store)


def test_every_page_of_keys_is_listed(served: Served, user: Cli, tenant: str) -> None:
    """Over HTTP a page has a hundred keys, and the command follows the links."""
    for _ in range(120):
        served.key(READ, tenant=tenant)
    assert len(user.ok("key", "list", "--json").json["keys"]) > 120


def test_keys_need_the_scope_admin(served: Served, user: Cli, tenant: str) -> None:
    """Over HTTP a reader may not create or list keys; the message names the missing scope."""
    reader = user.given(api_key=served.key(READ, tenant=tenant))
    for words in (("create", "--scope", "events:read"), ("list",), ("revoke", "key_nope")):
        assert "admin" in reader.fails(4, "key", *words)


def test_a_key_can_be_made_before_the_first_start(cli: Cli, tmp_path: Path) -> None:
    """On the store directly no server is needed, and the default tenant is 'default'."""
    store = f"sqlite:///{tmp_path}/log.db"
    ran = cli.ok("key", "create", "--scope", "admin", "--store", store)
    assert ran.err == f"Created in {store}, a new log, for the tenant default.\n"
    (kept,) = cli.ok("key", "list", "--store", store, "--json").json["keys"]
    assert kept["tenantId"] == "default" and kept["lastUsedAt"] is None
    assert cli.given(store=store).ok("key", "list", "--tenant", "other", "--json").json == {"keys": []}


def test_a_store_that_cannot_be_opened_is_reported(cli: Cli, tmp_path: Path) -> None:
    """A folder, a file that is not a store, and an impossible path are reported in a sentence."""
    text = tmp_path / "text.db"
    text.write_bytes(b"this is no database, whatever its name says\n" * 100)
    paths: list[Any] = [tmp_path, text, text / "log.db"]
    for path in paths:
        assert cli.fails(5 if path == text else 1, "key", "list", "--store", f"sqlite:///{path}")


def test_logs_of_the_store_go_to_stderr(cli: Cli, tmp_path: Path) -> None:
    """Log messages of the store, here of a failed write, do not go to stdout, where scripts read the key."""
    fails = """
import whence.storage.sqlite.credentials as credentials
class Broken(dict):
    def __getitem__(self, _block):
        raise RuntimeError("forced")
credentials._SQL = Broken()
"""
    broken = Cli(cli.home, fails).given(debug="1")
    ran = broken.run("key", "create", "--scope", "admin", "--store", f"sqlite:///{tmp_path}/log.db")
    assert ran.code == 1 and ran.out == ""
    assert "request failed" in ran.err and "forced" in ran.err
