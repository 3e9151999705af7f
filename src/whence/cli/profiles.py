"""Which server and API key the commands use: those of flags, else of the environment, else of a profile."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from whence.client import NoApiKey, Whence
from whence.profiles import Profiles, find_server

__all__ = ["ServerOptions", "client_for", "profile_in_use"]


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
    profile: Annotated[
        str | None,
        Parameter(name="--profile", help="The saved server and key; else WHENCE_PROFILE, else the current profile."),
    ] = None


def client_for(flags: ServerOptions | None, environ: Mapping[str, str] = os.environ, *, retries: int = 2) -> Whence:
    """The client for these flags, this environment and the profile that is named, else the current one.

    The key of a profile is sent only to the server of the profile. `--profile` overrides WHENCE_URL and WHENCE_API_KEY.
    Raises WhenceError, also when a profile was named and gives no key.
    """
    flags = flags or ServerOptions()
    found = find_server(flags.url, flags.api_key, flags.profile, environ, any_machine=True)
    if found.reason and (flags.profile or environ.get("WHENCE_PROFILE")):
        raise NoApiKey(found.reason)
    return Whence(found.url, found.api_key, retries=retries)


def profile_in_use(saved: Profiles, environ: Mapping[str, str] = os.environ) -> str:
    """The name of the profile that commands use without --profile; empty for none."""
    return environ.get("WHENCE_PROFILE") or saved.current
