"""Profiles: servers with their keys, as `whence serve`, `demo` and `login` save them; and which one is used.

All profiles are in one file in the user's configuration directory. It holds keys, so only its owner can read it. A
change never replaces the key of another profile: keys leave the file only by `Profiles.without`.
"""

import contextlib
import enum
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from whence.addresses import is_loopback_url
from whence.errors import WhenceError

__all__ = [
    "DEFAULT_URL",
    "FoundServer",
    "NoKey",
    "Profile",
    "Profiles",
    "change_profiles",
    "find_server",
    "load_profiles",
    "profiles_path",
]

DEFAULT_URL = "http://127.0.0.1:8700"
"""The server's URL when none is given."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A server and a key for it. `store` is the absolute URL of its store, if this machine serves it."""

    url: str
    api_key: str
    store: str = ""

    def __repr__(self) -> str:
        return f"Profile(url={self.url!r}, store={self.store!r})"


class Profiles(msgspec.Struct, frozen=True, kw_only=True):
    """All profiles by name, and the name of the current one, which is empty when there is none."""

    current: str = ""
    profiles: dict[str, Profile] = {}

    def of_store(self, store: str) -> str | None:
        """The name of the profile for the server of this store; the current one if there are several."""
        names = [name for name, profile in self.profiles.items() if profile.store == store]
        return self.current if self.current in names else next(iter(names), None)

    def free_name(self, wanted: str) -> str:
        """The name that is wanted, or one with a number after it if a profile has that name."""
        name, number = wanted, 2
        while name in self.profiles:
            name, number = f"{wanted}-{number}", number + 1
        return name

    def using(self, name: str) -> "Profiles":
        """The same profiles with this one as the current."""
        return msgspec.structs.replace(self, current=name)

    def with_profile(self, name: str, profile: Profile) -> "Profiles":
        """These profiles and a new or changed one, which is the current one."""
        return Profiles(current=name, profiles={**self.profiles, name: profile})

    def without(self, name: str, then: str = "") -> "Profiles":
        """The profiles without this one. If it was the current one, `then` is, if there is such a profile."""
        left = {other: profile for other, profile in self.profiles.items() if other != name}
        current = then if self.current == name else self.current
        return Profiles(current=current if current in left else "", profiles=left)


class NoKey(enum.StrEnum):
    """Why no key was found."""

    NONE_GIVEN = "none given"
    UNKNOWN_PROFILE = "unknown profile"
    """A profile was named, and there is none of that name."""
    OTHER_SERVER = "other server"
    """A profile was named, and it belongs to a server with another URL than the one that was given."""
    OTHER_MACHINE = "other machine"
    """The current profile, which nobody named, is for a server on another machine."""
    KEY_WITHOUT_URL = "key without URL"
    """A key was given without a URL, and the current profile is for a server on another machine."""


_REASONS = {
    NoKey.NONE_GIVEN: "Pass api_key, set WHENCE_API_KEY, or save a profile: 'whence serve', 'whence demo' and 'whence "
    "login' do that.",
    NoKey.UNKNOWN_PROFILE: "There is no profile with the given name. Check profile or WHENCE_PROFILE; 'whence profile "
    "list' lists the names.",
    NoKey.OTHER_SERVER: "The profile belongs to a server with another URL. Pass api_key, or set WHENCE_API_KEY.",
    NoKey.OTHER_MACHINE: "The current profile names a server on another machine, which a program uses only if it is "
    "named. Pass profile, or set WHENCE_PROFILE, or WHENCE_URL and WHENCE_API_KEY.",
    NoKey.KEY_WITHOUT_URL: "A key was given without a URL. It is not sent to the server of the current profile, which "
    "is on another machine and may not be meant. Set WHENCE_URL or pass --url, or name the profile with --profile.",
}


class FoundServer(msgspec.Struct, frozen=True):
    """The server to use and the key for it. Where there is no key, `reason` is a sentence that says why, and `no_key`
    names it if it lies in what was given.

    `profile` is the name of the profile that the key is from; empty for a key that was passed or set.
    """

    url: str
    api_key: str
    reason: str = ""
    profile: str = ""
    no_key: NoKey | None = None

    def __repr__(self) -> str:
        return f"FoundServer(url={self.url!r}, reason={self.reason!r})"


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
    is the current one, but only if its server is on this machine, unless `any_machine`.

    The key of a profile is sent only to the server of the profile. A key that was given without a URL is sent to a
    profile that was named, else only to a server on this machine. Raises WhenceError for profiles that cannot be read.
    """
    named = profile or environ.get("WHENCE_PROFILE")
    if profile is None:
        url = url or environ.get("WHENCE_URL")
        api_key = api_key or environ.get("WHENCE_API_KEY")
    if url and api_key:
        return FoundServer(url, api_key)
    saved = load_profiles()
    name = named or saved.current
    found = saved.profiles.get(name)
    is_elsewhere = found is not None and not named and not is_loopback_url(found.url)
    if found is None:
        no_key = NoKey.UNKNOWN_PROFILE if named else NoKey.NONE_GIVEN
    elif url and url.rstrip("/") != found.url.rstrip("/"):
        no_key = NoKey.OTHER_SERVER if named else NoKey.NONE_GIVEN
    elif is_elsewhere and not any_machine:
        no_key = NoKey.OTHER_MACHINE
    elif is_elsewhere and api_key:
        return FoundServer(found.url, "", _REASONS[NoKey.KEY_WITHOUT_URL], no_key=NoKey.KEY_WITHOUT_URL)
    else:
        return FoundServer(found.url, api_key or found.api_key, profile="" if api_key else name)
    if api_key and no_key is not NoKey.UNKNOWN_PROFILE:
        return FoundServer(url or DEFAULT_URL, api_key)
    return FoundServer(url or DEFAULT_URL, "", _REASONS[no_key], no_key=no_key)


def profiles_path() -> Path:
    """The file that holds the profiles."""
    from platformdirs import user_config_dir  # noqa: PLC0415  (slow to load, and a client may have no use for it)

    return Path(user_config_dir("whence", appauthor=False)) / "profiles.json"


def load_profiles() -> Profiles:
    """The saved profiles; none if there is no file. Raises WhenceError if it cannot be read."""
    path = profiles_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profiles)
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise WhenceError(f"Cannot read the profiles in {path}: {error.strerror}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise WhenceError(
            f"The profiles in {path} are damaged. Repair the file, or move it away; it holds keys."
        ) from None


def change_profiles(change: Callable[[Profiles], Profiles]) -> Profiles:
    """Read the profiles, save what `change` makes of them, and return that. No other process changes them meanwhile.

    Raises OSError, WhenceError for profiles that cannot be read, and what `change` raises.
    """
    path = profiles_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path.parent):
        changed = change(load_profiles())
        _write(path, changed)
    return changed


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, since the file itself is replaced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, profiles: Profiles) -> None:
    path = path.resolve()  # a symbolic link stays one
    body = msgspec.json.format(msgspec.json.encode(profiles), indent=2) + b"\n"
    from tempfile import mkstemp  # noqa: PLC0415  (slow to load, and no client writes profiles)

    # mkstemp makes a file that only its owner can read; os.replace swaps it in atomically.
    handle, fresh = mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())  # a key cannot be made out again after a power loss
        os.replace(fresh, path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
