"""What a user got wrong is named as the user knows it: a flag, a path, a part of a URL. No exception is named."""

import re
import sqlite3
from pathlib import Path

import pytest

from whence.cli.app import run
from whence.profiles import Profile, change_profiles

NO_DATABASE = b"this is no database, whatever its name says\n" * 100


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no profile names a server or a store."""
    for name in ("URL", "API_KEY", "PROFILE", "STORE", "HOST", "PORT", "DEBUG"):
        monkeypatch.delenv(f"WHENCE_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def sentence(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    """The one line of stderr of a command that fails with this code and prints nothing else."""
    assert run([str(each) for each in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert re.search(r"[A-Z][a-z]+Error|Unexpected", line) is None
    return line


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("serve", "--store", "x.db"), "--store"),
        (("verify", "--store", "x.db"), "--store"),
        (("serve", "--port", "99999"), "--port"),
        (("serve", "--root-path", "whence/"), "--root-path"),
        (("serve", "--cors-origin", "*"), "--cors-origin"),
        (("serve", "--trusted-proxy", "proxy"), "--trusted-proxy"),
        (("copy", "--from", "x.db", "--to", "sqlite:///y.db"), "--from"),
        (("copy", "--from", "sqlite:///y.db", "--to", "x.db"), "--to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_an_invalid_flag_is_named(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], flag: str) -> None:
    """Not the variable, which the user has not set. The value is not repeated."""
    said = sentence(capsys, 2, *arguments)
    assert said.startswith(flag) and "WHENCE_" not in said
    assert "99999" not in said and "x.db" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hold", "add", "--flow", "x"), "'whence hold add' needs --reason. See 'whence hold add --help'."),
        (("get",), "'whence get' needs ID. See 'whence get --help'."),
        (("hold", "add", "--reason"), "--reason needs a value. See 'whence hold add --help'."),
        (("erase", "--names", "--flow", "x", "--reason", "x"), "--names replaces the id of one actor"),
        (("erase", "--names", "--actor", "user/x", "-q", "type:a.b", "--reason", "x"), "--names replaces the id"),
        (("verify", "--proof", "x", "--key", "acme.key"), 'Pass its text, as in "$(cat acme.key)".'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    """With the command that needs it, and with the help of that very command."""
    assert said in sentence(capsys, 2, *arguments)


def test_an_invalid_variable_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the value comes from the environment, the sentence names the variable."""
    monkeypatch.setenv("WHENCE_STORE", "x.db")
    assert sentence(capsys, 2, "verify").startswith("WHENCE_STORE")
    monkeypatch.setenv("WHENCE_STORE", "sqlite:///x.db")
    monkeypatch.setenv("WHENCE_PORT", "99999")
    assert sentence(capsys, 2, "verify", "--store", "sqlite:///x.db").startswith("WHENCE_PORT")


def test_a_host_that_is_not_of_this_machine_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It is not the port that has to be another."""
    said = sentence(capsys, 1, "serve", "--host", "192.0.2.1", "--store", f"sqlite:///{tmp_path}/log.db", "--port", "0")
    assert "--host" in said and "--port" not in said
    assert not (tmp_path / "log.db").exists()


@pytest.mark.parametrize("url", ["127.0.0.1:8761", "localhost:8761/path", "log.example"])
def test_a_missing_scheme_is_named(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """Of --url and of the argument of `login`; the key, which is right, is not mentioned."""
    for arguments in (("list", "--url", url, "--api-key", "whk_x"), ("login", url)):
        said = sentence(capsys, 2, *arguments)
        assert "scheme" in said and "http://" in said and "key" not in said


def test_the_part_that_cannot_be_sent_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The URL or the key, not both."""
    said = sentence(capsys, 2, "list", "--url", "http://user:secret@127.0.0.1:1", "--api-key", "whk_x")
    assert "URL" in said and "key" not in said and "secret" not in said
    said = sentence(capsys, 1, "list", "--url", "http://127.0.0.1:1", "--api-key", "a\nb")
    assert "API key" in said and "URL" not in said


def test_a_file_that_is_not_there_is_named_with_its_path(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its absolute path, also when it was given by a relative one. Nothing is created."""
    monkeypatch.chdir(tmp_path)
    store, path = "sqlite:///none.db", str(tmp_path / "none.db")
    for arguments in (
        ("verify", "--store", store),
        ("backup", "copy.db", "--store", store),
        ("restore", "none.db", "--store", "sqlite:///other.db"),
        ("copy", "--from", store, "--to", "sqlite:///other.db"),
    ):
        said = sentence(capsys, 1, *arguments)
        assert f"no SQLite file {path}." in said
    assert f"no log at sqlite:///{path}." in sentence(capsys, 3, "key", "list", "--store", store)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_named_with_its_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What SQLite calls it stays inside. A folder is another mistake."""
    path = tmp_path / "text.db"
    path.write_bytes(NO_DATABASE)
    reason = f"The SQLite file {path} cannot be used: it is no SQLite database, or its first page is damaged."
    for words in (
        ("key", "list"),
        ("key", "create", "--scope", "admin"),
        ("backup", tmp_path / "copy.db"),
        ("serve", "--port", "0"),
    ):
        assert sentence(capsys, 5, *words, "--store", f"sqlite:///{path}") == reason
    assert run(["verify", "--store", f"sqlite:///{path}"]) == 5
    assert capsys.readouterr().out == f"{reason}\n"
    assert run(["restore", str(path), "--store", f"sqlite:///{tmp_path}/new.db"]) == 5
    assert capsys.readouterr().err.splitlines()[0] == reason
    for words in (("serve", "--port", "0"), ("key", "list"), ("verify",)):
        said = sentence(capsys, 1, *words, "--store", f"sqlite:///{tmp_path}")
        assert f"{tmp_path} is a folder" in said
        said = sentence(capsys, 1, *words, "--store", f"sqlite:///{path}/log.db")
        assert f"{path}/log.db" in said and "a part of its path is a file" in said
    assert [each.name for each in tmp_path.iterdir()] == ["text.db"]


def test_a_restore_names_the_way_to_replace(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A restore has no other name to choose, but another store or --force. A backup may choose another file."""
    store = f"sqlite:///{tmp_path}/log.db"
    assert run(["key", "create", "--scope", "admin", "--store", store]) == 0
    assert run(["backup", str(tmp_path / "copy.db"), "--store", store]) == 0
    capsys.readouterr()
    said = sentence(capsys, 1, "restore", tmp_path / "copy.db", "--store", store)
    assert f"{tmp_path}/log.db" in said and "--force" in said and "--store" in said
    said = sentence(capsys, 1, "backup", tmp_path / "copy.db", "--store", store)
    assert f"{tmp_path}/copy.db" in said and "--force" in said and "--store" not in said
    assert run(["restore", str(tmp_path / "copy.db"), "--store", store, "--force"]) == 0


def relay(*options: str) -> tuple[str, ...]:
    return ("relay", *options, "--url", "http://127.0.0.1:1", "--api-key", "whk_x")


def test_a_relay_creates_no_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A path with a mistake is reported, and there is no empty file under it afterwards."""
    pytest.importorskip("sqlalchemy")
    said = sentence(capsys, 1, *relay("--database", f"sqlite:///{tmp_path}/none.db"))
    assert f"no SQLite file {tmp_path}/none.db." in said and "--database" in said
    assert list(tmp_path.iterdir()) == []


def test_a_relay_names_what_is_wrong_with_its_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The URL, the driver, the table, or the file, and not the exception."""
    pytest.importorskip("sqlalchemy")
    said = sentence(capsys, 2, *relay("--database", "app.db"))
    assert said.startswith("--database must be a URL")
    said = sentence(capsys, 1, *relay("--database", "oracle+cx_oracle://scott@db/app"))
    assert "cx_Oracle" in said and "whence[server]" not in said
    sqlite3.connect(tmp_path / "app.db").close()
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE other (number INTEGER)")
    assert "--table" in sentence(capsys, 1, *relay("--database", f"sqlite:///{tmp_path}/app.db"))
    (tmp_path / "text.db").write_bytes(NO_DATABASE)
    assert "reports an error" in sentence(capsys, 1, *relay("--database", f"sqlite:///{tmp_path}/text.db"))


def test_the_log_of_the_profile_in_use_is_checked_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By default commands on the store take the log that other commands query. A restore does not replace that."""
    own, other = f"sqlite:///{tmp_path}/own.db", f"sqlite:///{tmp_path}/other.db"
    for store in (own, other):
        assert run(["key", "create", "--scope", "admin", "--store", store]) == 0
    profile = Profile(url="http://127.0.0.1:1", api_key="whk_x", store=own)
    change_profiles(lambda saved: saved.with_profile("own", profile))
    capsys.readouterr()
    for words in (
        ["verify"],
        ["backup", f"{tmp_path}/copy.db"],
        ["key", "create", "--scope", "admin", "--tenant", "a"],
    ):
        assert run(words) == 0
        assert own in "".join(capsys.readouterr())
    assert run(["restore", f"{tmp_path}/copy.db"]) == 0
    assert f"{tmp_path}/data/whence/whence.db" in capsys.readouterr().err
    monkeypatch.setenv("WHENCE_STORE", other)
    assert run(["verify"]) == 0
    assert other in capsys.readouterr().out
    monkeypatch.delenv("WHENCE_STORE")
    monkeypatch.setenv("WHENCE_PROFILE", "none")
    assert "WHENCE_PROFILE names no profile" in sentence(capsys, 3, "verify")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("completion",), "bash, zsh, fish"),
        (("relay", "x.db"), "takes no such argument"),
        (("--profile", "demo", "list"), "Options stand after the command"),
    ],
)
def test_arguments_in_the_wrong_place(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    """The way out is named, and what was passed is not repeated."""
    said = sentence(capsys, 2, *arguments)
    assert words in said and "x.db" not in said and "demo list" not in said


def test_a_key_without_a_url_is_not_sent_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the current profile is that of another machine, the sentence names what would say where the key belongs."""
    far = Profile(url="https://log.example.invalid", api_key="whk_far")
    change_profiles(lambda saved: saved.with_profile("far", far))
    monkeypatch.setenv("WHENCE_API_KEY", "whk_mine")
    said = sentence(capsys, 4, "list")
    assert "WHENCE_URL" in said and "--profile" in said and "whk_" not in said
    monkeypatch.delenv("WHENCE_API_KEY")
    assert sentence(capsys, 4, "list", "--api-key", "whk_mine") == said
