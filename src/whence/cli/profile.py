"""Which server to speak to, and with which key: flags, then the environment, then a profile.

Profiles are kept in one file in the user's configuration directory, readable by its owner alone, since it holds keys.
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
    "Connection",
    "Profile",
    "Profiles",
    "connect",
    "drop_profile",
    "load_profiles",
    "profiles_path",
    "save_profile",
]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A server and a key for it. `store` names the store of a server of this machine."""

    url: str
    api_key: str
    store: str = ""

    def __repr__(self) -> str:
        return f"Profile(url={self.url!r}, store={self.store!r})"


class Profiles(msgspec.Struct, frozen=True, kw_only=True):
    """All profiles by name, and the name of the one in use."""

    current: str = ""
    profiles: dict[str, Profile] = {}


@Parameter(name="*")
@dataclass(frozen=True)
class Connection:
    """How to reach a server."""

    url: Annotated[str | None, Parameter(name="--url", help="The server; else WHENCE_URL, else the profile.")] = None
    api_key: Annotated[
        str | None,
        Parameter(
            name="--api-key",
            help="The API key; else WHENCE_API_KEY, else the profile. Others on this machine can see a flag.",
        ),
    ] = None


def profiles_path() -> Path:
    """The file of profiles."""
    return Path(platformdirs.user_config_dir("whence", appauthor=False)) / "profiles.json"


def load_profiles() -> Profiles:
    """The profiles that are kept; none when there is no file. Raises WhenceError when it cannot be read."""
    path = profiles_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profiles)
    except FileNotFoundError:
        return Profiles()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise WhenceError(f"The profiles in {path} cannot be read. Repair or remove the file.") from None


def save_profile(name: str, profile: Profile) -> Path:
    """Keep a profile under this name and make it the one in use. Returns the file. Raises OSError."""
    return _write(Profiles(current=name, profiles={**load_profiles().profiles, name: profile}))


def drop_profile(name: str, profile: Profile, before: str) -> None:
    """Forget a profile whose server is gone, unless it is another one by now; if it was in use, the one before it is
    again. Raises OSError, and WhenceError when the profiles cannot be read.
    """
    kept = load_profiles()
    if kept.profiles.get(name) != profile:
        return
    left = {other: value for other, value in kept.profiles.items() if other != name}
    _write(Profiles(current=before if kept.current == name else kept.current, profiles=left))


def _write(profiles: Profiles) -> Path:
    path = profiles_path()
    body = msgspec.json.encode(profiles)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A new file is readable by its owner alone from the start, and takes the place of the old one in one step.
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(body, indent=2) + b"\n")
        os.replace(fresh, path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    return path


def connect(flags: Connection | None, environ: Mapping[str, str] = os.environ, *, retries: int = 2) -> Whence:
    """The client for these flags, this environment and the profile. Raises WhenceError for what cannot be used.

    The profile's key goes only to the profile's own server.
    """
    flags = flags or Connection()
    url = flags.url or environ.get("WHENCE_URL")
    key = flags.api_key or environ.get("WHENCE_API_KEY")
    if not (url and key):
        kept = load_profiles()
        profile = kept.profiles.get(kept.current)
        if profile is not None and (url is None or url.rstrip("/") == profile.url.rstrip("/")):
            url, key = profile.url, key or profile.api_key
    return Whence(url or DEFAULT_URL, key or "", retries=retries)
