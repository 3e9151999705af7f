"""The commands `login` and `profile …`: save a key for a server, and list, choose, show and remove what is saved."""

import getpass
import re
import sys
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from cyclopts import App, Parameter
from rich.cells import cell_len

from whence.addresses import is_loopback_url
from whence.cli.layout import Style, style_of_stdout
from whence.cli.profiles import profile_in_use, say_what_overrides
from whence.cli.terminal import JsonFlag, out, out_json, printable, say, table_or_lines
from whence.client import Whence, error_of, list_request, parse_page
from whence.client.transport import base_url
from whence.errors import Forbidden, Invalid, NotFound, Unauthenticated
from whence.profiles import Profile, Profiles, change_profiles, load_profiles

__all__ = ["app", "list_profiles", "login", "remove", "show", "use"]

app = App(name="profile", help_format="plaintext", version_flags=[])

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NO_SUCH = "There is no profile of this name. 'whence profile list' lists them."


class ProfileBody(msgspec.Struct, frozen=True):
    """A profile as the commands print it: without its key."""

    name: str
    url: str
    store: str
    current: bool


class ProfilesBody(msgspec.Struct, frozen=True):
    """The output of `profile list --json`."""

    profiles: list[ProfileBody]


def login(
    url: Annotated[str, Parameter(name="URL", help="The server, like https://log.example.com.")],
    /,
    *,
    profile: Annotated[
        str | None, Parameter(name="--profile", help="The name of the new profile; else the host's name.")
    ] = None,
) -> None:
    """Save a key for a server in a profile, which the commands then use.

    Asks for the key if stdin is a terminal, else reads it from stdin, so that no history and no list of processes
    contains it. The server has to accept the key. The keys of other profiles stay.
    """
    if profile is not None and _NAME.fullmatch(profile) is None:
        raise Invalid.at((), "--profile needs 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with no sign.")
    address = base_url(url)
    if address.startswith("http:") and not is_loopback_url(address):
        say("Warning: this URL begins with http, so others in the network can read the key. Use https.")
    key = _read_key()
    _check_key(address, key)
    name = _save(profile, Profile(url=address, api_key=key))
    say(f"Commands now use {printable(address)}: profile '{printable(name)}'.")
    say_what_overrides()


def _read_key() -> str:
    """The key that the user types without seeing it, or the first line of stdin. Raises Invalid for none."""
    if sys.stdin is not None and sys.stdin.isatty():
        try:
            typed = getpass.getpass("API key: ")
        except EOFError:
            typed = ""
    else:
        typed = "" if sys.stdin is None else sys.stdin.readline()
    key = typed.strip()
    if not key:
        raise Invalid.at((), "No key was given, so nothing was saved. 'whence key create' makes one.")
    return key


def _check_key(url: str, key: str) -> None:
    """Raise an error unless a Whence server at this URL accepts the key. Not every key may read events."""
    with Whence(url, key) as whence:
        answer = whence.send(list_request(limit=1))
    if answer.status < 400:
        parse_page(answer)
        return
    error = error_of(answer)
    if isinstance(error, Unauthenticated):
        raise Forbidden("The server does not accept this key, so nothing was saved.")
    if not isinstance(error, Forbidden) or error.request_id is None:
        raise error


def _save(wanted: str | None, saved: Profile) -> str:
    """Save this profile and make it the current one. Returns its name. Raises Invalid if the name has another key."""
    names: list[str] = []

    def add(profiles: Profiles) -> Profiles:
        known = [name for name, profile in profiles.profiles.items() if _same(profile, saved)]
        if wanted is None:
            name = known[0] if known else profiles.free_name(_host_name(saved.url))
        elif wanted in profiles.profiles and wanted not in known:
            raise Invalid.at(
                (),
                "There is a profile of this name with another key. Choose another name, or remove it with "
                "'whence profile remove'.",
            )
        else:
            name = wanted
        names.append(name)
        return profiles.using(name) if name in known else profiles.with_profile(name, saved)

    change_profiles(add)
    return names[0]


def _same(one: Profile, other: Profile) -> bool:
    return one.url.rstrip("/") == other.url.rstrip("/") and one.api_key == other.api_key


def _host_name(url: str) -> str:
    """The name of a profile for a server at this URL: its host, and its port if the URL has one."""
    place = urlsplit(url).netloc
    return re.sub(r"[^A-Za-z0-9._-]+", "-", place).strip("-.") or "server"


@app.command(name="list")
def list_profiles(*, json: JsonFlag = False) -> None:
    """List the profiles. A star marks the one that the commands use."""
    saved = load_profiles()
    used = profile_in_use(saved)
    bodies = [_body(name, each, used) for name, each in sorted(saved.profiles.items())]
    if json:
        out_json(msgspec.json.encode(ProfilesBody(bodies)))
        return
    if not bodies:
        say("There are no profiles. 'whence serve', 'whence demo' and 'whence login URL' save one.")
        return
    rows = [("*" if body.current else "", body.name, body.url, body.store) for body in bodies]
    style = style_of_stdout()
    lines = (line for body in bodies for line in _profile_lines(body, style))
    out(table_or_lines(("", "NAME", "URL", "STORE"), rows, lines, style.width))


def _profile_lines(body: ProfileBody, style: Style) -> Iterator[str]:
    """A profile in some lines, for a terminal that is too narrow for a table. An address is never cut."""
    name, url = f"{'*' if body.current else ' '} {printable(body.name)}", printable(body.url)
    is_one_line = style.width is None or cell_len(name) + cell_len(url) + 2 <= style.width
    yield from [f"{name}  {url}"] if is_one_line else [name, f"    {url}"]
    if body.store:
        yield style.faint(f"    {printable(body.store)}")


@app.command
def use(name: Annotated[str, Parameter(name="NAME", help="The profile.")], /) -> None:
    """Make a profile the one that the commands use."""

    def choose(profiles: Profiles) -> Profiles:
        _known(profiles, name)
        return profiles.using(name)

    url = change_profiles(choose).profiles[name].url
    say(f"Commands now use {printable(url)}: profile '{printable(name)}'.")
    say_what_overrides()


@app.command
def show(
    name: Annotated[
        str | None, Parameter(name="NAME", help="The profile; else WHENCE_PROFILE, else the current one.")
    ] = None,
    /,
    *,
    key: Annotated[bool, Parameter(name="--key", negative="", help="Print the key, and nothing else.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show a profile: its name, its server, and its store if this machine serves it."""
    if key and json:
        raise Invalid.at((), "Pass either --key or --json.")
    saved = load_profiles()
    used = profile_in_use(saved)
    wanted = used if name is None else name
    if name is None and not wanted:
        raise NotFound("No profile is the current one. Name one: 'whence profile list' lists them.")
    found = _known(saved, wanted)
    body = _body(wanted, found, used)
    if key:
        out(printable(found.api_key))
    elif json:
        out_json(msgspec.json.encode(body))
    else:
        rows = [("name", body.name), ("url", body.url), ("store", body.store), ("key", "saved; --key prints it")]
        out("\n".join(f"{word:<6} {printable(text)}" for word, text in rows if text))


@app.command
def remove(name: Annotated[str, Parameter(name="NAME", help="The profile.")], /) -> None:
    """Remove a profile with its key. The server keeps the key until it is revoked."""

    def leave_out(profiles: Profiles) -> Profiles:
        _known(profiles, name)
        return profiles.without(name)

    left = change_profiles(leave_out)
    if left.current or not left.profiles:
        say("Removed.")
    else:
        say("Removed. No profile is the current one now; 'whence profile use NAME' chooses one.")


def _known(profiles: Profiles, name: str) -> Profile:
    """The profile of this name. Raises NotFound."""
    found = profiles.profiles.get(name)
    if found is None:
        raise NotFound(_NO_SUCH)
    return found


def _body(name: str, saved: Profile, used: str) -> ProfileBody:
    return ProfileBody(name, saved.url, saved.store, name == used)
