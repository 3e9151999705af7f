"""`login` and `profile …`: keys are saved, chosen, shown and removed, and none is lost on the way."""

import io
import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.api.conftest import Served
from tests.cli.program import Cli
from whence.cli.app import run
from whence.permissions import READ, WRITE
from whence.profiles import Profile, Profiles, change_profiles, load_profiles

HERE = Profile(url="http://127.0.0.1:8700", api_key="whk_here", store="sqlite:////a/log.db")
FAR = Profile(url="https://log.example", api_key="whk_far")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without profiles and settings. Returns the file of the profiles."""
    for name in ("URL", "API_KEY", "PROFILE", "STORE", "DEBUG"):
        monkeypatch.delenv(f"WHENCE_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "whence" / "profiles.json"


Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    """Runs a command with this stdin. Returns its exit code, stdout and stderr."""

    def ran(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run(arguments)
        return code, *capsys.readouterr()

    return ran


def save(**named: Profile) -> Profiles:
    """Save these profiles, of which the first is current."""
    return change_profiles(lambda _: Profiles(current=next(iter(named)), profiles=named))


# --- login ---------------------------------------------------------------------------------------------------------


def test_login_saves_a_key_that_the_server_accepts(said: Said, served: Served, home: Path) -> None:
    """Under the host's name, as the current profile, and the other profiles stay."""
    save(here=HERE)
    key = served.key(READ, tenant="login")
    code, out, err = said("login", f"{served.url}/", stdin=f" {key} \n")
    name = served.url.removeprefix("http://").replace(":", "-")
    assert (code, out, err) == (0, "", f"Commands now use {served.url}: profile '{name}'.\n")
    kept = json.loads(home.read_text())
    assert (kept["current"], kept["profiles"][name]["api_key"]) == (name, key)
    assert kept["profiles"]["here"]["api_key"] == "whk_here"
    assert said("list")[0] == 0


def test_login_replaces_no_other_key(said: Said, served: Served) -> None:
    """Another key for the same server gets another profile; the same key keeps its profile. A name that has another
    key is refused.
    """
    one, other = served.key(READ, tenant="one"), served.key(WRITE, tenant="other")  # the latter may not read
    assert said("login", served.url, "--profile", "shop", stdin=one)[0] == 0
    code, _, err = said("login", served.url, "--profile", "shop", stdin=other)
    assert code == 2 and "another key" in err and "profile remove" in err
    assert said("login", served.url, stdin=other)[0] == 0
    assert said("login", served.url, stdin=one)[0] == 0
    saved = load_profiles()
    assert saved.current == "shop" and sorted(each.api_key for each in saved.profiles.values()) == sorted((one, other))
    assert said("login", served.url, "--profile", "two", stdin=other)[0] == 0
    assert load_profiles().profiles["two"].api_key == other


@pytest.mark.parametrize("stdin", ["whk_wrong", "", "\n"], ids=repr)
def test_login_saves_nothing_that_does_not_work(said: Said, served: Served, home: Path, stdin: str) -> None:
    """A key that the server does not accept, and no key at all."""
    code, out, err = said("login", served.url, stdin=stdin)
    assert (code, out) == (4 if stdin.strip() else 2, "")
    assert "nothing was saved" in err and "whk_wrong" not in err
    assert not home.exists()
    assert said("login", "http://127.0.0.1:1", stdin="whk_x")[0] == 6
    assert said("login", served.url, "--profile", "a b", stdin="whk_x")[0] == 2
    assert not home.exists()


def test_login_warns_where_others_can_read_the_key(said: Said) -> None:
    """Over http to another machine."""
    assert "Warning" in said("login", "http://no-such-host.invalid", stdin="whk_x")[2]
    assert "Warning" not in said("login", "http://127.0.0.1:1", stdin="whk_x")[2]


def test_login_asks_on_a_terminal_without_showing_the_key(cli: Cli, served: Served) -> None:
    """The typed key appears nowhere on the terminal."""
    key = served.key(READ, tenant="typed")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.command("login", served.url),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=cli.env(),
        start_new_session=True,
        close_fds=True,
    )
    os.close(theirs)
    written = b""
    try:
        while b"API key: " not in written:
            written += os.read(ours, 65_536)
        os.write(ours, key.encode() + b"\n")
        while b"Commands now use" not in written:
            written += os.read(ours, 65_536)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert key.encode() not in written
    assert cli.ok("profile", "show", "--key").out == f"{key}\n"


# --- profile -------------------------------------------------------------------------------------------------------


def test_profiles_are_listed_without_their_keys(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The star is at the profile that the commands use."""
    code, out, err = said("profile", "list")
    assert (code, out) == (0, "") and "whence login URL" in err
    assert said("profile", "list", "--json")[1] == '{"profiles":[]}\n'
    save(here=HERE, far=FAR)
    code, out, err = said("profile", "list")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "URL", "STORE"],
        ["far", FAR.url],
        ["*", "here", HERE.url, HERE.store],
    ]
    monkeypatch.setenv("WHENCE_PROFILE", "far")
    listed = msgspec.json.decode(said("profile", "list", "--json")[1])["profiles"]
    assert [(each["name"], each["current"]) for each in listed] == [("far", True), ("here", False)]
    assert {name for each in listed for name in each} == {"name", "url", "store", "current"}


def test_a_list_of_profiles_fits_the_terminal(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the store below where a line has no room for it. No address is cut or broken."""
    store = f"sqlite:////{'long/' * 16}log.db"
    save(here=Profile(url=HERE.url, api_key="whk_here", store=store), far=FAR)
    monkeypatch.setenv("COLUMNS", "80")
    assert said("profile", "list")[1].splitlines() == [f"  far  {FAR.url}", f"* here  {HERE.url}", f"    {store}"]
    monkeypatch.setenv("COLUMNS", "160")
    assert said("profile", "list")[1].splitlines()[0].split() == ["NAME", "URL", "STORE"]


def test_a_profile_is_shown_and_its_key_only_when_asked_for(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--key` prints the key alone, for a script."""
    code, _, err = said("profile", "show")
    assert code == 3 and "No profile" in err
    save(here=HERE, far=FAR)
    code, out, _ = said("profile", "show")
    assert code == 0 and HERE.url in out and HERE.store in out and HERE.api_key not in out
    assert said("profile", "show", "--key") == (0, "whk_here\n", "")
    assert said("profile", "show", "far", "--key") == (0, "whk_far\n", "")
    monkeypatch.setenv("WHENCE_PROFILE", "far")
    assert said("profile", "show", "--key") == (0, "whk_far\n", "")
    assert said("profile", "show", "--key", "--json")[0] == 2
    assert said("profile", "show", "none")[0] == 3


def test_a_profile_is_chosen_and_removed(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else changes. Without a current profile the message says how to choose one."""
    before = save(here=HERE, far=FAR)
    code, out, err = said("profile", "use", "far")
    assert (code, out, err) == (0, "", f"Commands now use {FAR.url}: profile 'far'.\n")
    assert load_profiles() == before.using("far")
    monkeypatch.setenv("WHENCE_PROFILE", "here")
    assert "Where WHENCE_PROFILE is set, as in this terminal" in said("profile", "use", "far")[2]
    for words in (("use", "none"), ("remove", "none")):
        assert said("profile", *words)[0] == 3
    assert load_profiles() == before.using("far")
    code, _, err = said("profile", "remove", "far")
    assert code == 0 and "profile use NAME" in err
    assert load_profiles() == Profiles(profiles={"here": HERE})
    assert said("profile", "remove", "here")[2] == "Removed.\n"


def test_a_link_to_the_profiles_stays_a_link(home: Path, tmp_path: Path) -> None:
    """The file may lie in a repository of settings."""
    target = tmp_path / "profiles.json"
    target.write_text("{}")
    home.parent.mkdir(parents=True)
    home.symlink_to(target)
    change_profiles(lambda saved: saved.with_profile("far", FAR))
    assert home.is_symlink() and b"log.example" in target.read_bytes()


def test_profiles_that_may_not_be_read_are_not_called_damaged(said: Said, home: Path) -> None:
    """A user who followed the advice for a damaged file would lose the keys."""
    home.parent.parent.mkdir(parents=True)
    home.parent.write_text("a file where a folder should be")
    code, _, err = said("profile", "list")
    assert code == 1 and "Not a directory" in err and "Repair" not in err


def test_login_without_a_key_on_a_terminal(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-D at the prompt is an answer too."""

    def closed(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", closed)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    code, _, err = said("login", "http://127.0.0.1:1")
    assert code == 2 and "No key was given" in err
