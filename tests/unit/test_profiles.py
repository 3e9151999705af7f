"""The file of profiles: what `serve` and `demo` save, and that no key in it is lost."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.mutants import catches, replaced
from whence import profiles
from whence.cli import first_run
from whence.cli.first_run import DemoProfile, with_address, with_new_log
from whence.profiles import FoundServer, NoKey, Profile, Profiles, change_profiles, find_server, load_profiles
from whence.settings import Settings

HERE = Profile(url="http://127.0.0.1:8700", api_key="whk_here", store="sqlite:////a/log.db")
FAR = Profile(url="https://log.example", api_key="whk_far")


@pytest.fixture(autouse=True)
def no_profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def replace_by_name(profiles: Profiles, wanted: str, saved: Profile) -> Profiles:
    """Mutant: a new log takes the name that it wants."""
    return profiles.with_profile(wanted, saved)


@catches(replaced(first_run, "with_new_log", replace_by_name, "key_of_another_store_lost"))
def test_a_new_log_takes_no_other_profile() -> None:
    """A second file of the same name gets another name, and a log at the place of a former one leaves its key."""
    made = first_run.with_new_log(Profiles(), "log", HERE)
    assert made == Profiles(current="log", profiles={"log": HERE})
    elsewhere = Profile(url=HERE.url, api_key="whk_b", store="sqlite:////b/log.db")
    both = first_run.with_new_log(made, "log", elsewhere)
    assert both == Profiles(current="log-2", profiles={"log": HERE, "log-2": elsewhere})
    anew = Profile(url=HERE.url, api_key="whk_anew", store=HERE.store)
    replaced_log = first_run.with_new_log(both, "log", anew)
    former = Profile(url=HERE.url, api_key="whk_here")
    assert replaced_log.current == "log"
    assert replaced_log.profiles == {"log": anew, "log-2": elsewhere, "log-old": former}


def test_a_restart_changes_only_the_address() -> None:
    """Of the profile of the same store, which is current then."""
    before = with_new_log(Profiles(current="far", profiles={"far": FAR}), "log", HERE).using("far")
    after = with_address(before, HERE.store, "http://127.0.0.1:9999")
    moved = Profile(url="http://127.0.0.1:9999", api_key="whk_here", store=HERE.store)
    assert after == Profiles(current="log", profiles={"far": FAR, "log": moved})
    assert with_address(before, "sqlite:////other.db", "http://127.0.0.1:9999") == before


def test_a_store_is_recognized_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path and a link lead to the same file. The password of a database is not saved."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    monkeypatch.chdir(tmp_path / "folder")
    real = f"sqlite:///{os.path.realpath(tmp_path)}/folder/log.db"
    for store in ("sqlite:///log.db", f"sqlite:///{tmp_path}/link/log.db"):
        assert Settings(store=store).absolute_store == real
    assert Settings(store="postgresql://ana:secret@db/log").absolute_store == "postgresql://ana@db/log"


def test_a_demo_leaves_the_profiles_as_they_were(tmp_path: Path) -> None:
    """Also a profile that is called demo, and the profile of another demo that runs."""
    before = change_profiles(lambda _: Profiles(current="demo", profiles={"demo": FAR}))
    one, two = (DemoProfile(Settings(store=f"sqlite:///{tmp_path}/{name}/demo.db"), f"whk_{name}") for name in "ab")
    one.save("http://127.0.0.1:1")
    two.save("http://127.0.0.1:2")
    assert (one.name, two.name, load_profiles().current) == ("demo-2", "demo-3", "demo-3")
    two.remove()
    assert load_profiles().current == "demo-2"
    one.remove()
    one.remove()
    assert load_profiles() == before


def test_a_demo_that_was_killed_leaves_no_second_profile(tmp_path: Path) -> None:
    """Its log is gone, and the next demo takes its name."""
    for key in ("whk_killed", "whk_next"):
        demo = DemoProfile(Settings(store=f"sqlite:///{tmp_path}/whence-demo-{key}/demo.db"), key)
        demo.save("http://127.0.0.1:1")
    assert [each.api_key for each in load_profiles().profiles.values()] == ["whk_next"]


@contextmanager
def no_lock(folder: Path) -> Iterator[None]:
    """Mutant: nothing is locked."""
    yield


@catches(replaced(profiles, "_locked", no_lock, "two_changes_at_once"))
def test_no_change_is_lost_to_another_one() -> None:
    """A change that begins during another one waits for it, so that both are kept."""
    second = threading.Thread(target=lambda: change_profiles(lambda saved: saved.with_profile("far", FAR)))

    def slow(saved: Profiles) -> Profiles:
        second.start()
        second.join(0.3)
        return saved.with_profile("here", HERE)

    change_profiles(slow)
    second.join()
    assert set(load_profiles().profiles) == {"far", "here"}


def anywhere(url: str) -> bool:
    """Mutant: every server is on this machine."""
    return True


@catches(replaced(profiles, "is_loopback_url", anywhere, "a_key_for_whatever_is_current"))
def test_a_key_without_a_url_leaves_this_machine_only_for_a_named_profile() -> None:
    """The current profile is not enough: the key may be that of another server. A URL says where it belongs."""
    change_profiles(lambda _: Profiles(current="far", profiles={"far": FAR, "here": HERE}))
    mine = {"WHENCE_API_KEY": "whk_mine"}
    for url, key, environ in ((None, None, mine), (None, "whk_mine", {})):
        found = find_server(url, key, None, environ, any_machine=True)
        assert (found.api_key, found.no_key) == ("", NoKey.KEY_WITHOUT_URL)
        assert "WHENCE_URL" in found.reason and "--profile" in found.reason
        found = find_server(url, key, None, environ)  # a program ignores this profile in any case
        assert found == FoundServer(profiles.DEFAULT_URL, "whk_mine")
    assert find_server(None, None, None, mine | {"WHENCE_PROFILE": "far"}, any_machine=True).api_key == "whk_mine"
    assert find_server(None, "whk_mine", "far", {}, any_machine=True) == FoundServer(FAR.url, "whk_mine")
    assert find_server(None, None, None, mine | {"WHENCE_URL": FAR.url}, any_machine=True).api_key == "whk_mine"
    assert find_server(None, None, None, {}, any_machine=True).api_key == "whk_far"
    change_profiles(lambda saved: saved.using("here"))
    assert find_server(None, None, None, mine, any_machine=True) == FoundServer(HERE.url, "whk_mine")
    for any_machine in (True, False):
        found = find_server(None, None, None, mine | {"WHENCE_PROFILE": "nope"}, any_machine=any_machine)
        assert (found.api_key, found.no_key) == ("", NoKey.UNKNOWN_PROFILE)
