"""Which server and API key the commands use: those of flags, else of the environment, else of a profile."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from whence.client import Whence
from whence.profiles import find_server

__all__ = ["ServerOptions", "client_for"]


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


def client_for(flags: ServerOptions | None, environ: Mapping[str, str] = os.environ, *, retries: int = 2) -> Whence:
    """The client for these flags, this environment and the profile that WHENCE_PROFILE names, else the current one.

    The key of a profile is sent only to the server of the profile. Raises WhenceError.
    """
    flags = flags or ServerOptions()
    found = find_server(flags.url, flags.api_key, None, environ, any_machine=True)
    return Whence(found.url, found.api_key, retries=retries)
