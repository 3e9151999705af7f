"""Which server is asked, and with which key: flags over the environment over the profile."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Served
from tests.cli import mutants
from tests.cli.mutants import catches
from tests.cli.program import Cli, running
from whence.permissions import READ

NOWHERE = "http://127.0.0.1:1"


def keep(cli: Cli, *, url: str, key: str) -> Path:
    """A profile as `whence serve` writes it."""
    path = cli.home / "config" / "whence" / "profiles.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"current": "p", "profiles": {"p": {"url": url, "api_key": key}}}))
    return path


def tenant_asked(cli: Cli, served: Served, *options: str) -> str:
    """Whose keys are listed: that is the tenant of the credential that was used."""
    del served
    return str(cli.ok("key", "list", "--json", *options).json["keys"][0]["tenantId"])


@catches(mutants.ENVIRONMENT_FIRST, mutants.PROFILE_FIRST)
def test_flags_go_over_the_environment_over_the_profile(cli: Cli, served: Served) -> None:
    """Of the keys and servers of a flag, a variable and a profile, the first that is given counts."""
    keys = {name: served.key("admin", tenant=f"by-{name}") for name in ("flag", "environment", "profile")}
    keep(cli, url=served.url, key=keys["profile"])
    assert tenant_asked(cli, served) == "by-profile"
    both = cli.given(url=served.url, api_key=keys["environment"])
    assert tenant_asked(both, served) == "by-environment"
    assert tenant_asked(both, served, "--api-key", keys["flag"]) == "by-flag"
    assert tenant_asked(cli, served, "--api-key", keys["flag"]) == "by-flag"
    lost = cli.given(url=NOWHERE, api_key=keys["environment"])
    assert tenant_asked(lost, served, "--url", served.url) == "by-environment"
    keep(cli, url=NOWHERE, key=keys["profile"])
    assert tenant_asked(both, served) == "by-environment"


@catches(mutants.KEY_FOR_ALL)
def test_the_profiles_key_goes_to_its_own_server_alone(cli: Cli, served: Served) -> None:
    """Another server that is named does not get the key that is kept for this one, and the same one does, however
    its address ends.
    """
    key = served.key(READ, "admin", tenant="kept")
    keep(cli, url="http://127.0.0.1:2", key=key)
    cli.fails(4, "list", "--url", served.url)
    cli.given(url=served.url).fails(4, "list")
    keep(cli, url=served.url, key=key)
    assert tenant_asked(cli, served, "--url", f"{served.url}/") == "kept"
    assert tenant_asked(cli.given(url=served.url), served) == "kept"


def test_without_anything_the_default_server_is_asked(cli: Cli) -> None:
    """Without a flag, a variable or a profile, the server is looked for at its usual address."""
    ran = cli.run("list")
    assert ran.code in (4, 6) and (ran.code == 4 or "http://127.0.0.1:8700" in ran.err)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"profiles": 7}', b"\xff", None], ids=str)
def test_a_spoilt_profile_is_told(cli: Cli, served: Served, content: bytes | None) -> None:
    """A file of profiles that cannot be read is told with its path; flags need no profile at all."""
    path = keep(cli, url=served.url, key="x")
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    assert str(path) in cli.fails(1, "list")
    cli.ok("list", "--url", served.url, "--api-key", served.key(READ, tenant="spoilt"))


@catches(mutants.WORLD_READABLE)
def test_serve_keeps_a_profile_for_its_owner_alone(cli: Cli) -> None:
    """The first `whence serve` tells a key once and keeps it in a file of mode 0600 in a folder of 0700, by which the
    other commands work; what else was kept there stays.
    """
    other = keep(cli, url="https://log.example", key="whk_other")
    other.chmod(0o644)
    with running(cli, "serve", "--port", "0") as serving:
        serving.wait_for("The commands of this user now speak to it")
        path = cli.home / "config" / "whence" / "profiles.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        kept = json.loads(path.read_text())
        assert kept["current"] == "default" and kept["profiles"]["p"]["api_key"] == "whk_other"
        assert kept["profiles"]["default"]["api_key"] == serving.key
        assert cli.ok("list").err == "0 of 0 events.\n"
        assert [each.name for each in path.parent.iterdir()] == ["profiles.json"]
    assert stat.S_IMODE((cli.home / "data" / "whence").stat().st_mode) == 0o700


def test_a_restart_tells_no_key_and_moves_the_profile(cli: Cli) -> None:
    """The second start of the same store shows no key, and its profile follows it to a new port."""
    options = ("serve", "--port", "0")
    with running(cli, *options) as first:
        first.wait_for("now speak to it")
        key = first.key
        assert first.stop() == 0
        assert first.said.count(key) == 1
    with running(cli, *options) as second:
        second.wait_for("now speak to it")
        assert second.key == "" and key not in second.said
        cli.ok("list")
        assert cli.ok("key", "list", "--json").json["keys"][0]["name"] == "first run"


def test_a_profile_that_cannot_be_kept_stops_no_server(cli: Cli) -> None:
    """When the profile has no place, the server says so, tells the key, and serves."""
    (cli.home / "config").write_bytes(b"a file where the folder should be")
    with running(cli, "serve", "--port", "0") as serving:
        serving.wait_for("The profile could not be kept")
        cli.given(url=serving.url, api_key=serving.key).ok("list")


def test_serve_refuses_what_it_cannot_do(cli: Cli, tmp_path: Path) -> None:
    """A port that is taken, a store that another server has open, and a store that is none are told in a sentence,
    and no key is made or told for them.
    """
    store = f"sqlite:///{tmp_path}/log.db"
    with running(cli, "serve", "--port", "0", "--store", store) as serving:
        taken: list[Any] = ["serve", "--store", f"sqlite:///{tmp_path}/new.db", "--port", str(serving.port)]
        assert "--port" in cli.fails(1, *taken)
        assert not (tmp_path / "new.db").exists()
        assert cli.fails(1, "serve", "--store", store, "--port", "0")
    (tmp_path / "text.db").write_bytes(b"this is no database\n" * 500)
    assert cli.fails(1, "serve", "--store", f"sqlite:///{tmp_path}/text.db", "--port", "0")
