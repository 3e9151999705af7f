"""Which server and API key the commands use: those of flags, else of the environment, else of a profile."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from whence.cli.terminal import say
from whence.client import Whence
from whence.client.errors import Unreachable
from whence.client.transport import base_url
from whence.errors import Forbidden, NotFound, Unauthenticated, WhenceError
from whence.profiles import FoundServer, NoKey, Profiles, find_server

__all__ = ["KeyRefused", "ServerOptions", "client_for", "profile_in_use", "say_what_overrides", "unknown_profile"]

_OVERRIDING = ("WHENCE_PROFILE", "WHENCE_URL", "WHENCE_API_KEY")
"""The variables that commands prefer to the current profile."""


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


class KeyRefused(Unauthenticated):
    """The server does not accept the key. `hint` says where the key came from, and how to use another."""

    def __init__(self, sentence: str, hint: str) -> None:
        WhenceError.__init__(self, sentence)
        self.hint = hint


@contextmanager
def client_for(
    flags: ServerOptions | None, environ: Mapping[str, str] = os.environ, *, retries: int = 2
) -> Iterator[Whence]:
    """The client for these flags, this environment and the profile that is named, else the current one.

    The key of a profile is sent only to the server of the profile, and a key without a URL to no other machine.
    `--profile` overrides WHENCE_URL and WHENCE_API_KEY. Raises WhenceError, also when a profile was named and gives no
    key, and KeyRefused from the block. A server of a profile that does not answer is said to be that of the profile.
    """
    flags = flags or ServerOptions()
    found = find_server(flags.url, flags.api_key, flags.profile, environ, any_machine=True)
    if found.no_key is NoKey.UNKNOWN_PROFILE:
        raise unknown_profile("--profile" if flags.profile else "WHENCE_PROFILE")
    if found.no_key is NoKey.KEY_WITHOUT_URL:
        raise Forbidden(found.reason)
    if found.no_key is NoKey.OTHER_SERVER:
        base_url(found.url)  # says so if only the scheme is missing
        sentence = "The profile belongs to a server with another URL, and its key is sent to that one only."
        raise KeyRefused(sentence, "Pass --api-key for this server, or name the profile alone.")
    with Whence(found.url, found.api_key, retries=retries) as whence:
        try:
            yield whence
        except Unauthenticated as error:
            if not found.api_key:
                raise
            refused = KeyRefused(str(error), _source_of_key(flags, found))
            for note in getattr(error, "__notes__", ()):
                refused.add_note(note)
            raise refused from error
        except Unreachable as error:
            if found.profile and not error.connected:
                error.add_note(f"that is the URL of the profile '{found.profile}'; 'whence profile list' shows all")
            raise


def _source_of_key(flags: ServerOptions, found: FoundServer) -> str:
    """Where a refused key came from, and how to use another."""
    if flags.api_key:
        return "The key came from --api-key; 'whence key create' makes one."
    if found.profile:
        return f"The key is that of the profile '{found.profile}'; 'whence login' saves another."
    return "The key came from WHENCE_API_KEY. Unset it to use a profile, or name one with --profile."


def unknown_profile(source: str) -> NotFound:
    """The error for a name without a profile. `source` is the flag or the variable that has the name."""
    return NotFound(f"{source} names no profile. 'whence profile list' lists them.")


def profile_in_use(saved: Profiles, environ: Mapping[str, str] = os.environ) -> str:
    """The name of the profile that commands use without --profile; empty for none."""
    return environ.get("WHENCE_PROFILE") or saved.current


def say_what_overrides() -> None:
    """Say that commands do not use the current profile, if variables of this terminal name something else."""
    variables = [variable for variable in _OVERRIDING if os.environ.get(variable)]
    if variables:
        say(f"Where {' or '.join(variables)} is set, as in this terminal, commands use that instead.")
