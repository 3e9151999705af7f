"""The store secret: where a server finds it, what the file is like, and what changes when it is another one."""

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Served, event, problems
from whence.api import store_secret
from whence.api.store_secret import load_store_secret
from whence.errors import StoreRefused
from whence.permissions import READ, WRITE
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import create_store

Warned = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> Warned:
    """What was logged as a warning."""
    seen: Warned = []

    class Recorder:
        def warning(self, name: str, **fields: Any) -> None:
            seen.append((name, fields))

    monkeypatch.setattr(store_secret, "_log", Recorder())
    return seen


def settings_of(folder: Path, **more: Any) -> Settings:
    return Settings(store=f"sqlite:///{folder}/log.db", **more)


def key_of(settings: Settings) -> bytes:
    return load_store_secret(settings).subkey("cursors")


def test_a_file_beside_the_store_is_made_once(tmp_path: Path, warned: Warned) -> None:
    """Only its owner can read it, it holds 32 random bytes, and no other file is left behind."""
    first = key_of(settings_of(tmp_path))
    path = tmp_path / "log.db.secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(path.read_text().strip())) == 32
    assert [each.name for each in tmp_path.iterdir()] == ["log.db.secret"]
    assert key_of(settings_of(tmp_path)) == first
    assert warned == []


def test_the_setting_goes_over_the_file(tmp_path: Path) -> None:
    """The text of the file, given by a setting, is the same secret; with a setting, no file is made."""
    given = key_of(settings_of(tmp_path, store_secret="s" * 32))
    assert list(tmp_path.iterdir()) == []
    made = key_of(settings_of(tmp_path))
    assert made != given
    environ = {"WHENCE_STORE_SECRET_FILE": str(tmp_path / "log.db.secret")}
    read = Settings.from_environment(environ, store=f"sqlite:///{tmp_path}/other.db")
    assert key_of(read) == made
    with pytest.raises(ValueError, match="at least 32 bytes"):
        settings_of(tmp_path, store_secret="s" * 31)
    assert "s" * 32 not in repr(settings_of(tmp_path, store_secret="s" * 32))


def test_a_link_to_a_store_leads_to_its_secret(tmp_path: Path) -> None:
    """The secret lies beside the real file, by whatever path it is served."""
    create_store(f"sqlite:///{tmp_path}/log.db", serving=False)
    link = tmp_path / "elsewhere"
    link.mkdir()
    (link / "log.db").symlink_to(tmp_path / "log.db")
    assert key_of(settings_of(link)) == key_of(settings_of(tmp_path))


@pytest.mark.parametrize("content", ["", "\n", "short", "x" * 31])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: str) -> None:
    """It is not replaced, since it may have been cut: the right one may be in a backup."""
    path = tmp_path / "log.db.secret"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(StoreRefused, match=r"log\.db\.secret holds no secret"):
        key_of(settings_of(tmp_path))
    assert path.read_text() == content


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path, warned: Warned) -> None:
    key_of(settings_of(tmp_path))
    (tmp_path / "log.db.secret").chmod(0o644)
    key_of(settings_of(tmp_path))
    assert [name for name, _ in warned] == ["store_secret_readable"]


def test_servers_that_start_at_once_have_one_secret(tmp_path: Path) -> None:
    """All find the file of the one that was first."""
    found: list[bytes] = []
    barrier = threading.Barrier(8)

    def load() -> None:
        barrier.wait()
        found.append(key_of(settings_of(tmp_path)))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_the_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: Warned) -> None:
    """Its name appears only when its content is synced."""
    synced: list[bool] = []
    real = os.fsync

    def sync(fd: int) -> None:
        synced.append((tmp_path / "log.db.secret").exists())
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    key_of(settings_of(tmp_path))
    assert synced == [False, True]  # the file, then its folder


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: Warned
) -> None:
    """The secret then ends with the process, which the log says."""

    def refuse(*_args: Any, **_more: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    assert key_of(settings_of(tmp_path)) != key_of(settings_of(tmp_path))
    assert [name for name, _ in warned] == ["store_secret_not_kept"] * 2
    assert list(tmp_path.iterdir()) == []


def test_on_postgresql_the_file_is_the_users_and_named_by_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: Warned
) -> None:
    """Without the password, apart from other databases; the log says that other servers need the same secret."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    first = key_of(Settings(store="postgresql://whence:hidden@db.example:5433/audit"))
    assert key_of(Settings(store="postgresql://other@db.example:5433/audit?sslmode=require")) == first
    assert key_of(Settings(store="postgresql://whence@db.example:5433/other")) != first
    names = sorted(path.name for path in (tmp_path / "whence" / "secrets").iterdir())
    assert names == ["db.example-5433-audit.secret", "db.example-5433-other.secret"]
    assert {name for name, _ in warned} == {"store_secret_is_local"}


def test_another_secret_ends_open_cursors(tmp_path: Path) -> None:
    """What losing the secret costs: a cursor is refused, and the listing begins anew."""
    address = ""
    for _ in range(2):
        store = create_store(f"sqlite:///{tmp_path}/log.db")
        served = Served(settings_of(tmp_path, port=0), store, StoreSecret.random())
        served.start()
        try:
            with served.client(READ, WRITE) as client:
                if not address:
                    client.post("/api/v1/events/batch", json=[event(), event()])
                    address = client.get("/api/v1/events?limit=1").links["next"]["url"]
                    assert client.get(address).status_code == 200
                else:
                    assert problems(client.get(address)) == [(["query", "cursor"], "cursor")]
        finally:
            served.stop()
