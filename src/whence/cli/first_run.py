"""What `serve` and `demo` do for the user of the commands: the first key, the profile of a store, and what to type."""

import contextlib
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path, PurePath

import msgspec

from whence.api.console import is_built
from whence.cli.keys import DEFAULT_TENANT, make_key, make_sign_in_code
from whence.cli.profiles import say_what_overrides
from whence.cli.terminal import on_terminal, printable, say
from whence.errors import WhenceError
from whence.permissions import ADMIN, READ, WRITE
from whence.profiles import Profile, Profiles, change_profiles, load_profiles, profiles_path
from whence.settings import Settings, default_store
from whence.storage import backend_for

__all__ = ["ALL_SCOPES", "DemoProfile", "console_code", "first_key", "making_a_key", "program", "save_store_profile"]

ALL_SCOPES = [READ, WRITE, ADMIN]

_DEFAULT_NAME = "default"
_DEMO_NAME = "demo"
_NAME_MAX = 48


def first_key(settings: Settings) -> str | None:
    """Make a key for a log that is about to be created; None for an existing log."""
    if not backend_for(settings.store).creates_log(settings.store):
        return None
    key = make_key(settings, DEFAULT_TENANT, ALL_SCOPES, time.time_ns() // 1_000, name="first run").key
    say(f"A new log, with a first key for the tenant '{DEFAULT_TENANT}'.")
    return key


def console_code(settings: Settings, key: str | None) -> str | None:
    """The code of a link that signs in to the console, as the holder of this key or of the one in the store's profile.

    None without a console, without a key, and where messages do not go to a terminal but to a file that keeps them.
    """
    if not (settings.console and is_built() and on_terminal()):
        return None
    with contextlib.suppress(OSError, WhenceError):  # the server reports what is wrong with the store
        secret = key or _saved_key(settings.absolute_store)
        return None if secret is None else make_sign_in_code(settings, secret)
    return None


def _saved_key(store: str) -> str | None:
    """The key in the profile of this store, if there is one."""
    saved = load_profiles()
    name = saved.of_store(store)
    return None if name is None else saved.profiles[name].api_key


def save_store_profile(settings: Settings, url: str, key: str | None) -> None:
    """Make the profile of this store the current one, and say what to type. `key` is that of a new log."""
    store = settings.absolute_store
    if key is not None:
        changed = _changed(
            lambda profiles: with_new_log(profiles, _name_of(settings), Profile(url=url, api_key=key, store=store))
        )
    elif _is_saved(store):
        changed = _changed(lambda profiles: with_address(profiles, store, url))
    else:
        if on_terminal():
            making = f"{making_a_key(settings)} | {program()} login {_quoted(url)}"
            say(f"No profile has a key for this log. To make one and save it:\n  {making}")
        return
    if changed is None:
        if key is not None:
            say(f"Its key is {key}" if on_terminal() else f"To make another: {making_a_key(settings)}")
        return
    before, after = changed
    for name in after.profiles.keys() - before.profiles.keys() - {after.current}:
        say(f"The profile '{printable(name)}' keeps the key of the log that was at this place before.")
    _say_current(before, after, after.current)
    if key is not None:
        _say_export(url, after.current, key)


def with_new_log(profiles: Profiles, wanted: str, saved: Profile) -> Profiles:
    """These profiles and that of a new log, under the name that is wanted or one like it.

    If a profile has the key of a log that was at the same place, it keeps that key under another name.
    """
    former = profiles.of_store(saved.store)
    while former is not None:
        kept = msgspec.structs.replace(profiles.profiles[former], store="")
        profiles = profiles.without(former).with_profile(profiles.free_name(f"{former}-old"), kept)
        former = profiles.of_store(saved.store)
    return profiles.with_profile(profiles.free_name(wanted), saved)


def with_address(profiles: Profiles, store: str, url: str) -> Profiles:
    """These profiles with a new URL in that of this store, which is the current one."""
    name = profiles.of_store(store)
    if name is None:
        return profiles
    return profiles.with_profile(name, msgspec.structs.replace(profiles.profiles[name], url=url))


def making_a_key(settings: Settings) -> str:
    """The command that makes another key for this store."""
    scopes = " ".join(f"--scope {scope}" for scope in ALL_SCOPES)
    return f"{program()} key create --store {_quoted(settings.absolute_store)} {scopes}"


def program() -> str:
    """What to type to run this program: its name if the shell finds it, else its path as given.

    A zsh finds its own builtin of that name instead, unless it is asked for the command.
    """
    given = Path(sys.argv[0])
    found = shutil.which("whence")
    if found is not None and Path(found).resolve() == given.resolve():
        return "command whence" if PurePath(os.environ.get("SHELL", "")).name == "zsh" else "whence"
    return shlex.quote(str(given)) if given.name == "whence" else f"{shlex.quote(sys.executable)} -m whence"


class DemoProfile:
    """The profile of a demo, for as long as its server runs."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._store = settings.absolute_store
        self._key = key
        self._before = ""
        self.name: str | None = None

    def save(self, url: str) -> None:
        """Save the profile and make it the current one. `name` is its name then."""
        saved = Profile(url=url, api_key=self._key, store=self._store)

        def add(profiles: Profiles) -> Profiles:
            if _is_of_ended_demo(profiles.profiles.get(_DEMO_NAME)):
                profiles = profiles.without(_DEMO_NAME)
            return profiles.with_profile(profiles.free_name(_DEMO_NAME), saved)

        changed = _changed(add)
        if changed is not None:
            before, after = changed
            self._before, self.name = before.current, after.current
            _say_current(before, after, after.current, temporary=True)

    def remove(self) -> None:
        """Remove the profile, whose log is gone, and make the former profile the current one again."""
        if self.name is None:
            return
        with contextlib.suppress(OSError, WhenceError):
            change_profiles(self._without)

    def _without(self, profiles: Profiles) -> Profiles:
        name = profiles.of_store(self._store)
        return profiles if name is None else profiles.without(name, self._before)


def _is_of_ended_demo(saved: Profile | None) -> bool:
    """Whether this is the profile of a demo that was killed. Its log was in a temporary directory."""
    if saved is None or "whence-demo-" not in saved.store:
        return False
    return backend_for(saved.store).creates_log(saved.store)


def _is_saved(store: str) -> bool:
    try:
        return load_profiles().of_store(store) is not None
    except WhenceError:
        return False


def _changed(change: Callable[[Profiles], Profiles]) -> tuple[Profiles, Profiles] | None:
    """The profiles before and after a change. None if it cannot be saved, which is reported."""
    before: list[Profiles] = []

    def remember(profiles: Profiles) -> Profiles:
        before.append(profiles)
        return change(profiles)

    try:
        after = change_profiles(remember)
    except (OSError, WhenceError) as error:
        say(f"Cannot save the profile, so set WHENCE_URL and WHENCE_API_KEY: {printable(str(error))}")
        return None
    return before[0], after


def _say_current(before: Profiles, after: Profiles, name: str, *, temporary: bool = False) -> None:
    """Say which profile the commands use now, and how to go back: not to one whose address this server has now."""
    say(f"Commands now use this server: profile '{printable(name)}' in {printable(str(profiles_path()))}")
    former = before.profiles.get(before.current)
    is_elsewhere = former is not None and former.url != after.profiles[name].url
    if is_elsewhere and before.current != name and not temporary:
        say(f"To go back to the one before: {program()} profile use {_quoted(before.current)}")
    say_what_overrides()


def _say_export(url: str, name: str, key: str) -> None:
    """Say where the first key is, and what gives it to programs that know no profiles. Only a terminal shows it."""
    if on_terminal():
        say("The first key is saved in the profile, and shown only here. For curl and other programs:\n")
        shown = key
    else:
        say(f"The first key is saved in the profile '{printable(name)}', and not shown, since this is no terminal.")
        say("For curl and other programs:\n")
        shown = f'"$({program()} profile show {_quoted(name)} --key)"'
    say(f"  export WHENCE_URL={_quoted(url)} WHENCE_API_KEY={shown}\n")


def _name_of(settings: Settings) -> str:
    """The name that the profile of a new log gets: `default` in the default place, else that of the file."""
    if settings.store == default_store():
        return _DEFAULT_NAME
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(settings.absolute_store).stem).strip("-._")
    return stem[:_NAME_MAX] or "log"


def _quoted(text: str) -> str:
    return printable(shlex.quote(text))
