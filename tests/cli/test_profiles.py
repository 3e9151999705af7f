"""The choice of server and key: flags override the environment, which overrides the profile."""

import json
import os
import pty
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Served
from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import KEY, Cli, running
from whence.cli.app import run
from whence.permissions import READ

NOWHERE = "http://127.0.0.1:1"


UNNAMED = Mutant(
    "profile_of_a_silent_server_unnamed",
    """
import whence.cli.profiles as profiles
class Other(Exception): ...
profiles.Unreachable = Other
""",
)


def keep(cli: Cli, *, url: str, key: str) -> Path:
    """Write a profile as `whence serve` does."""
    path = cli.home / "config" / "whence" / "profiles.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"current": "p", "profiles": {"p": {"url": url, "api_key": key}}}))
    return path


def tenant_asked(cli: Cli, served: Served, *options: str) -> str:
    """The tenant of the credential that was used, taken from the listed keys."""
    del served
    return str(cli.ok("key", "list", "--json", *options).json["keys"][0]["tenantId"])


@catches(mutants.ENVIRONMENT_FIRST, mutants.PROFILE_FIRST)
def test_flags_override_the_environment_which_overrides_the_profile(cli: Cli, served: Served) -> None:
    """The key and the server come from the flag, else from the variable, else from the profile."""
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
def test_the_key_of_a_profile_goes_only_to_its_server(cli: Cli, served: Served) -> None:
    """Another server does not get the key of the profile. The same server gets it, with or without a slash at the end
    of its address.
    """
    key = served.key(READ, "admin", tenant="kept")
    keep(cli, url="http://127.0.0.1:2", key=key)
    cli.fails(4, "list", "--url", served.url)
    cli.given(url=served.url).fails(4, "list")
    keep(cli, url=served.url, key=key)
    assert tenant_asked(cli, served, "--url", f"{served.url}/") == "kept"
    assert tenant_asked(cli.given(url=served.url), served) == "kept"


def test_a_profile_may_be_named(cli: Cli, served: Served) -> None:
    """By WHENCE_PROFILE. A name that no profile has is no reason to use another one."""
    path = keep(cli, url=served.url, key=served.key("admin", tenant="current"))
    profiles = json.loads(path.read_text())
    profiles["profiles"]["other"] = {"url": served.url, "api_key": served.key("admin", tenant="named")}
    path.write_text(json.dumps(profiles))
    assert tenant_asked(cli, served) == "current"
    assert tenant_asked(cli.given(profile="other"), served) == "named"
    for said in (cli.given(profile="none", url=served.url).fails(3, "list"), cli.fails(3, "list", "--profile", "none")):
        assert "names no profile" in said and "whence profile list" in said and "key" not in said


@catches(mutants.PROFILE_FLAG_IGNORED)
def test_a_named_profile_overrides_the_environment(cli: Cli, served: Served) -> None:
    """--profile is preferred to WHENCE_PROFILE, WHENCE_URL and WHENCE_API_KEY, and its key goes to no other server."""
    path = keep(cli, url=NOWHERE, key="whk_other")
    profiles = json.loads(path.read_text())
    profiles["profiles"]["flag"] = {"url": served.url, "api_key": served.key("admin", tenant="flagged")}
    path.write_text(json.dumps(profiles))
    user = cli.given(url=NOWHERE, api_key="whk_environment", profile="p")
    assert tenant_asked(user, served, "--profile", "flag") == "flagged"
    other = user.fails(4, "list", "--profile", "flag", "--url", NOWHERE)
    assert "another URL" in other and "api_key" not in other and "--api-key" in other
    assert "begin with its scheme" in user.fails(2, "list", "--profile", "flag", "--url", "127.0.0.1:8761")


@catches(UNNAMED)
def test_a_server_that_does_not_answer_is_named_by_its_profile(cli: Cli) -> None:
    """A user who did not pass the URL learns where it comes from. One who passed it does not."""
    keep(cli, url=NOWHERE, key="whk_1")
    assert f"{NOWHERE}: the connection was refused. (that is the URL of the profile 'p';" in cli.fails(6, "list")
    assert "profile" not in cli.given(url=NOWHERE, api_key="whk_1").fails(6, "list")


def test_the_default_address_is_used_last(cli: Cli) -> None:
    """Without a flag, a variable or a profile, the default address is used."""
    ran = cli.run("list")
    assert ran.code in (4, 6) and (ran.code == 4 or "http://127.0.0.1:8700" in ran.err)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"profiles": 7}', b"\xff", None], ids=str)
def test_an_unreadable_profile_is_reported(
    cli: Cli,
    served: Served,
    content: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the file. With flags the profile is not needed."""
    for name in ("URL", "API_KEY", "PROFILE"):
        monkeypatch.delenv(f"WHENCE_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", cli.env()["XDG_CONFIG_HOME"])
    path = keep(cli, url=served.url, key="x")
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    assert run(["list"]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1) and str(path) in err
    assert run(["list", "--url", served.url, "--api-key", served.key(READ, tenant="spoilt")]) == 0


@catches(mutants.WORLD_READABLE)
def test_serve_saves_a_profile_for_its_owner_only(cli: Cli) -> None:
    """The first `whence serve` makes a key and saves it in a file of mode 0600 in a folder of mode 0700, which the
    other commands use. Other profiles in the file stay.
    """
    other = keep(cli, url="https://log.example", key="whk_other")
    other.chmod(0o644)
    with running(cli, "serve", "--port", "0") as serving:
        serving.wait_for("Commands now use this server")
        path = cli.home / "config" / "whence" / "profiles.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        kept = json.loads(path.read_text())
        assert kept["current"] == "default" and kept["profiles"]["p"]["api_key"] == "whk_other"
        assert kept["profiles"]["default"]["api_key"] == serving.key
        assert cli.ok("list").err == "0 of 0 events.\n"
        assert [each.name for each in path.parent.iterdir()] == ["profiles.json"]
    assert stat.S_IMODE((cli.home / "data" / "whence").stat().st_mode) == 0o700


def test_a_restart_shows_no_key_and_updates_the_profile(cli: Cli) -> None:
    """The second start of the same store shows no key, and updates the profile to the new port."""
    options = ("serve", "--port", "0")
    with running(cli, *options) as first:
        first.wait_for("now use this server")
        key = first.key
        assert first.stop() == 0
        assert key.startswith("whk_")
    with running(cli, *options) as second:
        second.wait_for("now use this server")
        assert second.key == "" and key not in second.said
        cli.ok("list")
        assert cli.ok("key", "list", "--json").json["keys"][0]["name"] == "first run"


def test_a_server_starts_without_saving_a_profile(cli: Cli) -> None:
    """If the profile cannot be saved, the server says so and serves, and the command that it names makes a key."""
    (cli.home / "config").write_bytes(b"a file where the folder should be")
    with running(cli, "serve", "--port", "0") as serving:
        serving.wait_for("Cannot save the profile")
        command = serving.wait_for("To make another: whence (.*)\n")[1]
        key = cli.ok(*shlex.split(command)).out.strip()
        cli.given(url=serving.url, api_key=key).ok("list")


@catches(mutants.ONE_PROFILE_FOR_ALL)
def test_each_store_has_its_own_profile(cli: Cli, tmp_path: Path) -> None:
    """A second store gets a second profile, which is the current one, and the key of the first stays. Both servers can
    be used by the names of their profiles, and the way back is named.
    """
    with (
        running(cli, "serve", "--port", "0") as first,
        running(cli, "serve", "--port", "0", "--store", f"sqlite:///{tmp_path}/orders.db") as second,
    ):
        kept = json.loads((cli.home / "config" / "whence" / "profiles.json").read_text())
        assert kept["current"] == "orders"
        assert {name: each["api_key"] for name, each in kept["profiles"].items()} == {
            "default": first.key,
            "orders": second.key,
        }
        assert first.key != second.key
        cli.ok(*shlex.split(second.wait_for(r"To go back to the one before: (?:\S+ -m )?whence (.*)\n")[1]))
        assert cli.ok("key", "list").code == 0
        kept = json.loads((cli.home / "config" / "whence" / "profiles.json").read_text())
        assert (kept["current"], kept["profiles"]["default"]["url"]) == ("default", first.url)


@catches(mutants.KEY_IN_THE_JOURNAL)
def test_the_first_key_is_not_written_to_a_file(cli: Cli) -> None:
    """Where stderr is a file or a journal, the first key is only in the profile, and the output says so."""
    with running(cli, "serve", "--port", "0") as serving:
        assert serving.key.startswith("whk_")
        assert KEY.search(serving.said) is None
        assert "is saved in the profile 'default', and not shown" in serving.said
        export = serving.wait_for(r"\n  (export WHENCE_URL=.*)\n")[1]
        shown = 'echo "$WHENCE_URL $WHENCE_API_KEY"'
        done = subprocess.run(
            ["bash", "-c", f"{export}\n{shown}"], env=cli.env(), capture_output=True, check=True, text=True, timeout=60
        )
        assert done.stdout == f"{serving.url} {serving.key}\n"


@catches(mutants.KEY_NOT_SHOWN)
def test_the_first_key_is_shown_once_on_a_terminal(cli: Cli) -> None:
    """On a terminal the first key is printed once, as it is in the profile."""
    ours, theirs = pty.openpty()
    process = cli.given(log_level="error").start("serve", "--port", "0", stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while re.search(rb"export WHENCE_URL[^\r]*\r\n", written) is None:
            written += os.read(ours, 65_536)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    kept = json.loads((cli.home / "config" / "whence" / "profiles.json").read_text())["profiles"]["default"]
    said = written.decode()
    assert said.count(kept["api_key"]) == 1
    assert f"\n  export WHENCE_URL={kept['url']} WHENCE_API_KEY={kept['api_key']}\r\n" in said


@pytest.mark.slow
def test_serve_refuses_what_it_cannot_do(cli: Cli, tmp_path: Path) -> None:
    """A taken port, a store that another server has open, and a file that is not a store are reported in a sentence,
    and no key is made or shown.
    """
    store = f"sqlite:///{tmp_path}/log.db"
    with running(cli, "serve", "--port", "0", "--store", store) as serving:
        taken: list[Any] = ["serve", "--store", f"sqlite:///{tmp_path}/new.db", "--port", str(serving.port)]
        assert "--port" in cli.fails(1, *taken)
        assert not (tmp_path / "new.db").exists()
        assert cli.fails(1, "serve", "--store", store, "--port", "0")
    (tmp_path / "text.db").write_bytes(b"this is no database\n" * 500)
    assert cli.fails(5, "serve", "--store", f"sqlite:///{tmp_path}/text.db", "--port", "0")


def test_a_log_without_a_saved_key_says_how_to_save_one(cli: Cli, tmp_path: Path) -> None:
    """On a terminal, the server of a log whose key is in no profile prints a line that makes and saves one."""
    store = f"sqlite:///{tmp_path}/log.db"
    cli.ok("key", "create", "--scope", "admin", "--store", store)
    ours, theirs = pty.openpty()
    process = cli.given(log_level="error").start("serve", "--port", "0", "--store", store, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while re.search(rb" login \S+\r\n", written) is None:
            written += os.read(ours, 65_536)
        (line,) = re.findall(r"^  (whence key create .*)\r$", written.decode(), re.MULTILINE)
        done = subprocess.run(["bash", "-c", line], env=cli.env(), capture_output=True, check=True, timeout=60)
        assert done.stdout == b""
        kept = json.loads((cli.home / "config" / "whence" / "profiles.json").read_text())["profiles"]
        assert [each["api_key"].startswith("whk_") for each in kept.values()] == [True]  # `login` has tried it
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    "code", ["import whence; whence.Whence().close()", "import whence.cli.serve, whence.cli.login"]
)
def test_nothing_warns_of_a_missing_runtime_directory(cli: Cli, code: str) -> None:
    """Neither the commands nor a program with the SDK, where XDG_RUNTIME_DIR is not set."""
    asked = f"{code}\nfrom whence.settings import Settings; from whence.profiles import load_profiles\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{asked}Settings(); load_profiles()"],
        env=cli.env(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
