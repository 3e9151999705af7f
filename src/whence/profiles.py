"""Profiles: servers with their keys, as `whence serve` and `whence demo` save them; and which one is used.

All profiles are in one file in the user's configuration directory. It holds keys, so only its owner can read it.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

from whence.addresses import is_loopback_url
from whence.errors import WhenceError

__all__ = [
    "DEFAULT_URL",
    "FoundServer",
    "Profile",
    "Profiles",
    "drop_profile",
    "find_server",
    "load_profiles",
    "profiles_path",
    "save_profile",
]

DEFAULT_URL = "http://127.0.0.1:8700"
"""The server's URL when none is given."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A server and a key for it. `store` is the URL of its store, if the server runs on this machine."""

    url: str
    api_key: str
    store: str = ""

    def __repr__(self) -> str:
        return f"Profile(url={self.url!r}, store={self.store!r})"


class Profiles(msgspec.Struct, frozen=True, kw_only=True):
    """All profiles by name, and the name of the current one."""

    current: str = ""
    profiles: dict[str, Profile] = {}


class FoundServer(msgspec.Struct, frozen=True):
    """The server to use and the key for it. Where there is no key, `reason` is a sentence that says why."""

    url: str
    api_key: str
    reason: str = ""

    def __repr__(self) -> str:
        return f"FoundServer(url={self.url!r}, reason={self.reason!r})"


_NO_KEY = "Pass api_key, set WHENCE_API_KEY, or run 'whence serve' or 'whence demo', which save a profile."
_OTHER_MACHINE = (
    "The current profile names a server on another machine, which a program uses only if it is named. Pass profile, or "
    "set WHENCE_PROFILE or WHENCE_API_KEY."
)
_OTHER_SERVER = "The profile belongs to a server with another URL. Pass api_key, or set WHENCE_API_KEY."
_UNKNOWN = "There is no profile with the given name. Check profile or WHENCE_PROFILE."


def find_server(
    url: str | None,
    api_key: str | None,
    profile: str | None,
    environ: Mapping[str, str],
    *,
    any_machine: bool = False,
) -> FoundServer:
    """The server and key that were passed, else those of the environment, else those of a profile.

    `profile` names a profile, and then the environment is not used; else `WHENCE_PROFILE` names it. Without a name it
    is the current one, but only if its server is on this machine, unless `any_machine`. The key of a profile is sent
    only to the server of the profile. Raises WhenceError for profiles that cannot be read.
    """
    named = profile or environ.get("WHENCE_PROFILE")
    if profile is None:
        url = url or environ.get("WHENCE_URL")
        api_key = api_key or environ.get("WHENCE_API_KEY")
    if url and api_key:
        return FoundServer(url, api_key)
    saved = load_profiles()
    found = saved.profiles.get(named or saved.current)
    if found is None:
        reason = _UNKNOWN if named else _NO_KEY
    elif url and url.rstrip("/") != found.url.rstrip("/"):
        reason = _OTHER_SERVER if named else _NO_KEY
    elif not (named or any_machine or is_loopback_url(found.url)):
        reason = _OTHER_MACHINE
    else:
        return FoundServer(found.url, api_key or found.api_key)
    return FoundServer(url or DEFAULT_URL, api_key or "", "" if api_key else reason)


def profiles_path() -> Path:
    """The file that holds the profiles."""
    return Path(platformdirs.user_config_dir("whence", appauthor=False)) / "profiles.json"


def load_profiles() -> Profiles:
    """The saved profiles; none if there is no file. Raises WhenceError if it cannot be read."""
    path = profiles_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profiles)
    except FileNotFoundError:
        return Profiles()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise WhenceError(f"Cannot read the profiles in {path}. Repair or remove the file.") from None


def save_profile(name: str, profile: Profile) -> Path:
    """Save a profile under this name and make it the current one. Returns the file. Raises OSError and WhenceError."""
    return _write(Profiles(current=name, profiles={**load_profiles().profiles, name: profile}))


def drop_profile(name: str, profile: Profile, before: str) -> None:
    """Remove a profile whose server has stopped, unless it was replaced. If it was current, make `before` current.

    Raises OSError and WhenceError.
    """
    saved = load_profiles()
    if saved.profiles.get(name) != profile:
        return
    left = {other: value for other, value in saved.profiles.items() if other != name}
    _write(Profiles(current=before if saved.current == name else saved.current, profiles=left))


def _write(profiles: Profiles) -> Path:
    path = profiles_path()
    body = msgspec.json.encode(profiles)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes a file that only its owner can read; os.replace swaps it in atomically.
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(body, indent=2) + b"\n")
        os.replace(fresh, path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    return path
