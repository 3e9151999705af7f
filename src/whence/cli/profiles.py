"""Which server and API key the commands use: those of flags, else of the environment, else of a profile.

All profiles are in one file in the user's configuration directory. It holds keys, so only its owner can read it.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import platformdirs
from cyclopts import Parameter

from whence.client import DEFAULT_URL, Whence
from whence.errors import WhenceError

__all__ = [
    "Profile",
    "Profiles",
    "ServerOptions",
    "client_for",
    "drop_profile",
    "load_profiles",
    "profiles_path",
    "save_profile",
]


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


@Parameter(name="*")
@dataclass(frozen=True)
class ServerOptions:
    """Options that name the server and the API key."""

    url: Annotated[str | None, Parameter(name="--url", help="The server; else WHENCE_URL, else the profile.")] = None
    api_key: Annotated[
        str | None,
        Parameter(
            name="--api-key",
            help="The API key; else WHENCE_API_KEY, else the profile. Other users of the machine can see a flag.",
        ),
    ] = None


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


def client_for(flags: ServerOptions | None, environ: Mapping[str, str] = os.environ, *, retries: int = 2) -> Whence:
    """The client for these flags, this environment and the current profile. Raises WhenceError.

    The key of the profile is sent only to the server of the profile.
    """
    flags = flags or ServerOptions()
    url = flags.url or environ.get("WHENCE_URL")
    key = flags.api_key or environ.get("WHENCE_API_KEY")
    if not (url and key):
        saved = load_profiles()
        profile = saved.profiles.get(saved.current)
        if profile is not None and (url is None or url.rstrip("/") == profile.url.rstrip("/")):
            url, key = profile.url, key or profile.api_key
    return Whence(url or DEFAULT_URL, key or "", retries=retries)
